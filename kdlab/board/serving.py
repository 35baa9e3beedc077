"""Listening: where the board is found, which port it takes, and how it ends."""

import contextlib
import errno
import socket
from collections.abc import Callable
from pathlib import Path

from kdlab.board.guard import is_everywhere
from kdlab.board.pages import Words
from kdlab.errors import UserError

PORT = 8765
TRIED = 20
"""How many ports after the usual one are tried, where none was asked for: each checkout may have a board open."""


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens; where no port was asked for, on the first free one from ``PORT`` on.

    Raises:
        UserError: the port is taken, or the host is none of this machine's.
    """
    ports = range(PORT, PORT + TRIED) if port is None else [port]
    for one in ports:
        try:
            return _bound(host, one)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                told = error.strerror or error
                raise UserError(f"--host {host} --port {one}: cannot listen there ({told})") from error
    if port is None:
        raise UserError(f"ports {PORT} to {PORT + TRIED - 1} of {host} are all taken; give another one with --port")
    raise UserError(f"--port {port} of {host} is taken; without --port the next free one from {PORT} on is used")


def _bound(host: str, port: int) -> socket.socket:
    family, kind, number, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM,
                                                          flags=socket.AI_PASSIVE)[0]  # fmt: skip
    made = socket.socket(family, kind, number)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a board that just ended leaves its port in a wait
        made.bind(address)
        made.listen(128)
    except OSError:
        made.close()
        raise
    return made


def address_of(host: str, port: int, path: str = "") -> str:
    """Where a browser on this machine finds it."""
    name = "localhost" if is_everywhere(host) else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/{path}"


def serve(
    listening: socket.socket, store_root: Path, report_root: Path, *, host: str, words: Words, begun: Callable[[], None]
) -> None:
    """Serve until Ctrl-C, which is how a board ends.

    Args:
        listening: where it listens.
        store_root: the store.
        report_root: the reports.
        host: what was asked for, which tells by what names the board may be called.
        words: what the sweep file of a study says of it today, from its header.
        begun: called when the first request can be answered.
    """
    import uvicorn

    from kdlab.board.server import make_app

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            begun()

    config = uvicorn.Config(
        make_app(store_root, report_root, host=host, words=words),
        log_level="error",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn hands Ctrl-C on when everything is closed
        Server(config).run(sockets=[listening])
