import pickle

import pytest

from kdlab.errors import UserError, nearest
from kdlab.schema.reading import ConfigError
from kdlab.training import NonFiniteLossError


@pytest.mark.parametrize("kind", [UserError, ConfigError, NonFiniteLossError])
def test_errors_survive_pickling(kind):
    back = pickle.loads(pickle.dumps(kind("one\ntwo")))
    assert type(back) is kind
    assert str(back) == "one\ntwo"


def test_a_user_error_is_a_value_error():
    assert issubclass(UserError, ValueError)


def test_nearest_names_the_three_closest():
    names = ["temperature", "temper", "temperate", "temperance", "alpha"]
    assert nearest("temprature", names).startswith("did you mean temperature, ")
    assert nearest("temprature", names).count(",") == 2


def test_nearest_lists_few_names_where_none_is_close_and_nothing_where_there_are_none():
    assert nearest("zzz", ["b", "a"]) == "allowed: a, b"
    assert nearest("zzz", []) == ""
    assert nearest("zzz", [f"name{at:02d}" for at in range(20)]) == "nearest: name00, name01, name02"
