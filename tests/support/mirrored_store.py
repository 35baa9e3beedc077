"""Makes a small store whose runs are mirrored in W&B, in a process of its own: ``ROOT MODE COUNT BEGUN SECONDS``.

Records are made up, all else is real: kdlab's tracker, an unmodified wandb client, memberships, travelling files.
"""

import sys
from pathlib import Path

from kdlab.records import studies
from kdlab.records.history import HistoryWriter
from kdlab.records.identity import identity, run_id
from kdlab.records.record import RunRecord
from kdlab.records.store import HISTORY, Store
from kdlab.tracking.tables import run_tables
from kdlab.tracking.travel import travelling_files
from kdlab.tracking.wandb.tracker import WandbTracker

STUDY, ROWS = "story", 6


def made_up(number: int, *, begun: str = "2026-01-02T03:04:05+00:00", failed: bool = False) -> RunRecord:
    """A record that holds what every record holds, and a name that is the hash of what it says it trained."""
    trained = {"seeds": {"student": number}, "terms": {"soft_targets": {"T": 4.0}}}
    name = identity(trained)
    return RunRecord(
        run_id=run_id(name),
        identity=name,
        status="failed" if failed else "finished",
        role="student",
        data="digits",
        seeds={"student": number, "teacher": number, "data": 0},
        config={"student": {"width": 16}, "training": {"augmentation": {}, "lr": 0.001}, "tracker": {"notes": None}},
        identity_config=trained,
        overrides=[f"seed={number}"],
        metrics={"test/accuracy": 0.5 + number / 100, "test/ece": None, "noise/gap": 0.1},
        metrics_undefined={"test/ece": "why"},
        bins={"test": {"count": [1, 2], "confidence": [0.5, 0.6], "accuracy": [0.0, 1.0]}},
        slices={"noise": {"reference": "twins", "ood": True, "size": 10}},
        provenance={"started": begun},
        error={"type": "RuntimeError", "message": "made to fail"} if failed else None,
    )


def main(root: Path, mode: str, count: int, begun: str, finish_seconds: float) -> None:
    """The store: ``count`` runs open side by side, the last of them failed."""
    store = Store(root)
    records = [made_up(number, begun=begun, failed=number == count - 1) for number in range(count)]
    members = [studies.Member(one.run_id, one.role, "distilled", None, tuple(one.overrides)) for one in records]
    studies.plan(root, STUDY, {"question": "Does it arrive?", "command": "kdlab sweep story", "grid": {}}, members)
    tracker = WandbTracker(
        mode=mode,
        project="kdlab",
        directory=root / "wandb",
        init_timeout_seconds=10,
        finish_timeout_seconds=finish_seconds,
    )
    runs, histories = [], []
    for one in records:
        folder = store.begin(one.run_id, one.config)
        histories.append(HistoryWriter(folder / HISTORY))
        words = {"name": f"distilled seed={one.seeds['student']}", "group": STUDY, "job_type": one.role, "notes": None}
        config = {**one.config, "run_id": one.run_id, "begun": begun}
        runs.append(tracker.start(run_id=one.run_id, tags=[STUDY, "digits"], config=config, **words))
    for step in range(ROWS):
        for run, history in zip(runs, histories, strict=True):
            for sink in (run.log, history.append):
                sink({"train/loss": 1 / (step + 1), "train/none": None}, step=10 * step, epoch=step / 2)
    for one, run in zip(records, runs, strict=True):
        told = RunRecord(**{**one.to_json(), "tracker_id": run.id})
        store.write(told)
        tables = run_tables(told) if told.status == "finished" else {}
        files = travelling_files(store, told.run_id)
        run.finish(told.metrics, tables=tables, files=files, failed=told.status == "failed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
