import math

import pytest
import torch

from kdlab.training import NonFiniteLossError
from kdlab.training.monitor import LossMonitor


class Elsewhere:
    """Losses on a device that has to be waited for; counts how often they are looked at."""

    def __init__(self, values, looks):
        self.values, self.looks, self.device = torch.tensor(values), looks, torch.device("meta")

    def detach(self):
        return self

    def __len__(self):
        return len(self.values)

    def __float__(self):
        self.looks.append(self.values)
        return float(self.values)

    def sum(self):
        self.looks.append(self.values)
        return self.values.sum()

    def tolist(self):
        return self.values.tolist()


def ones(**terms):
    """The terms of one section that begins with the first student."""
    return [(0, {name: torch.tensor(values) for name, values in terms.items()})]


def test_means_are_exact_in_float64_for_every_student_and_section():
    values = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0))
    monitor = LossMonitor()
    for step, value in enumerate(values):
        monitor.add(step, 2 * value, [(0, {"ce": value[:1]}), (1, {"ce": value[1:], "kl": value[1:] / 4})])
    for at, means in enumerate(monitor.means()):
        exact = float(values[:, at].double().mean())
        assert means["terms/ce"] == pytest.approx(exact, rel=1e-14)
        assert means["loss"] == pytest.approx(2 * exact, rel=1e-14)
        assert means.get("terms/kl") == (None if at == 0 else pytest.approx(exact / 4, rel=1e-14))
    monitor.reset()
    assert monitor.means() == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 1])
def test_the_first_bad_step_and_its_term_are_named_at_once_on_the_cpu(bad, at):
    monitor = LossMonitor()
    values = [1.0, 1.0]
    assert monitor.add(7, torch.tensor(values), ones(ce=values, kl=values)) == []
    values[at] = bad
    assert monitor.add(8, torch.tensor(values), ones(ce=[1.0, 1.0], kl=values)) == [at]
    assert monitor.add(9, torch.tensor(values), ones(ce=values, kl=values)) == []  # told once
    error = monitor.errors[at]
    assert isinstance(error, NonFiniteLossError)
    assert str(error).startswith("the loss is not finite at step 8: term kl;")
    assert "training.optimizer.lr" in str(error)
    assert list(monitor.errors) == [at]


def test_two_infinities_of_opposite_sign_are_both_found():
    monitor = LossMonitor()
    assert monitor.add(0, torch.tensor([math.inf, 1.0, -math.inf]), ones(ce=[1.0, 1.0, 1.0])) == [0, 2]


def test_all_bad_terms_are_named_and_a_sum_that_overflows_is_told_apart():
    for loss, terms, words in (
        (math.nan, {"ce": [math.inf], "kl": [math.nan]}, "term ce, kl"),
        (math.inf, {"ce": [1e38]}, "the weighted sum of finite terms"),
    ):
        monitor = LossMonitor()
        monitor.add(0, torch.tensor([loss]), ones(**terms))
        assert words in str(monitor.errors[0])


def test_an_accelerator_is_waited_for_only_now_and_then_and_the_right_step_is_named():
    looks: list[object] = []
    monitor = LossMonitor(patience=10)
    for step in range(9):
        assert monitor.add(step, Elsewhere([math.nan if step == 4 else 1.0], looks), ones(ce=[0.5])) == []
    assert looks == []
    assert monitor.add(9, Elsewhere([1.0], looks), ones(ce=[0.5])) == [0]
    assert "step 4: the weighted sum" in str(monitor.errors[0])


def test_what_is_pending_is_looked_at_when_the_epoch_ends():
    monitor = LossMonitor(patience=10)
    monitor.add(3, Elsewhere([math.inf], []), ones(kl=[math.inf]))
    assert monitor.look() == [0]
    assert "step 3: term kl" in str(monitor.errors[0])
