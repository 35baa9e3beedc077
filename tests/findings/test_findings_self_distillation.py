"""F37a: rounds of self-distillation leave fewer and fewer basis functions (Mobahi et al. 2020, arXiv:2002.05715).

Kernel ridge regression on digits split again for each seed; each round is fitted to what the one before says on the
training set. With the kernel's eigenvalues d, round t keeps of each eigenvector the share ``(d / (d + ridge))^t``. That
is exact. What it does to the test error depends on what there is to forget: a fifth of the labels is drawn at random
in one case, none in the other.
"""

import numpy as np
import pytest

from kdlab.data.digits import digits
from kdlab.reporting.intervals import Row, interval

ROUNDS, SPLITS = 10, 6
RIDGE, WIDTH = 0.1, 0.02
NOISES = (0.0, 0.2)
"""The share of the labels that is drawn at random."""


def kernel(one, other):
    """The Gaussian kernel ``exp(-WIDTH |x - y|^2)``, ``[N, M]``."""
    squared = (one**2).sum(-1)[:, None] + (other**2).sum(-1) - 2 * one @ other.T
    return np.exp(-WIDTH * squared)


class Split:
    """One split of digits, the eigenvectors of its kernel, and the targets at each noise."""

    def __init__(self, seed):
        data = digits(seed=seed)
        self.train = data.train.inputs.flatten(1).double().numpy()
        self.test = data.test.inputs.flatten(1).double().numpy()
        self.truth = np.eye(10)[data.test.labels.numpy()]
        self.values, self.vectors = np.linalg.eigh(kernel(self.train, self.train))
        generator, labels = np.random.default_rng(seed), data.train.labels.numpy()
        drawn, luck = generator.integers(0, 10, len(labels)), generator.random(len(labels))
        self.targets = {noise: np.eye(10)[np.where(luck < noise, drawn, labels)] for noise in NOISES}
        self.test_ratio = len(self.test) / len(self.train)

    @property
    def shares(self):
        """``[ROUNDS, N]``: what each round keeps of each eigenvector."""
        return (self.values / (self.values + RIDGE)) ** np.arange(1, ROUNDS + 1)[:, None]

    def predictions(self, *, noise):
        """``[ROUNDS, test, 10]``: of each round, from the shares."""
        coefficients = self.shares / self.values
        seen, said = kernel(self.test, self.train) @ self.vectors, self.vectors.T @ self.targets[noise]
        return np.stack([seen @ (row[:, None] * said) for row in coefficients])

    def squared_errors(self, *, noise):
        """``[ROUNDS]``: summed over classes, mean over the test set."""
        return ((self.predictions(noise=noise) - self.truth) ** 2).sum(-1).mean(-1)


@pytest.fixture(scope="module")
def splits():
    return [Split(seed) for seed in range(SPLITS)]


@pytest.fixture(scope="module")
def errors(splits):
    """Noise -> ``[SPLITS, ROUNDS]``."""
    return {noise: np.stack([split.squared_errors(noise=noise) for split in splits]) for noise in NOISES}


@pytest.fixture(scope="module")
def difference(splits, errors):
    """The interval of the error of one round minus that of another, over splits of one set (Nadeau-Bengio)."""

    def over_splits(one, other, *, noise):
        rows = [Row(seed, None, seed, float(run[one - 1] - run[other - 1])) for seed, run in enumerate(errors[noise])]
        found = interval(rows, test_ratio=splits[0].test_ratio)
        assert found.resplit == splits[0].test_ratio
        return found

    return over_splits


def test_the_rounds_are_those_of_fitting_again(splits):
    from sklearn.kernel_ridge import KernelRidge

    split = splits[0]
    targets = split.targets[0.2]
    for ours in split.predictions(noise=0.2):
        fitted = KernelRidge(alpha=RIDGE, kernel="rbf", gamma=WIDTH).fit(split.train, targets)
        np.testing.assert_allclose(ours, fitted.predict(split.test), atol=1e-9)
        targets = fitted.predict(split.train)


def test_f37a_fewer_basis_functions_every_round(splits):
    for split in splits:
        degrees = split.shares.sum(-1)  # effective degrees of freedom, the trace of the smoother
        ratio = split.shares.sum(-1) ** 2 / (split.shares**2).sum(-1)  # N where all count alike, 1 where one is left
        assert (np.diff(degrees) < 0).all()
        assert (np.diff(ratio) < 0).all()
        assert ratio[-1] < ratio[0] / 2
    print("degrees of freedom", degrees.round(1), "participation ratio", ratio.round(1))


def test_f37a_a_few_rounds_reduce_over_fitting_and_more_under_fit(errors, difference):
    mean = errors[0.2].mean(0)
    best = int(mean.argmin()) + 1
    print("squared error by round, a fifth of the labels random:", mean.round(4), "best", best)
    assert 1 < best < ROUNDS
    falls, rises = difference(best, 1, noise=0.2), difference(ROUNDS, best, noise=0.2)
    print("best - first", falls, "last - best", rises)
    assert falls.high < 0 < rises.low
    signs = np.sign(np.diff(mean))
    assert (np.diff(signs) >= 0).all(), "down, then up, once"


def test_f37a_with_clean_labels_there_is_nothing_to_forget(errors, difference):
    mean = errors[0.0].mean(0)
    print("squared error by round, true labels:", mean.round(4))
    assert (np.diff(mean) > 0).all()
    assert difference(2, 1, noise=0.0).low > 0, "the first round of distillation already hurts"
