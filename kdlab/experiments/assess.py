"""From a network to everything a record says about it: predictions once per set, then numbers, cost and latency."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kdlab.data import Dataset
from kdlab.data.dataset import Examples
from kdlab.evaluation import EVALUATION_VERSION
from kdlab.evaluation.cost import Cost, count_cost
from kdlab.evaluation.evaluate import Measurements, complete, measure
from kdlab.evaluation.fidelity import target_entropy
from kdlab.evaluation.gaps import SliceFacts
from kdlab.evaluation.predict import predict, predict_stack
from kdlab.evaluation.scored import Scored
from kdlab.keys import expected_keys, out_of_scope
from kdlab.models.stacking import Stack
from kdlab.outputs import Predictions
from kdlab.records.identity import canonical_json
from kdlab.schema.config import RunConfig

PREDICTION_BYTES = 2**28
_COUNTED: dict[str, Cost] = {}


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


def predict_together(
    networks: Sequence[nn.Module],
    sets: Mapping[str, Examples],
    *,
    num_classes: int,
    batch_size: int,
    device: torch.device,
    stacked: bool | None = None,
    most_bytes: int = PREDICTION_BYTES,
) -> Iterator[dict[str, Predictions]]:
    """The predictions of networks of one architecture on the same sets, in their order: each the input of ``assess``.

    Portions of the networks are forwarded as a stack whose logits take at most ``most_bytes`` (400 students of mnist1d
    at once would need 740 MB); a portion is forgotten when the next one begins. What is wrong with one network (logits
    that are not finite) is found by its own ``assess``, so it fails alone.

    Args:
        networks: on the CPU, where they are again afterwards.
        sets: name -> examples.
        num_classes: C.
        batch_size: examples per forward pass of one network.
        device: where they are forwarded.
        stacked: whether they are; None is yes on an accelerator and no on the CPU, where a batch of 1,000 fills a core
            (ms a network on 2,000 examples, K = 25, alone / stacked: mlp 100 1.4 / 1.5, cnn1d 8 2.1 / 4.2).
        most_bytes: of logits held at a time; one network is always held.
    """
    if len(networks) == 1 or not (device.type != "cpu" if stacked is None else stacked):
        for network in networks:
            network.to(device)
            yield {name: predict(network, part, batch_size=batch_size, device=device) for name, part in sets.items()}
            network.cpu()
        return
    bytes_each = 4 * num_classes * sum(len(part) for part in sets.values())
    held = max(1, most_bytes // max(1, bytes_each))
    for start in range(0, len(networks), held):
        portion = networks[start : start + held]
        stack = Stack(portion).to(device).eval()
        said = {
            name: predict_stack(stack.shared, part, batch_size=batch_size, device=device) for name, part in sets.items()
        }
        for at in range(len(portion)):
            yield {name: of_all[at] for name, of_all in said.items()}


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
        _merge(metrics, undefined, *_cost(network, config, dataset, role=role))
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


def _cost(
    network: nn.Module, config: RunConfig, dataset: Dataset, *, role: str
) -> tuple[Mapping[str, float | None], Mapping[str, str]]:
    """Counted once per architecture for students; what a teacher's quality does to its network is not in its spec."""
    if role == "teacher":
        return count_cost(network, dataset.input_shape)
    tensors = {name: list(value.shape) for name, value in network.state_dict().items()}
    key = canonical_json({"student": dict(config.student), "input": list(dataset.input_shape), "tensors": tensors})
    if key not in _COUNTED:
        _COUNTED[key] = count_cost(network, dataset.input_shape)
    return _COUNTED[key]


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
