from kdlab.commands.listing.asking import Filter


def test_numbers_are_compared_as_numbers_and_words_as_words():
    assert Filter("k", "=", "4").keeps(4.0)
    assert Filter("k", "=", "1e-3").keeps(0.001)
    assert not Filter("k", "=", "4").keeps("four")
    assert Filter("k", "=", "true").keeps(True)
    assert not Filter("k", "=", "1").keeps(True)
    assert Filter("k", "=", "a").keeps(("b", "a"))
    assert not Filter("k", ">", "0").keeps(None)
