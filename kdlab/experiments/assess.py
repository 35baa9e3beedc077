"""From a network to everything a record says about it: predictions once per set, then numbers, cost and latency."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from kdlab.data import Dataset
from kdlab.data.dataset import Examples
from kdlab.evaluation import EVALUATION_VERSION
from kdlab.evaluation.cost import count_cost
from kdlab.evaluation.evaluate import Measurements, complete, measure
from kdlab.evaluation.fidelity import target_entropy
from kdlab.evaluation.gaps import SliceFacts
from kdlab.evaluation.scored import Scored
from kdlab.keys import expected_keys, out_of_scope
from kdlab.outputs import Predictions
from kdlab.schema import RunConfig


@dataclass(frozen=True)
class TaughtBy:
    """What a student is compared with: the teacher's predictions by set, or why there are none."""

    predictions: Mapping[str, Scored] | None
    reason: str


@dataclass(frozen=True)
class Assessment:
    """The measured part of a record, and the predictions it was derived from."""

    metrics: dict[str, float | None]
    undefined: dict[str, str]
    bins: Mapping[str, Mapping[str, list[float]]]
    slices: dict[str, dict[str, Any]]
    latency: dict[str, Any]
    predictions: Mapping[str, Predictions]

    def fields(self) -> dict[str, Any]:
        """The fields of a ``RunRecord`` that hold them."""
        return {
            "metrics": self.metrics,
            "metrics_undefined": self.undefined,
            "bins": self.bins,
            "slices": self.slices,
            "latency": self.latency,
            "evaluation_version": EVALUATION_VERSION,
        }


def chosen_sets(config: RunConfig, dataset: Dataset) -> dict[str, Examples]:
    """The sets that ``evaluation.sets`` asks for, by name; ``slices`` stands for all of them."""
    wanted = config.evaluation.sets
    return {
        name: examples
        for name, examples in dataset.sets().items()
        if name in wanted or (name in dataset.slices and "slices" in wanted)
    }


def assess(
    predictions: Mapping[str, Predictions],
    *,
    role: str,
    config: RunConfig,
    dataset: Dataset,
    teacher: TaughtBy,
    network: nn.Module | None,
    latency: Any,
    extra: Mapping[str, float | None],
    why: Mapping[str, str],
) -> Assessment:
    """Measure a network (or a teacher that is none) on the chosen sets.

    Args:
        predictions: of the ``chosen_sets``, one forward pass each.
        role: student, scratch or teacher.
        config: the run's config.
        dataset: its data.
        teacher: the predictions of the network that taught.
        network: counted for cost; None for a control without a network.
        latency: a ``LatencyResult``, or None where it is not measured.
        extra: further metrics that only the caller knows (training time, parent's accuracy).
        why: reasons for keys that stay undefined, by key; the longest matching prefix counts.
    """
    shown = {name: dataset.slices[name] for name in predictions if name in dataset.slices}
    facts = {name: SliceFacts(reference=piece.reference, ood=piece.ood) for name, piece in shown.items()}
    measured: Measurements = measure(
        predictions,
        slices=facts,
        teacher=teacher.predictions,
        role=role,
        num_classes=dataset.num_classes,
        why_no_teacher=teacher.reason,
    )
    metrics: dict[str, float | None] = dict(measured.metrics)
    undefined: dict[str, str] = dict(measured.undefined)
    if network is not None:
        _merge(metrics, undefined, *_cost(network, dataset))
    if latency is not None:
        _merge(metrics, undefined, latency.metrics, latency.undefined)
    if role == "teacher" and "train" in predictions:
        metrics["transfer/target_entropy"] = target_entropy(predictions["train"].logits)
    metrics.update(extra)
    keys = expected_keys(role, tuple(predictions), tuple(shown))
    metrics, undefined = complete(metrics, undefined, keys, lambda key: out_of_scope(key, role) or _reason(key, why))
    sizes = {name: {"reference": p.reference, "ood": p.ood, "size": len(p.examples)} for name, p in shown.items()}
    return Assessment(
        metrics, undefined, measured.bins, sizes, {} if latency is None else dict(latency.facts), predictions
    )


def _cost(network: nn.Module, dataset: Dataset) -> tuple[Mapping[str, float | None], Mapping[str, str]]:
    counted = count_cost(network, dataset.input_shape)
    return counted.metrics, counted.undefined


def _merge(
    metrics: dict[str, float | None],
    undefined: dict[str, str],
    more: Mapping[str, float | None],
    reasons: Mapping[str, str],
) -> None:
    metrics.update(more)
    undefined.update(reasons)


def _reason(key: str, why: Mapping[str, str]) -> str:
    """The reason with the longest prefix of the key."""
    matching = sorted((prefix for prefix in why if key.startswith(prefix)), key=len)
    return why[matching[-1]] if matching else "not measured in this run"
