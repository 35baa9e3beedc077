from dataclasses import replace

import pytest

from kdlab.records.identity import identity, run_id
from kdlab.records.record import RunRecord
from kdlab.records.store import Store


def make_record(number: int = 0, **changes) -> RunRecord:
    config = {"training_version": 1, "seeds": {"student": number}}
    name = identity(config)
    record = RunRecord(
        run_id=run_id(name),
        identity=name,
        status="finished",
        role="student",
        data="digits",
        seeds={"student": number, "teacher": None, "data": 0},
        config={"student": {"width": 16}},
        identity_config=config,
        metrics={"test/accuracy": 0.5, "test/ece": None},
        metrics_undefined={"test/ece": "why"},
        bins={"test": {"count": [1, 2], "confidence": [0.5, 0.6], "accuracy": [0.0, 1.0]}},
    )
    return replace(record, **changes)


@pytest.fixture
def record():
    return make_record()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


@pytest.fixture
def other_record():
    return make_record
