"""The files a page is made of, as text, and the hashes a content security policy knows its scripts by."""

import base64
import functools
import hashlib
from pathlib import Path

HERE = Path(__file__).parent

#: In the order in which a page loads them: each uses only what stands before it. One global, ``kd``, holds them all.
SCRIPTS = ("base.js", "table.js", "chart.js")

ECHARTS_NOTICE = "Apache ECharts 6.1.0, Copyright 2017-2026 The Apache Software Foundation, Apache License 2.0"


@functools.cache
def read(name: str) -> str:
    """A file of this folder, with plain newlines (a browser hashes a script so)."""
    return (HERE / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def style() -> str:
    """Design tokens, type, tables, light and dark, print."""
    return read("base.css")


def script() -> str:
    """The shared helpers, as one script that defines ``kd``."""
    return "\n".join(read(name) for name in SCRIPTS)


def echarts() -> str:
    """Apache ECharts, as released."""
    return read("vendor/echarts/echarts.min.js")


def source_hash(text: str) -> str:
    """The source expression that allows exactly this inline script or style: ``'sha256-...'``."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
