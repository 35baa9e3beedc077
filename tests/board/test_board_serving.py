"""Where the board listens, what the command says, and how it ends."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from shelf import Shelf

from kdlab.board.serving import PORT, TRIED, address_of, listen
from kdlab.commands.cli import main
from kdlab.errors import UserError


@pytest.fixture
def started(tmp_path):
    """A board in a process of its own: the process and what it said first."""
    running = []

    def start(*words):
        command = [sys.executable, "-m", "kdlab.commands.cli", "board", "--port", "0", *words]
        process = subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        running.append(process)
        return process, process.stdout.readline()

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_it_quietly_though_a_browser_is_connected(started):
    process, said = started()
    address = re.fullmatch(r"kdlab board: http://127\.0\.0\.1:(\d+)/  \(Ctrl-C ends it\)\n", said)
    assert address, said
    connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=10)
    connection.request("GET", "/api/studies")
    assert connection.getresponse().read() == b'{"studies":[]}'
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 0
    assert process.communicate() == ("", "")


def test_it_starts_without_what_trains(tmp_path):
    """A second until the board is there, not four."""
    code = """
import sys
from kdlab.board.server import make_app
from pathlib import Path
from starlette.testclient import TestClient
client = TestClient(make_app(Path("runs"), Path("reports")), base_url="http://localhost")
assert client.get("/api/studies").json() == {"studies": []}
print(sorted({"torch", "pytorch_lightning", "wandb", "pandas", "netcal", "matplotlib"} & set(sys.modules)))
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=True)
    assert found.stdout == "[]\n"
    assert list(tmp_path.iterdir()) == [], "a store that is not there is not made"


def test_a_study_is_named_in_the_address(started, tmp_path):
    Shelf(tmp_path / "mine").plan("deep/er")
    process, said = started("deep/er", "store.root=mine")
    address = said.split()[2]
    assert address.endswith("/study/deep/er")
    with urllib.request.urlopen(address) as answer:
        assert b"kdlab board" in answer.read()


def test_everywhere_says_what_that_means(started):
    process, said = started("--host=0.0.0.0")
    assert said.startswith("kdlab board: http://localhost:")
    assert "no password" in process.stdout.readline()


def test_a_port_that_was_asked_for_is_taken_or_told():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} of 127.0.0.1 is taken"):
            listen("127.0.0.1", port)


def test_without_a_port_the_next_free_one_is_used(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr("kdlab.board.serving.PORT", taken.getsockname()[1])
        with listen("127.0.0.1", None) as found:
            assert taken.getsockname()[1] < found.getsockname()[1] < taken.getsockname()[1] + TRIED
    assert PORT == 8765


@pytest.mark.parametrize(
    ("host", "said"),
    [("127.0.0.1", "http://127.0.0.1:1/x"), ("::1", "http://[::1]:1/x"), ("0.0.0.0", "http://localhost:1/x")],
)
def test_addresses(host, said):
    assert address_of(host, 1, "x") == said


@pytest.mark.skipif(not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")  # noqa: PTH110
def test_ipv6():
    try:
        found = listen("::1", 0)
    except UserError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with found:
        assert found.family == socket.AF_INET6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "x"], "board: --port x: a number from 1 to 65535 is needed"),
        (["--port"], "board: --port needs a value"),
        (["--port=70000"], "--port 70000"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid"),
        (["--opne"], "board: unknown option --opne; did you mean --open"),
        (["student.width=3"], "board: student.width cannot be set here, only store.root, report.root"),
        (["../up"], "study.name = '../up'"),
        (["one", "two"], "board: one name is expected, got one two"),
    ],
)
def test_mistakes(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["board", *words]) == 2
    assert said in capsys.readouterr().err


def test_open_opens_the_browser_once_it_answers(monkeypatch, tmp_path, capsys):
    import webbrowser

    monkeypatch.chdir(tmp_path)
    opened = []

    def look(address):
        with socket.create_connection(("127.0.0.1", int(address.split(":")[2].split("/")[0])), timeout=5):
            opened.append(address)
        signal.raise_signal(signal.SIGINT)
        return True

    monkeypatch.setattr(webbrowser, "open", look)
    assert main(["board", "later", "--open", "--port", "0"]) == 0
    assert opened[0].endswith("/study/later")
    assert "no study 'later' yet" in capsys.readouterr().out
