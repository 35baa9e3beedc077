"""Views as code: the same bytes each time, only what runs really carry, read back by W&B's own loader, pushed once."""

import functools
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from wandbstub import RunRec, WandbStub

from kdlab.commands.checking import read
from kdlab.commands.view import view
from kdlab.errors import UserError
from kdlab.experiments.labels import shown_config
from kdlab.experiments.plan import plan
from kdlab.tracking.wandb.views.push import described
from kdlab.tracking.wandb.views.subject import KNOBS, Subject, study_subject

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "reports"
STUDIES = sorted(path.parent.relative_to(REPORTS).as_posix() for path in REPORTS.rglob("records.jsonl"))
HERE = (f"report.root={REPORTS}", "store.root=none")


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """``dump(study)``: what kdlab view dump writes to a file, once for each study of the reports."""

    @functools.cache
    def dumped(name):
        path = tmp_path_factory.mktemp("views") / "views.json"
        assert view(["dump", name, "--output", str(path), *HERE]) == 0
        return path.read_text(encoding="utf-8")

    return dumped


def lines_of(name):
    return [json.loads(line) for line in (REPORTS / name / "records.jsonl").read_text(encoding="utf-8").splitlines()]


def panels_of(views):
    """Every panel of a workspace and of a report."""
    for section in views["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]:
        yield from section["panels"]
    if "report" in views:
        (grid,) = [block for block in views["report"]["spec"]["blocks"] if block["type"] == "panel-grid"]
        yield from grid["metadata"]["panelBankSectionConfig"]["panels"]


def run_sets_of(views):
    yield from views["workspace"]["spec"]["section"]["runSets"]
    for block in views["report"]["spec"]["blocks"]:
        if block["type"] == "panel-grid":
            yield from block["metadata"]["runSets"]


def accessors_of(views):
    """``config:a.value.b`` and ``summary:key`` of everything that a view reads of runs."""
    text = json.dumps(views)
    return set(re.findall(r'"((?:config|summary):[^"]+)"', text))


@pytest.mark.parametrize("name", ["temperature_alpha", "fashion_mnist/teacher_quality", "student_size"])
def test_a_dump_is_the_same_bytes_again_and_whole(name, dump, capsys):
    text = dump(name)
    capsys.readouterr()
    assert view(["dump", name, *HERE]) == 0
    assert capsys.readouterr().out == text
    (views,) = json.loads(text)
    kinds = [panel["viewType"] for panel in panels_of({"workspace": views["workspace"]})]
    assert kinds == [
        *("Parallel Coordinates Plot", "Scatter Plot", "Scatter Plot", "Bar Chart", "Bar Chart"),
        *("Vega2", "Vega2", "Weave", "Weave", "Run History Line Plot", "Run History Line Plot", "Run Comparer"),
    ]
    ids = [panel["__id__"] for panel in panels_of(views)]
    assert len(set(ids)) == len(ids) == 24
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_a_dump_needs_no_key_and_does_not_depend_on_the_process(dump, tmp_path, clean_environment):
    words = ["view", "dump", "temperature_alpha", *HERE]
    environment = clean_environment(
        PYTHONHASHSEED="3", WANDB_BASE_URL="http://127.0.0.1:9", NETRC=str(tmp_path / "netrc")
    )
    done = subprocess.run(
        [sys.executable, "-m", "kdlab.commands.cli", *words],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.stdout == dump("temperature_alpha")


@pytest.mark.parametrize("name", ["temperature_alpha", "student_size", "fashion_mnist/teacher_quality", "recipe_steps"])
def test_views_read_what_runs_carry(name, dump):
    header, *records = lines_of(name)
    (views,) = json.loads(dump(name))
    compared = [record["metrics"] for record in records if record["role"] != "teacher"]
    measured = {metric for metrics in compared for metric, value in metrics.items() if value is not None}
    config = shown_config(plan(read([f"data={header['data'][0]}"])).run)
    for accessor in accessors_of(views):
        place, key = accessor.split(":", 1)
        if place == "summary":
            assert key in measured
            continue
        first, *rest = key.split(".")
        assert rest.pop(0) == "value"
        found = config[first]
        for part in rest:
            found = found[part]
    bars = [panel["config"]["metrics"] for panel in panels_of(views) if panel["viewType"] == "Bar Chart"]
    gaps = sorted(key for key in measured if key.endswith("/gap"))
    assert bars == ([["ood/mean_gap"], gaps] * 2 if gaps else [])


def test_a_study_that_looks_at_validation_alone_is_compared_on_it(dump):
    (views,) = json.loads(dump("recipe"))
    assert not any(re.match("summary:(test|ood|latency)/", accessor) for accessor in accessors_of(views))
    sections = views["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == [
        *("From knobs to accuracy", "Accuracy, latency, calibration", "Reliability", "Curves", "Runs side by side"),
    ]
    assert [len(section["panels"]) for section in sections] == [1, 1, 3, 2, 1]


def test_what_students_do_not_have_is_no_axis():
    run = {"role": "student", "metrics": {"test/accuracy": 0.5, "test/ece": None}, "identity": {"model": {"depth": 20}}}
    header = {"name": "a", "grid": {"objective.alpha": ["0.5"]}, "arms": {"distilled": []}}
    subject = study_subject(header, [run])
    assert subject.axes == ("objective.alpha", "objective.temperature", "teacher.quality.name")
    assert (subject.has("test/accuracy"), subject.has("test/ece")) == (True, False)


def test_the_axes_of_a_study_are_its_grid_first(dump):
    axes = {name: study_subject(header, runs).axes for name in STUDIES for header, *runs in [lines_of(name)]}
    assert axes["recipe"][:3] == ("training.optimizer.lr", "objective.temperature", "objective.alpha")
    assert axes["student_size"][:2] == ("study.arm", "student.width")
    assert all(set(KNOBS) <= set(found) for found in axes.values())
    header = {
        "name": "a",
        "grid": {"seed": [1, 2], "teacher/quality": ["weak"], "student": ["mlp"], "data": ["a", "b"]},
    }
    assert study_subject(header, ()).axes == ("teacher.quality.name", "data.name", *KNOBS[:3])
    (views,) = json.loads(dump("student_size"))
    coordinates = next(panel for panel in panels_of(views) if panel["viewType"] == "Parallel Coordinates Plot")
    columns = [(column["displayName"], column.get("log")) for column in coordinates["config"]["columns"]]
    assert columns == [
        *(("arm", None), ("student width", None), ("T", True), ("alpha", None), ("teacher quality", None)),
        *(("mean OOD gap", None), ("test ECE", None), ("test accuracy", None)),
    ]


def test_the_reliability_charts_read_columns_of_the_table_that_runs_log():
    from kdlab.records.record import RunRecord
    from kdlab.tracking.tables import run_tables

    bins = {"test": {"count": [3.0], "confidence": [0.5], "accuracy": [0.25]}}
    facts = {"noise": {"reference": "test", "ood": True, "size": 3}}
    blank = dict.fromkeys(("config", "identity_config", "overrides", "parent", "provenance"))
    record = RunRecord("a" * 16, "i", "finished", "student", "digits", {}, **blank, bins=bins, slices=facts)
    tables = run_tables(record)
    views = described(Subject(None))
    charts = [panel["config"] for panel in panels_of(views) if panel["viewType"] == "Vega2"]
    for config in charts:
        assert config["panelDefId"] == "wandb/line/v0"
        assert set(config["fieldSettings"].values()) <= set(tables["reliability"].columns)
        assert '"tableKey", "value": "reliability"' in json.dumps(config["userQuery"])
    shown = [json.dumps(panel) for panel in panels_of(views) if panel["viewType"] == "Weave"]
    assert [name for text in shown for name in tables if f'"val": "{name}"' in text] == ["reliability", "slices"]


def test_views_show_students_and_twins_of_the_study_alone(dump):
    (views,) = json.loads(dump("fashion_mnist/teacher_quality"))
    for runs in run_sets_of(views):
        told = [(one["key"]["name"], one["op"], one["value"]) for one in runs["filters"]["filters"]]
        assert told == [
            ("tags", "IN", ["fashion_mnist/teacher_quality"]),
            ("jobType", "IN", ["student", "scratch"]),
        ]
    (over_all,) = described(Subject(None))["workspace"]["spec"]["section"]["runSets"]
    assert [one["key"]["name"] for one in over_all["filters"]["filters"]] == ["jobType"]


def test_a_report_tells_what_the_study_asks_and_found(dump):
    header = lines_of("temperature_alpha")[0]
    (views,) = json.loads(dump("temperature_alpha"))
    report = views["report"]
    blocks = report["spec"]["blocks"]
    text = json.dumps(blocks, ensure_ascii=False)
    for part in (header["question"], header["hypothesis"], header["cost"], "kdlab sweep temperature_alpha"):
        assert part in text
    headings = [block["children"][0]["text"] for block in blocks if block["type"] == "heading"]
    assert headings == ["Question", "Hypothesis", "What it says", "Verdicts", "The runs", "Make it again"]
    (table,) = [block["content"] for block in blocks if block["type"] == "markdown-block"]
    assert "| **distilled: T=16, alpha=0.3** (best on validation) |" in table
    assert "| better |" in table
    assert "| worse |" in table
    assert report["title"] == views["workspace"]["title"] == "kdlab: temperature_alpha"


@pytest.mark.parametrize("name", ["temperature_alpha", "recipe"])
def test_wandb_reads_a_view_back_as_it_was(name, dump):
    from wandb_workspaces.reports.v2 import interface as wr
    from wandb_workspaces.reports.v2 import internal as report_internal
    from wandb_workspaces.workspaces import interface as ws
    from wandb_workspaces.workspaces import internal

    (views,) = json.loads(dump(name))
    saved = views["workspace"]
    spec = internal.WorkspaceViewspec.model_validate_json(json.dumps(saved["spec"]))
    model = internal.View(entity="e", project="p", display_name=saved["title"], name=saved["name"], id="V", spec=spec)
    workspace = ws.Workspace._from_model(model)
    assert not [panel for section in workspace.sections for panel in section.panels if "Unknown" in repr(type(panel))]
    again = json.loads(workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))
    for one in (again, saved["spec"]):  # read from the order of another key's, which is sorted here
        one["section"]["runSets"][0]["runFeed"]["columnOrder"].sort()
    assert again == saved["spec"]

    report = wr.Report._from_model(
        report_internal.ReportViewspec.model_validate(
            {
                "id": "V",
                "displayName": views["report"]["title"],
                "description": views["report"]["description"],
                "project": {"name": "p", "entityName": "e"},
                "spec": json.dumps(views["report"]["spec"]),
            }
        )
    )
    (grid,) = [block for block in report.blocks if isinstance(block, wr.PanelGrid)]
    assert [panel._id for panel in grid.panels] == [
        panel["__id__"] for panel in panels_of(views) if panel["layout"]["w"] != 8
    ]
    assert not [part for part in (*report.blocks, *grid.panels) if "Unknown" in repr(type(part))]
    boxes = [panel.layout for panel in grid.panels]
    assert max(box.x + box.w for box in boxes) == 24
    assert len({(box.x, box.y) for box in boxes}) == len(boxes)


CLIENT = """
import contextlib, io, json, sys
from kdlab.commands.view import view
from kdlab.errors import UserError
for line in sys.stdin:
    out, error = io.StringIO(), ""
    with contextlib.redirect_stdout(out):
        try:
            view(json.loads(line))
        except UserError as refused:
            error = str(refused)
    print(json.dumps({"said": out.getvalue().splitlines(), "error": error}), flush=True)
"""


@pytest.fixture(scope="module")
def pushes(tmp_path_factory, clean_environment):
    """A push without a project, two pushes of a study, one of the store: what each said, and the views behind it."""
    folder, found = tmp_path_factory.mktemp("push"), []
    with WandbStub() as server:
        environment = clean_environment(**server.env(str(folder / "home")))

        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )

        def push(*words):
            client.stdin.write(json.dumps(["push", *words, f"report.root={REPORTS}"]) + "\n")
            client.stdin.flush()
            told = json.loads(client.stdout.readline())
            found.append((SimpleNamespace(**told), {key: dict(saved) for key, saved in server.views.items()}))

        push("recipe")
        run = RunRec(server.entity, "kdlab", "a")
        server.runs[run.entity, run.project, run.name] = run
        push("recipe")
        for saved in server.views.values():
            saved["spec"], saved["description"] = saved["spec"].replace("ECE", "EEC"), "by hand"
        push("recipe")
        (folder / "runs" / "studies").mkdir(parents=True)
        header = {"kind": "study", "header": {"name": "mine+", "question": "Which?", "grid": {"seed": ["0"]}}}
        (folder / "runs" / "studies" / "mine+.jsonl").write_text(json.dumps(header) + "\n", encoding="utf-8")
        push()
        client.communicate(timeout=20)
    return found, server


def test_a_push_needs_a_project_with_runs(pushes):
    (done, views), *_ = pushes[0]
    assert done.error == "there is no W&B project stub-team/kdlab yet: kdlab sync sends your runs there"
    assert (done.said, views) == ([], {})


def test_pushed_twice_it_is_the_same_workspace_and_the_same_report(pushes):
    _, (first, before), (second, after), _ = pushes[0]
    assert (first.error, second.error) == ("", "")
    assert first.said == second.said
    assert [line.split(": http")[0] for line in first.said] == ["workspace kdlab: recipe", "report kdlab: recipe"]
    assert {saved["type"] for saved in before.values()} == {"project-view", "runs"}
    assert before.keys() == after.keys()
    for key, saved in before.items():
        assert after[key]["spec"] == saved["spec"]  # changes by hand are overwritten
        assert after[key]["description"] == saved["description"]
    assert pushes[1].unknown == []


def test_what_is_pushed_is_what_is_dumped(pushes, dump):
    _, (_, saved), *_ = pushes[0]
    (views,) = json.loads(dump("recipe"))
    by_type = {one["type"]: one for one in saved.values()}
    assert json.loads(by_type["project-view"]["spec"]) == views["workspace"]["spec"]
    assert by_type["project-view"]["name"] == views["workspace"]["name"]
    report = json.loads(by_type["runs"]["spec"])
    for block in report["blocks"]:
        for runs in block.get("metadata", {}).get("runSets", []):
            assert runs.pop("project") == {"entityName": "stub-team", "name": "kdlab", "id": "1"}  # the server's own
    assert report == views["report"]["spec"]


def test_without_a_study_all_of_the_store_is_pushed(pushes):
    *_, (done, views) = pushes[0]
    assert done.error == ""
    assert [line.split(": http")[0] for line in done.said] == [
        "workspace kdlab: all studies",
        "workspace kdlab: mine-",
        "report kdlab: mine-",
    ]
    assert len(views) == 5


def test_mistakes_are_named(monkeypatch):
    for words, message in (
        ([], r"view: push or dump is needed"),
        (["psuh"], r"view: 'psuh' is no action; did you mean push"),
        (["push", "--output", "a"], r"view push: --output is for kdlab view dump"),
        (["dump", "--output"], r"view dump: --output needs a file"),
        (["dump", "recipee", *HERE], r"no study 'recipee' .* did you mean recipe"),
        (["dump", "recipe", "seed=1"], r"view: seed cannot be set here"),
    ):
        with pytest.raises(UserError, match=message):
            view(words)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'kdlab\[wandb-views\]'"):
        view(["dump", "recipe", *HERE])


def test_completion_knows_actions_studies_and_the_file(tmp_path, monkeypatch):
    from kdlab.commands.completion.candidates import candidates

    monkeypatch.chdir(tmp_path)
    (tmp_path / "views.json").touch()
    assert candidates(["kdlab", "view"], "") == ["push ", "dump "]
    assert "recipe " in candidates(["kdlab", "view", "dump", f"report.root={REPORTS}"], "")
    assert candidates(["kdlab", "view", "dump", "recipe", "--output"], "v") == ["views.json "]
    assert candidates(["kdlab", "view", "dump"], "--") == ["--output ", "--help "]
