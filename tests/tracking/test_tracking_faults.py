"""A server that stumbles while runs are open: nobody waits long, nothing is lost, what arrived in part is completed."""

import json
import time

import pytest
from mirrored_store import ROWS, made_up

from kdlab.records.store import Store

RUNS = [made_up(number).run_id for number in range(3)]
OUTAGE_SECONDS = 12.0


def rows(run):
    return [row["trainer/step"] for row in run.history if "trainer/step" in row]


@pytest.mark.long
def test_twelve_seconds_of_503_cost_an_online_run_nothing_but_time(server, mirrored, tmp_path):
    began = []

    def outage(kind, name):
        if kind in ("filestream", "file"):
            began.append(time.monotonic())
            return 503 if time.monotonic() - began[0] < OUTAGE_SECONDS else None
        return None

    server.fault = outage
    mirrored(tmp_path / "runs", mode="online", **server.env(str(tmp_path / "home")))
    assert time.monotonic() - began[0] >= OUTAGE_SECONDS, "the outage was over before the runs were"
    for number, run_id in enumerate(RUNS):
        run = server.run("kdlab", run_id)
        assert run.state == ("failed" if number == 2 else "finished")
        assert rows(run) == [10 * at for at in range(ROWS)]
        assert {"record.json", "studies.json"} <= set(run.files)


@pytest.mark.long
def test_a_server_that_goes_for_good_leaves_whole_numbers_on_disk_and_a_sync_completes_them(
    server, mirrored, kdlab, tmp_path
):
    seen = []

    def gone_after_first_rows(kind, name):
        seen.append(kind)
        return "drop" if "filestream" in seen[:-1] else None

    server.fault = gone_after_first_rows
    started = time.monotonic()
    told = {**server.env(str(tmp_path / "home")), "WANDB_HTTP_TIMEOUT": "2"}
    root = mirrored(tmp_path / "runs", mode="online", finish_seconds=3, **told)
    assert time.monotonic() - started < 30, "one run waits for its limits, the others for nothing"
    assert [Store(root).load(run_id).status for run_id in RUNS] == ["finished", "finished", "failed"]
    server.fault = None
    done = kdlab("sync", "store.root=runs", server=server)
    assert done.returncode == 0, (done.stdout, done.stderr)
    for number, run_id in enumerate(RUNS):
        run = server.run("kdlab", run_id)
        assert run.state == ("failed" if number == 2 else "finished")
        assert rows(run) == [10 * at for at in range(ROWS)]
        assert len(run.history) == ROWS + (number < 2)
        assert run.summary["test/accuracy"] == pytest.approx(0.5 + number / 100)
        assert json.loads(run.files["record.json"])["run_id"] == run_id
