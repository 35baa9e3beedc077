"""``kdlab board``: all studies in the browser, a running sweep while it runs."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from kdlab.commands.reading import parse, settings
from kdlab.errors import UserError
from kdlab.saying import say

VALUES = ("--port", "--host")
OPEN = "--open"


def board(words: list[str]) -> int:
    """``kdlab board [STUDY] [--port PORT] [--host HOST] [--open] [store.root=...] [report.root=...]``."""
    from kdlab.board.guard import LOOPBACK
    from kdlab.board.serving import address_of, listen, serve
    from kdlab.commands.reports import words_of

    rest, given = _options(words)
    asked = parse(rest, command="board", flags=(OPEN,))
    here = settings(asked.overrides, command="board", reads=("store.root", "report.root"))
    store, reports = (Path(root).expanduser().absolute() for root in (here.store.root, here.report.root))
    path = f"study/{quote(_known(asked.names[0], store, reports))}" if asked.names else ""
    host = given.get("--host", "127.0.0.1")
    listening = listen(host, _port(given["--port"]) if "--port" in given else None)
    address = address_of(host, listening.getsockname()[1], path)

    def begun() -> None:
        say(f"kdlab board: {address}  (Ctrl-C ends it)")
        if host not in LOOPBACK:
            say(f"note: --host {host}: whoever reaches this machine can read runs and reports; there is no password")
        if OPEN in asked.flags:
            _open(address)

    serve(listening, store, reports, host=host, words=words_of, begun=begun)
    return 0


def _options(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words without the options that take a value, and these."""
    rest: list[str] = []
    given: dict[str, str] = {}
    waiting = iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name not in VALUES:
            rest.append(word)
            continue
        given[name] = value if equals else next(waiting, "")
        if not given[name]:
            raise UserError(f"board: {name} needs a value")
    return rest, given


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) < 65536:
        raise UserError(f"board: --port {text}: a number from 1 to 65535 is needed (0: any free one)")
    return int(text)


def _known(name: str, store: Path, reports: Path) -> str:
    """The name of a study; one that nobody planned yet is fine: its sweep may be about to start."""
    from kdlab.records.studies import check_study_name, read_study

    check_study_name(name)
    if read_study(store, name) is None and not (reports / name / "records.jsonl").is_file():
        say(f"note: no study '{name}' yet in {store} or {reports}; the page fills when its sweep starts")
    return name


def _open(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        say("note: no browser could be opened; open the address above yourself")
