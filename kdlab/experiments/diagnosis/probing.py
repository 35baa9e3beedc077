"""Training what a diagnosis lacks: the probes of one run or of many, stacked as the points of a sweep are."""

from collections.abc import Sequence

from kdlab.experiments.diagnosis.diagnosing import Diagnosis, diagnose
from kdlab.experiments.diagnosis.gathering import Subject, gather
from kdlab.experiments.diagnosis.measurements import SCRATCH, Measurements
from kdlab.experiments.lab import Lab, say
from kdlab.experiments.preflight import preflight
from kdlab.experiments.stacks import run_points
from kdlab.experiments.together import Outcome


def probes_needed(diagnosis: Diagnosis) -> tuple[str, ...]:
    """The probes that a diagnosis waits for; the scratch twin, for harm, whatever the rules say."""
    missing = (SCRATCH,) if diagnosis.harm[0].estimate is None else ()
    return tuple(dict.fromkeys((*missing, *diagnosis.needs)))


def run_probes(subjects: Sequence[Subject], lab: Lab) -> list[Outcome]:
    """Train the probes that these runs lack, together; what is finished already is found.

    Returns:
        How each ended, a record or an error; empty where nothing is lacking.

    Raises:
        UserError: a probe cannot be trained here, found before any is.
    """
    needed = [
        subject.plans[name]
        for subject in subjects
        for name in probes_needed(diagnose(gather(subject, lab)))
        if name in subject.plans
    ]
    points = list({point.run.run_id: point for point in needed}.values())
    if points:
        say(f"  training {len(points)} probe{'s' * (len(points) > 1)}, with what they need and is not there")
        preflight([point.run.config for point in points], lab)
    return run_points(points, lab)


def diagnosed(subject: Subject, lab: Lab, *, deploy: str | None = None) -> tuple[Measurements, Diagnosis]:
    """What a run shows, and the measurements that say so."""
    found = gather(subject, lab, deploy=deploy)
    return found, diagnose(found)
