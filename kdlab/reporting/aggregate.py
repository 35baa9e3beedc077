"""Rows of a report: means with intervals, and paired differences to scratch, uniform and the arms compared with."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlab.keys import sesoi_of
from kdlab.reporting.compact import Line, split_lines
from kdlab.reporting.groups import CONTROLS, Group, group_runs, parse_overrides
from kdlab.reporting.intervals import Interval, Row, interval, ratio_interval
from kdlab.reporting.keys import LABELS, higher_is_better
from kdlab.reporting.verdicts import Verdict, detectable_effect, verdict

KEY_METRICS = (*LABELS, "validation/accuracy", "validation/ece")
DIFFERENCE_METRICS = ("test/accuracy", "test/ece", "ood/mean_gap")


@dataclass(frozen=True)
class Comparison:
    """Paired differences of a group to a reference: group minus reference, per metric."""

    kind: str
    reference: str
    differences: Mapping[str, Interval]
    verdicts: Mapping[str, Verdict | None]
    detectable: Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class ResultRow:
    """One group: the mean of its key metrics, the share of the teacher's accuracy it keeps, and its comparisons."""

    group: Group
    metrics: Mapping[str, Interval]
    retained: Interval | None
    comparisons: tuple[Comparison, ...]

    def against(self, kind: str, reference: str | None = None) -> Comparison | None:
        """The first comparison of a kind: ``scratch``, ``uniform`` or ``arm``; of several arms that of this label."""
        same = (found for found in self.comparisons if found.kind == kind)
        return next((found for found in same if reference in (None, found.reference)), None)


@dataclass(frozen=True)
class Summary:
    """A study, aggregated.

    Args:
        rows: students and scratch twins that were measured on the test set.
        tuning: those of a tuning phase, which looks at train and validation only; no test table reads them.
    """

    header: Mapping[str, Any]
    rows: tuple[ResultRow, ...]
    tuning: tuple[ResultRow, ...]
    teachers: tuple[ResultRow, ...]
    failed: int
    by_id: Mapping[str, Line]
    ratios: Mapping[str, float | None]
    level: float

    @property
    def datasets(self) -> list[str]:
        """The data sets of its rows, sorted."""
        return sorted({row.group.data for row in (*self.rows, *self.tuning, *self.teachers)})

    def rows_of(self, data: str) -> list[ResultRow]:
        """The student and scratch rows of a data set."""
        return [row for row in self.rows if row.group.data == data]

    def interval_of(self, group: Group, metric: str) -> Interval | None:
        """The mean of any metric over a group."""
        rows = metric_rows(group, metric)
        return interval(rows, level=self.level, test_ratio=self.ratios[group.data]) if rows else None

    def paired(self, group: Group, reference: Group, metric: str) -> Interval | None:
        """The paired difference of any metric, group minus reference."""
        rows = difference_rows(group, reference, metric)
        return interval(rows, level=self.level, test_ratio=self.ratios[group.data]) if rows else None

    def tuning_of(self, data: str) -> list[ResultRow]:
        """The rows of a tuning phase, best mean validation accuracy first."""
        rows = [row for row in self.tuning if row.group.data == data and "validation/accuracy" in row.metrics]
        return sorted(rows, key=lambda row: -row.metrics["validation/accuracy"].estimate)

    def best(self, data: str) -> ResultRow | None:
        """The taught students with the highest mean validation accuracy, controls aside; never on the test set."""
        taught = [
            row
            for row in self.rows_of(data)
            if row.group.has_teacher and row.group.quality not in CONTROLS and "validation/accuracy" in row.metrics
        ]
        return max(taught, key=lambda row: row.metrics["validation/accuracy"].estimate, default=None)

    def scratch_of(self, row: ResultRow) -> ResultRow | None:
        """The row of the scratch twins of a student row."""
        twins = {run["twin"] for run in row.group.runs if run.get("twin")}
        return next(
            (
                found
                for found in self.rows_of(row.group.data)
                if found.group.role == "scratch" and any(run["run_id"] in twins for run in found.group.runs)
            ),
            None,
        )

    def teacher_of(self, row: ResultRow) -> ResultRow | None:
        """The row of the teachers of a student row."""
        ids = {run["teacher"]["id"] for run in row.group.runs if run.get("teacher")}
        return next((found for found in self.teachers if any(run["run_id"] in ids for run in found.group.runs)), None)


def summarize(lines: Iterable[Line]) -> Summary:
    """Group, average and compare the lines of a ``records.jsonl``."""
    header, runs = split_lines(lines)
    header = header or {}
    groups = group_runs(runs, header=header)
    level = float(header.get("level") or 0.95)
    by_id = {run["run_id"]: run for run in runs}
    ratios = _test_ratios(runs)
    students = [group for group in groups if group.role != "teacher"]
    shown = [
        group for group in students if group.failed or any("test/accuracy" in run["metrics"] for run in group.runs)
    ]
    tuned = [_row(group, ratios[group.data], level, ()) for group in students if group not in shown]
    comparer = _Comparer(header, shown, by_id, ratios, level)
    rows = [_row(group, ratios[group.data], level, comparer.comparisons(group)) for group in shown]
    teachers = [_row(group, ratios[group.data], level, ()) for group in groups if group.role == "teacher"]
    failed = sum(run["status"] != "finished" for run in runs)
    return Summary(header, tuple(rows), tuple(tuned), tuple(teachers), failed, by_id, ratios, level)


def _test_ratios(runs: Iterable[Line]) -> dict[str, float | None]:
    """Data set -> n_test / n_train, None where no run says."""
    ratios: dict[str, float | None] = {}
    for run in runs:
        sizes = run.get("sizes") or {}
        if ratios.setdefault(run["data"], None) is None and sizes.get("train") and sizes.get("test"):
            ratios[run["data"]] = sizes["test"] / sizes["train"]
    return ratios


def metric_rows(group: Group, metric: str) -> list[Row]:
    """The rows of a metric over a group; runs where it is undefined are left out."""
    return [
        Row(*seeds, value)
        for seeds, run in zip(group.units, group.runs, strict=True)
        if (value := run["metrics"].get(metric)) is not None
    ]


def twin_rows(group: Group, by_id: Mapping[str, Line], metric: str) -> list[Row]:
    """Student minus its own scratch twin."""
    rows = []
    for seeds, run in zip(group.units, group.runs, strict=True):
        twin = by_id.get(run.get("twin") or "")
        value, other = run["metrics"].get(metric), twin["metrics"].get(metric) if twin else None
        if value is not None and other is not None and twin is not None and twin["status"] == "finished":
            rows.append(Row(*seeds, value - other))
    return rows


def difference_rows(group: Group, reference: Group, metric: str) -> list[Row]:
    """Group minus reference, paired on (data seed, teacher seed, student seed).

    Where either side has no teacher the student seed alone pairs (with the data seed, should one student seed have
    seen several data draws); the difference keeps the teacher seed of the side that has one.
    """
    full = group.has_teacher and reference.has_teacher
    references = metric_rows(reference, metric)
    mean, loose = _means(references, full=full)
    rows = []
    for row in metric_rows(group, metric):
        key = (row.data_seed, row.teacher_seed if full else None, row.student_seed)
        if full:
            others = [(row.teacher_seed, mean[key])] if key in mean else []
        elif reference.has_teacher:
            same = [other for other in references if other.student_seed == row.student_seed]
            others = [(other.teacher_seed, other.value) for other in same]
        elif key in mean:
            others = [(row.teacher_seed, mean[key])]
        else:
            others = [(row.teacher_seed, loose[row.student_seed])] if row.student_seed in loose else []
        rows += [row._replace(teacher_seed=teacher, value=row.value - value) for teacher, value in others]
    return rows


def _means(
    rows: Sequence[Row], *, full: bool
) -> tuple[dict[tuple[int | None, int | None, int | None], float], dict[int | None, float]]:
    exact: dict[tuple[int | None, int | None, int | None], list[float]] = {}
    loose: dict[int | None, list[float]] = {}
    for row in rows:
        exact.setdefault((row.data_seed, row.teacher_seed if full else None, row.student_seed), []).append(row.value)
        loose.setdefault(row.student_seed, []).append(row.value)
    return (
        {key: math.fsum(values) / len(values) for key, values in exact.items()},
        {key: math.fsum(values) / len(values) for key, values in loose.items()},
    )


def _row(group: Group, test_ratio: float | None, level: float, comparisons: Sequence[Comparison]) -> ResultRow:
    metrics = {}
    for metric in KEY_METRICS:
        rows = metric_rows(group, metric)
        if rows:
            metrics[metric] = interval(rows, level=level, test_ratio=test_ratio)
    return ResultRow(group, metrics, _retained(group, test_ratio, level), tuple(comparisons))


def _retained(group: Group, test_ratio: float | None, level: float) -> Interval | None:
    """Mean student accuracy over mean teacher accuracy; the teacher's is accuracy minus accuracy_vs_teacher."""
    rows, teacher = [], []
    for seeds, run in zip(group.units, group.runs, strict=True):
        accuracy, beside = run["metrics"].get("test/accuracy"), run["metrics"].get("test/accuracy_vs_teacher")
        if accuracy is not None and beside is not None and group.role != "teacher":
            rows.append(Row(*seeds, accuracy))
            teacher.append(accuracy - beside)
    return ratio_interval(rows, teacher, level=level, test_ratio=test_ratio) if rows else None


class _Comparer:
    """Finds the references of a group and takes the differences; holds the indices that make it linear."""

    def __init__(
        self,
        header: Mapping[str, Any],
        groups: Sequence[Group],
        by_id: Mapping[str, Line],
        ratios: Mapping[str, float | None],
        level: float,
    ) -> None:
        self.header, self.by_id, self.ratios, self.level = header, by_id, ratios, level
        self.sesoi: Mapping[str, float | None] = header.get("sesoi") or {}
        self.metrics = tuple(dict.fromkeys((*DIFFERENCE_METRICS, *(key for key in self.sesoi if "/" in key))))
        self.uniform: dict[tuple[str, frozenset[tuple[str, str]]], list[Group]] = {}
        for group in groups:
            if group.quality == "uniform":
                for but in (("teacher",), ("teacher", "terms")):
                    self.uniform.setdefault((group.data, _settings(group, but=but)), []).append(group)
        self.by_arm: dict[tuple[str, str], list[Group]] = {}
        for group in groups:
            for arm in group.arms:
                self.by_arm.setdefault((group.data, arm), []).append(group)
        for key, members in self.by_arm.items():  # twins may be listed under the arm of their students
            self.by_arm[key] = [group for group in members if group.role == "student"] or members
        self.compare = [tuple(pair) for pair in header.get("compare") or []]

    def comparisons(self, group: Group) -> list[Comparison]:
        """To the scratch twins, to the uniform control, and to every arm the study compares this one with."""
        found = []
        if group.role == "student":
            found.append(
                self._comparison(
                    "scratch", "scratch twin", {m: twin_rows(group, self.by_id, m) for m in self.metrics}, group
                )
            )
            if group.quality != "uniform":
                found += [self._versus("uniform", group, other) for other in self._uniform_of(group)]
        for arm, reference in self.compare:
            if any(group is member for member in self.by_arm.get((group.data, arm), [])):
                others = self._matching(group, arm, reference)
                found += [self._versus("arm", group, other) for other in others if other is not group]
        return [comparison for comparison in found if comparison is not None]

    def _versus(self, kind: str, group: Group, reference: Group) -> Comparison | None:
        rows = {metric: difference_rows(group, reference, metric) for metric in self.metrics}
        return self._comparison(kind, reference.label, rows, group)

    def _comparison(self, kind: str, label: str, rows: Mapping[str, list[Row]], group: Group) -> Comparison | None:
        ratio = self.ratios[group.data]
        differences = {m: interval(found, level=self.level, test_ratio=ratio) for m, found in rows.items() if found}
        if not differences:
            return None
        verdicts = {
            m: verdict(found, sesoi=sesoi_of(m, self.sesoi), higher_is_better=higher_is_better(m))
            for m, found in differences.items()
        }
        return Comparison(kind, label, differences, verdicts, {m: detectable(d) for m, d in differences.items()})

    def _uniform_of(self, group: Group) -> list[Group]:
        """The control that differs in the teacher alone; else the only one of this model, data and training.

        A control at one temperature serves a whole T x alpha grid; where several come as near, none is chosen.
        """
        same = self.uniform.get((group.data, _settings(group)), [])
        if same:
            return same[:1]
        near = self.uniform.get((group.data, _settings(group, but=("teacher", "terms"))), [])
        if len(near) > 1:
            near = _closest({key: value for key, value in group.knobs.items() if not key.startswith("teacher")}, near)
        return near if len(near) == 1 else []

    def _matching(self, group: Group, arm: str, reference: str) -> list[Group]:
        """The groups of the reference arm at the same point of the grid; knobs one side does not read are ignored."""
        arms = self.header.get("arms") or {}
        own = set(parse_overrides(arms.get(arm) or [])) | set(parse_overrides(arms.get(reference) or []))
        others = [other for other in self.by_arm.get((group.data, reference), []) if other.phase == group.phase]
        return _closest({k: v for k, v in group.knobs.items() if k not in own}, others)


def _closest(knobs: Mapping[str, str], others: Sequence[Group]) -> list[Group]:
    """Those with no conflicting knob and the most equal ones."""
    scored = [
        (sum(other.knobs.get(key) == value for key, value in knobs.items()), other)
        for other in others
        if all(other.knobs.get(key, value) == value for key, value in knobs.items())
    ]
    most = max((score for score, _ in scored), default=0)
    return [other for score, other in scored if score == most]


def _settings(group: Group, *, but: tuple[str, ...] = ("teacher",)) -> frozenset[tuple[str, str]]:
    """The identity without these parts, by default the teacher."""
    return frozenset((key, value) for key, value in group.identity.items() if key.split(".", 1)[0] not in but)


def detectable(difference: Interval) -> float | None:
    """The effect found with 80 % power at the observed SD; None where there is no SD."""
    if difference.sd is None or difference.n < 2:
        return None
    return detectable_effect(sd=difference.sd, n=difference.n, level=difference.level, resplit=difference.resplit)
