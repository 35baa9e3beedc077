"""The committed pages say what the committed reports hold."""

import shutil
from pathlib import Path

import pytest

from kdlab.reporting.quoting import rebuild_quotes

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/methods.md"])
def test_a_page_quotes_its_reports_as_they_are(page, tmp_path):
    copy = tmp_path / page
    copy.parent.mkdir(exist_ok=True)
    shutil.copy(PROJECT / page, copy)
    (tmp_path / "reports").symlink_to(PROJECT / "reports")
    assert not rebuild_quotes(copy, tmp_path / "reports"), "kdlab report writes them anew"
    assert "<!-- kdlab:" in copy.read_text(encoding="utf-8")


@pytest.mark.parametrize("readme", sorted((PROJECT / "reports").rglob("README.md")), ids=lambda path: path.parent.name)
def test_every_figure_of_a_report_is_shown_in_it(readme):
    text = readme.read_text(encoding="utf-8")
    assert [path.name for path in readme.parent.glob("figures/*.png") if f"figures/{path.name}" not in text] == []
