"""Every statistic that a sweep file may name has its sums in the room of reports, and both agree on whom it reads."""

import pytest

from kdlab.references import parse_reference
from kdlab.reporting.statistics import STATISTICS
from kdlab.schema.statistics import Effect

SAID = {
    "difference": ["a", ["b", "scratch(c)"]],
    "gains": ["a", ["b", "c"]],
    "ratio": {"of": ["a", "scratch(a)"], "to": ["teacher(b)", "c"]},
    "slope": {"values": {"a": 1, "b": 2, "c": 3}, "gains": True},
    "last_minus_best": ["a", "b", ["c", "d"]],
    "best_dose_slope": {1: {1: "a", 2: "b"}, 2: {1: "c", 2: "d"}},
    "rank_correlation": {"arms": ["a", "b", "c"], "with": "test/ece"},
    "share_above": {"arms": ["a", "b"], "reference": "c"},
}


def test_both_rooms_know_the_same_statistics():
    assert list(SAID) == list(STATISTICS) == list(Effect.model_fields)


@pytest.mark.parametrize("name", SAID)
def test_what_is_checked_is_what_is_read(name):
    effect = Effect.model_validate({name: SAID[name]})
    saved = effect.model_dump(mode="json", by_alias=True, exclude_none=True)[name]
    columns = STATISTICS[name].asks(saved, "test/accuracy")
    read = {parse_reference(text).arm for column in columns for text in column.references}
    assert read == {parse_reference(text).arm for text in effect.statistic.references()}
    asked = {text for column in columns if column.metric == "test/accuracy" for text in column.references}
    if name != "best_dose_slope":  # it reads validation alone
        assert asked == set(effect.statistic.references())
    assert STATISTICS[name].is_difference == effect.statistic.is_difference
