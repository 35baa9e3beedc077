import numpy as np
import pytest
import torch
from torch import nn

from kdlab.data.dataset import Examples
from kdlab.evaluation.evaluate import measure
from kdlab.evaluation.predict import predict
from kdlab.experiments.assess import predict_together
from kdlab.models import build_model

CPU = torch.device("cpu")


def examples(n, start):
    generator = torch.Generator().manual_seed(start)
    return Examples(torch.randn(n, 8, generator=generator), torch.arange(n) % 3, torch.arange(start, start + n))


SETS = {"train": examples(30, 0), "validation": examples(25, 100), "test": examples(41, 200)}
BYTES_EACH = 4 * 3 * (30 + 25 + 41)


@pytest.fixture
def students():
    spec = {"_target_": "kdlab.models.mlp.MLP", "width": 6, "norm": "batch", "dropout": 0.5}
    return [build_model(spec, input_shape=(8,), num_classes=3, seed_value=seed).double() for seed in range(5)]


@pytest.fixture(autouse=True)
def float64(monkeypatch):
    for part in SETS.values():
        monkeypatch.setitem(part.__dict__, "inputs", part.inputs.double())


def together(students, **knobs):
    return list(predict_together(students, SETS, num_classes=3, batch_size=20, device=CPU, **knobs))


def measured(predictions):
    return measure(predictions, slices={}, teacher=None, role="scratch", num_classes=3)


def numbers(predictions):
    return {key: value for key, value in measured(predictions).metrics.items() if value is not None}


@pytest.mark.parametrize("knobs", [
    {},
    {"stacked": True},
    {"stacked": True, "most_bytes": 2 * BYTES_EACH},
    {"stacked": True, "most_bytes": 1},
])  # fmt: skip
def test_students_measure_together_what_they_measure_alone(students, knobs):
    before = [student.training for student in students]
    found = together(students, **knobs)
    assert len(found) == len(students)
    for student, predictions in zip(students, found, strict=True):
        alone = {name: predict(student, part, batch_size=20, device="cpu") for name, part in SETS.items()}
        for name, one in alone.items():
            np.testing.assert_allclose(predictions[name].logits, one.logits, rtol=1e-6)
            np.testing.assert_array_equal(predictions[name].index, one.index)
        assert numbers(predictions) == pytest.approx(numbers(alone), rel=1e-5)
    assert [student.training for student in students] == before


def test_portions_are_no_larger_than_asked(students, monkeypatch):
    sizes = []
    from kdlab.experiments import assess

    class Watched(assess.Stack):
        def __init__(self, networks):
            sizes.append(len(networks))
            super().__init__(networks)

    monkeypatch.setattr(assess, "Stack", Watched)
    together(students, stacked=True, most_bytes=2 * BYTES_EACH)
    assert sizes == [2, 2, 1]


def test_a_student_that_is_not_finite_fails_alone(students):
    good = [measured(predictions).metrics for predictions in together(students, stacked=True)]
    with torch.no_grad():
        next(layer for layer in students[2].modules() if isinstance(layer, nn.Linear)).weight.fill_(torch.nan)
    for at, predictions in enumerate(together(students, stacked=True)):
        if at == 2:
            with pytest.raises(ValueError, match="set 'train': non-finite logits in 30 of 30"):
                measured(predictions)
        else:
            assert measured(predictions).metrics == good[at]
