"""The index of findings: a family of made-up reports, corrected by hand."""

import csv
import re

import pytest
import synthetic_records as synthetic
from scipy import stats

from kdlab.reporting.findings import catalogue, findings_in, score_text, write_findings
from kdlab.reporting.quoting import rebuild_quotes
from kdlab.reporting.report import write_report

GAINS = {"F16": 0.05, "F24": 0.0085, "F02": -0.05, "F38": 0.0}
SIGNS = {"F16": "positive", "F24": "positive", "F02": "positive", "F38": "zero"}


def lines_of(name, *, seeds=6):
    maker = synthetic.Maker(seed=int(name[1:]))
    for seed in range(seeds):
        maker.student(seed, arm="kd", gain=GAINS[name], overrides=[f"seed={seed}"])
    effect = {"difference": [["kd"], ["scratch(kd)"]]}
    said = {"claim": f"Claim | of {name}.", "metric": "test/accuracy", "recipe": "fixed", "sesoi": 0.005}
    first = {**said, "effect": effect, "sign": SIGNS[name], "primary": True}
    other = {**said, "effect": {"difference": [["scratch(kd)"], ["kd"]]}, "sign": "zero", "primary": False}
    return maker.lines(
        name=f"finding/{name}",
        sweep=f"finding/{name}",
        arms={"kd": []},
        reference=f"The paper of {name}",
        predictions={"other": other, "first": first},
    )


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    root = tmp_path_factory.mktemp("project") / "reports"
    for name in GAINS:
        write_report(root / "finding" / name, lines=lines_of(name), figures=False)
    write_report(root / "other", lines=lines_of("F16"), figures=False)
    write_findings(root, sweeps=["F16", "F24", "F10"])
    return root


def by_name(reports):
    rows = list(csv.DictReader((reports / "finding" / "findings.csv").open()))
    return {row["finding"]: row for row in rows}


def slow_p(name):
    lines = lines_of(name)
    by_id = {line["run_id"]: line for line in lines[1:]}
    gains = [
        line["metrics"]["test/accuracy"] - by_id[line["twin"]]["metrics"]["test/accuracy"]
        for line in lines[1:]
        if line["role"] == "student"
    ]
    return stats.ttest_1samp(gains, 0).pvalue


def test_the_primary_predictions_of_all_findings_are_one_family(reports):
    p_values = {name: slow_p(name) for name in GAINS}
    rows, highest = by_name(reports), 0.0
    for place, name in enumerate(sorted(p_values, key=p_values.get)):
        highest = max(highest, min(1.0, (4 - place) * p_values[name]))
        assert float(rows[name]["p"]) == pytest.approx(p_values[name], rel=1e-4)
        assert float(rows[name]["adjusted p"]) == pytest.approx(highest, rel=1e-4)
    assert rows["F16"]["verdict after Holm"] == "reproduced"
    assert rows["F02"]["verdict after Holm"] == "opposite"
    assert [one.name for one in findings_in(reports)] == ["F02", "F16", "F24", "F38"]


def test_a_finding_without_a_report_says_why(reports):
    rows = by_name(reports)
    assert rows["F10"]["status"] == "not run: `kdlab sweep finding/F10`"
    assert rows["F20"]["status"] == "exact: tests/findings/test_findings_bayes.py"
    assert rows["F22"]["status"].startswith("not built: needs ")
    assert rows["F03"]["status"] == "no sweep yet"
    assert rows["F16"]["command"] == "kdlab sweep finding/F16"
    assert list(rows) == sorted(rows, key=lambda name: int(re.match(r"F(\d+)", name)[1]))
    assert set(rows) == set(catalogue())


def test_the_page_links_every_report_and_opens_with_the_score(reports):
    text = (reports / "finding" / "README.md").read_text()
    assert "[F16](F16/README.md) | Claim \\| of F16. | The paper of F16 |" in text
    assert text.index("4 have been run: **") < text.index("| Finding |")
    assert (reports / "finding" / "overview.png").stat().st_size > 5000


def test_the_score_counts_verdicts_after_holm(reports):
    found = findings_in(reports)
    told = score_text(found)
    words = [one.judged.word.removesuffix(" after Holm") for one in found]
    for word in ("reproduced", "opposite", "null", "inconclusive"):
        assert f"{words.count(word)} {word}" in told
    assert "after Holm over 4" in told
    assert score_text([]) == "No finding has been run yet."


def test_it_is_made_again_with_the_same_bytes(reports):
    files = [path for path in (reports / "finding").glob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    write_findings(reports, sweeps=["F16", "F24", "F10"])
    assert {path: path.read_bytes() for path in files} == before


def test_a_page_quotes_the_score(reports):
    page = reports.parent / "README.md"
    page.write_text("# Title\n\nFindings: <!-- kdlab:findings -->old\nlines<!-- /kdlab:findings --> and on.\n")
    assert rebuild_quotes(page, reports)
    text = page.read_text()
    assert score_text(findings_in(reports)) in text
    assert "[Every finding](reports/finding/README.md)<!-- /kdlab:findings --> and on." in text
    assert not rebuild_quotes(page, reports)


def test_nothing_is_written_without_findings(tmp_path):
    assert write_findings(tmp_path, sweeps=["F16"]) == []
    assert list(tmp_path.iterdir()) == []


def test_the_catalogue_lists_all_findings_once():
    numbers = {int(re.fullmatch(r"F(\d\d)[ab]?", name)[1]) for name in catalogue()}
    assert numbers == set(range(1, 62))
    assert {name for name, about in catalogue().items() if "exact" in about} == {"F05", "F06a", "F20", "F37a"}
    assert all(set(about) <= {"claim", "exact", "needs"} and about["claim"] for about in catalogue().values())
