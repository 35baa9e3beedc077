"""The pages of synthetic studies, written once for a module."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # where synthetic_records lies

from browser import chromium  # noqa: F401 - a fixture

from kdlab.reporting.aggregate import summarize
from kdlab.reporting.page.page import page_text


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A function that writes the page of some lines and gives its address."""
    folder = tmp_path_factory.mktemp("pages")

    def write(name, lines):
        path = folder / f"{name}.html"
        path.write_text(page_text(summarize(lines)), encoding="utf-8", newline="\n")
        return path.as_uri()

    return write
