"""Networks: families with one size knob, and any ``nn.Module`` a spec names.

Every family takes ``input_shape`` (with the channel axis), ``num_classes`` and the knobs ``width``, ``depth``,
``norm``, ``dropout``, and returns ``ModelOutput(logits, features)`` with stable feature names;
``penultimate`` exists in all. ``tap`` makes any submodule of any network a feature as well, by its module path.
"""

from kdlab.models.building import build_model, check_model
from kdlab.models.cnn1d import CNN1d
from kdlab.models.cnn2d import CNN2d
from kdlab.models.hugging_face import hugging_face
from kdlab.models.mlp import MLP
from kdlab.models.resnet import ResNet
from kdlab.models.tapping import as_output, feature_names, stages, tap, untap

__all__ = [
    "MLP",
    "CNN1d",
    "CNN2d",
    "ResNet",
    "as_output",
    "build_model",
    "check_model",
    "feature_names",
    "hugging_face",
    "stages",
    "tap",
    "untap",
]
