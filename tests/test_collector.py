"""The collector is off inside, and as it was before afterwards, whatever happens."""

import gc

import pytest

from kdlab.collector import collector_off


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_off_inside_and_as_before_afterwards(on, freeze):
    was_on = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        frozen = gc.get_freeze_count()
        with collector_off(freeze=freeze):
            assert not gc.isenabled()
            made = [[] for _ in range(1000)]
        assert gc.isenabled() == on
        assert (gc.get_freeze_count() >= frozen + len(made)) == freeze
        with pytest.raises(ImportError), collector_off(freeze=freeze):
            raise ImportError
        assert gc.isenabled() == on
    finally:
        gc.unfreeze()
        (gc.enable if was_on else gc.disable)()


def test_one_inside_another_leaves_it_off():
    with collector_off():
        with collector_off():
            pass
        assert not gc.isenabled()
