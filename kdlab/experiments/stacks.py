"""The points of a sweep, run together: grouped by what can be trained as one stack, each group found or made at once.

In a stack T, alpha, schedules, learning rate, weight decay, optimizer, teacher, seed and scratch twins may differ.
Architecture, data, transfer set, batch size, steps, precision and augmentation are shared. Nothing changes in the
results but time.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from kdlab.data.loading import data_identity
from kdlab.evaluation.machine import computing_with
from kdlab.experiments.lab import Lab
from kdlab.experiments.objectives import objective_of
from kdlab.experiments.planned import Plan, PlannedRun
from kdlab.experiments.several import as_student, teaching_model
from kdlab.experiments.stack_size import most_together, raise_file_limit
from kdlab.experiments.students import lesson as student_lesson
from kdlab.experiments.students import student_work
from kdlab.experiments.teachers import Taught, is_trained, teach, teacher_work
from kdlab.experiments.teachers import lesson as teacher_lesson
from kdlab.experiments.threads import threads_alone, threads_stacked
from kdlab.experiments.together import Outcome, Wanted, obtain_alone, obtain_together
from kdlab.experiments.transfer import transfer_identity
from kdlab.records.identity import canonical_json
from kdlab.records.record import RunRecord
from kdlab.schema.config import RunConfig
from kdlab.schema.learning import TrainingConfig

OWN_TO_EACH = ("optimizer", "schedule", "gradient_clip_norm")
"""What of a recipe may differ within a stack."""
Tell = Callable[[int, Outcome], object]
Run = TypeVar("Run")


def run_points(points: Sequence[Plan], lab: Lab, *, tell: Tell = lambda at, outcome: None) -> list[Outcome]:
    """Find or make everything that some points need, then the points: what ``run_point`` does, together.

    Args:
        points: students (their twins and teachers come along), or teachers.
        lab: where they are made.
        tell: hears of each point, by its place, as soon as it has ended.

    Returns:
        For each point its record, or why it failed: the error of its teacher, its twin, or its own.
    """
    raise_file_limit()
    board = Board(points, tell)
    for wave in _teachers(points, lab):
        _obtain_all([wanted for wanted in wave if not board.is_hopeless(wanted.run_id)], lab, board)
    _obtain_all(_students(points, lab, board), lab, board)
    return [_known(board.outcome(at)) for at in range(len(points))]


class Board:
    """How runs ended, and with them the points that need them.

    Args:
        points: all of them.
        tell: hears of each point once, as soon as it has ended.
    """

    def __init__(self, points: Sequence[Plan], tell: Tell) -> None:
        self.ended: dict[str, Outcome] = {}
        self._needed = [[planned.run_id for planned in point.runs()] for point in points]
        self._tell, self._told = tell, set[int]()
        self._needing: dict[str, list[int]] = {}
        for at, run_ids in enumerate(self._needed):
            for run_id in run_ids:
                self._needing.setdefault(run_id, []).append(at)

    def put(self, run_id: str, outcome: Outcome) -> None:
        """Note how a run ended, and tell the points that have ended with it."""
        self.ended[run_id] = outcome
        for at in self._needing[run_id]:
            found = self.outcome(at)
            if at not in self._told and found is not None:
                self._told.add(at)
                self._tell(at, found)

    def outcome(self, at: int) -> Outcome | None:
        """How a point ended: the first failure among what it needs, else its own record; None while that is open."""
        found: Outcome | None = None
        for run_id in self._needed[at]:
            found = self.ended.get(run_id)
            if not isinstance(found, RunRecord):
                return found
        return found

    def is_hopeless(self, run_id: str) -> bool:
        """Whether every point that needs a run has failed already."""
        return all(isinstance(self.outcome(at), Exception) for at in self._needing[run_id])


def stack_key(planned: PlannedRun) -> str:
    """What runs must share to be trained as one stack, as far as a config tells."""
    config = planned.config if planned.taught_by is None else as_student(planned.config)  # it learns as a student does
    teacher, on_labels = config.teacher, planned.role == "teacher" and planned.taught_by is None
    recipe: TrainingConfig = teacher.effective_training() if on_labels and teacher else config.shown_training()
    trainer = config.trainer
    return canonical_json(
        {
            "role": "teacher" if planned.role == "teacher" else "student",
            "model": dict(teacher.model) if on_labels and teacher else dict(config.student),
            "data": {"name": config.data.name, **data_identity(config.data.spec)},
            **{name: value for name, value in recipe.model_dump().items() if name not in OWN_TO_EACH},
            **({} if on_labels else {**_learned_beside(config), **transfer_identity(config)}),
            "augmentation": [[name, spec] for name, spec in recipe.augmentation.items()],  # they apply in their order
            "trainer": [trainer.accelerator, trainer.devices, trainer.compile, trainer.validate_every_epochs],
            "checkpoints": trainer.checkpoint_every_seconds,
            "evaluation_batch_size": config.evaluation.batch_size,
            "threads": config.threads,
            "most": config.stack.max_size,
        }
    )


def _learned_beside(config: RunConfig) -> dict[str, Any]:
    """What shapes the modules that terms learn beside a student; empty where they learn nothing."""
    modules = objective_of(config).fixed_modules
    if not modules:
        return {}
    named = [[name, f"{marked.__module__}.{marked.__qualname__}", knobs] for name, marked, knobs in modules]
    return {"beside": named, "teacher": teaching_model(config)}


def cut(count: int, *, most: int) -> list[slice]:
    """``count`` members in as few pieces of at most ``most`` as there can be, of sizes that differ by one at most."""
    pieces = -(-count // most)
    ends = [count * at // pieces for at in range(pieces + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def _waves(runs: Iterable[Run], *, planned: Callable[[Run], PlannedRun]) -> list[list[Run]]:
    """Runs by how many must be made before them: no wave needs anything of itself, or of a later one."""
    waves: dict[int, list[Run]] = {}
    for run in runs:
        waves.setdefault(planned(run).depth, []).append(run)
    return [waves[depth] for depth in sorted(waves)]


def grouped(runs: Iterable[Run], *, planned: Callable[[Run], PlannedRun]) -> list[list[Run]]:
    """Those that may be one stack, in their order; ``planned`` tells how a run is planned."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(stack_key(planned(run)), []).append(run)
    return list(groups.values())


def stacks_of(runs: Iterable[PlannedRun], lab: Lab) -> list[list[PlannedRun]]:
    """How runs that are all to be trained would be grouped; nothing is begun."""
    groups = [
        group for wave in _waves(runs, planned=lambda run: run) for group in grouped(wave, planned=lambda run: run)
    ]
    return [group[piece] for group in groups for piece in cut(len(group), most=most_together(group, lab))]


def _obtain_all(runs: Sequence[Wanted], lab: Lab, board: Board) -> None:
    missing = []
    for wanted in runs:
        if wanted.force or lab.store.finished(wanted.run_id) is None:
            missing.append(wanted)
        else:
            _alone(wanted, lab, board)
    trained = [wanted for wanted in missing if wanted.prepare is not None]
    for group in grouped(trained, planned=lambda wanted: wanted.planned):
        group.sort(key=lambda wanted: wanted.beside)  # next to each other those that share data and a teacher
        for piece in cut(len(group), most=most_together([wanted.planned for wanted in group], lab)):
            _together([wanted for wanted in group[piece] if not board.is_hopeless(wanted.run_id)], lab, board)
    for wanted in missing:
        if wanted.prepare is None:
            _alone(wanted, lab, board)


def _together(group: Sequence[Wanted], lab: Lab, board: Board) -> None:
    if len(group) == 1:
        _alone(group[0], lab, board)
    elif group:
        try:
            with computing_with(threads_stacked(group[0].planned.config)):
                obtain_together(group, lab, board.put)
        except Exception as error:  # of the frame around them: what concerns one was put already
            for wanted in group:
                if wanted.run_id not in board.ended:
                    board.put(wanted.run_id, error)


def _alone(wanted: Wanted, lab: Lab, board: Board) -> None:
    with computing_with(threads_alone(wanted.planned.config)):
        try:
            board.put(wanted.run_id, obtain_alone(wanted, lab))
        except Exception as error:
            board.put(wanted.run_id, error)


def _teachers(points: Sequence[Plan], lab: Lab) -> list[list[Wanted]]:
    """The teachers that some points need, in waves: whatever a teacher comes from stands in an earlier one.

    So links of many chains are trained together, and transformations and ensembles are made when all is there.
    """
    found: dict[str, Wanted] = {}
    for point in points:
        if point.teacher is None:
            continue
        force = point.run.role == "teacher" and point.run.config.force
        for planned in point.teacher.lineage():
            wanted = found.setdefault(planned.run_id, _wanted_teacher(planned, lab))
            _ask(wanted, planned, force=force)
    return _waves(found.values(), planned=lambda wanted: wanted.planned)


def _wanted_teacher(planned: PlannedRun, lab: Lab) -> Wanted:
    prepare = (lambda desk: teacher_lesson(planned, lab, desk)) if is_trained(planned) else None
    return Wanted([planned], lambda: teacher_work(planned, lab), prepare, beside=(_data_seed(planned),))


def _students(points: Sequence[Plan], lab: Lab, board: Board) -> list[Wanted]:
    """The students and scratch twins of those points whose teacher is there."""
    found: dict[str, Wanted] = {}
    faculty = _Faculty(lab, board)
    for at, point in enumerate(points):
        if point.run.role == "teacher" or isinstance(board.outcome(at), Exception):
            continue
        twin = replace(point, run=point.twin, teacher=None)
        alone = point.run.run_id == point.twin.run_id
        for asked in [point] if alone else [twin, point]:
            wanted = found.setdefault(asked.run.run_id, _wanted_student(asked, faculty))
            _ask(wanted, asked.run, force=asked is point and point.run.config.force)
    return list(found.values())


def _wanted_student(point: Plan, faculty: "_Faculty") -> Wanted:
    lab = faculty.lab
    beside = (_data_seed(point.run), "" if point.teacher is None else point.teacher.run_id)
    return Wanted(
        [point.run],
        lambda: student_work(point, faculty.of(point), lab),
        lambda desk: student_lesson(point, faculty.of(point), lab, desk),
        beside=beside,
    )


def _ask(wanted: Wanted, planned: PlannedRun, *, force: bool) -> None:
    wanted.force = wanted.force or force
    if planned is not wanted.planned:
        wanted.asked.append(planned)


def _data_seed(planned: PlannedRun) -> str:
    return f"{planned.config.data.seed:020d}"


class _Faculty:
    """The teachers of a sweep's students, put together once."""

    def __init__(self, lab: Lab, board: Board) -> None:
        self.lab, self.board = lab, board
        self._taught: dict[str, Taught] = {}

    def of(self, point: Plan) -> Taught | None:
        """The teacher of a point, None where nobody teaches."""
        if point.teacher is None:
            return None
        run_id = point.teacher.run_id
        if run_id not in self._taught:
            record = self.board.ended[run_id]
            assert isinstance(record, RunRecord)
            self._taught[run_id] = teach(point.teacher, record, self.lab)
        return self._taught[run_id]


def _known(outcome: Outcome | None) -> Outcome:
    assert outcome is not None
    return outcome
