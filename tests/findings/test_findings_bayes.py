"""F20: the true class probabilities as teacher lower the student's excess risk and its variance.

Menon et al., "A statistical perspective on distillation", ICML 2021 (arXiv:2005.10419). A Gaussian mixture has a
known posterior: equal classes of identity covariance, ``p(y | x) = softmax(x . m_y - |m_y|^2 / 2)``, which a logistic
student can express. A hundred resamples of the training set are a stack of a hundred students on our own objective; the
first n examples of a resample are its set of size n, so sizes and arms are paired.
"""

import functools
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdlab.objectives.objective import distillation
from kdlab.outputs import Batch, ModelOutput, TeacherOutput
from kdlab.reporting.intervals import Row, interval

RESAMPLES, CLASSES, FEATURES = 100, 3, 4
SIZES = (50, 200, 1000)
NOISES = (0.0, 1.0, 2.0, 4.0)
STEPS, RATE = 90, 0.2
CENTRES = 1.5 * torch.eye(CLASSES, FEATURES, dtype=torch.float64)


def drawn(*shape, seed):
    """Inputs ``[*shape, FEATURES]`` and labels ``[*shape]`` of the mixture."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, shape, generator=generator)
    noise = torch.randn(*shape, FEATURES, generator=generator, dtype=torch.float64)
    return CENTRES[labels] + noise, labels


def posterior_logits(inputs):
    """``x . m_y - |m_y|^2 / 2``, ``[..., CLASSES]``."""
    return inputs @ CENTRES.T - CENTRES.square().sum(-1) / 2


def trained(inputs, labels, taught, *, alpha):
    """Weights ``[RESAMPLES, FEATURES + 1, CLASSES]`` of logistic students, whole batches, the same steps for all."""
    rows = labels.shape[-1]
    weights = torch.zeros(RESAMPLES, FEATURES + 1, CLASSES, dtype=torch.float64, requires_grad=True)
    batch = Batch(inputs, labels, torch.arange(rows).expand_as(labels), torch.ones_like(labels, dtype=torch.bool))
    objective, teacher = distillation(temperature=1, alpha=alpha), TeacherOutput(taught, {})
    optimizer = torch.optim.Adam([weights], lr=RATE)
    for step in range(STEPS):
        optimizer.zero_grad()
        objective(ModelOutput(logits(inputs, weights), {}), teacher, batch, step).loss.sum().backward()
        optimizer.step()
    return weights.detach()


def logits(inputs, weights):
    """``[..., N, CLASSES]``."""
    return inputs @ weights[..., :-1, :] + weights[..., -1:, :]


@functools.cache
def excess_risk(size, *, noise):
    """``[RESAMPLES]`` nats above the Bayes risk: the mean KL(posterior || student) on 1,000 fresh inputs.

    Args:
        size: n, examples of a training set.
        noise: standard deviation of what is added to the posterior's logits; None for the labels (alpha = 0).
    """
    inputs, labels = (part[:, :size] for part in drawn(RESAMPLES, max(SIZES), seed=0))
    generator = torch.Generator().manual_seed(1)
    added = torch.randn(RESAMPLES, max(SIZES), CLASSES, generator=generator, dtype=torch.float64)[:, :size]
    taught = posterior_logits(inputs) + (noise or 0.0) * added
    weights = trained(inputs, labels, taught, alpha=0.0 if noise is None else 1.0)
    fresh, _ = drawn(1000, seed=2)
    own, true = (
        logits(fresh, weights).log_softmax(-1),
        posterior_logits(fresh).log_softmax(-1).expand(RESAMPLES, -1, -1),
    )
    return F.kl_div(own, true, log_target=True, reduction="none").sum(-1).mean(-1).numpy()


def over_resamples(values):
    """The t interval of ``[RESAMPLES]`` values."""
    return interval(Row(None, None, seed, float(value)) for seed, value in enumerate(values))


def benefit(size, *, noise):
    """``[RESAMPLES]`` nats: the excess risk of labels minus that of the teacher."""
    return excess_risk(size, noise=None) - excess_risk(size, noise=noise)


def test_the_posterior_is_that_of_bayes_rule():
    from scipy.stats import multivariate_normal

    inputs, _ = drawn(50, seed=3)
    densities = np.stack([multivariate_normal(centre).pdf(inputs.numpy()) for centre in CENTRES.numpy()], axis=-1)
    expected = densities / densities.sum(-1, keepdims=True)
    np.testing.assert_allclose(posterior_logits(inputs).softmax(-1).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("size", SIZES)
def test_f20_the_bayes_teacher_lowers_excess_risk_and_its_variance(size):
    labels, bayes = excess_risk(size, noise=None), excess_risk(size, noise=0.0)
    gain = over_resamples(labels - bayes)
    spread = over_resamples((labels - labels.mean()) ** 2 - (bayes - bayes.mean()) ** 2)
    print(
        f"n={size}: labels {labels.mean():.5f} (SD {labels.std():.5f}), Bayes {bayes.mean():.5f} (SD {bayes.std():.5f})"
    )
    assert gain.low > 0
    assert spread.low > 0
    assert bayes.max() < 1e-3, "with the posterior itself as targets the student finds it from any few examples"


def test_f20_the_benefit_shrinks_with_noise_on_the_teachers_logits():
    benefits = [benefit(50, noise=noise) for noise in NOISES]
    print("benefit at n=50 by noise:", {s: round(float(b.mean()), 4) for s, b in zip(NOISES, benefits, strict=True)})
    for less, more in itertools.pairwise(benefits):
        assert over_resamples(less - more).low > 0


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_f20_the_benefit_shrinks_with_n(noise):
    benefits = [benefit(size, noise=noise) for size in SIZES]
    print(f"benefit by n, noise {noise}:", {n: round(float(b.mean()), 4) for n, b in zip(SIZES, benefits, strict=True)})
    for fewer, more in itertools.pairwise(benefits):
        assert over_resamples(fewer - more).low > 0


def test_f20_the_bias_of_a_noisy_teacher_is_worse_than_labels_where_there_are_many():
    assert over_resamples(benefit(50, noise=1.0)).low > 0
    assert over_resamples(benefit(1000, noise=1.0)).high < 0
