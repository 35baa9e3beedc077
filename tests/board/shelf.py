"""A store that tests fill by hand, as runs of a sweep would; and a board that listens."""

import hashlib
import http.client
import json
import os
import threading
import time
from contextlib import contextmanager

from filelock import FileLock

from kdlab.records import studies
from kdlab.records.history import HistoryWriter
from kdlab.records.record import RunRecord
from kdlab.records.store import Store

CONFIG = {"training": {"steps": 100}, "teacher": {"training": {"steps": 60}, "quality": {"name": "standard"}}}


def run_id(number):
    return hashlib.sha256(str(number).encode()).hexdigest()[:16]


def record_of(number, **changes):
    name = hashlib.sha256(str(number).encode()).hexdigest()
    given = {
        "run_id": name[:16],
        "identity": name,
        "status": "finished",
        "role": "student",
        "data": "tiny",
        "seeds": {"student": number, "teacher": None, "data": 0},
        "config": {"tracker": {"project": "kdlab", "entity": "team"}},
        "identity_config": {"seeds": {"student": number}},
        "metrics": {"test/accuracy": 0.5 + number / 1000, "validation/accuracy": 0.4},
        "provenance": {"started": "2026-01-01T00:00:00+00:00", "seconds": 3.0},
        "tracker_id": name[:16],
    }
    return RunRecord(**{**given, **changes})


class Shelf:
    """A store and the things that happen in it."""

    def __init__(self, root):
        self.root = root
        self.store = Store(root, say=lambda text: None)

    def plan(self, name="question", count=4, **header):
        """A study of ``count`` students, numbered."""
        usual = {"name": name, "question": "Why?", "arms": {"distilled": []}, "command": f"kdlab sweep {name}"}
        members = [
            studies.Member(run_id(at), "student", "distilled", None, (f"objective.temperature={at}", "seed=0"))
            for at in range(count)
        ]
        studies.plan(self.root, name, {**usual, **header}, members)

    def begin(self, number, *, age=0.0):
        """A run is begun; some seconds ago."""
        folder = self.store.begin(run_id(number), CONFIG)
        HistoryWriter(folder / "history.jsonl").close()
        self.age(folder / "config.yaml", age)
        self.age(folder / "history.jsonl", age)
        return folder

    def log(self, number, step, **metrics):
        """It logs what it measured at a step."""
        names = {name.replace("_", "/", 1): value for name, value in metrics.items()}
        path = self.store.folder(run_id(number)) / "history.jsonl"
        with path.open("a") as file:
            for key, value in names.items():
                file.write(json.dumps({"step": step, "epoch": 1.0, "key": key, "value": value}) + "\n")

    def end(self, number, *, age=0.0, **changes):
        """Its record is written."""
        self.store.write(record_of(number, **changes))
        self.age(self.store.folder(run_id(number)) / "record.json", age)

    def done(self, number, **changes):
        """It was begun and ended."""
        self.begin(number)
        self.log(number, 100, validation_accuracy=0.4)
        self.end(number, **changes)

    @contextmanager
    def held(self, *numbers):
        """Somebody makes these runs."""
        (self.root / "locks").mkdir(parents=True, exist_ok=True)
        locks = [FileLock(self.root / "locks" / f"{run_id(number)}.lock") for number in numbers]
        for lock in locks:
            lock.acquire(timeout=0)
        try:
            yield
        finally:
            for lock in locks:
                lock.release()

    @staticmethod
    def age(path, seconds):
        if seconds:
            then = time.time() - seconds
            os.utime(path, (then, then))


class Listening:
    """A board that listens on a free port of this machine, and what it answers, byte by byte."""

    def __init__(self, port):
        self.port = port
        self.address = f"http://127.0.0.1:{port}"

    def __call__(self, path, *, method="GET", host="", **headers):
        """Status, headers and body of exactly this path; ``host=None`` sends no Host."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest(method, path, skip_host=True)
        if host is not None:
            connection.putheader("Host", host or f"127.0.0.1:{self.port}")
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def json(self, path):
        status, _, body = self(path)
        assert status == 200, body
        return json.loads(body)


@contextmanager
def listening(app, *, port=0):
    """The application behind a real server, on a free port unless one is given."""
    import uvicorn

    from kdlab.board.serving import listen

    bound = listen("127.0.0.1", port)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Listening(bound.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        bound.close()
