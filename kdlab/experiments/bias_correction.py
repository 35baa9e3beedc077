"""After the training of a student who never saw some classes: their biases raised by what is best on validation."""

from typing import Any

from torch import nn

from kdlab.data.transfer_rows import visible_classes
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
    shown, dataset = config.data.shown, lab.dataset(config)
    if not shown.bias_correction:
        return {}
    raised = ~visible_classes(dataset.num_classes, only=shown.only, omit=shown.omit)
    device, validation = device_of(config), dataset.validation
    said = predict(network.to(device), validation, batch_size=config.evaluation.batch_size, device=device)
    found = best_bias(said.logits, said.labels, raised=raised.numpy())
    raise_output_bias(network.cpu(), classes=raised, by=found.bias, inputs=validation.inputs[:_FEW])
    return {FACT: {"classes": raised.nonzero().flatten().tolist(), **found._asdict()}}


def check_correctable(network: nn.Module, config: RunConfig, lab: Lab) -> None:
    """Whether the biases of a student can be raised, told before it is trained.

    Raises:
        UserError: its last layer has none.
    """
    dataset = lab.dataset(config)
    output_bias(network, num_classes=dataset.num_classes, inputs=dataset.train.inputs[:_FEW])
