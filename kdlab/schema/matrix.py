"""Failures against fixes: which arms of a study are a failure, and which are a failure with a fix."""

from collections.abc import Collection, Iterator
from typing import Annotated

from pydantic import Field

from kdlab.keys import out_of_scope
from kdlab.references import cell_of
from kdlab.schema.section import Section

Label = Annotated[str, Field(min_length=1)]


class Failure(Section):
    """A failure: the arm of this name, and the metric at which it harms."""

    label: Label
    metric: str = "test/accuracy"


class Matrix(Section):
    """The rows and columns of a matrix; the cell of a failure and a fix is the arm ``FAILURE.FIX``.

    Args:
        failures: arm -> what it is called.
        fixes: name -> what it is called; where there is no arm for a cell the fix does not apply.
        control: the fix that is none: what trying as many values of another knob does.
    """

    failures: Annotated[dict[str, Failure], Field(min_length=1)]
    fixes: Annotated[dict[str, Label], Field(min_length=1)]
    control: str | None = None


def matrix_problems(
    matrix: Matrix | None, *, arms: Collection[str], measured: Collection[str], sesoi: Collection[str]
) -> Iterator[str]:
    """Every contradiction of a matrix with its study, one a line.

    Args:
        matrix: None for none.
        arms: of the study.
        measured: every key that is measured of its runs.
        sesoi: the metrics with a smallest effect of interest.
    """
    if matrix is None:
        return
    for name, failure in matrix.failures.items():
        key = f"study.matrix.failures.{name}"
        if name not in arms:
            yield f"{key}: no arm of this study has this name"
        if failure.metric not in measured or out_of_scope(failure.metric, "student"):
            yield f"{key}.metric = {failure.metric!r}: no key that is measured of a student"
        elif failure.metric not in sesoi:
            yield f"{key}.metric = {failure.metric!r}: report.sesoi has none of it, and without one no verdict is given"
    for fix in matrix.fixes:
        if not any(cell_of(failure, fix) in arms for failure in matrix.failures):
            yield f"study.matrix.fixes.{fix}: no arm of this study is called FAILURE.{fix}"
    if matrix.control is not None and matrix.control not in matrix.fixes:
        yield f"study.matrix.control = {matrix.control!r}: one of the fixes is needed: {', '.join(matrix.fixes)}"
