"""What terms learn and remember beside a student: in a stack as alone, and taken up where it was cut off."""

import dataclasses
import math

import pytest
from test_stack import CLASSES, FAMILIES, HARD, compare, learners, logits_of, run

from kdlab.data.transfer_order import Mixture

FEATURES = "kdlab.objectives.features."
COSINE = {"_target_": "kdlab.objectives.schedules.cosine", "start": 0.0, "end": 1.0, "until": 0.5}
TERMS = {
    "variational": {"_target_": FEATURES + "variational.variational"},
    "factor_transfer": {"_target_": FEATURES + "factor.factor_transfer", "reconstruction": 0.1},
    "activation_boundaries": {"_target_": FEATURES + "boundaries.activation_boundaries"},
    "contrastive": {"_target_": FEATURES + "contrastive.contrastive", "dimension": 4, "negatives": 20},
    "review": {"_target_": FEATURES + "review.review"},
    "learned_temperature": {
        "_target_": "kdlab.objectives.logits.learned_temperature.learned_temperature", "strength": COSINE,
    },
    "averaged_teacher": {
        "_target_": "kdlab.objectives.averaged.averaged_teacher", "temperature": 2.0, "decay": 0.9,
    },
}  # fmt: skip


def terms_of(name):
    return {"hard_labels": HARD, name: {**TERMS[name], "weight": 0.3}}


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("family", ["mlp", *(pytest.param(one, marks=pytest.mark.long) for one in ("cnn1d", "cnn2d"))])
def test_every_term(name, family):
    compare(terms=terms_of(name), family=FAMILIES[family], steps=40)


@pytest.mark.parametrize("name", ["contrastive", "averaged_teacher", "learned_temperature"])
def test_goes_on_where_it_was_cut_off(tmp_path, name):
    """20 steps, and 20 more from the checkpoint, are the 40 steps of a fit that was left alone."""
    whole, cut, rest = (learners(terms=terms_of(name), steps=40)[0] for _ in range(3))
    run([whole], checkpoint_every_seconds=1000)
    place = tmp_path / "student.ckpt"
    stopped = dataclasses.replace(cut, checkpoint=place, sinks=[Stop()])
    with pytest.raises(KeyboardInterrupt):
        run([stopped], checkpoint_every_seconds=1e-9)
    (ended,) = run([dataclasses.replace(rest, checkpoint=place)], checkpoint_every_seconds=1e-9)
    assert ended.resumed_from == 20
    inputs = whole.validation.inputs
    assert logits_of(whole.network, inputs).equal(logits_of(rest.network, inputs))


@pytest.mark.parametrize("name", ["contrastive", "averaged_teacher", "review"])
def test_labels_of_a_transfer_set_stay_hidden(name):
    """Whatever they are, the same network comes out; and every row of the set is one that terms know."""
    found = []
    for change in (0, 1):
        (one, *_) = learners(terms=terms_of(name), steps=20)
        mixture = Mixture.of(120, 80, batch_size=10, labelled_fraction=0.5)
        labels = one.train.labels.clone()
        labels[120:] = (labels[120:] + change) % CLASSES
        run([dataclasses.replace(one, train=dataclasses.replace(one.train, labels=labels), mixture=mixture)])
        found.append(logits_of(one.network, one.validation.inputs))
        assert all(math.isfinite(value) for _, _, value in one.sinks[0].rows)
    assert found[0].equal(found[1])


class Stop:
    """Someone pulls the plug in the second epoch."""

    def log(self, metrics, *, step, epoch):
        if step >= 40:
            raise KeyboardInterrupt
