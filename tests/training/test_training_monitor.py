import math

import pytest
import torch

from kdlab.training import NonFiniteLossError
from kdlab.training.monitor import TermMonitor


class Elsewhere:
    """A number on a device that has to be waited for; counts how often it is looked at."""

    def __init__(self, value, looks):
        self.value, self.looks, self.device = value, looks, torch.device("meta")

    def detach(self):
        return self

    def __float__(self):
        self.looks.append(self.value)
        return self.value


def test_means_are_exact_in_float64():
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    monitor = TermMonitor()
    for step, value in enumerate(values):
        monitor.add(step, 2 * value, {"ce": value})
    means = monitor.means()
    assert means["terms/ce"] == pytest.approx(float(values.double().mean()), rel=1e-14)
    assert means["loss"] == pytest.approx(2 * means["terms/ce"], rel=1e-14)
    monitor.reset()
    assert monitor.means() == {}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_bad_step_and_its_term_are_named_at_once_on_the_cpu(bad):
    monitor = TermMonitor()
    monitor.add(7, torch.tensor(1.0), {"ce": torch.tensor(1.0), "kl": torch.tensor(0.0)})
    with pytest.raises(NonFiniteLossError, match=r"not finite at step 8: term kl;.*training\.optimizer\.lr"):
        monitor.add(8, torch.tensor(bad), {"ce": torch.tensor(1.0), "kl": torch.tensor(bad)})


def test_all_bad_terms_are_named_and_a_sum_that_overflows_is_told_apart():
    with pytest.raises(NonFiniteLossError, match="term ce, kl"):
        TermMonitor().add(0, torch.tensor(math.nan), {"ce": torch.tensor(math.inf), "kl": torch.tensor(math.nan)})
    with pytest.raises(NonFiniteLossError, match="the weighted sum of finite terms"):
        TermMonitor().add(0, torch.tensor(math.inf), {"ce": torch.tensor(1e38)})


def test_an_accelerator_is_waited_for_only_now_and_then_and_the_right_step_is_named():
    looks: list[float] = []
    monitor = TermMonitor(patience=10)
    for step in range(9):
        monitor.add(step, Elsewhere(math.nan if step == 4 else 1.0, looks), {"ce": Elsewhere(0.5, looks)})
    assert looks == []
    with pytest.raises(NonFiniteLossError, match="step 4: the weighted sum"):
        monitor.add(9, Elsewhere(1.0, looks), {"ce": Elsewhere(0.5, looks)})


def test_what_is_pending_is_looked_at_when_the_epoch_ends():
    monitor = TermMonitor(patience=10)
    monitor.add(3, Elsewhere(math.inf, []), {"kl": Elsewhere(math.inf, [])})
    with pytest.raises(NonFiniteLossError, match="step 3: term kl"):
        monitor.means()
