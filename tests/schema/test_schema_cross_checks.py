import pytest
from plain_config import plain

from kdlab.schema.reading import ConfigError, read_config


def mistakes(mapping):
    with pytest.raises(ConfigError) as caught:
        read_config(mapping)
    return str(caught.value).splitlines()


def test_a_tuning_phase_has_seeds_of_its_own_and_looks_at_no_test_set():
    mapping = {**plain(), "seed": 999, "study": {"phase": "tune"}}
    mapping["evaluation"] = {**mapping.get("evaluation", {}), "sets": ["validation", "test"]}
    told = mistakes(mapping)
    assert any(line.startswith("seed = 999: a tuning phase has seeds of its own, 1000 and up") for line in told)
    assert any(line.startswith("evaluation.sets = ['test']: a tuning phase looks at train") for line in told)
    mapping |= {"seed": 1000, "evaluation": {**mapping["evaluation"], "sets": ["train", "validation"]}}
    assert read_config(mapping).study.phase == "tune"
    assert "study.phase = 'tuen': allowed are" in "\n".join(mistakes({**plain(), "study": {"phase": "tuen"}}))
