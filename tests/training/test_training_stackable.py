"""What can be trained as one stack: learners that do not fit together and networks that ``vmap`` treats otherwise."""

import copy
import dataclasses

import pytest
import tiny_data
import torch
from torch import nn

from kdlab.errors import UserError
from kdlab.objectives import Objective, TermSpec, term
from kdlab.training.stackable import stack_problem


def test_what_does_not_fit_together_is_told_and_what_fits_is_not(kit):
    fits = kit.varied()
    before = [kit.bits(one.network) for one in fits]
    assert stack_problem(fits) is None
    assert all(kit.same(kit.bits(one.network), bits) for one, bits in zip(fits, before, strict=True))

    def changed(at, **how):
        return [dataclasses.replace(one, **(how if number == at else {})) for number, one in enumerate(fits)]

    recipe = fits[0].recipe
    for learners, words in (
        (changed(1, recipe=dataclasses.replace(recipe, steps=13)), "differ in training.steps"),
        (changed(1, recipe=dataclasses.replace(recipe, batch_size=7)), "differ in training.batch_size"),
        (changed(1, train=tiny_data.examples(40)), "sizes of their training sets"),
        (changed(1, network=kit.network(1, norm="none")), "sizes of their networks"),
        (changed(1, network=kit.network(1).requires_grad_(False)), "what of them trains"),
        ([dataclasses.replace(one, recipe=dataclasses.replace(recipe, optimizer={"_target_": "torch.optim.LBFGS"}))
          for one in fits], "LBFGS"),
    ):  # fmt: skip
        assert words in stack_problem(learners)
    with pytest.raises(UserError, match="cannot be trained together: they differ in training"):
        kit.fit_all(changed(1, recipe=dataclasses.replace(recipe, steps=13)))


class Mixing(nn.Module):
    """A network that looks at values: nothing ``vmap`` can do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, inputs):
        return self.layer(inputs[:, 0] * (2.0 if inputs.sum() > 0 else 1.0))


class Noisy(nn.Module):
    """A network that draws outside its layers."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, inputs):
        return self.layer(nn.functional.dropout(inputs[:, 0], 0.5, self.training))


@pytest.mark.parametrize("kind", [Mixing, Noisy])
def test_a_network_that_vmap_cannot_do_runs_alone(kit, kind):
    learners = [kit.learner(kind()) for _ in range(2)]
    assert f"{kind.__name__} does not run under vmap" in stack_problem(learners)


class Guarded(nn.Module):
    """A network that looks at values in one precision alone."""

    def __init__(self, dtype):
        super().__init__()
        self.layer, self.dtype = nn.Linear(8, 3), dtype

    def forward(self, inputs):
        logits = self.layer(inputs[:, 0])
        return logits * 2.0 if logits.dtype == self.dtype and logits.max() > 9 else logits


class Rounded(nn.Module):
    """A network that keeps, of what is rounded, the weight of one network beside its parameters."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)
        self.kept = [self.layer.weight.detach().clone()]

    def forward(self, inputs):
        logits = self.layer(inputs[:, 0])
        return logits + nn.functional.linear(inputs[:, 0], self.kept[0]) if logits.dtype == torch.bfloat16 else logits


@pytest.mark.parametrize(("precision", "dtype"), [("bf16-mixed", torch.bfloat16), ("64-true", torch.float64)])
def test_a_stack_is_tried_in_the_precision_it_trains_in(kit, precision, dtype):
    """It would be found as late as in training: everything is measured in float32, where nothing is wrong."""
    plain, asked = ([kit.learner(Guarded(dtype), alpha=0.5, teacher=kit.teacher(), recipe=kit.recipe(precision=one))
                     for _ in range(2)] for one in ("32-true", precision))  # fmt: skip
    assert stack_problem(plain) is None
    found = stack_problem(asked)
    assert found.startswith("Guarded does not run under vmap")
    assert (f"training.precision = '{precision}'" in found) == (precision == "bf16-mixed")
    assert asked[0].teacher(torch.zeros(1, 1, 8), torch.zeros(1, dtype=torch.long)).logits.dtype == torch.float32
    assert {p.dtype for one in asked for p in one.network.parameters()} == {torch.float32}
    assert torch.get_default_dtype() == torch.float32


def test_what_half_precision_changes_is_told_from_what_it_rounds(kit):
    recipe = kit.recipe(precision="bf16-mixed")
    assert stack_problem(kit.varied(precision="bf16-mixed")) is None
    found = stack_problem([kit.learner(Rounded(), recipe=recipe) for _ in range(2)])
    assert found == "Rounded gives other losses in a stack than alone with training.precision = 'bf16-mixed'"
    found = stack_problem([kit.learner(Padded(), recipe=recipe) for _ in range(2)])
    assert found == "Padded gives other gradients in a stack than alone"


class Averaging(nn.Module):
    """A network that replaces a buffer: ``vmap`` drops what is no change in place."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, inputs):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * inputs[:, 0].detach().mean(0)
        return self.layer(inputs[:, 0] - self.mean)


class Padded(nn.Module):
    """An embedding with a padding row, which ``vmap`` gives a gradient."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(4, 5, padding_idx=0)
        self.layer = nn.Linear(40, 3)

    def forward(self, inputs):
        return self.layer(self.embedding(inputs[:, 0].long().clamp(0, 3)).flatten(1))


class Aside(nn.Module):
    """A network that keeps its weight in a list beside its parameters, where no stack finds it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)
        self.kept = [self.layer.weight]

    def forward(self, inputs):
        return nn.functional.linear(inputs[:, 0], self.kept[0], self.layer.bias)


@pytest.mark.parametrize(("kind", "what"), [(Averaging, "buffers"), (Padded, "gradients"), (Aside, "gradients")])
def test_a_network_that_a_stack_would_train_otherwise_runs_alone(kit, kind, what):
    """All start from the same weights, as in a sweep over T: the losses of the first step are right."""
    network = kind()
    learners = [kit.learner(copy.deepcopy(network)) for _ in range(2)]
    before = kit.bits(network)
    assert stack_problem(learners) == f"{kind.__name__} gives other {what} in a stack than alone"
    assert all(kit.same(kit.bits(one.network), before) for one in learners)


@term()
def mixing_students(student, teacher, batch, step):
    """A user's term that averages over everybody."""
    return (student.logits - student.logits.mean()).square().mean(-1)


@term(student_needs=["features.penultimate"])
def small_features(student, teacher, batch, step):
    """A term that leaves the classifier untrained."""
    return student.features["penultimate"].square().mean(-1)


@pytest.mark.parametrize(("function", "what"), [(mixing_students, "losses"), (small_features, "gradients")])
def test_every_choice_of_terms_is_tried_wherever_its_learners_stand(kit, function, what):
    """A weight without a gradient would get one of zero beside others that train it, and AdamW would decay it."""
    own = Objective({"own": TermSpec(function=function, weight=1.0, name="own")})
    fits = kit.varied(9)
    assert stack_problem(fits) is None
    learners = [dataclasses.replace(one, objective=own) if at in (2, 6) else one for at, one in enumerate(fits)]
    assert f"gives other {what}" in stack_problem(learners)
