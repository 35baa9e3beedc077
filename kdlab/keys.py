"""The one catalogue of what a record measures: unit, direction, equation and meaning of every key.

A key is ``<place>/<quantity>``. In a pattern ``<set>`` stands for ``train``, ``validation``, ``test`` or a slice, and
``<slice>`` for a slice. Every record carries every key whatever its role; one that is undefined there is null with a
reason. Fractions, nats and milliseconds; never percent, never NaN.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "none"]

ROLES = ("student", "scratch", "teacher")
SPLITS = ("train", "validation", "test")
RESERVED_NAMES = (*SPLITS, "ood", "transfer", "cost", "latency", "throughput")

_STUDENTS = ("student", "scratch")

# Smallest effects of interest that hold without being set (fractions). Without one no verdict is printed.
DEFAULT_SESOI: Mapping[str, float] = {"accuracy": 0.005}


@dataclass(frozen=True)
class Key:
    """One measured quantity.

    Args:
        pattern: the key, with ``<set>`` or ``<slice>`` where it exists for many.
        unit: ``fraction``, ``nats``, ``ms``, ``s``, ``bytes``, ... or ``1`` for a pure number.
        direction: what better is; ``none`` for facts that are not compared.
        scope: the roles it is defined for; in the records of other roles it is null.
        equation: how it is computed.
        meaning: what it says, in one sentence.
    """

    pattern: str
    unit: str
    direction: Direction
    scope: tuple[str, ...]
    equation: str
    meaning: str

    @functools.cached_property
    def regex(self) -> re.Pattern[str]:
        """What the names of this key look like."""
        parts = re.split(r"(<set>|<slice>)", self.pattern)
        return re.compile("".join(".+" if part in ("<set>", "<slice>") else re.escape(part) for part in parts))

    @property
    def num_literals(self) -> int:
        """How specific the pattern is: its length without placeholders."""
        return len(re.sub(r"<set>|<slice>", "", self.pattern))


CATALOGUE: tuple[Key, ...] = (
    Key("<set>/accuracy", "fraction", "higher", ROLES, "mean[argmax z = y]", "Share of examples classified correctly."),
    Key("<set>/nll", "nats", "lower", ROLES, "mean(-log p_y)", "Negative log likelihood of the true class."),
    Key("<set>/brier", "1", "lower", ROLES, "mean(sum_k (p_k - [y = k])^2)",
        "Squared error of the probabilities, summed over classes (0 to 2)."),
    Key("<set>/ece", "fraction", "lower", ROLES, "sum_b n_b/n |accuracy_b - confidence_b|",
        "Expected calibration error of the top class, 15 equal-width bins (netcal); compare sets of equal n only."),
    Key("test/ece_classwise", "fraction", "lower", ROLES, "mean_k sum_b n_kb/n |share_kb(y = k) - mean p_kb|",
        "ECE of each class against the rest, mean over classes."),
    Key("test/ece_floor", "fraction", "none", ROLES, "E[ECE], correct_i ~ Bernoulli(confidence_i)",
        "ECE that a perfectly calibrated network with these confidences shows at this n (simulated)."),
    Key("test/ece_scaled", "fraction", "lower", ROLES, "ECE of softmax(z / fitted temperature)",
        "ECE that remains after temperature scaling on validation."),
    Key("test/fitted_temperature", "1", "none", ROLES, "argmin_t NLL(validation; z / t)",
        "Temperature that calibrates the network on validation; above 1 it is over-confident."),
    Key("test/log_fitted_temperature", "1", "none", ROLES, "log(fitted temperature)",
        "Signed over-confidence: 0 is calibrated, above 0 over-confident, below 0 under-confident."),
    Key("test/worst_class_accuracy", "fraction", "higher", ROLES, "min_k accuracy(y = k)",
        "Accuracy on the worst class present in the test set."),
    Key("<slice>/gap", "fraction", "lower", ROLES, "accuracy(reference) - accuracy(slice)",
        "What the shift costs the same network; reference: the unshifted twins, or the whole test set."),
    Key("ood/mean_gap", "fraction", "lower", ROLES, "mean of <slice>/gap", "Unweighted over slices marked ood."),
    Key("ood/worst_gap", "fraction", "lower", ROLES, "max of <slice>/gap", "Worst slice marked ood."),
    Key("<set>/agreement", "fraction", "higher", ("student",), "mean[argmax z_student = argmax z_teacher]",
        "Fidelity: share of examples on which the student says what its teacher says."),
    Key("<set>/teacher_kl", "nats", "lower", ("student",), "mean KL(p_teacher || p_student), T = 1",
        "Fidelity: how far the student's probabilities are from its teacher's."),
    Key("<set>/accuracy_vs_teacher", "fraction", "higher", ("student",), "accuracy(student) - accuracy(teacher)",
        "Accuracy gained over the teacher."),
    Key("<set>/ece_vs_teacher", "fraction", "lower", ("student",), "ece(student) - ece(teacher)",
        "Calibration error added to the teacher's."),
    Key("transfer/target_entropy", "nats", "none", ("teacher",), "mean(-sum_k p_k log p_k) over the transfer set",
        "Mean entropy of the targets a teacher gives."),
    Key("validation/parent_accuracy", "fraction", "none", ("teacher",), "accuracy of the parent on validation",
        "For a transformed teacher: accuracy of the trained network it comes from."),
    Key("test/parent_accuracy", "fraction", "none", ("teacher",), "accuracy of the parent on test",
        "For a transformed teacher: accuracy of the trained network it comes from."),
    Key("cost/num_params", "1", "lower", ROLES, "number of parameters", "Size of the network."),
    Key("cost/macs", "1", "lower", ROLES, "FLOPs / 2 of one example", "Multiply-accumulates, by torch's counter."),
    Key("cost/size_bytes", "bytes", "lower", ROLES, "bytes of parameters and buffers", "Memory the weights take."),
    Key("cost/train_seconds", "s", "none", ROLES, "wall seconds of the stack / its size",
        "Never compared between arms: it depends on the stack."),
    Key("cost/stack_size", "1", "none", ROLES, "K", "Networks that were trained together."),
    Key("cost/step_ms_ratio", "1", "lower", ("student",), "ms per step / ms per step of plain CE",
        "Price of a training step (K = 1, interleaved with plain cross-entropy in one process)."),
    Key("cost/teacher_train_seconds", "s", "none", ("student",), "training seconds of the networks that taught",
        "Reported beside the student's budget, which counts its own steps only."),
    Key("latency/p50_ms", "ms", "lower", ROLES, "median over calls", "Typical latency of one call."),
    Key("latency/p90_ms", "ms", "lower", ROLES, "90th percentile over calls", "Latency nine calls in ten stay under."),
    Key("latency/p99_ms", "ms", "lower", ROLES, "99th percentile over calls", "Tail latency."),
    Key("latency/p99_ms_low", "ms", "none", ROLES, "min(2.5 % of p99 over resampled blocks, order statistic)",
        "Lower end of its interval."),
    Key("latency/p99_ms_high", "ms", "none", ROLES, "max(97.5 % of p99 over resampled blocks, order statistic)",
        "Upper end of its interval."),
    Key("latency/p50_ratio", "1", "lower", _STUDENTS, "p50(student) / p50(teacher)",
        "Student beside its teacher, interleaved calls; repeats within 1 %."),
    Key("latency/p99_ratio", "1", "lower", _STUDENTS, "p99(student) / p99(teacher)",
        "Tail beside the teacher's; repeats within 8 to 27 %, so read its interval."),
    Key("latency/p99_ratio_low", "1", "none", _STUDENTS, "2.5 % of the ratio over resampled blocks",
        "Lower end of its interval."),
    Key("latency/p99_ratio_high", "1", "none", _STUDENTS, "97.5 % of the ratio over resampled blocks",
        "Upper end of its interval."),
    Key("latency/contended", "1", "none", ROLES, "0 or 1",
        "1 where another kdlab process measured or trained beside the measurement."),
    Key("throughput/examples_per_s", "1/s", "higher", ROLES, "batch size x calls / seconds in calls",
        "Examples per second at the measured batch size."),
)  # fmt: skip

_EXACT = {key.pattern: key for key in CATALOGUE if "<" not in key.pattern}
_OPEN = sorted((key for key in CATALOGUE if "<" in key.pattern), key=lambda key: -key.num_literals)


def key_of(name: str) -> Key | None:
    """The catalogue entry of a key, the most specific one; None for names that are no measured key.

    >>> key_of("noise_2/accuracy").pattern, key_of("test/ece_floor").pattern, key_of("train/loss")
    ('<set>/accuracy', 'test/ece_floor', None)
    """
    return _EXACT.get(name) or next((key for key in _OPEN if key.regex.fullmatch(name)), None)


def direction(name: str) -> Direction:
    """What better is for a key.

    Raises:
        ValueError: ``name`` is no measured key.
    """
    key = key_of(name)
    if key is None:
        raise ValueError(f"'{name}' is no measured key; allowed: {', '.join(k.pattern for k in CATALOGUE)}")
    return key.direction


def last_part(key: str) -> str:
    """``ood/mean_gap`` -> ``mean_gap``."""
    return key.rsplit("/", 1)[-1]


def sesoi_of(key: str, sesoi: Mapping[str, float | None]) -> float | None:
    """The smallest effect of interest of a key: set for the whole key, for its last part, or by default.

    >>> sesoi_of("test/accuracy", {})
    0.005
    >>> sesoi_of("test/ece", {"ece": 0.01})
    0.01
    """
    for name in (key, last_part(key)):
        if name in sesoi:
            return sesoi[name]
    return DEFAULT_SESOI.get(last_part(key))


def expected_keys(role: str, sets: Iterable[str], slices: Iterable[str]) -> list[str]:
    """Every key a record must carry, the undefined ones too: the same for each role.

    Args:
        role: ``student``, ``scratch`` or ``teacher``.
        sets: what was evaluated of train, validation and test; the keys of the others are not demanded.
        slices: names of the evaluated slices.
    """
    check_role(role)
    slices = list(dict.fromkeys(slices))
    places = list(dict.fromkeys([*sets, *slices]))
    names: list[str] = []
    for key in CATALOGUE:
        place, quantity = key.pattern.split("/", 1)
        if place in ("<set>", "<slice>"):
            names += [f"{name}/{quantity}" for name in (places if place == "<set>" else slices)]
            continue
        unasked = place not in places if place in SPLITS else place == "ood" and "test" not in places and not slices
        if not unasked:
            names.append(key.pattern)
    return names


def check_role(role: str) -> None:
    """Raises ValueError for anything but a role."""
    if role not in ROLES:
        raise ValueError(f"role = '{role}': allowed are {', '.join(ROLES)}")


def out_of_scope(name: str, role: str) -> str | None:
    """Why a key is null in every record of a role; None where it is defined.

    >>> out_of_scope("transfer/target_entropy", "student")
    'measured of teacher records only'
    """
    key = key_of(name)
    if key is None or role in key.scope:
        return None
    return f"measured of {' and '.join(key.scope)} records only"


def table_markdown() -> str:
    """The catalogue as a Markdown table, for the README."""
    arrow = {"higher": "higher", "lower": "lower", "none": "-"}
    rows = ["| key | unit | better | of | equation | what it says |", "|---|---|---|---|---|---|"]
    for key in CATALOGUE:
        of = "all" if key.scope == ROLES else ", ".join(key.scope)
        equation = key.equation.replace("|", "\\|")
        rows.append(f"| `{key.pattern}` | {key.unit} | {arrow[key.direction]} | {of} | {equation} | {key.meaning} |")
    return "\n".join(rows) + "\n"
