"""Views on their way to the W&B server, or into a file: pushed again they take the place of what they were before.

A workspace is found by its name in the address (``?nw=...``), which is the same for a study each time; a report by its
title, the only thing of it that wandb-workspaces lets us choose. What was changed in them by hand is overwritten.
"""

import importlib.util
import json
from collections.abc import Iterator, Sequence
from typing import Any

from kdlab.errors import UserError, WorkFailedError
from kdlab.tracking.wandb.connection import first_line, wandb_errors
from kdlab.tracking.wandb.server import Server
from kdlab.tracking.wandb.views.report import report_of
from kdlab.tracking.wandb.views.subject import Subject
from kdlab.tracking.wandb.views.workspace import workspace_of


def check_installed() -> None:
    """See that wandb-workspaces is there.

    Raises:
        UserError: it is not.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError("kdlab view: wandb-workspaces is not installed: pip install 'kdlab[wandb-views]'")


def described(subject: Subject) -> dict[str, Any]:
    """The views of a subject as they would be sent, but for the place they go to: plain data, the same each time."""
    workspace = workspace_of(subject, entity="", project="")._to_model()
    views = {"workspace": {"name": workspace.name, "title": workspace.display_name, "spec": _plain(workspace.spec)}}
    if subject.name is not None:
        report = report_of(subject, entity="", project="", online=False)._to_model()  # type: ignore[no-untyped-call]
        about = {"title": report.display_name, "description": report.description}
        views["report"] = {**about, "spec": _plain(report.spec)}
    return views


def _plain(spec: Any) -> Any:
    return json.loads(spec.model_dump_json(by_alias=True, exclude_none=True))


def push(subjects: Sequence[Subject], server: Server, *, project: str, entity: str | None) -> Iterator[tuple[str, str]]:
    """Save the views of subjects in a project, those that are there already anew.

    Yields:
        What it is and its address, as soon as it is saved.

    Raises:
        UserError: there is no such project yet.
        WorkFailedError: the server does not take them.
    """
    owner = entity or server.entity
    try:
        known = _reports(owner, project)
        for subject in subjects:
            yield f"workspace {subject.title}", _push_workspace(subject, entity=owner, project=project)
            if subject.name is not None:
                report = report_of(subject, entity=owner, project=project, online=True)
                report.id = known.get(report.title, "")
                yield f"report {subject.title}", str(report.save().url)
    except wandb_errors() as error:
        raise WorkFailedError(f"W&B did not take the views: {first_line(error)}") from error


def _reports(entity: str, project: str) -> dict[str, str]:
    """Title -> id of the reports of a project; of two with one title the older."""
    import wandb

    try:
        found = list(wandb.Api().reports(f"{entity}/{project}"))
    except ValueError as error:
        if "does not exist" not in str(error):
            raise
        raise UserError(f"there is no W&B project {entity}/{project} yet: kdlab sync sends your runs there") from error
    newest_first = sorted(found, key=lambda report: str(report.created_at), reverse=True)
    return {str(report.display_name): report.id for report in newest_first}


def _push_workspace(subject: Subject, *, entity: str, project: str) -> str:
    from wandb_workspaces.workspaces.internal import get_view_dict

    workspace = workspace_of(subject, entity=entity, project=project)
    name = workspace._internal_name.removeprefix("nw-").removesuffix("-v")
    try:
        workspace._internal_id = get_view_dict(entity, project, name)["id"]
    except ValueError as error:
        if "not found in project" not in str(error):
            raise
    return str(workspace.save().url)  # type: ignore[no-untyped-call]
