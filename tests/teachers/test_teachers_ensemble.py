"""Ensembles: what several teachers say together, against loops in numpy; one of them for each batch."""

import collections
import math

import numpy as np
import pytest
import torch
from torch import nn

from kdlab.errors import UserError
from kdlab.models import MLP
from kdlab.objectives import soft_targets
from kdlab.outputs import ModelOutput, TeacherOutput
from kdlab.teachers import (
    COMBINATIONS,
    EnsembleTeacher,
    OnlineTeacher,
    PermutedTeacher,
    RandomMember,
    UniformTeacher,
    answers_by_batch,
    answers_by_index,
    side_by_side,
)
from kdlab.teachers.combining import confidence_weights
from kdlab.teachers.ensemble import drawn_by, measured_form, side_by_side_spec

M, B, C = 3, 7, 5


def said(*, seed=0, scale=3.0):
    return scale * torch.randn(M, B, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(logits):
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def entropy(probs):
    return -sum(p * math.log(p) for p in probs if p > 0)


def by_hand(name, logits, temperature):
    """What a student is shown of one example: ``[M, C]`` -> probabilities at T, member by member."""
    members = list(logits)
    if name == "probabilities":
        return sum(softmax(z / temperature) for z in members) / len(members)
    if name == "probabilities_then_temper":
        mean = sum(softmax(z) for z in members) / len(members)
        powered = mean ** (1 / temperature)
        return powered / powered.sum()
    if name == "logits":
        return softmax(sum(members) / len(members) / temperature)
    unsure = np.exp([entropy(softmax(z)) for z in members])
    weights = [(1 - one / unsure.sum()) / (len(members) - 1) for one in unsure]
    assert sum(weights) == pytest.approx(1)
    return sum(weight * softmax(z / temperature) for weight, z in zip(weights, members, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.5])
@pytest.mark.parametrize("name", COMBINATIONS)
def test_what_a_term_makes_of_it_is_what_a_loop_says(name, temperature):
    logits = said()
    shown = (COMBINATIONS[name].combine(logits, temperature=temperature) / temperature).softmax(-1)
    for at in range(B):
        assert shown[at].numpy() == pytest.approx(by_hand(name, logits[:, at].numpy(), temperature), rel=1e-10)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_what_holds_for_every_combination(name):
    combine = COMBINATIONS[name].combine
    logits = said()

    def shown(these):
        return (combine(these, temperature=2.0) / 2.0).softmax(-1)

    close = {"rtol": 1e-10, "atol": 1e-12}
    torch.testing.assert_close(shown(logits[[2, 0, 1]]), shown(logits), **close)  # no member comes first
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(shown(logits[..., order]), shown(logits)[..., order], **close)
    shifts = torch.randn(M, B, 1, dtype=torch.float64)
    torch.testing.assert_close(shown(logits + shifts), shown(logits), **close)
    alike = logits[:1].expand(M, B, C)
    torch.testing.assert_close(
        shown(alike), (logits[0] / 2.0).softmax(-1), **close
    )  # of one mind: that is what it says
    assert shown(1e4 * said()).isfinite().all()


@pytest.mark.parametrize("name", COMBINATIONS)
def test_whether_the_temperature_changes_the_answer_is_told(name):
    combine, reads_temperature = COMBINATIONS[name]
    one, other = combine(said(), temperature=1.0), combine(said(), temperature=4.0)
    assert torch.equal(one, other) != reads_temperature


def test_the_surer_of_two_weighs_more_and_neither_nothing():
    sure, unsure = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[0.1, 0.0, 0.0]])
    weights = confidence_weights(torch.stack([sure, unsure]))[:, 0]
    assert 0 < weights[1] < 0.5 < weights[0] < 1
    assert confidence_weights(torch.stack([unsure, unsure])).flatten().tolist() == [0.5, 0.5]


# --- the providers --------------------------------------------------------------------------------------------------


class Fixed:
    """A teacher that says one thing, and counts how often it is asked."""

    provides = frozenset({"logits"})

    def __init__(self, logits):
        self.logits, self.num_classes, self.asked = torch.tensor(logits), len(logits), 0

    def __call__(self, inputs, index):
        self.asked += 1
        return TeacherOutput(self.logits.expand(len(index), -1), {})

    def to(self, device, dtype=None):
        self.moved = (device, dtype)
        return self


def batch(rows=4, *, start=0):
    return torch.zeros(rows, 1, 2), torch.arange(start, start + rows)


def test_the_loss_at_the_mean_of_the_targets_is_the_mean_of_the_losses():
    """KL(mean_m p_m || q) + const = mean_m KL(p_m || q): the gradients of both are alike, which is why T is needed."""
    members = [Fixed([2.0, -1.0, 0.0]), Fixed([0.0, 3.0, 1.0])]
    ensemble = EnsembleTeacher(members, combination="probabilities", temperature=4.0)

    def gradient(teachers):
        logits = torch.tensor([[0.3, -0.2, 0.5]], requires_grad=True)
        inputs, index = batch(1)
        losses = [
            soft_targets(ModelOutput(logits, {}), one(inputs, index), None, 0, temperature=4.0).mean()
            for one in teachers
        ]
        (sum(losses) / len(losses)).backward()
        return logits.grad

    torch.testing.assert_close(gradient([ensemble]), gradient(members))


def test_every_member_is_asked_once_and_moved():
    members = [Fixed([1.0, 0.0]), Fixed([0.0, 2.0])]
    ensemble = EnsembleTeacher(members, combination="logits").to("cpu", torch.float64)
    output = ensemble(*batch())
    assert output.logits.tolist() == [[0.5, 1.0]] * 4
    assert output.features == {}
    assert [(one.asked, one.moved) for one in members] == [(1, ("cpu", torch.float64))] * 2
    assert (ensemble.num_classes, ensemble.provides) == (2, {"logits"})


@pytest.mark.parametrize("make", [lambda members: EnsembleTeacher(members, combination="logits"),
                                  lambda members: RandomMember(members, seed=0)])  # fmt: skip
@pytest.mark.parametrize(("members", "told"), [
    ([Fixed([1.0, 0.0])], "1 of 2 classes"),
    ([Fixed([1.0, 0.0]), Fixed([1.0, 0.0, 0.0])], "2 of 2 and 3 classes"),
])  # fmt: skip
def test_members_that_are_too_few_or_do_not_fit_are_refused(make, members, told):
    with pytest.raises(UserError, match=f"teacher.ensemble: two members or more of the same classes .* {told}"):
        make(members)


def test_a_combination_at_the_temperature_insists_on_one():
    with pytest.raises(UserError, match=r"teacher.ensemble.combination = 'confidence': the temperature"):
        EnsembleTeacher([Fixed([1.0, 0.0])] * 2, combination="confidence")


def network(seed):
    torch.manual_seed(seed)
    return MLP(input_shape=(1, 2), num_classes=3, width=4, depth=1, norm="batch", dropout=0.5)


def test_members_stay_as_they_were_and_hand_on_no_gradient():
    models = [network(0).train(), network(1).train()]
    before = [{name: value.clone() for name, value in model.state_dict().items()} for model in models]
    ensemble = EnsembleTeacher([OnlineTeacher(model) for model in models], combination="logits")
    inputs = torch.randn(5, 1, 2)
    first, second = (ensemble(inputs, torch.arange(5)).logits for _ in range(2))
    assert torch.equal(first, second), "no dropout"
    assert not first.requires_grad
    for member, old in zip(ensemble.members, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in member.model.state_dict().items())


def test_it_answers_by_index_where_a_member_does():
    permuted, plain = PermutedTeacher(Fixed([1.0, 0.0]), seed=0), Fixed([1.0, 0.0])
    for make in (lambda members: EnsembleTeacher(members, combination="logits"), lambda m: RandomMember(m, seed=0)):
        assert answers_by_index(make([plain, permuted]))
        assert not answers_by_index(make([plain, plain]))


# --- one of them for each batch --------------------------------------------------------------------------------------


def test_a_random_member_answers_the_whole_batch_and_the_others_are_not_asked():
    members = [Fixed([float(at), 0.0]) for at in range(4)]
    teacher = RandomMember(members, seed=1)
    counts = collections.Counter()
    for start in range(400):
        logits = teacher(*batch(start=start)).logits
        assert len(set(logits[:, 0].tolist())) == 1
        counts[int(logits[0, 0])] += 1
    assert sum(one.asked for one in members) == 400
    assert [one.asked for one in members] == [counts[at] for at in range(4)]
    # 400 draws of 4: the chi-square statistic with 3 degrees of freedom is below 16.3 in 999 of 1,000 cases
    assert sum((counts[at] - 100) ** 2 / 100 for at in range(4)) < 16.3


def test_the_draw_is_of_the_seed_and_of_the_examples_in_their_order():
    index = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:64]
    one = [drawn_by(index, count=1000, key=key) for key in (1, 1, 2)]
    assert one[0] == one[1] != one[2]
    assert drawn_by(index.flip(0), count=1000, key=1) != one[0]
    assert drawn_by(index[:32], count=1000, key=1) != one[0]
    draws = {RandomMember([Fixed([1.0])] * 2, seed=seed).key for seed in range(5)}
    assert len(draws) == 5


def test_it_needs_the_index_of_the_examples():
    with pytest.raises(UserError, match=r"combination = 'random' draws by example index: load batches of"):
        RandomMember([Fixed([1.0])] * 2, seed=0)(torch.zeros(2, 1), torch.tensor([-1, 3]))


def test_it_is_measured_as_the_mean_of_all_and_never_stored():
    teacher = RandomMember([Fixed([math.log(3), 0.0]), Fixed([0.0, math.log(3)])], seed=0)
    assert answers_by_batch(teacher)
    mean = measured_form(teacher)
    assert not answers_by_batch(mean)
    assert mean(*batch()).logits.softmax(-1).tolist() == [[0.5, 0.5]] * 4
    uniform = UniformTeacher(2)
    uniform.mean = "a user's own attribute"
    assert measured_form(uniform) is uniform
    assert not answers_by_batch(uniform)
    assert not answers_by_batch(None)


# --- what is timed ---------------------------------------------------------------------------------------------------


def test_what_is_timed_runs_all_networks():
    models = [{"_target_": "kdlab.models.MLP", "width": width, "depth": 1, "norm": "none", "dropout": 0.0}
              for width in (4, 6)]  # fmt: skip
    spec = side_by_side_spec(models)
    assert spec.pop("_target_") == "kdlab.teachers.side_by_side"
    made = side_by_side(**spec, input_shape=(1, 3), num_classes=2)
    assert [network.num_classes for network in made.networks] == [2, 2]
    assert sum(p.numel() for p in made.parameters()) == sum((3 * w + w) + (2 * w + 2) for w in (4, 6))
    inputs = torch.randn(5, 1, 3)
    logits = [network(inputs).logits for network in made.networks]
    assert not torch.equal(*logits)
    torch.testing.assert_close(made(inputs), (logits[0] + logits[1]) / 2)
    assert isinstance(made, nn.Module)
