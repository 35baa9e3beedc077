"""Arms as a dose-response, against loops over the records."""

import csv

import numpy as np
import pytest
import synthetic_records as synthetic
from scipy import stats

from kdlab.reporting.aggregate import summarize
from kdlab.reporting.dose_figure import lines_of
from kdlab.reporting.doses import series_of
from kdlab.reporting.report import write_report

WIDTHS = {"w50": 50, "w100": 100, "w200": 200}
DOSES = {"label": "student width", "log": True, "values": {"w200": 200.0, "w50": 50.0, "w100": 100.0, "w400": 400.0}}


def study(**header):
    maker = synthetic.Maker(seed=9)
    arms = {}
    for arm, width in WIDTHS.items():
        for quality in ("standard", "uniform"):
            name = arm if quality == "standard" else f"{arm}_uniform"
            arms[name] = [f"student.width={width}", *([] if quality == "standard" else ["teacher/quality=uniform"])]
            for seed in range(6):
                overrides = [f"seed={seed}", *arms[name]]
                maker.student(seed, arm=name, width=width, quality=quality, gain=width / 1e4, overrides=overrides)
    said = {"doses": DOSES, "responses": ["test/accuracy", "test/agreement"], **header}
    return maker.lines(arms={**arms, "w400": []}, **said)


def test_a_response_by_dose_beside_twin_and_control():
    lines = study()
    by_id = {line["run_id"]: line for line in lines[1:]}
    (found,) = series_of(summarize(lines), "mnist1d", "test/accuracy").values()
    assert [one.dose for one in found] == [50, 100, 200]  # w400 has not been run
    for one, arm in zip(found, WIDTHS, strict=True):
        mine = {line["seeds"]["student"]: line for line in lines[1:] if any(m["arm"] == arm for m in line["members"])}
        control = [line for line in lines[1:] if any(m["arm"] == f"{arm}_uniform" for m in line["members"])]
        mine = {seed: line for seed, line in mine.items() if line["role"] == "student"}
        values = [mine[seed]["metrics"]["test/accuracy"] for seed in range(6)]
        twins = [by_id[mine[seed]["twin"]]["metrics"]["test/accuracy"] for seed in range(6)]
        controls = {line["seeds"]["student"]: line["metrics"]["test/accuracy"] for line in control}
        low, high = stats.t.interval(0.95, 5, loc=np.mean(values), scale=stats.sem(values))
        assert (one.value.estimate, one.value.low, one.value.high) == pytest.approx((np.mean(values), low, high))
        assert one.scratch.estimate == pytest.approx(np.mean(twins))
        assert one.uniform.estimate == pytest.approx(np.mean(list(controls.values())))
        assert one.to_scratch.estimate == pytest.approx(np.mean(np.subtract(values, twins)))
        assert one.to_uniform.estimate == pytest.approx(np.mean(values) - np.mean(list(controls.values())))
        assert one.to_uniform.sd == pytest.approx(np.std([values[s] - controls[s] for s in range(6)], ddof=1))


def test_a_metric_that_twins_do_not_have_is_shown_alone():
    (found,) = series_of(summarize(study()), "mnist1d", "test/agreement").values()
    assert len(found) == 3
    assert all(one.scratch is None and one.to_scratch is None for one in found)


def test_the_report_has_its_table_and_figure(tmp_path):
    write_report(tmp_path, lines=study())
    text = (tmp_path / "README.md").read_text()
    assert text.index("## Response to student width") < text.index("## Results")
    assert (tmp_path / "figures" / "doses.svg").is_file()
    rows = list(csv.DictReader((tmp_path / "tables" / "doses.csv").open()))
    assert [row["metric"] for row in rows] == ["test/accuracy"] * 3 + ["test/agreement"] * 3
    assert [row["dose"] for row in rows[:3]] == ["50", "100", "200"]
    assert "study.only=[w50]" in rows[0]["command"]


def test_one_dose_has_no_figure_and_no_doses_have_no_section(tmp_path):
    write_report(tmp_path / "one", lines=study(doses={**DOSES, "log": False, "values": {"w50": 1.0, "w400": 2.0}}))
    assert not (tmp_path / "one" / "figures" / "doses.png").exists()
    assert (tmp_path / "one" / "tables" / "doses.md").is_file()
    write_report(tmp_path / "none", lines=study(doses=None), figures=False)
    assert not (tmp_path / "none" / "tables" / "doses.md").exists()


def test_doses_of_slices_are_shown_for_every_arm(tmp_path):
    doses = {"label": "noise", "log": False, "slices": {"noise_2": 2.0, "noise_1": 1.0, "noise_9": 9.0}}
    lines = study(doses=doses, responses=["accuracy", "gap"])
    found = series_of(summarize(lines), "mnist1d", "gap")
    assert list(found) == ["w50", "w50_uniform", "w100", "w100_uniform", "w200", "w200_uniform"]
    assert [one.dose for one in found["w100"]] == [1, 2]  # nothing was measured on noise_9
    mine = [line for line in lines[1:] if any(m["arm"] == "w100" for m in line["members"])]
    values = [line["metrics"]["noise_2/gap"] for line in mine if line["role"] == "student"]
    assert found["w100"][1].value.estimate == pytest.approx(np.mean(values))
    names = [line.name for line in lines_of(found)]
    assert names == [*found, "scratch twin (labels alone)"]
    write_report(tmp_path, lines=lines)
    rows = list(csv.DictReader((tmp_path / "tables" / "doses.csv").open()))
    assert len(rows) == 2 * 6 * 2
    assert (tmp_path / "figures" / "doses.png").is_file()
