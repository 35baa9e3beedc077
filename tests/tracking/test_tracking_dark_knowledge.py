"""The dark knowledge of a teacher in W&B: a table of its shares, and the heat map that is drawn of it."""

import json
import subprocess
import sys

import pytest

from kdlab.records.record import RunRecord
from kdlab.tracking.tables import run_tables
from kdlab.tracking.wandb.tracker import WandbTracker

SHARES = [[None, 0.75, 0.25], [0.5, None, 0.5], [None, None, None]]
TOLD = {"set": "test", "temperature": 2.5, "class_names": ["0", "cat", "2"], "probabilities": SHARES}
ROWS = [["0", "1 cat", 0.75], ["0", "2", 0.25], ["1 cat", "0", 0.5], ["1 cat", "2", 0.5]]
TITLE = "Shares among the wrong classes (test set, T = 2.5)"
RUN = {
    "run_id": "ab" * 8,
    "name": "teacher",
    "group": "g",
    "job_type": "teacher",
    "tags": [],
    "config": {},
    "notes": None,
}


def teacher(dark_knowledge):
    return RunRecord("a" * 16, "i", "finished", "teacher", "x", {}, {}, {}, dark_knowledge=dark_knowledge)


def test_the_table_of_a_teacher_has_a_row_for_every_share():
    table = run_tables(teacher(TOLD))["dark_knowledge"]
    assert [list(row) for row in table.rows] == ROWS
    assert (list(table.columns), table.heat_map) == (["true class", "other class", "share"], TITLE)


@pytest.mark.parametrize("nothing", [{}, {"probabilities": None, "reason": "this control has no network"}])
def test_where_there_is_none_there_is_no_table(nothing):
    assert "dark_knowledge" not in run_tables(teacher(nothing))


def test_an_offline_run_keeps_the_table_and_the_chart(tmp_path, inspect_run):
    said = []
    mirror = WandbTracker(mode="offline", project="p", directory=tmp_path / "wandb", say=said.append)
    mirror.start(**RUN).finish({"test/accuracy": 0.5}, tables=run_tables(teacher(TOLD)), files={}, failed=False)
    assert said == []
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    (kept,) = (folder / "files" / "media" / "table").glob("dark_knowledge_table*.json")
    assert json.loads(kept.read_text())["data"] == ROWS
    assert inspect_run(folder)["summary"]["dark_knowledge_table"]["nrows"] == len(ROWS)
    charts = json.dumps(inspect_run(folder, summary=False))
    for part in ("wandb/confusion_matrix/v1", TITLE, "true class", "other class", "dark_knowledge_table"):
        assert part in charts


def test_it_arrives_at_a_server_with_the_run(tmp_path, server, clean_environment):
    code = f"""
import sys
sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
from pathlib import Path
from test_tracking_dark_knowledge import RUN, TOLD, run_tables, teacher
from kdlab.tracking.wandb.tracker import WandbTracker
run = WandbTracker(mode="online", project="p", directory=Path({str(tmp_path / "wandb")!r})).start(**RUN)
run.finish({{"test/accuracy": 0.5}}, tables=run_tables(teacher(TOLD)), files={{}}, failed=False)
"""
    environment = clean_environment(**server.env(str(tmp_path / "home")))
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment, timeout=60)
    run = server.run("p", RUN["run_id"])
    assert (run.state, run.summary["test/accuracy"]) == ("finished", 0.5)
    assert run.summary["dark_knowledge_table"]["nrows"] == len(ROWS)
    assert any(name.startswith("media/table/dark_knowledge_table") for name in run.files)
