"""Who may ask the board, and what a browser may do with its answers.

A page of any site can make a browser send requests to this machine, and a name of that site can be pointed at it (DNS
rebinding), so the address a request came in by says nothing. The board therefore answers only where it is called by a
name it knows (``Host``), hands data only to its own pages (``Sec-Fetch-Site``, ``Origin``), only reads (GET, HEAD), and
forbids its pages everything they do not need. There is no CORS: no other origin ever reads an answer.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Of the board's own pages. Charts and progress bars set the style of elements; scripts come from files alone."""
PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-downloads allow-modals allow-popups"
)
"""Of a report page, which brings its scripts inside: in a sandbox it has no origin, so it cannot ask the board."""
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-cache",
}
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


def names_of(host: str) -> frozenset[str] | None:
    """The names the board may be called by when it listens on ``host``; None where it listens on every address.

    On every address it also answers to any IP address and to the machine's own name: rebinding needs a name of the
    attacker's, and an address is none.
    """
    if is_everywhere(host):
        return None
    return LOOPBACK | {host.lower()}


def is_everywhere(host: str) -> bool:
    """Whether this host stands for all addresses of the machine."""
    return host in ("", "0.0.0.0", "::")


def is_allowed(header: str | None, names: frozenset[str] | None) -> bool:
    """Whether a ``Host`` header (or the host of an ``Origin``) names the board.

    >>> is_allowed("[::1]:8765", LOOPBACK), is_allowed("evil.example:8765", LOOPBACK), is_allowed(None, LOOPBACK)
    (True, False, False)
    """
    found = _HOST.fullmatch(header or "")
    if found is None:
        return False
    name = (found[1] or found[2]).lower().removesuffix(".")
    if names is not None:
        return name in names
    return name in LOOPBACK or name in own_names() or _is_address(name)


def own_names() -> frozenset[str]:
    """What the machine is called."""
    return frozenset({socket.gethostname().lower(), socket.getfqdn().lower()})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Refuses what the board must not answer, before anything else sees it, and adds the headers of every answer."""

    def __init__(self, app: "ASGIApp", *, names: frozenset[str] | None) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request, or say why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no web sockets here
            return

        async def sending(message: "Message") -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_headers(message["headers"])
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, sending)
            return
        from starlette.responses import PlainTextResponse

        status, why = refusal
        await PlainTextResponse(why + "\n", status_code=status)(scope, receive, sending)

    def _refusal(self, scope: "Scope") -> tuple[int, str] | None:
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) != 1 or not is_allowed(hosts[0], self._names):
            return 400, "kdlab board: this Host is not the board's; see --host in kdlab board --help"
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "kdlab board only reads: GET and HEAD"
        if not _is_own(dict(headers), hosts[0]):
            return 403, "kdlab board: asked for by a page of another site"
        return None


def _is_own(headers: Mapping[str, str], host: str) -> bool:
    """Whether a request comes from the board's own pages, or from the user's address bar or a link they followed."""
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return False
    site = headers.get("sec-fetch-site", "none")
    followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return site in ("same-origin", "none") or followed


def _with_headers(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = list(headers)
    known = {name.lower() for name, _ in given}
    every = {**HEADERS, "content-security-policy": POLICY}
    return given + [(n.encode(), v.encode()) for n, v in every.items() if n.encode() not in known]
