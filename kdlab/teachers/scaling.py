"""Teachers whose logits are multiplied by a number that is fitted: calibrated, or of a given target entropy.

What was fitted is a fact of the teacher and stands in its record. Whoever puts the same teacher together again hands
it back as ``fitted``, so that it is the same to the last bit and no set is forwarded a second time.
"""

import math
from collections.abc import Callable, Mapping

from kdlab.data.dataset import Examples
from kdlab.errors import UserError
from kdlab.outputs import Predictions
from kdlab.teachers.providers import ScaledTeacher, Teacher
from kdlab.tempering import factor_of_entropy, fit_temperature

Predict = Callable[[Teacher, Examples], Predictions]
"""What a teacher says of a set, in batches, on the device that was chosen."""


def calibrated(
    teacher: Teacher, *, validation: Examples, predict: Predict, fitted: Mapping[str, float]
) -> ScaledTeacher:
    """Logits divided by the temperature that fits them to the validation labels (Guo et al. 2017, arXiv:1706.04599).

    Raises:
        UserError: no temperature is optimal (every validation example right, or no better than guessing).
    """
    temperature = fitted.get("fitted_temperature")
    if temperature is None:
        said = predict(teacher, validation)
        temperature, reason = fit_temperature(said.logits, said.labels)
        if temperature is None:
            raise UserError(f"teacher.quality.name = 'calibrated': {reason}")
    return ScaledTeacher(teacher, scale=1.0 / temperature, facts={"fitted_temperature": temperature})


def matched(
    teacher: Teacher,
    *,
    entropy: float,
    temperature: float,
    train: Examples,
    predict: Predict,
    fitted: Mapping[str, float],
) -> ScaledTeacher:
    """Logits times the one factor that gives the targets, at ``temperature``, this mean entropy on the transfer set.

    Args:
        teacher: the teacher it transforms.
        entropy: nats, in (0, ln C).
        temperature: the temperature at which the student sees the targets.
        train: the transfer set.
        predict: what a teacher says of a set.
        fitted: ``entropy_factor`` where it is known.

    Raises:
        UserError: the entropy is out of range.
    """
    check_entropy(entropy, num_classes=teacher.num_classes)
    factor = fitted.get("entropy_factor")
    if factor is None:
        logits = predict(teacher, train).logits
        try:
            factor = factor_of_entropy(logits, entropy=entropy, temperature=temperature)
        except UserError as error:
            raise UserError(f"teacher.match_entropy = {entropy}: {error}") from error
    return ScaledTeacher(teacher, scale=factor, facts={"entropy_factor": factor})


def check_entropy(entropy: float, *, num_classes: int) -> None:
    """Raises UserError for a mean entropy that targets over C classes cannot have."""
    most = math.log(num_classes)
    if not 0.0 < entropy < most:
        raise UserError(
            f"teacher.match_entropy = {entropy}: allowed is a number between 0 and ln {num_classes} = {most:.4f} nats"
        )
