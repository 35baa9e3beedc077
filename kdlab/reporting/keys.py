"""How the report shows a metric key: its label, its definition in a sentence, its direction."""

from collections.abc import Mapping

from kdlab.keys import direction

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


def higher_is_better(key: str) -> bool:
    """Whether more of a metric is better, by the catalogue of keys."""
    return direction(key) == "higher"
