"""The board's web application: its pages, its data as JSON, and the few files it hands out.

A page asks again every two seconds and says which answer it has (``If-None-Match``); where nothing changed it gets 304
and no body. That survives a laptop that sleeps and a board that is started again, with nothing to keep open.
"""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlab.board.curves import Curves, shown
from kdlab.board.files import TYPES, is_run_id, report_file, run_file
from kdlab.board.guard import FILE_POLICY, PAGE_POLICY, Guard, names_of
from kdlab.board.pages import Pages, Words
from kdlab.board.runs import STATES
from kdlab.board.state import Board
from kdlab.errors import UserError
from kdlab.web import assets

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HERE = Path(__file__).parent
MOST_CURVES = 48
SCRIPTS = (
    "live.js",
    "parts.js",
    "studies.js",
    "members.js",
    "curves.js",
    "run.js",
    "results.js",
    "study.js",
    "main.js",
)
"""The board's own scripts, in the order in which they are loaded, as one."""


class Handlers:
    """What is answered where. Everything here reads; nothing of it knows who asks (``Guard`` did).

    Args:
        store_root: where runs are.
        report_root: where reports are.
        words: what the sweep file of a study says of it today, from its header.
    """

    def __init__(self, store_root: Path, report_root: Path, *, words: Words) -> None:
        self.store_root, self.report_root = store_root, report_root
        self.board = Board(store_root, report_root)
        self.curves = Curves(store_root)
        self.pages = Pages(store_root, report_root, words=words)

    def studies(self, request: "Request") -> "Response":
        """Every study on one line."""
        return _json(request, self.board.overview)

    def study(self, request: "Request") -> "Response":
        """One study; ``{"waiting": why}`` where nobody planned it yet: a page may wait for its sweep to start."""

        def found() -> dict[str, Any]:
            try:
                return self.board.study(_name(request))
            except UserError as error:
                return {"waiting": str(error)}

        return _json(request, found)

    def members(self, request: "Request") -> "Response":
        """A page of the members of a study: ``?state=failed&text=seed=1&page=0``."""
        asked = request.query_params
        state, page = asked.get("state", ""), asked.get("page", "0")

        def found() -> dict[str, Any]:
            if state not in ("", *STATES):
                raise UserError(f"state = {state!r}; allowed: {', '.join(STATES)}")
            if not page.isascii() or not page.isdigit() or len(page) > 9:
                raise UserError(f"page = {page!r}: a number is needed")
            return self.board.members(_name(request), state=state, text=asked.get("text", "")[:200], page=int(page))

        return _json(request, found)

    def results(self, request: "Request") -> "Response":
        """The results of a study so far."""
        from kdlab.board.results import results

        def found() -> dict[str, Any]:
            return results(self.store_root, self.report_root, self.board.known(_name(request)).name)

        return _json(request, found)

    def run(self, request: "Request") -> "Response":
        """What is known of one run."""
        return _json(request, lambda: self.board.facts(_run_id(request.path_params["run"])) or _no_run())

    def some_curves(self, request: "Request") -> "Response":
        """A curve of several runs: ``?key=train/loss&run=...&run=...``, and all keys that they have."""
        key = request.query_params.get("key", "")

        def found() -> dict[str, Any]:
            ids = list(dict.fromkeys(_run_id(text) for text in request.query_params.getlist("run")))[:MOST_CURVES]
            every = {run_id: self.curves.of(run_id) for run_id in ids}
            keys = sorted({name for curves in every.values() for name in curves})
            return {"key": key, "keys": keys, "curves": {run_id: shown(key, every[run_id]) for run_id in ids}}

        return _json(request, found)

    def run_file(self, request: "Request") -> "Response":
        """A file of a run."""
        return _file(run_file(self.store_root, request.path_params["run"], request.path_params["name"]))

    def report_file(self, request: "Request") -> "Response":
        """A file of a report."""
        return _file(report_file(self.report_root, request.path_params["path"]))

    def page(self, request: "Request") -> "Response":
        """The report page of a study."""
        from starlette.responses import HTMLResponse

        try:
            planned = self.board.known(_name(request))
            runs = (self.board.runs[one.run_id] for one in planned.members)
            newest = max((run.ended for run in runs if run.ended is not None), default=None)
            text = self.pages.of(planned.name, newest=newest)
        except UserError as error:
            return _refused(error)
        return HTMLResponse(text, headers={"content-security-policy": PAGE_POLICY})


def make_app(
    store_root: Path, report_root: Path, *, host: str = "127.0.0.1", words: Words = lambda header: {}
) -> "Starlette":
    """The board as an ASGI application.

    Args:
        store_root: the store; it need not exist yet.
        report_root: where the reports are; it need not exist.
        host: where it listens, which tells by what names it may be called.
        words: what the sweep file of a study says of it today, from its header.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import Route

    handlers = Handlers(store_root, report_root, words=words)
    routes = [
        Route("/", _shell),
        Route("/study/{name:path}", _shell),
        Route("/assets/{name}", _asset),
        Route("/api/studies", handlers.studies),
        Route("/api/study/{name:path}", handlers.study),
        Route("/api/members/{name:path}", handlers.members),
        Route("/api/results/{name:path}", handlers.results),
        Route("/api/curves", handlers.some_curves),
        Route("/api/run/{run}", handlers.run),
        Route("/runs/{run}/{name}", handlers.run_file),
        Route("/page/{name:path}", handlers.page),
        Route("/reports/{path:path}", handlers.report_file),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, names=names_of(host))])


# --- answers --------------------------------------------------------------------------------------------------------


def _json(request: "Request", make: Callable[[], dict[str, Any]]) -> "Response":
    """A value as JSON with its hash, or 304 where the page has it already; a mistake of the user's as its message."""
    from starlette.responses import Response

    try:
        body = json.dumps(make(), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except UserError as error:
        return _refused(error)
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag})
    return Response(body, media_type="application/json", headers={"etag": tag})


def _refused(error: UserError) -> "Response":
    from starlette.responses import JSONResponse

    return JSONResponse({"error": str(error)}, status_code=404)


def _file(path: Path | None) -> "Response":
    from starlette.responses import FileResponse, PlainTextResponse

    if path is None:
        return PlainTextResponse("not here\n", status_code=404)
    policy = PAGE_POLICY if path.suffix == ".html" else FILE_POLICY
    return FileResponse(path, media_type=TYPES[path.suffix], headers={"content-security-policy": policy})


def _shell(request: "Request") -> "Response":
    """The one page of the board: its script looks at the address and asks for the rest."""
    from starlette.responses import HTMLResponse

    return HTMLResponse(_own("board.html"))


def _asset(request: "Request") -> "Response":
    from starlette.responses import PlainTextResponse, Response

    kinds: dict[str, tuple[Callable[[], str], str]] = {
        "board.css": (_style, "text/css"),
        "board.js": (_script, "text/javascript"),
        "echarts.js": (assets.echarts, "text/javascript"),
    }
    if request.path_params["name"] not in kinds:
        return PlainTextResponse("not here\n", status_code=404)
    read, kind = kinds[request.path_params["name"]]
    body = read().encode()
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"etag": tag})
    return Response(body, media_type=kind, headers={"etag": tag})


@functools.cache
def _own(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _style() -> str:
    return assets.style() + _own("board.css")


def _script() -> str:
    return "\n".join([assets.script(), *(_own(name) for name in SCRIPTS)])


def _name(request: "Request") -> str:
    found: str = request.path_params["name"]
    return found


def _run_id(text: str) -> str:
    if not is_run_id(text):
        raise UserError(f"run = {text!r} is no run id")
    return text


def _no_run() -> dict[str, Any]:
    raise UserError("no study of the store lists this run")
