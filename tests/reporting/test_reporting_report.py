"""The report folder: same bytes everywhere, figures with content, README blocks, the glue to the store."""

import csv
import filecmp
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
import synthetic_records as synthetic

from kdlab.errors import UserError
from kdlab.records.record import RunRecord
from kdlab.records.store import Store
from kdlab.records.studies import Member, plan
from kdlab.reporting.aggregate import ResultRow, summarize
from kdlab.reporting.canvas import spread
from kdlab.reporting.chosen import chosen_marks
from kdlab.reporting.compact import read_lines
from kdlab.reporting.figures import pareto_front, pooled_bins
from kdlab.reporting.heat_map import best_cell, grids
from kdlab.reporting.quoting import rebuild_quotes
from kdlab.reporting.report import find_reports, rebuild, write_report
from kdlab.reporting.sources import study_lines
from kdlab.reporting.table import csv_text, latex, markdown
from kdlab.reporting.tables import headline_rows, results_table


@pytest.fixture(scope="module")
def lines():
    return synthetic.grid(seeds=4, temperatures=(1, 4), alphas=(0, 0.5, 0.9), failed=0, uniform=True)


@pytest.fixture(scope="module")
def report(lines, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "temperature_alpha"
    return folder, write_report(folder, lines=lines)


def test_a_second_folder_made_from_the_records_alone_has_the_same_bytes(report, tmp_path):
    import matplotlib

    folder, result = report
    matplotlib.rcParams["font.size"] = 30  # the user's own settings change nothing
    try:
        again = write_report(tmp_path / "clone", lines=read_lines(folder / "records.jsonl"))
    finally:
        matplotlib.rcdefaults()
    names = sorted(path.relative_to(folder).as_posix() for path in result.files)
    assert names == sorted(path.relative_to(tmp_path / "clone").as_posix() for path in again.files)
    _, different, missing = filecmp.cmpfiles(folder, tmp_path / "clone", names, shallow=False)
    assert (different, missing) == ([], [])
    assert again.summary_text == result.summary_text


def test_every_file_in_the_folder_was_made_by_the_report(report):
    folder, result = report
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(result.files)
    suffixes = {path.suffix for path in result.files}
    assert suffixes == {".md", ".csv", ".tex", ".png", ".svg", ".jsonl", ".html"}


def test_figures_are_not_empty_and_carry_no_date(report):
    from matplotlib.image import imread

    folder, _ = report
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert names == {"heat_map", "accuracy_latency", "slice_gaps", "reliability", "learning_curves"}
    for path in (folder / "figures").glob("*.png"):
        image = imread(path)[:, :, :3]
        assert min(image.shape[:2]) > 300
        assert 0.01 < np.mean(np.any(image < 0.9, axis=2)) < 0.9, path.name
        assert b"Software" not in path.read_bytes()[:400]
    for path in (folder / "figures").glob("*.svg"):
        assert "<dc:date>" not in path.read_text(encoding="utf-8")


def test_readme_says_what_a_reader_must_know(report):
    text = (report[0] / "README.md").read_text(encoding="utf-8")
    assert "for one fixed data draw (data.seed = 0)" in text
    assert "found with 80 % power" in text
    assert "best on validation" in text
    assert "kdlab sweep temperature_alpha" in text
    assert "0123456789ab" in text
    assert "What it says" not in text
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (report[0] / link).is_file(), link


def test_readme_of_pinned_teacher_failed_runs_and_resplit_data(tmp_path):
    maker = synthetic.Maker(data="digits", resplit=False)
    for seed in range(3):
        maker.student(seed, teacher_seed=0, overrides=[f"seed={seed}"], status="failed" if seed == 2 else "finished")
    write_report(tmp_path / "pinned", lines=maker.lines(says="It did | so."), figures=False)
    text = (tmp_path / "pinned" / "README.md").read_text(encoding="utf-8")
    assert "speaks of that teacher only" in text
    assert "1 run failed" in text
    assert "**What it says.** It did | so." in text
    write_report(
        tmp_path / "resplit",
        lines=synthetic.grid(seeds=3, data="digits", resplit=True, temperatures=(1,)),
        figures=False,
    )
    text = (tmp_path / "resplit" / "README.md").read_text(encoding="utf-8")
    assert "Nadeau-Bengio" in text
    assert "fixed data draw" not in text


def test_a_study_of_two_data_sets_never_pools_them(tmp_path):
    both = (
        synthetic.grid(seeds=3, temperatures=(1, 2)) + synthetic.grid(seeds=3, temperatures=(1, 2), data="digits")[1:]
    )
    both = [{**line, "curves": {}, "bins": {}, "slices": {}} if line["kind"] == "run" else line for line in both]
    result = write_report(tmp_path / "both", lines=both)
    names = {path.name for path in result.files}
    assert {"results_mnist1d.md", "results_digits.csv", "heat_map_mnist1d.png", "heat_map_digits.svg"} <= names
    text = (tmp_path / "both" / "README.md").read_text(encoding="utf-8")
    assert text.index("## Results on digits") < text.index("## Results on mnist1d")
    assert "figures/heat_map_digits.png" in text


def test_stale_tables_and_figures_go_other_files_stay(lines, tmp_path):
    folder = tmp_path / "study"
    write_report(folder, lines=lines, figures=False)
    (folder / "figures").mkdir()
    (folder / "figures" / "old.png").write_bytes(b"")
    (folder / "tuned.yaml").write_text("T: 4\n")
    rebuild(folder, figures=False)
    assert not (folder / "figures" / "old.png").exists()
    assert (folder / "tuned.yaml").exists()


def test_an_empty_study_gets_a_readme(tmp_path):
    write_report(tmp_path / "x", lines=[{"kind": "study", "name": "x", "question": "Why?"}])
    assert "No run of this study has finished yet" in (tmp_path / "x" / "README.md").read_text()


def test_tables_carry_the_command_of_every_row_in_all_forms(lines):
    table = results_table(summarize(lines), "mnist1d")
    rows = list(csv.DictReader(io.StringIO(csv_text(table))))
    assert len(rows) == len(table.rows)
    assert all(row["command"].startswith("kdlab ") for row in rows)
    student = next(row for row in rows if row["setting"] == "T=4, alpha=0.9")
    assert float(student["test/accuracy low"]) < float(student["test/accuracy"]) < float(student["test/accuracy high"])
    assert student["test/accuracy minus scratch verdict"]
    assert latex(table).count("% kdlab ") == len(table.rows)
    assert "±" not in latex(table)
    assert markdown(table, commands=True).count("`kdlab ") == len(table.rows)
    widths = {line.count(" | ") for line in markdown(table).splitlines()}
    assert len(widths) == 1


def test_heat_map_chooses_on_validation_and_a_control_never_takes_a_cell(lines):
    summary = summarize(lines)
    (found,) = grids(summary, "mnist1d")
    assert (found.x, found.y) == ("objective.temperature", "objective.alpha")
    assert set(found.cells) == {(T, alpha) for T in (1, 4) for alpha in (0, 0.5, 0.9)}
    assert all(row.group.quality != "uniform" for row in found.cells.values())
    assert {found.cells[T, 0].group.role for T in (1, 4)} == {"scratch"}
    assert found.cells[best_cell(found)] is summary.best("mnist1d")


def test_pareto_front_against_the_slow_definition():
    points = [(float(x), float(y)) for x, y in np.random.default_rng(0).integers(0, 6, (40, 2))]
    front = pareto_front(points)
    for x, y in points:
        assert any(points[i][0] <= x and points[i][1] >= y for i in front)
    for i in front:
        assert not any(x <= points[i][0] and y >= points[i][1] and (x, y) != points[i] for x, y in points)


def test_pooled_bins_weigh_by_count(lines):
    row = summarize(lines).best("mnist1d")
    count, _, accuracy = pooled_bins(row)
    bins = [run["bins"]["test"] for run in row.group.runs]
    assert count.sum() == 10000 * len(bins)
    assert np.isnan(accuracy[0])
    slow = sum(one["count"][7] * one["accuracy"][7] for one in bins) / sum(one["count"][7] for one in bins)
    assert accuracy[7] == pytest.approx(slow)


def test_labels_are_moved_apart_and_no_further():
    found = spread([0.0, 0.1, 0.2, 5.0], gap=1.0)
    assert np.diff(found).min() >= 1.0 - 1e-12
    assert np.mean(found[:3]) == pytest.approx(0.1)
    assert found[3] == 5.0


def test_readme_blocks_are_replaced_once_and_left_alone_after(report, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# kdlab\n<!-- kdlab:table temperature_alpha -->\nold\n<!-- /kdlab:table -->\nafter\n")
    assert rebuild_quotes(readme, report[0].parent)
    text = readme.read_text(encoding="utf-8")
    assert "old" not in text
    assert text.endswith("<!-- /kdlab:table -->\nafter\n")
    assert "| scratch |" in text
    assert not rebuild_quotes(readme, report[0].parent)
    readme.write_text("<!-- kdlab:table temperature_alfa -->\n<!-- /kdlab:table -->\n")
    with pytest.raises(UserError, match="did you mean temperature_alpha"):
        rebuild_quotes(readme, report[0].parent)


def test_a_measured_line_stands_inside_a_cell(report, tmp_path, lines):
    page = tmp_path / "methods.md"
    page.write_text(
        "| KD | <!-- kdlab:measured temperature_alpha uniform scratch --><!-- /kdlab:measured --> | end |\n"
    )
    header = {**lines[0], "arms": {"uniform": []}}
    rows = [{**line, "members": [{**member, "arm": "uniform"} for member in line["members"]]}
            if (line.get("teacher") or {}).get("quality") == "uniform" else line for line in lines[1:]]  # fmt: skip
    write_report(tmp_path / "reports" / "temperature_alpha", lines=[header, *rows], figures=False)
    assert rebuild_quotes(page, tmp_path / "reports")
    found = re.search(r"--> *([+−]\d\.\d{4}) \[([+−]\d\.\d{4}), ([+−]\d\.\d{4})\], \w+", page.read_text())
    taught = {
        run["seeds"]["student"]: run for run in rows if run["members"] and run["members"][0].get("arm") == "uniform"
    }
    assert found
    assert page.read_text().endswith("<!-- /kdlab:measured --> | end |\n")
    by_id = {run["run_id"]: run for run in rows}
    gains = [
        run["metrics"]["test/accuracy"] - by_id[run["twin"]]["metrics"]["test/accuracy"] for run in taught.values()
    ]
    assert float(found.group(1).replace("−", "-")) == pytest.approx(np.mean(gains), abs=5.1e-5)
    page.write_text("<!-- kdlab:measured temperature_alpha nobody scratch --><!-- /kdlab:measured -->")
    with pytest.raises(UserError, match="quotes nobody against scratch"):
        rebuild_quotes(page, tmp_path / "reports")


def test_a_line_is_not_quoted_of_an_arm_with_several_rows(lines, tmp_path):
    rows = [{**line, "members": [{**member, "arm": "soft"} for member in line["members"]]}
            if line["role"] == "student" else line for line in lines[1:]]  # fmt: skip
    folder = tmp_path / "reports" / "temperature_alpha"
    write_report(folder, lines=[{**lines[0], "arms": {"soft": []}}, *rows], figures=False)
    page = tmp_path / "methods.md"
    page.write_text("<!-- kdlab:measured temperature_alpha soft scratch --><!-- /kdlab:measured -->")
    with pytest.raises(UserError, match=r"has \d+ such pairs, of which a quote can show one: 'soft: .*' on mnist1d"):
        rebuild_quotes(page, tmp_path / "reports")


def test_the_edge_is_told_by_a_name_that_is_no_other_knob():
    keys = ["objective.terms.far.weight", "objective.terms.near.weight"]
    header = {"tune": {"soft": keys}, "arms": {"soft": [f"{keys[0]}=9", f"{keys[1]}=1"]}}
    groups = [SimpleNamespace(arms=("soft",), knobs={keys[0]: str(far), keys[1]: str(near)})
              for far in (1, 3, 9) for near in (0, 1, 2)]  # fmt: skip
    rows = [ResultRow(group, {}, None, ()) for group in groups]
    assert list(chosen_marks(rows, header).values()) == [f"chosen, {keys[0]} at the edge"]
    assert [row.group.knobs[keys[1]] for row in chosen_marks(rows, header)] == ["1"]


def test_summary_text_is_short_and_plain(report):
    text = report[1].summary_text
    assert len(text.splitlines()) <= 20
    assert "best on validation" in text
    assert max(map(len, text.splitlines())) <= 120


def _stored(store, line, **changes):
    record = RunRecord(
        run_id=line["run_id"],
        identity=line["run_id"] * 4,
        status=line["status"],
        role=line["role"],
        data=line["data"],
        seeds=line["seeds"],
        config={},
        identity_config=line["identity"],
        teacher=line["teacher"],
        twin=line["twin"],
        metrics=line["metrics"],
        bins=line["bins"] | {"train": {"count": [4000.0]}},
        slices=line["slices"],
        curves=line["curves"],
        provenance={"commit": line["commit"], "dirty": False, "versions": line["versions"]},
        **changes,
    )
    store.write(record)


def test_lines_from_a_store_bring_twins_and_teachers_along(lines, tmp_path):
    store = Store(tmp_path / "runs")
    for line in lines[1:]:
        _stored(store, line)
    students = [line for line in lines[1:] if line["role"] == "student"]
    members = [
        Member(line["run_id"], "student", overrides=member["overrides"])
        for line in students
        for member in line["members"]
    ]
    plan(store.root, "nested/study", {"question": "?"}, [*members, Member("f" * 16, "student", overrides=("seed=99",))])
    found = study_lines(store.root, tmp_path / "reports", "nested/study")
    assert {line["run_id"] for line in found[1:]} == {line["run_id"] for line in lines[1:]}
    write_report(tmp_path / "reports" / "nested" / "study", lines=found, figures=False)
    assert find_reports(tmp_path / "reports") == ["nested/study"]
    assert study_lines(tmp_path / "elsewhere", tmp_path / "reports", "nested/study") == read_lines(
        tmp_path / "reports/nested/study/records.jsonl"
    )
    with pytest.raises(UserError, match="did you mean nested/study"):
        study_lines(store.root, tmp_path / "reports", "nested/stud")


def test_the_first_screen_shows_the_best_cell_beside_its_own_controls():
    summary = summarize(synthetic.arms(seeds=4))
    best = summary.best("mnist1d")
    shown = [row.group.label for row in headline_rows(summary, "mnist1d", most=3)]
    assert len(shown) == 3
    width = best.group.knobs["student.width"]
    assert shown == [f"scratch: width={width}", f"uniform: width={width}", best.group.label]


def test_a_tuning_phase_is_read_by_its_own_table_alone(lines, tmp_path):
    looked_at = ("train/", "validation/")
    tuned = [
        line
        if line["kind"] == "study"
        else {**line, "metrics": {key: value for key, value in line["metrics"].items() if key.startswith(looked_at)}}
        for line in lines
    ]
    result = write_report(tmp_path / "recipe", lines=tuned, figures=False)
    assert not (tmp_path / "recipe" / "tables" / "results.csv").exists()
    rows = list(csv.DictReader((tmp_path / "recipe" / "tables" / "tuning.csv").open()))
    accuracies = [float(row["validation/accuracy"]) for row in rows]
    assert len(rows) > 4
    assert accuracies == sorted(accuracies, reverse=True)
    scratch = [line for line in lines if line.get("role") == "scratch"]
    twins = float(np.mean([line["metrics"]["validation/accuracy"] for line in scratch]))
    shown = next(float(row["validation/accuracy"]) for row in rows if row["setting"] == "scratch")
    assert shown == pytest.approx(twins, rel=1e-5)
    text = (tmp_path / "recipe" / "README.md").read_text()
    assert "## Tuning, on validation" in text
    assert "## Results" not in text
    assert "validation accuracy of a tuning phase" in result.summary_text
