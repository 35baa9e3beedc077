"""What is committed speaks of kdlab alone: no path, host or user of the machine it was written on."""

import getpass
import json
import re
import socket
import subprocess
from pathlib import Path

import pytest

from kdlab.reporting.compact import most_bytes

ROOT = Path(__file__).parents[2]
# Spelled in pieces, so that this file does not find itself.
SUSPECTS = {
    "a home folder": re.compile(r"(?<![\w.])/(?:ro" + r"ot|(?:home|Users)/(?!(?:someone|me)/)\w+)/"),
    "a work folder": re.compile(r"(?<![\w.])/(?:wo" + r"rk|tm" + r"p/w)(?:/|\b)"),
    "a package index": re.compile(
        r"https?://[^\s)\"']*(?:art" + r"ifactory|nex" + r"us|devpi|/simple\b)", re.IGNORECASE
    ),
    "a password in a URL": re.compile(r"https?://[^\s/@]+:[^\s/@]+@"),
    "an option of a package index": re.compile(r"--(?:extra-)?ind" + r"ex-url|--trusted-ho" + r"st|--find-li" + r"nks"),
}


def committed():
    """The files git knows or would add; outside a checkout, the package's own."""
    try:
        words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.check_output(words, cwd=ROOT, text=True, stderr=subprocess.DEVNULL).splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def text_of(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_no_file_names_the_machine():
    found = []
    names = {socket.gethostname(), getpass.getuser()} - {"root", "runner", "localhost", "user", "build"}
    suspects = SUSPECTS | {f"the name {name}": re.compile(rf"\b{re.escape(name)}\b") for name in names if len(name) > 3}
    for path in committed():
        for number, line in enumerate(text_of(path).splitlines(), start=1):
            found += [f"{path.relative_to(ROOT)}:{number}: {what}" for what, r in suspects.items() if r.search(line)]
    assert found == []


@pytest.mark.parametrize(
    "line",
    ["see /ro" + "ot/x", "in /wo" + "rk/main", "/ho" + "me/jane/x", "pip --ind" + "ex-url x", "https://a:b" + "@c/d"],
)
def test_the_search_finds_what_it_is_for(line):
    assert any(pattern.search(line) for pattern in SUSPECTS.values())


@pytest.mark.parametrize(
    "line", ["a/work", "network/root", "https://hydra.cc/docs", "runs/work/x", "the root / of all"]
)
def test_the_search_leaves_plain_words_alone(line):
    assert not any(pattern.search(line) for pattern in SUSPECTS.values())


def test_nothing_large_is_committed():
    """A report may hold its records, of the size that their slices allow; nothing else has a size to speak of."""
    sizes = {path: path.stat().st_size for path in committed()}
    allowed = {
        path: sum(most_bytes(len(line.get("slices", ()))) for line in map(json.loads, path.read_text().splitlines()))
        if path.name == "records.jsonl"
        else 2_000_000
        for path in sizes
    }
    assert {str(path.relative_to(ROOT)): size for path, size in sizes.items() if size > allowed[path]} == {}


def test_no_generated_folder_is_committed():
    places = [path.relative_to(ROOT).parts for path in committed()]
    parts = {part for place in places for part in place}
    assert not parts & {"runs", "__pycache__", ".venv", "node_modules", ".mypy_cache"}
    assert not [place for place in places if "wandb" in place and place[:3] != ("kdlab", "tracking", "wandb")]
