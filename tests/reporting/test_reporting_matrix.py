"""The failure x fix matrix on made-up records, against scipy and a slow Fieller."""

import csv
import io
import re

import numpy as np
import pytest
import synthetic_records as synthetic
from scipy import stats

from kdlab.reporting.aggregate import summarize
from kdlab.reporting.matrix import matrix_of
from kdlab.reporting.matrix_figure import draw_matrix, look_of, texts_of
from kdlab.reporting.matrix_table import matrix_table
from kdlab.reporting.page.page import page_text
from kdlab.reporting.table import csv_text

GAIN = {
    "weak": -0.10, "weak.several": -0.02, "weak.colder": -0.16, "weak.same": -0.10,
    "small": 0.02, "small.several": 0.05,
}  # fmt: skip
MATRIX = {
    "failures": {
        "weak": {"label": "weak teacher", "metric": "test/accuracy"},
        "small": {"label": "student too small", "metric": "test/accuracy"},
    },
    "fixes": {"several": "several teachers", "colder": "lower temperature", "same": "another rate"},
    "control": "same",
}


def study(*, seeds=20, sd=0.004, gain=GAIN):
    """Records whose accuracy is that of the twin plus the gain of the arm, and a little noise."""
    maker, rng = synthetic.Maker(seed=5), np.random.default_rng(2)
    for seed in range(seeds):
        for place, (arm, mean) in enumerate(gain.items()):
            run = maker.student(seed, arm=arm, T=1 + place, overrides=[f"seed={seed}"])
            twin = maker.scratch(seed)["metrics"]["test/accuracy"]
            run["metrics"]["test/accuracy"] = twin + mean + sd * rng.standard_normal()
    return maker.lines(arms={arm: [] for arm in gain}, matrix=MATRIX)


def values(lines, arm, *, twin=False):
    by_id = {line["run_id"]: line for line in lines[1:]}
    found = {}
    for line in lines[1:]:
        if line["role"] == "student" and any(member["arm"] == arm for member in line["members"]):
            one = by_id[line["twin"]] if twin else line
            found[line["seeds"]["student"]] = one["metrics"]["test/accuracy"]
    return np.array([found[seed] for seed in sorted(found)])


def slow_fieller(x, y, level=0.95):
    """All r with 0 in the t interval of mean(x - r y), by bisection from the ratio outwards."""
    ratio = x.mean() / y.mean()

    def inside(r):
        part = x - r * y
        low, high = stats.t.interval(level, len(x) - 1, loc=part.mean(), scale=stats.sem(part))
        return low <= 0 <= high

    ends = []
    for sign in (-1, 1):
        near, far = ratio, ratio + sign * 10
        for _ in range(80):
            middle = (near + far) / 2
            near, far = (middle, far) if inside(middle) else (near, middle)
        ends.append(near)
    return ratio, *ends


def test_harm_gain_and_share_are_those_of_the_pairs():
    lines = study()
    found = matrix_of(summarize(lines), "mnist1d")
    weak, small = found.lines
    failing, scratch = values(lines, "weak"), values(lines, "weak", twin=True)
    low, high = stats.t.interval(0.95, 19, loc=np.mean(scratch - failing), scale=stats.sem(scratch - failing))
    assert (weak.harm.estimate, weak.harm.low, weak.harm.high) == pytest.approx((np.mean(scratch - failing), low, high))
    assert weak.is_shown
    assert not small.is_shown, "what gains is not harmed"
    several = weak.cells[0]
    fixed = values(lines, "weak.several")
    ratio, low, high = slow_fieller(fixed - failing, scratch - failing)
    assert (several.repaired.estimate, several.repaired.low, several.repaired.high) == pytest.approx((ratio, low, high))
    assert several.p_value == pytest.approx(stats.ttest_rel(fixed, failing).pvalue)
    assert small.cells[0].repaired is None
    assert small.cells[0].gain.estimate == pytest.approx(
        np.mean(values(lines, "small.several") - values(lines, "small"))
    )


def test_verdicts_are_those_after_holm_over_all_cells():
    found = matrix_of(summarize(study()), "mnist1d")
    weak, small = found.lines
    assert [cell.word for cell in weak.cells] == ["repairs", "harms more", "no effect"]
    assert small.cells[0].word == "better", "where no harm is shown nothing is repaired"
    assert [cell.gain for cell in small.cells[1:]] == [None, None], "there is no such arm"
    told = [cell.p_value for line in found.lines for cell in line.cells if cell.p_value is not None]
    order = np.argsort(told)
    slow = np.empty(len(told))
    highest = 0.0
    for place, at in enumerate(order):
        highest = max(highest, min(1.0, (len(told) - place) * told[at]))
        slow[at] = highest
    adjusted = [cell.adjusted for line in found.lines for cell in line.cells if cell.p_value is not None]
    assert adjusted == pytest.approx(list(slow))


def test_what_does_not_stand_after_holm_is_inconclusive():
    few = matrix_of(summarize(study(seeds=4, sd=0.03, gain={**GAIN, "weak.same": -0.06})), "mnist1d")
    for cell in (cell for line in few.lines for cell in line.cells if cell.p_value is not None):
        if cell.adjusted > 0.05:
            assert cell.word in ("inconclusive", "no effect")
    assert any(cell.p_value < 0.05 < cell.adjusted for cell in few.lines[0].cells)


def test_the_table_has_every_cell_that_ran_with_the_command_that_makes_it():
    table = matrix_table(summarize(study()), "mnist1d")
    assert len(table.rows) == 4
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert {(row["failure"], row["fix"], row["verdict"]) for row in rows} >= {("weak", "several", "repairs")}
    first = rows[0]
    assert float(first["low"]) < float(first["repaired"]) < float(first["high"])
    assert "study.only=[weak.several]" in table.commands[0] or "weak.several" in table.commands[0]
    assert "not shown" in table.rows[3][2]
    assert matrix_table(summarize(synthetic.arms(seeds=3)), "mnist1d").rows == []


def test_a_reader_sees_what_is_shown_what_is_nothing_and_what_is_not_decided(tmp_path):
    summary = summarize(study())
    weak, small = matrix_of(summary, "mnist1d").lines
    looks = [look_of(weak, cell) for cell in weak.cells]
    assert len({face for face, _ in looks}) == 3
    assert looks[2] == ((1.0, 1.0, 1.0), None)
    assert texts_of(weak, weak.cells[2])[0] == "0"
    assert texts_of(weak, weak.cells[0])[0].endswith("%")
    assert texts_of(small, small.cells[0])[0].startswith("+")
    assert texts_of(small, small.cells[1]) == ("", "does not apply")
    assert look_of(weak, weak.cells[0].__class__("weak", "x", word="inconclusive"))[1] is not None
    files, caption = draw_matrix(summary, "mnist1d", tmp_path, "matrix")
    assert [path.suffix for path in files] == [".png", ".svg"]
    assert files[0].stat().st_size > 10_000
    assert "hatched" in caption
    assert draw_matrix(summarize(synthetic.arms(seeds=3)), "mnist1d", tmp_path, "none") is None


def test_the_page_has_the_matrix_as_plain_html_and_nothing_of_it_where_there_is_none():
    page = page_text(summarize(study()))
    (section,) = re.findall(r'<section class="matrix".*?</section>', page, re.DOTALL)
    assert section.count("<tr>") == 3
    assert "80 %" in section
    assert "several teachers" in section
    assert "another rate<br>(control)" in section
    assert "harms more" in section, "the verdict stands in the title of a cell"
    assert "script" not in section
    plain = page_text(summarize(synthetic.arms(seeds=3)))
    assert 'class="matrix"' not in plain
    assert ".matrix" not in plain
