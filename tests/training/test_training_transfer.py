"""Training on labelled rows and a transfer set: against a loop of its own, cut off, and in a stack."""

import copy
from dataclasses import replace

import pytest
import tiny_data
import torch
from torch.nn.functional import kl_div, log_softmax

from kdlab.data import Examples
from kdlab.data.transfer_order import Mixture
from kdlab.models import as_output
from kdlab.outputs import NO_LABEL
from kdlab.streams import generator
from kdlab.training.stackable import stack_problem

LABELLED, TRANSFER, FRACTION = 24, 37, 0.3
ALPHA, T = 0.6, 3.0


def rows(*, labels=False):
    """Labelled rows, then a transfer set; whoever reads a label that is not there fails."""
    both = tiny_data.examples(LABELLED + TRANSFER)
    hidden = torch.where((torch.arange(len(both)) < LABELLED) | labels, both.labels, NO_LABEL)
    return Examples(both.inputs, hidden, both.index)


def mixed(kit, network, *, labels=False, **how):
    recipe = how.pop("recipe", kit.recipe(precision="64-true", steps=20))
    mixture = Mixture.of(
        LABELLED, TRANSFER, batch_size=recipe.batch_size, labelled_fraction=FRACTION, all_labelled=labels
    )
    how = {"objective": kit.objective(ALPHA, temperature=T), "teacher": kit.teacher(), "recipe": recipe, **how}
    return replace(kit.learner(network, train=rows(labels=labels), **how), mixture=mixture)


def by_hand(network, teacher, *, labels=False, steps=20, seed=0):
    """SGD with momentum .9 in a plain loop: cross-entropy of every labelled row, KL of every row, each by itself."""
    network, examples = copy.deepcopy(network).double().train(), rows(labels=labels)
    teacher.to("cpu", torch.float64)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    decks = {"order": [], "transfer": []}
    rounds = dict.fromkeys(decks, 0)

    def deal(name, size, count):
        found = []
        for _ in range(count):
            if not decks[name]:
                stream = generator("student", name, seed, epoch=rounds[name])
                decks[name] = torch.randperm(size, generator=stream).tolist()
                rounds[name] += 1
            found.append(decks[name].pop(0))
        return found

    for _ in range(steps):
        own, added = deal("order", LABELLED, 3), deal("transfer", TRANSFER, 7)
        batch = [*own, *(LABELLED + row for row in added)]
        inputs = examples.inputs[batch].double()
        logits, taught = as_output(network(inputs)).logits, teacher(inputs, examples.index[batch]).logits
        hard, soft = [], []
        for at, row in enumerate(batch):
            if labels or at < 3:
                hard.append(-log_softmax(logits[at], -1)[int(examples.labels[row])])
            log_p, log_q = log_softmax(taught[at] / T, -1), log_softmax(logits[at] / T, -1)
            soft.append(T**2 * kl_div(log_q, log_p, log_target=True, reduction="sum"))
        loss = (1 - ALPHA) * sum(hard) / len(hard) + ALPHA * sum(soft) / len(soft)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("labels", [False, True])
def test_cross_entropy_is_averaged_over_labelled_rows_and_soft_targets_over_all(kit, labels):
    network = kit.network(norm="none", dropout=0.0)
    expected = by_hand(network, kit.teacher(), labels=labels)
    learner = mixed(kit, network, labels=labels)
    kit.fit_all([learner])
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name].double(), value, rtol=1e-5, atol=1e-6)


def test_curves_count_epochs_of_labelled_rows_and_the_answers_to_them_alone(kit):
    log = kit.Log()
    kit.fit_all([mixed(kit, kit.network(), sinks=[log])])
    assert [step for step, _ in log.curve("train/loss")] == [8, 16, 20], (
        "three labelled rows a step, twenty-four in all"
    )
    counts = [24 * value for _, value in log.curve("train/running_accuracy")[:2]]
    assert counts == [pytest.approx(round(count)) for count in counts], "of the twenty-four labelled rows of an epoch"


class Noting:
    """A teacher that notes what it is asked about."""

    def __init__(self, teacher):
        self.teacher, self.asked = teacher, []
        self.num_classes, self.provides = teacher.num_classes, teacher.provides

    def __call__(self, inputs, index):
        self.asked.append(inputs.clone())
        return self.teacher(inputs, index)

    def to(self, device, dtype=None):
        self.teacher.to(device, dtype)
        return self


def test_rows_of_a_transfer_set_are_augmented_too_and_the_teacher_is_asked_about_what_came_of_them(kit):
    noise = {"noise": {"_target_": "kornia.augmentation.RandomGaussianNoise", "std": 0.1, "p": 1.0}}
    asked = []
    for steps in ({}, noise):
        teacher = Noting(kit.teacher())
        recipe = kit.recipe(steps=8, augmentation=steps)
        kit.fit_all([mixed(kit, kit.network(), teacher=teacher, recipe=recipe)])
        asked.append(torch.stack(teacher.asked[-8:]))
    apart = (asked[1] - asked[0]).flatten(2)
    assert apart.std(-1).min() > 0.02, "every row of every batch"
    assert apart.std() == pytest.approx(0.1, rel=0.1)


class CutOffError(Exception):
    pass


class CutAt:
    """A sink that kills the run when it hears of an epoch's end at or after a step."""

    def __init__(self, step):
        self.step = step

    def log(self, metrics, *, step, epoch):
        if "train/loss" in metrics and step >= self.step:
            raise CutOffError


def three(kit, **how):
    return [mixed(kit, kit.network(seed), seed=seed, **how) for seed in (0, 1, 2)]


def test_killed_and_taken_up_again_it_is_the_run_that_was_never_killed(kit, tmp_path):
    def run(sinks=()):
        network = kit.network()
        path = tmp_path / "checkpoint.ckpt"
        learner = mixed(kit, network, recipe=kit.recipe(steps=35), sinks=sinks, checkpoint=path)
        (fitted,) = kit.fit_all([learner], checkpoint_every_seconds=1e-9)
        return network, fitted.resumed_from

    whole, _ = run()
    (tmp_path / "checkpoint.ckpt").unlink()
    with pytest.raises(CutOffError):
        run([CutAt(24)])
    again, resumed_from = run()
    assert resumed_from == 16, "in the middle of a round of the transfer set"
    assert kit.same(kit.bits(again), kit.bits(whole))


def test_a_stack_trains_each_as_it_is_trained_alone(kit):
    together, alone = three(kit), three(kit)
    assert stack_problem(together) is None
    kit.fit_all(together)
    for one, other in zip(together, alone, strict=True):
        kit.fit_all([other])
        for name, value in other.network.state_dict().items():
            torch.testing.assert_close(one.network.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_with_and_without_a_transfer_set_are_no_stack(kit):
    one, other = three(kit)[:2]
    plain = replace(other, mixture=None)
    assert "how their batches are mixed" in stack_problem([one, plain])
    fewer = replace(other, mixture=replace(other.mixture, labelled_rows=4, transfer_rows=6))
    assert "how their batches are mixed" in stack_problem([one, fewer])
