"""Terms as a user writes them: one that works, one that breaks in the middle with an error that cannot travel."""

import copy
from math import prod

import torch
from torch import nn

from kdlab.objectives import non_negative, term


@term(needs=("logits",), knobs={"margin": non_negative})
def margin_loss(student, teacher, batch, step, *, margin=0.0):
    return ((student.logits - teacher.logits).abs() - margin).clamp(min=0).mean(-1)


class OddError(Exception):
    """Cannot be unpickled: its constructor wants two arguments and its state holds one."""

    def __init__(self, what, where):
        super().__init__(f"{what} at step {where}")


@term(needs=("logits",), knobs={"patience": non_negative})
def fragile(student, teacher, batch, step, *, patience=5):
    if step >= patience:
        raise OddError("broken", step)
    return (student.logits - teacher.logits).abs().mean(-1)


@term(needs=("features.{teacher_layer}",), student_needs=("features.{student_layer}",))
def same_scale(student, teacher, batch, step, *, teacher_layer, student_layer):
    """Squared difference of the lengths of two layers' outputs: the layers are named by module path."""
    lengths = [
        output.features[layer].flatten(1).norm(dim=1)
        for output, layer in ((student, student_layer), (teacher, teacher_layer))
    ]
    return (lengths[0] - lengths[1]) ** 2


def make_regressor(setting, *, student_layer, teacher_layer):
    """From all numbers of a student's layer to all of a teacher's."""
    sizes = [prod(shapes[layer]) for shapes, layer in ((setting.student, student_layer),
                                                       (setting.teacher, teacher_layer))]  # fmt: skip
    return nn.Sequential(nn.Flatten(), nn.Linear(*sizes), nn.BatchNorm1d(sizes[1]), nn.Dropout(0.1))


@term(
    needs=("features.{teacher_layer}",),
    student_needs=("features.{student_layer}",),
    modules={"regressor": make_regressor},
)
def regressed(student, teacher, batch, step, *, regressor, student_layer="middle", teacher_layer="middle"):
    """What a term that learns looks like: FitNets' hint."""
    wanted = teacher.features[teacher_layer]
    wanted = wanted.flatten(student.logits.ndim - 1)
    return (regressor(student.features[student_layer]) - wanted).square().mean(-1)


class Average(nn.Module):
    """Follows the student's weights, and counts how often."""

    def __init__(self, network):
        super().__init__()
        self.copy = copy.deepcopy(network).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs):
        output = self.copy.eval()(inputs)
        return output if isinstance(output, torch.Tensor) else output.logits

    @torch.no_grad()
    def after_step(self, student):
        self.steps += 1
        for mine, its in zip(self.copy.parameters(), student.parameters(), strict=True):
            mine.lerp_(its, 0.1)

    def told(self):
        return {"steps": self.steps}


@term(modules={"average": lambda setting: Average(setting.student_network)})
def averaged(student, teacher, batch, step, *, average):
    return (student.logits - average(batch.inputs)).square().mean(-1)
