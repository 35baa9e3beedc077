"""The progress of a sweep: drawn on a terminal, plain lines elsewhere, whatever launches it; the table at its end."""

import json
import os
import re
from pathlib import Path

import pytest

from kdlab.commands.progress import Progress, draws, watching
from kdlab.records.ongoing import last_values
from kdlab.records.store import Store
from kdlab.training.callbacks import WATCHED

QUICK = ["data=tiny", "evaluation.sets=[validation,test]"]
LONG = ["training.steps=300", "trainer.checkpoint_every_seconds=60"]


@pytest.fixture
def sweep(kdlab):
    """A sweep of two points, as its words."""
    return ["run", "-m", *QUICK, *LONG, "seed=0,1", "--config-dir", kdlab.conf]


@pytest.mark.long
def test_a_terminal_gets_a_line_for_the_sweep_and_one_for_what_runs(sweep, on_terminal, kdlab):
    code, text, raw = on_terminal(*sweep, NO_COLOR="1")
    assert code == 0
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", raw) is None, "no colour where none is wanted"
    assert re.search(r"study multirun: [01] of 2 done, 0 failed, ends about (\d\d:\d\d|\.\.\.)", text)
    assert re.search(r"student seed=\d .*\d+/300 +validation 0\.\d{3}", text)
    for at in (1, 2):
        assert len(re.findall(rf"^\[{at}/2\] seed={at - 1}: validation/accuracy 0\.\d{{4}}", text, re.MULTILINE)) == 1
    assert raw.rstrip().endswith("makes its tables and figures")
    assert raw.count("\x1b[?25l") == raw.count("\x1b[?25h"), "the cursor is back"
    assert "verdict" in text


@pytest.mark.long
def test_worker_processes_are_drawn_by_the_one_that_launched_them(sweep, on_terminal, kdlab):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    code, text, _ = on_terminal(*sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert code == 0
    assert re.search(r"student seed=\d ", text)
    assert "validation accuracy" not in text, "workers say nothing into what is drawn"
    assert "%|" not in text, "nor do they draw bars of their own"
    assert sorted(re.findall(r"^\[\d/2\] seed=(\d): validation/accuracy", text, re.MULTILINE)) == ["0", "1"]


def test_ctrl_c_leaves_the_terminal_clean(sweep, on_terminal, kdlab):
    code, text, raw = on_terminal(*sweep, "training.steps=200000", kill_at=b"200000")
    assert code == 130
    assert raw.count("\x1b[?25l") == raw.count("\x1b[?25h") > 0
    assert "interrupted; finished runs are whole" in text
    assert "Traceback" not in text


@pytest.mark.long
def test_without_a_terminal_there_are_plain_lines_from_workers_too(kdlab, sweep):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    said = kdlab(*sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert (said.code, said.err) == (0, "")
    lines = [line for line in said.out.splitlines() if line.startswith("[")]
    assert [line[:5] for line in lines] == ["[1/2]", "[2/2]"]
    assert re.search(r": validation/accuracy 0\.\d{4}(, about \d+ (s|min) left)?$", lines[0])
    assert WATCHED not in os.environ


def test_a_point_whose_teacher_fails_is_told_once(kdlab, monkeypatch):
    import kdlab.experiments.fitting as fitting

    def broken(learners, **keywords):
        raise RuntimeError("no teacher today")

    monkeypatch.setattr(fitting, "fit", broken)
    said = kdlab("run", "-m", *QUICK, "seed=0,1", "--config-dir", kdlab.conf)
    assert said.code == 1
    assert len(re.findall(r"^\[\d/2\] seed=\d: FAILED: RuntimeError: no teacher today", said.out, re.MULTILINE)) == 2


def test_a_mistake_in_the_display_fails_nothing_and_is_told(tmp_path, monkeypatch, capsys):
    def broken(self):
        raise ZeroDivisionError("in the display")

    monkeypatch.setattr(Progress, "look", broken)
    with watching(Progress("s", [], [], Store(tmp_path / "runs"), tells_ends=True), wanted=True):
        pass
    told = "note: the progress display stopped early (ZeroDivisionError: in the display); the sweep was not affected\n"
    assert capsys.readouterr().out == told


def test_nothing_is_left_behind_when_a_sweep_breaks(tmp_path):
    progress, seen = Progress("s", [], [], Store(tmp_path / "runs"), tells_ends=True), []

    def interrupted():
        with watching(progress, wanted=True):
            seen.append(os.environ[WATCHED])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen == [f"{os.getpid()} tells"]
    assert WATCHED not in os.environ


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], (3, 0.1)),
        ([(10, "train/loss", 2.0)], (10, 0.1)),
        ([(10, "validation/accuracy", 0.5), (10, "validation/nll", 1.0), (20, "train/loss", 1.0)], (20, 0.5)),
        ([(10, "validation/accuracy", 0.5), (20, "validation/accuracy", None)], (20, 0.5)),
    ],
)
def test_the_last_values_of_a_history(tmp_path, rows, expected):
    path = tmp_path / "history.jsonl"
    lines = [json.dumps({"step": s, "epoch": 1.0, "key": k, "value": v}) + "\n" for s, k, v in rows]
    path.write_text("".join(lines) + '{"step": 99, "ep')
    assert last_values(path, 3, 0.1) == expected
    path.write_text("x" * 9000 + "\n" + "".join(lines))
    assert last_values(path, 3, 0.1) == expected
    assert last_values(tmp_path / "nothing", 3, 0.1) == (3, 0.1)


def test_who_is_drawn_on(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert draws(Terminal(), wanted=True)
    assert not draws(Terminal(), wanted=False)
    monkeypatch.setenv("TERM", "dumb")
    assert not draws(Terminal(), wanted=True)
    with Path(os.devnull).open() as file:
        monkeypatch.setenv("TERM", "xterm")
        assert not draws(file, wanted=True)


# --- the table at the end -------------------------------------------------------------------------------------------


def table(said):
    """The rows of the summary, by setting."""
    lines = said.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("setting"))
    rows = [re.split(r"\s{2,}", line) for line in lines[at:] if line]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:] if len(row) == len(rows[0])}


def test_the_summary_says_what_the_report_says(kdlab):
    told = ["--config-dir", kdlab.conf]
    said = kdlab("sweep", "arms", *told)
    assert said.code == 0
    rows = table(said)
    assert len(rows) == 5
    assert kdlab("report", "arms").code == 0
    import csv

    for line in csv.DictReader((kdlab.here / "reports" / "arms" / "tables" / "results.csv").open()):
        star = " *" if line["best_on_validation"] == "1" else ""
        row = rows[line["setting"] + star]
        assert row["n"] == line["n"] == "2"
        assert float(row["test accuracy"].split(" ± ")[0]) == pytest.approx(float(line["test/accuracy"]), abs=1e-4)
        assert float(row["ECE"]) == pytest.approx(float(line["test/ece"]), abs=1e-4)
        if line["setting"] != "scratch":
            assert float(row["to scratch"].split(" ± ")[0]) == pytest.approx(
                float(line["test/accuracy minus scratch"]), abs=1e-4
            )
            assert row["verdict"] == line["test/accuracy minus scratch verdict"]
    assert kdlab("sweep", "arms", *told).out.splitlines()[-1].startswith("study arms: all 8 runs are finished")


def test_one_seed_has_no_verdict_and_says_why(kdlab):
    said = kdlab("run", "-m", *QUICK, "objective.temperature=1,2", "--config-dir", kdlab.conf)
    assert said.code == 0
    assert {row["verdict"] for row in table(said).values()} == {"-"}
    assert "no interval and no verdict: intervals need two units" in said.out


def test_a_tuning_phase_is_summed_up_on_validation(kdlab):
    words = ["data=tiny", "study.phase=tune", "evaluation.sets=[train,validation]", "seed=1000,1001"]
    said = kdlab("run", "-m", *words, "objective.alpha=0.5,1", "--config-dir", kdlab.conf)
    assert said.code == 0
    assert "tiny, validation alone, best first:" in said.out
    assert "test accuracy" not in said.out


def test_a_sweep_of_teachers_is_summed_up(kdlab):
    said = kdlab("teacher", "-m", *QUICK, "teacher.seed=0,1", "--config-dir", kdlab.conf)
    assert said.code == 0
    assert re.search(r"^teacher +n +test accuracy", said.out, re.MULTILINE)


def test_a_summary_that_cannot_be_made_fails_nothing(kdlab, monkeypatch):
    import kdlab.reporting.aggregate as aggregate

    def broken(lines):
        raise ValueError("odd lines")

    monkeypatch.setattr(aggregate, "summarize", broken)
    said = kdlab("run", "-m", *QUICK, "seed=0,1", "--config-dir", kdlab.conf)
    assert said.code == 0
    assert "note: the summary of study multirun could not be made (ValueError: odd lines)" in said.out
