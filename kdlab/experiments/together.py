"""Many runs at once: their locks held together, begun, trained as one stack where they fit, each ended by itself.

Two processes that want the same runs take the locks in the same order, so neither waits for ever, and look again what
the other finished meanwhile. A run that fails leaves its record and nothing else behind: the others go on.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace

from kdlab.evaluation.machine import computing_with
from kdlab.experiments.currency import missing_evaluation
from kdlab.experiments.fitting import Lesson, Trained, examined, train, why_not_together
from kdlab.experiments.lab import Lab, say
from kdlab.experiments.planned import PlannedRun
from kdlab.experiments.runs import Desk, Sitting, Work, measured_again, obtain
from kdlab.experiments.threads import threads_alone
from kdlab.records.record import RunRecord

Outcome = RunRecord | Exception
"""How a run ended."""
Put = Callable[[str, Outcome], object]


@dataclass
class Wanted:
    """A run that is to be found or made.

    Args:
        asked: it, as each of the points that need it plans it: they differ in what is measured.
        work: how it is made and measured.
        prepare: what is trained of it; None where nothing is.
        force: whether it is made again.
        beside: sorts those that share data and a teacher next to each other.
    """

    asked: list[PlannedRun]
    work: Callable[[], Work]
    prepare: Callable[[Desk], Lesson] | None
    force: bool = False
    beside: tuple[str, ...] = field(default=())

    @property
    def planned(self) -> PlannedRun:
        """The run, as it is made."""
        return self.asked[0]

    @property
    def run_id(self) -> str:
        """Its name."""
        return self.planned.run_id


@dataclass
class _Open:
    """A run that was begun, and what is to be trained of it."""

    wanted: Wanted
    sitting: Sitting
    lesson: Lesson
    seconds: float


def obtain_alone(wanted: Wanted, lab: Lab) -> RunRecord:
    """Find or make one run, with everything that was asked of it."""
    work = wanted.work()
    record = obtain(wanted.planned, lab, work, force=wanted.force)
    for planned in wanted.asked[1:]:
        if missing_evaluation(record, planned.config):
            record = obtain(planned, lab, work)
    return record


def obtain_together(group: Sequence[Wanted], lab: Lab, put: Put) -> None:
    """Find or make the runs of a group that fits together; ``put`` hears how each ended, in any order.

    Raises:
        BaseException: what stopped it (Ctrl-C); all that was open has a failed record then.
    """
    with ExitStack() as held:
        for run_id in sorted(wanted.run_id for wanted in group):
            held.enter_context(lab.store.lock(run_id))
        missing = []
        for wanted in group:
            found = None if wanted.force else lab.store.finished(wanted.run_id)
            if found is None:
                missing.append(wanted)
            else:
                _try(wanted, put, lambda wanted=wanted, found=found: _brought_up_to_date(wanted, found, lab))  # type: ignore[misc]
        opened: list[Sitting] = []
        try:
            _make(missing, lab, put, opened)
        except BaseException as error:
            raise _fail_all(opened, error) from None


def _try(wanted: Wanted, put: Put, work: Callable[[], RunRecord]) -> None:
    try:
        put(wanted.run_id, work())
    except Exception as error:
        put(wanted.run_id, error)


def _brought_up_to_date(wanted: Wanted, record: RunRecord, lab: Lab) -> RunRecord:
    """A finished record with everything that was asked of it. Its lock is held."""
    for planned in wanted.asked:
        if missing_evaluation(record, planned.config):
            record = measured_again(record, lab, wanted.work(), config=planned.config)
    return record


def _make(group: Sequence[Wanted], lab: Lab, put: Put, opened: list[Sitting]) -> None:
    begun = [found for wanted in group if (found := _begin(wanted, lab, put, opened)) is not None]
    resumed = [one.sitting.resume_step for one in begun if one.sitting.resume_step is not None]
    for step in sorted(set(resumed)):
        count = resumed.count(step)
        say(f"  taking up {'a cut-off run' if count == 1 else f'{count} cut-off runs'} at step {step}")
    parts: dict[tuple[object, ...], list[_Open]] = {}
    for one in begun:
        learner = one.lesson.learner
        sizes = (one.sitting.resume_step, len(learner.train), len(learner.validation), one.lesson.num_classes)
        parts.setdefault(sizes, []).append(one)
    for part in parts.values():
        for stack in _stacks(part):
            _train(stack, put)


def _begin(wanted: Wanted, lab: Lab, put: Put, opened: list[Sitting]) -> _Open | None:
    assert wanted.prepare is not None
    started = time.perf_counter()
    try:
        sitting = Sitting(wanted.planned, lab, force=wanted.force)
        opened.append(sitting)
    except Exception as error:
        put(wanted.run_id, error)
        return None
    try:
        lesson = wanted.prepare(sitting.desk)
    except Exception as error:
        _end(wanted, sitting, error, put)
        return None
    return _Open(wanted, sitting, lesson, time.perf_counter() - started)


def _stacks(part: list[_Open]) -> list[list[_Open]]:
    """The part as one stack, or each by itself where they cannot be one."""
    if len(part) == 1:
        return [part]
    problem = why_not_together([one.lesson for one in part])
    if problem is None:
        return [part]
    say(f"  {len(part)} networks are trained one after the other: {problem}")
    return [[one] for one in part]


def _train(stack: Sequence[_Open], put: Put) -> None:
    lessons = [one.lesson for one in stack]
    alone = threads_alone(stack[0].wanted.planned.config)
    try:
        with computing_with(alone) if len(stack) == 1 else nullcontext():
            ended = train(lessons)
    except Exception as error:  # of nobody in particular: what concerns one alone stands in its place
        if len(stack) == 1:
            _end(stack[0].wanted, stack[0].sitting, error, put)
            return
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        say(f"  a stack of {len(stack)} networks stopped ({told}); they are trained one after the other")
        for one in stack:
            _train_anew(one, put)
        return
    with computing_with(alone):  # measured as a run by itself is, to the last bit
        for one, trained in zip(stack, examined(lessons, ended), strict=True):
            if isinstance(trained, Exception):
                _end(one.wanted, one.sitting, trained, put)
            else:
                _finish(one, trained, put)


def _train_anew(one: _Open, put: Put) -> None:
    """Train a network by itself that a stack has left half trained, from its checkpoint or its beginning."""
    assert one.wanted.prepare is not None
    try:
        one.sitting.begin_again()
        lesson = one.wanted.prepare(one.sitting.desk)
    except Exception as error:
        _end(one.wanted, one.sitting, error, put)
        return
    _train([replace(one, lesson=lesson)], put)


def _finish(one: _Open, trained: Trained, put: Put) -> None:
    started = time.perf_counter()
    try:
        made = one.lesson.made(trained)
        seconds = one.seconds + trained.seconds + time.perf_counter() - started
        record = one.sitting.finish(made, seconds=seconds)
    except Exception as error:
        _end(one.wanted, one.sitting, error, put)
        return
    _try(one.wanted, put, lambda: _brought_up_to_date(one.wanted, record, one.sitting.lab))


def _end(wanted: Wanted, sitting: Sitting, error: Exception, put: Put) -> None:
    _fail(sitting, error)
    put(wanted.run_id, error)


def _fail(sitting: Sitting, error: BaseException) -> None:
    """Write the record of a run that failed; where its tracker cannot be closed that is told and stops nobody else."""
    try:
        sitting.fail(error)
    except Exception as another:
        say(f"  run {sitting.planned.run_id} could not be closed ({type(another).__name__}: {another})")


def _fail_all(sittings: Sequence[Sitting], error: BaseException) -> BaseException:
    """Write the records of all that are open, though Ctrl-C come again meanwhile. Returns what is to be raised."""
    for sitting in sittings:
        try:
            _fail(sitting, error)
        except BaseException as another:
            error = another
    return error
