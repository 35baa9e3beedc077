"""Who may ask the board: by which names, with which methods, from which pages."""

import pytest

from kdlab.board.guard import LOOPBACK, is_allowed, names_of


@pytest.mark.parametrize("header", ["localhost", "localhost:8765", "LocalHost.", "127.0.0.1:1", "[::1]:8765", "[::1]"])
def test_its_own_names(header):
    assert is_allowed(header, LOOPBACK)


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("localhost:", "localhost:x", "localhost:8765 evil", "evil@localhost", "localhost/", "::1", "[::1", "[::2]"),
        *("localhost,evil.example", "192.168.0.7", "127.0.0.2", "[localhost]", "kdlab.local"),
    ],
)
def test_names_of_others(header):
    assert not is_allowed(header, LOOPBACK)


def test_the_host_that_was_given():
    names = names_of("Box.lan")
    assert is_allowed("box.lan:8765", names)
    assert is_allowed("localhost:8765", names)
    assert not is_allowed("192.168.0.7", names)


def test_on_every_address_any_address_is_fine_and_no_name_of_others(monkeypatch):
    monkeypatch.setattr("kdlab.board.guard.own_names", lambda: frozenset({"box", "box.lan"}))
    for host in ("0.0.0.0", "::"):
        names = names_of(host)
        assert all(is_allowed(header, names) for header in ("192.168.0.7:8765", "[fe80::1]", "box", "box.lan:1"))
        assert not is_allowed("evil.example", names), "a name can be pointed here, an address cannot"
