"""What the page knows: the numbers of the tables, every run, and no more bytes than it may have."""

import re
from pathlib import Path

import pytest
import synthetic_records as synthetic
from test_page_columns import expanded

from kdlab.reporting.aggregate import summarize
from kdlab.reporting.compact import read_lines
from kdlab.reporting.page import data as module
from kdlab.reporting.page.data import payload
from kdlab.reporting.page.page import page_text, unpack
from kdlab.reporting.tables import results_table, slices_table, tuning_table

REPORTS = Path(__file__).parents[3] / "reports"


def study(name):
    return summarize(read_lines(REPORTS / name / "records.jsonl"))


@pytest.fixture(scope="module")
def size_summary():
    return study("student_size")


def test_configurations_show_the_very_texts_of_the_results_table(size_summary):
    (table,) = (results_table(size_summary, data) for data in size_summary.datasets)
    made = {one["label"]: one for one in payload(size_summary)["configurations"]}
    kept = {
        "Accuracy": "test/accuracy",
        "ECE": "test/ece",
        "Mean OOD gap": "ood/mean_gap",
        "p99 (ms)": "latency/p99_ms",
    }
    checked = 0
    for cells, command in zip(table.rows, table.commands, strict=True):
        row = dict(zip(table.columns, cells, strict=False))
        one = made[row["Setting"].replace("**", "").replace(" (best on validation)", "")]
        assert one["best"] == ("best on validation" in row["Setting"])
        assert one["command"] == command
        assert str(one["n"]) == row["n"]
        assert (one["retained"] or {"text": "–"})["text"] == row["Retained"]
        for column, key in kept.items():
            assert one["shown"].get(key, "–") == row[column]
            checked += 1
        against = {found["kind"]: found["metrics"]["test/accuracy"] for found in reversed(one["comparisons"])}
        place = table.columns.index("Δ accuracy to scratch")
        gain = against.get("scratch", {"text": "–", "verdict": "–"})
        assert [gain["text"], gain["verdict"]] == list(cells[place : place + 2])
    assert checked == 4 * 15


def test_the_numbers_behind_the_texts_are_those_of_the_intervals(size_summary):
    best = size_summary.best("mnist1d")
    one = next(found for found in payload(size_summary)["configurations"] if found["best"])
    interval = best.metrics["test/accuracy"]
    assert one["metrics"]["test/accuracy"] == pytest.approx(
        [interval.estimate, interval.low, interval.high, interval.n], rel=1e-5
    )
    scratch = size_summary.scratch_of(best)
    gap = size_summary.paired(best.group, scratch.group, "shear_strong/gap")
    assert one["gaps_to_scratch"]["shear_strong"] == pytest.approx([gap.estimate, gap.low, gap.high, gap.n], rel=1e-5)
    assert payload(size_summary)["configurations"][one["scratch"]]["label"] == scratch.group.label
    assert slices_table(size_summary, "mnist1d").rows


@pytest.mark.parametrize("name", ["student_size", "recipe", "fashion_mnist/teacher_quality"])
def test_every_run_is_there_with_all_its_numbers(name):
    summary = study(name)
    made = payload(summary)
    runs, length = made["runs"], made["num_runs"]
    ids = expanded(runs["run_id"], length)
    assert sorted(ids) == sorted(summary.by_id)
    metrics = {key: expanded(column, length) for key, column in runs["metrics"].items()}
    curves = {
        key: (expanded(one["steps"], length), expanded(one["values"], length)) for key, one in runs["curves"].items()
    }
    identities = expanded(runs["identity"], length)
    for place, run_id in enumerate(ids):
        run = summary.by_id[run_id]
        for key, value in run["metrics"].items():
            assert metrics[key][place] == (None if value is None else pytest.approx(value, rel=5.1e-4)), key
        for key, points in run["curves"].items():
            assert curves[key][0][place] == [step for step, _ in points]
            assert curves[key][1][place] == pytest.approx([value for _, value in points], rel=5.1e-4)
        assert identities[place]["version"] == run["identity"]["version"]
    places = expanded(runs["configurations"], length)
    assert all(places), "every run belongs to a configuration"
    assert all(key in made["keys"] for key in metrics)


def test_a_tuning_study_has_its_best_by_validation_and_no_test_number():
    summary = study("recipe")
    made = payload(summary)
    (best,) = (one for one in made["configurations"] if one["best"])
    first = tuning_table(summary, "mnist1d").rows[0]
    assert [best["label"], best["shown"]["validation/accuracy"]] == [first[0], first[2]]
    assert made["configurations"][best["scratch"]]["role"] == "scratch"
    students = [one for one in made["configurations"] if one["role"] != "teacher"]
    assert not [key for one in students for key in one["metrics"] if key.startswith("test/")]


def test_failed_runs_stay_with_their_error_in_the_configuration_they_would_have_had_a_place_in():
    made = payload(summarize(synthetic.grid(seeds=3, failed=2)))
    status = expanded(made["runs"]["status"], made["num_runs"])
    failed = [place for place, word in enumerate(status) if word == "failed"]
    assert len(failed) == 2 == made["failed"]
    errors, places = (expanded(made["runs"][name], made["num_runs"]) for name in ("error", "configurations"))
    commands = expanded(made["runs"]["command"], made["num_runs"])
    for place in failed:
        assert errors[place]["type"] == "FloatingPointError"
        (configuration,) = (made["configurations"][number] for number in places[place])
        assert (configuration["label"], configuration["failed"]) == ("T=1, alpha=1.0", 2)
        assert "seed=" in commands[place]


@pytest.mark.parametrize(
    "lines",
    [
        [{"kind": "study", "name": "x", "question": "Why?"}],
        synthetic.Maker().lines(),
        synthetic.grid(seeds=2, temperatures=(4,), alphas=(1.0,), failed=2),
    ],
    ids=["only a header", "no run", "all failed"],
)
def test_a_study_without_results_has_a_page(lines):
    page = page_text(summarize(lines))
    assert unpack(page)["num_runs"] == len(lines) - 1
    assert "<h1" in page


def test_a_page_is_the_same_again_and_names_no_place():
    first, second = (page_text(summarize(synthetic.arms(seeds=3))) for _ in range(2))
    assert first == second
    assert str(Path.home()) not in first
    assert str(REPORTS.parent) not in first


def test_what_does_not_fit_is_left_out_and_named(monkeypatch):
    summary = summarize(synthetic.arms(seeds=3))
    whole = payload(summary)
    assert {"bins", "identity"} <= whole["runs"].keys()
    losses = []
    for most in (16_000, 9_000, 5_500, 3_000):
        monkeypatch.setattr(module, "MOST_VALUES", most)
        made = payload(summary)
        losses.append(len(made["left_out"]) - len(whole["left_out"]))
        assert sorted(expanded(made["runs"]["run_id"], made["num_runs"])) == sorted(summary.by_id)
        assert "test/accuracy" in made["runs"]["metrics"]
    assert losses == sorted(losses)
    assert losses[-1] == 4
    assert not made["runs"]["curves"]
    assert "bins" not in made["runs"]
    assert "noise_1/gap" in made["runs"]["metrics"]
    assert "noise_1/nll" not in made["runs"]["metrics"]
    assert page_text(summary).count("<script") == 3


@pytest.mark.long
def test_a_page_of_a_thousand_runs_stays_under_3_mb():
    lines = read_lines(REPORTS / "teacher_quality" / "records.jsonl")
    more = [{**run, "run_id": run["run_id"][::-1]} for run in lines[1:] if run["role"] == "student"][:200]
    page = page_text(summarize([*lines, *more]))
    assert unpack(page)["num_runs"] > 1000
    assert len(page.encode()) < 3_000_000
    assert len(unpack(page)["left_out"]) == 2, "all details fit"


def test_the_policy_allows_these_scripts_and_no_request(size_summary):
    page = page_text(size_summary)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-[^']+' 'sha256-[^']+'", rules["script-src"])
    assert not re.search(r'(src|href)="(?!#|README\.md)', page), "nothing is loaded, nothing is linked elsewhere"


def test_the_committed_page_holds_what_its_records_give(size_summary):
    page = (REPORTS / "student_size" / "index.html").read_text(encoding="utf-8")
    assert unpack(page) == payload(size_summary)
