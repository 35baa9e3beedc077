"""What was predicted and what was seen, as a report shows it."""

import csv
import shlex

import pytest
import synthetic_records as synthetic

from kdlab.reporting.aggregate import summarize
from kdlab.reporting.page.page import page_text
from kdlab.reporting.page.predictions import predictions_html
from kdlab.reporting.prediction_figure import Bar, limit_of
from kdlab.reporting.predictions import predictions_of
from kdlab.reporting.report import rebuild, write_report

ARMS = {"kd": [], "weak": ["teacher/quality=weak"], "uniform": ["teacher/quality=uniform"]}


def said(effect, **changes):
    first = {"claim": "It | is <so>.", "metric": "test/accuracy", "sign": "positive", "recipe": "fixed", "sesoi": 0.005}
    return {**first, "primary": False, "effect": effect, **changes}


PREDICTIONS = {
    "helps": said({"difference": [["kd"], ["scratch(kd)"]]}, primary=True),
    "hurts": said({"difference": [["kd"], ["weak"]]}, sign="negative"),
    "share": said({"share_above": {"arms": ["kd", "weak"], "reference": ["uniform"], "minus": 0.5}}, sesoi=0.1),
    "absent": said({"difference": [["kd"], ["nobody"]]}, recipe="tuned", added_later=True),
}


def study(**header):
    maker = synthetic.Maker(seed=3)
    gains = {"kd": 0.06, "weak": 0.0, "uniform": 0.0}
    for seed in range(8):
        for arm, lines in ARMS.items():
            quality = {"kd": "standard"}.get(arm, arm)
            maker.student(seed, arm=arm, quality=quality, gain=gains[arm], overrides=[f"seed={seed}", *lines])
    return maker.lines(arms=ARMS, **header)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "predicted"
    lines = study(predictions=PREDICTIONS, reference="A paper, 91 %", caveats="Single runs.")
    write_report(folder, lines=lines)
    return folder


def test_the_section_stands_before_the_results(written):
    text = (written / "README.md").read_text()
    places = [
        text.index(part) for part in ("**Question.**", "**Reference.** A paper, 91 %", "**Caveats.** Single runs.")
    ]
    places += [text.index("## What was predicted, and what was seen"), text.index("## Results")]
    assert places == sorted(places)
    assert "![Effects each in units" in text
    assert (written / "figures" / "predictions.png").stat().st_size > 5000
    row = next(line for line in text.splitlines() if line.startswith("| **helps** (primary)"))
    assert "It \\| is <so>." in row
    assert "points | 8 | reproduced |" in row
    assert "| opposite |" in next(line for line in text.splitlines() if line.startswith("| hurts"))
    absent = next(line for line in text.splitlines() if line.startswith("| absent"))
    assert "| tuned | above 0 | – | – | not evaluated: no run of nobody has finished | – |" in absent
    assert "added after the first student had finished" in text


def test_the_table_carries_every_number_and_the_command_behind_it(written):
    rows = list(csv.DictReader((written / "tables" / "predictions.csv").open()))
    assert [row["prediction"] for row in rows] == list(PREDICTIONS)
    (found, *_) = predictions_of(summarize(study(predictions=PREDICTIONS)), "mnist1d")
    assert float(rows[0]["effect"]) == pytest.approx(found.effect.estimate, rel=1e-5)
    assert float(rows[0]["p"]) == pytest.approx(found.p_value, rel=1e-5)
    assert rows[0]["verdict"] == "reproduced"
    assert rows[3]["added later"] == "1"
    words = shlex.split(rows[1]["command"])
    assert words[:3] == ["kdlab", "sweep", "synthetic"]
    assert {"seed=range(0,8)", "study.only=[kd,weak]"} <= set(words)
    assert rows[3]["command"] == ""


def test_it_is_made_again_with_the_same_bytes(written):
    before = {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}
    rebuild(written)
    assert {path: path.read_bytes() for path in written.rglob("*") if path.is_file()} == before


def test_the_page_shows_the_same_and_escapes_it():
    text = predictions_html(summarize(study(predictions=PREDICTIONS, reference="<b>")))
    assert text.count("<tr data-outcome=") == 4
    assert 'data-word="reproduced">reproduced' in text
    assert "It | is &lt;so&gt;." in text
    assert "&lt;b&gt;" in text
    assert text.count("<svg") == 3


def test_a_study_that_predicts_nothing_has_the_report_it_had(tmp_path):
    lines = study()
    write_report(tmp_path / "plain", lines=lines, figures=False)
    files = {path.name for path in (tmp_path / "plain").rglob("*")}
    assert not [name for name in files if "predictions" in name]
    assert "predicted" not in (tmp_path / "plain" / "README.md").read_text()
    assert "side was predicted" not in page_text(summarize(lines))


def test_one_large_effect_does_not_hide_the_others():
    def bar(low, high):
        return Bar("", "", "", "positive", (low + high) / 2, low, high, 1.0)

    assert limit_of([bar(-2, 3), bar(-1, 4), bar(90, 110)]) == pytest.approx(4 * 4 * 1.06)
    assert limit_of([bar(-0.1, 0.1)]) == pytest.approx(2 * 1.06)
