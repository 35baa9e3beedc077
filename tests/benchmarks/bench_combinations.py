"""The full product of terms, families of student and teacher, and qualities; `make test` runs it pair by pair."""

import pytest
from combinations import FACTORS, allowed, check
from pairwise import full_product

ROWS = full_product({**FACTORS, "augmentation": ("none",)}, allowed)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()).replace(" ", "_"))
def test_every_combination_trains_and_is_measured(row, lab):
    check(row, lab)
