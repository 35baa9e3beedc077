"""Augmentation: named random changes of every training batch, by kornia, each network with a stream of its own.

Steps see images ``[B, channels, H, W]``; a signal is an image of height 1. Where the data set names the range of its
pixels (``facts["value_range"]``), steps see pixels in [0, 1], as kornia means them: noise of std 0.1 is a tenth of the
range, and what is padded is black. Elsewhere they see the standardised values, and a step that would clip those to
[0, 1] is refused. A step that mixes examples (mixup, CutMix) mixes their labels too: see ``Batch.mixing``.
References: Zhang et al., "mixup", ICLR 2018; Yun et al., "CutMix", ICCV 2019; Riba et al., "Kornia", WACV 2020.
"""

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from kdlab.data.dataset import Examples
from kdlab.errors import UserError
from kdlab.outputs import Batch
from kdlab.targets import accepted, resolve, spec_errors

KEY = "training.augmentation"
OURS = ("data_keys", "use_correct_lambda", "keepdim")
"""Keywords of mixing steps that kdlab sets: they decide what comes back."""
RANGE_FREE = (
    *("RandomGaussianNoise", "RandomErasing", "RandomGaussianBlur", "RandomBoxBlur", "RandomMedianBlur"),
    *("RandomMotionBlur", "RandomChannelDropout", "RandomChannelShuffle"),
)
"""kornia's steps on intensities that take any value; the others clip to [0, 1], or mean it."""
TRIED = 16
"""Examples on which an augmentation is tried before anything trains."""

Step = Callable[..., Any]


def augmentation_errors(steps: Mapping[str, Any], *, key: str) -> list[str]:
    """What is wrong with the named steps of an augmentation, found without any data."""
    problems = []
    for name, spec in steps.items():
        if not isinstance(spec, Mapping):
            continue  # the schema says so
        if str(spec.get("_target_")).startswith("kornia.") and importlib.util.find_spec("kornia") is None:
            problems.append(f"{key}.{name}: kornia is not installed: pip install 'kdlab[augment]'")
            continue
        problems += spec_errors(spec, key=f"{key}.{name}", provided=("size",))
        problems += [f"{key}.{name}.{knob}: kdlab sets it itself" for knob in OURS if knob in spec]
        share = spec.get("p", 1.0)
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
            problems.append(f"{key}.{name}.p = {share!r}: a probability in [0, 1] is needed")
    return problems


class Augmentation:
    """The steps of a config, applied in their order to a batch.

    Steps draw from torch's global generator on the CPU, wherever the data is; whoever calls decides which stream that
    is (``kdlab.streams.drawing_from``).

    Args:
        steps: name -> ``{"_target_": import path, **knobs}``. ``size`` (H, W) is given where a step takes it, and a
            single number as ``padding`` of a signal pads along its length alone.
        input_shape: of one example: ``(L,)``, ``(channels, L)`` or ``(channels, H, W)``.
        facts: of the data set; ``mean``, ``std`` and ``value_range`` are read.
        key: the config key, for messages.

    Raises:
        UserError: a step cannot be built, mixes in a way labels cannot follow, or would clip standardised values.
    """

    def __init__(
        self,
        steps: Mapping[str, Mapping[str, Any]],
        *,
        input_shape: tuple[int, ...],
        facts: Mapping[str, Any],
        key: str = KEY,
    ) -> None:
        problems = augmentation_errors(steps, key=key)
        if problems:
            raise UserError("\n".join(problems))
        self.key = key
        self.image_shape = _image_shape(input_shape, key=key)
        self.pixels = _Pixels.of(facts)
        self.steps = {name: _build(spec, self.image_shape, key=f"{key}.{name}") for name, spec in steps.items()}
        self._check_mixing(steps)
        self._check_range()

    @property
    def mixes(self) -> list[str]:
        """The names of the steps that mix the examples of a batch."""
        return [name for name, step in self.steps.items() if _mixes_labels(step)]

    def __call__(self, batch: Batch) -> Batch:
        """The batch with its inputs changed, and with the labels of mixed rows; shapes and dtypes stay.

        Args:
            batch: inputs ``[B, *input_shape]``.
        """
        images = self.pixels.undo(batch.inputs.reshape(-1, *self.image_shape))
        for name, step in self.steps.items():
            before = images
            if _mixes_labels(step):
                images, other, share = _mixed(step, images)
                batch = _with_mixing(batch, other, share)
            else:
                images = step(images)
            if images.shape != before.shape or images.dtype != before.dtype:
                raise UserError(
                    f"{self.key}.{name} makes {images.dtype} {tuple(images.shape[1:])} of {before.dtype} "
                    f"{tuple(before.shape[1:])}: an augmentation must leave shape and type as they are"
                )
        return batch._replace(inputs=self.pixels.redo(images).reshape(batch.inputs.shape))

    def _check_mixing(self, specs: Mapping[str, Mapping[str, Any]]) -> None:
        mixing = [name for name, step in self.steps.items() if _mixes_examples(step)]
        for name in mixing:
            if not _mixes_labels(self.steps[name]):
                kinds = "RandomMixUpV2 and RandomCutMixV2"
                raise UserError(f"{self.key}.{name}: labels cannot follow {specs[name]['_target_']}; {kinds} are known")
            if specs[name].get("num_mix", 1) != 1:
                told = specs[name]["num_mix"]
                raise UserError(f"{self.key}.{name}.num_mix = {told!r}: the labels of two examples mix, so 1 is needed")
            if type(self.steps[name]).__name__ == "RandomCutMixV2" and min(self.image_shape[1:]) < 2:
                raise UserError(f"{self.key}.{name}: CutMix would do nothing: a box in a signal is empty")
        if len(mixing) > 1:
            raise UserError(f"{self.key}: {', '.join(mixing)} all mix examples: one of them at most")

    def _check_range(self) -> None:
        if self.pixels.known:
            return
        bad = [name for name, step in self.steps.items() if _needs_range(step)]
        if bad:
            raise UserError(
                f"{self.key}.{', '.join(bad)}: works on pixels in [0, 1], and this data set names no value_range: its "
                "standardised values would be clipped. Geometric steps, noise and mixing work on any values"
            )


def try_augmentation(
    steps: Mapping[str, Mapping[str, Any]], examples: Examples, *, facts: Mapping[str, Any], key: str = KEY
) -> None:
    """Apply an augmentation once to the first examples: what a library refuses is told before anything trains.

    Raises:
        UserError: naming the key and what is wrong.
    """
    if not steps:
        return
    augmentation = Augmentation(steps, input_shape=tuple(examples.inputs.shape[1:]), facts=facts, key=key)
    augmentation.pixels.check(examples.inputs, key=key)
    some = examples.select(torch.arange(min(TRIED, len(examples))))
    batch = Batch(some.inputs, some.labels, some.index, torch.ones_like(some.labels, dtype=torch.bool))
    try:
        with torch.random.fork_rng(devices=[]):
            changed = augmentation(batch)
    except UserError:
        raise
    except Exception as error:  # a library's complaint may be any of them; all mean that it does not fit this data
        raise UserError(
            f"{key}: {', '.join(steps)} on inputs {tuple(some.inputs.shape[1:])}: {_said(error)}"
        ) from error
    if not changed.inputs.isfinite().all():
        raise UserError(f"{key}: {', '.join(steps)} gives values that are not finite")


class _Pixels:
    """Between standardised values and pixels in [0, 1]; nothing at all where the range is not known.

    ``pixel = (value * std + mean - low) / (high - low)``, with numbers, or one value per channel or per pixel.
    """

    def __init__(self, scale: Tensor | None, offset: Tensor | None) -> None:
        self._scale, self._offset = scale, offset

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "_Pixels":
        if facts.get("value_range") is None:
            return cls(None, None)
        low, high = (float(value) for value in facts["value_range"])
        mean, std = (_broadcast(facts.get(name, neutral)) for name, neutral in (("mean", 0.0), ("std", 1.0)))
        return cls(std / (high - low), (mean - low) / (high - low))

    @property
    def known(self) -> bool:
        return self._scale is not None

    def undo(self, values: Tensor) -> Tensor:
        if self._scale is None or self._offset is None:
            return values
        return values * self._scale.to(values) + self._offset.to(values)

    def redo(self, pixels: Tensor) -> Tensor:
        if self._scale is None or self._offset is None:
            return pixels
        return (pixels - self._offset.to(pixels)) / self._scale.to(pixels)

    def check(self, inputs: Tensor, *, key: str) -> None:
        """Whether the facts of the data set are true: a pixel outside the range would be clipped."""
        if not self.known:
            return
        low, high = (self.undo(bound[None])[0] for bound in (inputs.amin(0), inputs.amax(0)))
        if float(low.min()) < -1e-3 or float(high.max()) > 1 + 1e-3:
            raise UserError(
                f"{key}: with mean, std and value_range of the data set its pixels lie in [{float(low.min()):.3g}, "
                f"{float(high.max()):.3g}], not in [0, 1]"
            )


def _broadcast(value: Any) -> Tensor:
    """A number, or one value per channel or per pixel, that broadcasts over ``[B, channels, H, W]``."""
    found = torch.as_tensor(value, dtype=torch.float64)
    if found.numel() == 1:
        return found.reshape(())
    return found if found.ndim == 3 else found.reshape(-1, 1, 1)


def _image_shape(input_shape: tuple[int, ...], *, key: str) -> tuple[int, int, int]:
    if len(input_shape) not in (1, 2, 3):
        raise UserError(f"{key}: inputs of shape {input_shape} are no signals and no images")
    channels = input_shape[0] if len(input_shape) > 1 else 1
    height = input_shape[1] if len(input_shape) == 3 else 1
    return channels, height, input_shape[-1]


def _build(spec: Mapping[str, Any], image_shape: tuple[int, int, int], *, key: str) -> Step:
    """A step, its lists as tuples (kornia tells the two apart), with what kdlab knows offered by name."""
    target = resolve(spec["_target_"])
    knobs = {name: _tupled(value) for name, value in spec.items() if name != "_target_"}
    padding = knobs.get("padding")
    if image_shape[1] == 1 and isinstance(padding, int) and not isinstance(padding, bool):
        knobs["padding"] = (padding, 0)  # kornia: (left and right, top and bottom)
    offered: dict[str, Any] = {"size": image_shape[1:]}
    if inspect.isclass(target) and target.__name__ in ("RandomMixUpV2", "RandomCutMixV2"):
        offered |= {"data_keys": ["input", "class"], "use_correct_lambda": True}
    try:
        step: Step = target(**{**accepted(target, offered), **knobs})
    except Exception as error:  # a library's complaint may be any of them
        told = ", ".join(f"{name} = {value!r}" for name, value in knobs.items())
        raise UserError(f"{key}: {told or spec['_target_']}: {_said(error)}") from error
    return step


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list | tuple) else value


def _said(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _mixes_examples(step: Step) -> bool:
    """Whether an example of the result is made of several; a jigsaw cuts up one."""
    if not _is_kornia(step):
        return False
    from kornia.augmentation import MixAugmentationBaseV2, RandomJigsaw

    return isinstance(step, MixAugmentationBaseV2) and not isinstance(step, RandomJigsaw)


def _mixes_labels(step: Step) -> bool:
    return _is_kornia(step) and type(step).__name__ in ("RandomMixUpV2", "RandomCutMixV2")


def _needs_range(step: Step) -> bool:
    if not _is_kornia(step):
        return False
    from kornia.augmentation import IntensityAugmentationBase2D

    free = type(step).__name__ in RANGE_FREE or getattr(step, "clip_output", True) is False
    return isinstance(step, IntensityAugmentationBase2D) and not free


def _is_kornia(step: Step) -> bool:
    return type(step).__module__.startswith("kornia.")


def _mixed(step: Step, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mixed images, the row each was mixed with, and the share of the row itself.

    Rows travel in the place of the labels: exact up to 2^24 in the float32 that kornia answers in. Its number is the
    share of the other row for mixup, and of the row itself for CutMix; a batch that was left alone names no other row.
    """
    rows = torch.arange(len(images), device=images.device)
    mixed, found = step(images, rows)
    other, number = found.reshape(-1, 3)[:, 1].long(), found.reshape(-1, 3)[:, 2]
    share = number if hasattr(step, "use_correct_lambda") else 1 - number
    return mixed, other, torch.where(other == rows, 1.0, share)


def _with_mixing(batch: Batch, other: Tensor, share: Tensor) -> Batch:
    """The batch with the labels of both; a row that is mixed with an unlabelled one has none."""
    labelled = batch.labelled & (batch.labelled[other] | (share == 1))
    return batch._replace(other_labels=batch.labels[other], mixing=share, labelled=labelled)
