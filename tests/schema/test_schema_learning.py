import pytest
from plain_config import QUALITIES, config, plain

from kdlab.schema.learning import needs_teacher
from kdlab.schema.reading import read_config


@pytest.mark.parametrize("name", QUALITIES)
def test_presets_are_read(name):
    read = config(teacher__quality=QUALITIES[name])
    assert read.teacher.effective_training().steps == (4 if name == "weak" else 18)


def test_hard_labels_alone_need_no_teacher():
    terms = {"hard_labels": plain()["objective"]["terms"]["hard_labels"]}
    assert read_config(plain(objective={"terms": terms}, teacher=None)).teacher is None
    assert not needs_teacher(terms["hard_labels"])
    assert needs_teacher(plain()["objective"]["terms"]["soft_targets"])
    assert not needs_teacher({"_target_": "nowhere.at.all"})
