"""Hugging Face's image classifiers by model type, with fresh weights: no network, no code from elsewhere.

Three lines of YAML make one a student or a teacher::

    _target_: kdlab.models.hugging_face
    model_type: vit
    hidden_size: 64          # and any other value of its configuration
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from kdlab.errors import nearest
from kdlab.targets import ATTENTION, FETCHING

OTHER_LIBRARIES = {"timm_wrapper": "_target_: timm.create_model does what it wraps"}


def hugging_face(*, model_type: str, input_shape: Sequence[int], num_classes: int, **config: Any) -> nn.Module:
    """An image classifier of ``transformers`` with fresh weights.

    ``num_labels``, ``num_channels`` and ``image_size`` follow the data where the configuration has them.

    Args:
        model_type: the architecture's name, for example ``vit``, ``deit``, ``swin``, ``convnext``, ``mobilenet_v2``.
        input_shape: ``(channels, height, width)``.
        num_classes: number of classes.
        config: values of the architecture's configuration.

    Raises:
        ValueError: naming what is unknown, refused or out of range.
    """
    from transformers import AutoConfig, AutoModelForImageClassification

    _check_type(model_type)
    known = AutoConfig.for_model(model_type)
    _check_config(config, known, model_type=model_type)
    values = {**_of_the_data(known, input_shape, num_classes), **config}
    try:
        built = AutoConfig.for_model(model_type, **values)
    except Exception as error:  # transformers has an error class for each kind of wrong value
        raise ValueError(" ".join(str(error).split())) from error
    return AutoModelForImageClassification.from_config(built)  # type: ignore[no-untyped-call, no-any-return]


def _check_type(model_type: str) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as NAMES

    if model_type in OTHER_LIBRARIES:
        raise ValueError(f"model_type = {model_type!r}: {OTHER_LIBRARIES[model_type]}")
    known = [name for name in NAMES if name not in OTHER_LIBRARIES]
    if model_type not in known:
        raise ValueError(
            f"model_type = {model_type!r}: no image classifier of transformers; {nearest(str(model_type), known)}"
        )


def _check_config(config: Mapping[str, Any], known: Any, *, model_type: str) -> None:
    """A configuration takes any key and forgets it: what it does not know is refused here."""
    for name, value in config.items():
        if name in FETCHING or name.startswith("_"):
            raise ValueError(
                f"{name} = {value!r}: refused, a network is built with fresh weights and code of transformers alone"
            )
        if name == "attn_implementation" and value not in ATTENTION:
            raise ValueError(f"{name} = {value!r}: eager or sdpa is needed (others are fetched)")
        if name not in ("attn_implementation", "num_labels") and not hasattr(known, name):
            names = [field for field in vars(known) if not field.startswith("_")]
            raise ValueError(
                f"{name} = {value!r}: the configuration of {model_type} has no such key; {nearest(name, names)}"
            )


def _of_the_data(known: Any, input_shape: Sequence[int], num_classes: int) -> dict[str, Any]:
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != 3:
        raise ValueError(f"input_shape = {shape}: (channels, height, width) is needed")
    offered: dict[str, Any] = {"num_labels": int(num_classes)}
    if hasattr(known, "num_channels"):
        offered["num_channels"] = shape[0]
    if hasattr(known, "image_size"):
        offered["image_size"] = shape[1] if shape[1] == shape[2] else [shape[1], shape[2]]
    return offered
