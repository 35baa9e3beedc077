"""Terms, families, qualities and augmentation go together: every two choices meet in some run.

`make bench` runs the full product of terms, families and qualities.
"""

import itertools

import pytest
from combinations import FACTORS, allowed, check
from pairwise import all_pairs, full_product, pairs_of

ROWS = all_pairs(FACTORS, allowed)


def few_or_long(rows):
    """The rows that bring a value nobody brought before; the others, which complete the pairs, are long together."""
    seen = set()
    for row in rows:
        new = not seen.issuperset(row.items())
        seen |= set(row.items())
        name = "-".join(row.values()).replace(" ", "_")
        yield pytest.param(row, id=name, marks=[] if new else [pytest.mark.long])


@pytest.mark.parametrize("row", few_or_long(ROWS))
def test_a_combination_trains_and_is_measured(row, lab):
    check(row, lab)


def test_the_rows_hold_every_pair_that_is_allowed():
    def met(rows):
        return {
            frozenset([(a, row[a]), (b, row[b])]) for row in rows for a, b in itertools.combinations(sorted(row), 2)
        }

    assert met(ROWS) == met(full_product(FACTORS, allowed))
    assert len(ROWS) < len(full_product(FACTORS, allowed)) / 8
    assert ("quality", "low_bit") in {pair[0] for row in ROWS for pair in pairs_of(row)}
