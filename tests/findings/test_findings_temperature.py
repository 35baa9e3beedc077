"""F05: the soft targets' gradient falls as 1 / T^2, and T^2 gives it a limit. F06: that limit is matching logits.

Hinton et al. 2015 (arXiv:1503.02531), section 2.1, in float64 on random logits, beside the derivation in numpy.
"""

import itertools

import numpy as np
import pytest
import torch

from kdlab.objectives import soft_targets
from kdlab.objectives.logits.divergences import logit_mse
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

ROWS = 64
TEMPERATURES = (1.0, 2.0, 4.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
few_and_many_classes = pytest.mark.parametrize("classes", [2, 10, 100])  # a kernel of our own serves the first two


def logits(classes, *, seed):
    """``[ROWS, classes]`` float64 with a standard deviation of 3, and a shift of each row that softmax does not see."""
    generator = np.random.default_rng([classes, seed])
    return 3 * generator.standard_normal((ROWS, classes)) + 5 * generator.standard_normal((ROWS, 1))


def gradient(term, classes, **knobs):
    """``[ROWS, classes]``: the gradient of a term of ours by the student's logits."""
    student = torch.from_numpy(logits(classes, seed=0)).requires_grad_()
    teacher = TeacherOutput(torch.from_numpy(logits(classes, seed=1)), {})
    index = torch.arange(ROWS)
    batch = Batch(student.detach(), index % classes, index, torch.ones(ROWS, dtype=torch.bool))
    values = term(ModelOutput(student, {}), teacher, batch, 0, **knobs)
    return torch.autograd.grad(values.sum(), student)[0].numpy()


def softmax(rows):
    exponentials = np.exp(rows - rows.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def derived(classes, *, temperature, scaled):
    """Equation 2: dKL/dz = (q - p) / T."""
    student, teacher = (softmax(logits(classes, seed=seed) / temperature) for seed in (0, 1))
    return (student - teacher) / temperature * (temperature**2 if scaled else 1)


def derived_limit(classes):
    """Equation 4, times T^2: (z - v) / C of centred logits."""
    difference = logits(classes, seed=0) - logits(classes, seed=1)
    return (difference - difference.mean(-1, keepdims=True)) / classes


def size(rows):
    """Mean norm over examples."""
    return float(np.linalg.norm(rows, axis=-1).mean())


def cosines(one, other):
    """``[ROWS]``."""
    return (one * other).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(other, axis=-1)


def orders(errors):
    """By which power of T each error is smaller than the one before it, from T = 100 on."""
    high = [(t, error) for t, error in zip(TEMPERATURES, errors, strict=True) if t >= 100]
    pairs = itertools.pairwise(high)
    return [float(np.log(before / after) / np.log(t / s)) for (s, before), (t, after) in pairs]


@few_and_many_classes
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_gradient_is_that_of_the_derivation(classes, scaled, temperature):
    ours = gradient(soft_targets, classes, temperature=temperature, t2_scaling=scaled)
    expected = derived(classes, temperature=temperature, scaled=scaled)
    np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-12 * size(expected))


@few_and_many_classes
def test_f05_without_t2_the_gradient_falls_as_the_square_of_t(classes):
    sizes = [size(gradient(soft_targets, classes, temperature=t, t2_scaling=False)) for t in TEMPERATURES]
    assert sizes == sorted(sizes, reverse=True)
    assert orders(sizes) == pytest.approx([2, 2], abs=0.02)
    assert sizes[-1] < 1e-4 * sizes[0], "at T = 1000 nothing is left of it"


@few_and_many_classes
def test_f05_with_t2_the_gradient_has_a_limit(classes):
    limit = derived_limit(classes)
    rows = [gradient(soft_targets, classes, temperature=t) for t in TEMPERATURES]
    away = [size(one - limit) / size(limit) for one in rows]
    assert away == sorted(away, reverse=True)
    if classes == 2:  # a sigmoid is odd: the term of first order is missing
        assert orders(away) == pytest.approx([2, 2], abs=0.02)
    else:
        assert orders(away) == pytest.approx([1, 1], abs=0.05)
    assert away[-1] < 0.01
    sizes = [size(one) for one in rows]
    assert min(sizes) / size(limit) > 0.2
    assert max(sizes) / size(limit) < 3, "T^2 keeps the balance with the hard labels over three decades of T"


@few_and_many_classes
def test_f06_at_high_t_distillation_is_matching_centred_logits(classes):
    matching = gradient(logit_mse, classes, centred=True)
    np.testing.assert_allclose(matching, 2 * derived_limit(classes), rtol=1e-8, atol=1e-12)
    worst = [float(cosines(gradient(soft_targets, classes, temperature=t), matching).min()) for t in TEMPERATURES]
    apart = [1 - cosine for cosine in worst]
    print(
        f"{classes} classes, smallest cosine by T:", {t: round(c, 6) for t, c in zip(TEMPERATURES, worst, strict=True)}
    )
    if classes == 2:
        assert max(apart) < 1e-12, "two classes have one direction"
        return
    assert apart == sorted(apart, reverse=True)
    assert worst[0] < 0.9, "at T = 1 it is something else"
    assert apart[-1] < 1e-4
    assert orders(apart) == pytest.approx([2, 2], abs=0.1)
