"""After the training of a student who never saw some classes: their biases raised by what is best on validation."""

from typing import Any

from torch import Tensor, nn

from kdlab.data.transfer_rows import visible_classes
from kdlab.errors import UserError
from kdlab.evaluation.bias_correction import best_bias
from kdlab.evaluation.predict import predict
from kdlab.experiments.lab import Lab, device_of
from kdlab.models.output_bias import output_bias, raise_output_bias
from kdlab.schema.config import RunConfig

FACT = "bias_correction"
"""Where in the provenance of a student stands what was raised, and by how much."""
_FEW = 8


def corrected(network: nn.Module, config: RunConfig, lab: Lab) -> dict[str, Any]:
    """Raise the biases in place where ``data.shown.bias_correction`` asks for it; what was done, for the record."""
    if not config.data.shown.bias_correction:
        return {}
    raised = _unseen(config, lab)
    device, validation = device_of(config), lab.dataset(config).validation
    said = predict(network.to(device), validation, batch_size=config.evaluation.batch_size, device=device)
    found = best_bias(said.logits, said.labels, raised=raised.numpy())
    raise_output_bias(network.cpu(), classes=raised, by=found.bias, inputs=validation.inputs[:_FEW])
    return {FACT: {"classes": raised.nonzero().flatten().tolist(), **found._asdict()}}


def check_correctable(network: nn.Module, config: RunConfig, lab: Lab) -> None:
    """Whether the biases of a student can be raised, told before it is trained.

    Raises:
        UserError: its last layer has none, or it sees all classes.
    """
    dataset = lab.dataset(config)
    if not _unseen(config, lab).any():
        raise UserError(
            f"data.shown.bias_correction = True: data.shown.only = {config.data.shown.only} are all classes"
        )
    output_bias(network, num_classes=dataset.num_classes, inputs=dataset.train.inputs[:_FEW])


def _unseen(config: RunConfig, lab: Lab) -> Tensor:
    """``[C]`` bool, the classes that the student never saw."""
    shown = config.data.shown
    return ~visible_classes(lab.dataset(config).num_classes, only=shown.only, omit=shown.omit)
