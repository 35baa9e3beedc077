"""How the report shows a metric key: its label, its definition in a sentence, its smallest effect of interest."""

from collections.abc import Mapping

from kdlab.keys import direction

# Smallest effects of interest that hold without being set (fractions). Without one no verdict is printed.
DEFAULT_SESOI: Mapping[str, float] = {"accuracy": 0.005}

LABELS: Mapping[str, str] = {
    "test/accuracy": "Accuracy",
    "test/ece": "ECE",
    "ood/mean_gap": "Mean OOD gap",
    "test/agreement": "Agreement",
    "latency/p50_ms": "p50 (ms)",
    "latency/p99_ms": "p99 (ms)",
    "cost/step_ms_ratio": "Step price",
}

DEFINITIONS: Mapping[str, str] = {
    "Accuracy": "share of the test set classified correctly (fraction; higher is better)",
    "Retained": "mean test accuracy over that of the network that taught (ratio, Fieller interval; higher is better)",
    "ECE": "expected calibration error on the test set, 15 equal-width bins (fraction; lower is better)",
    "Mean OOD gap": "accuracy on a slice's reference minus accuracy on the slice, unweighted mean over the shifted "
    "slices (fraction; lower is better)",
    "Agreement": "share of the test set on which student and teacher predict the same class (fraction)",
    "p50, p99": "median and 99th percentile of the time of one call at batch size 1 (ms; lower is better)",
    "Step price": "time of a training step, the teacher's forward pass included, over that of a step of plain "
    "cross-entropy, both measured in turn (ratio; lower is better)",
}


def last_part(key: str) -> str:
    """``ood/mean_gap`` -> ``mean_gap``."""
    return key.rsplit("/", 1)[-1]


def higher_is_better(key: str) -> bool:
    """Whether more of a metric is better, by the catalogue of keys."""
    return direction(key) == "higher"


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
