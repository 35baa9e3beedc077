"""Imports without the collector: it is off inside, and as it was before afterwards, whatever happens."""

import gc

import pytest

from kdlab.commands.importing import collector_off


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_off_inside_and_as_before_afterwards(on):
    was_on = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        frozen = gc.get_freeze_count()
        with collector_off():
            assert not gc.isenabled()
            made = [[] for _ in range(1000)]
        assert gc.isenabled() == on
        assert gc.get_freeze_count() >= frozen + len(made)
        with pytest.raises(ImportError), collector_off():
            raise ImportError
        assert gc.isenabled() == on
    finally:
        gc.unfreeze()
        (gc.enable if was_on else gc.disable)()
