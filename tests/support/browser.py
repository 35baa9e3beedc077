"""A real Chromium that opens pages: what it complains of and what it asks the network for is kept.

``from browser import chromium, open_page`` in a test module; where there is no Chromium its tests are skipped.
"""

import shutil
from contextlib import contextmanager

import pytest


@pytest.fixture(scope="module")
def chromium():
    """The browser, started once for a module; Debian's chromium driven by Playwright, without a download.

    Not for the whole session: a second Playwright cannot begin in a thread that has one, nor can asyncio run there.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="pages are tested with playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium on this machine: pages are not tested")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Heard:
    """What a page said and asked for.

    Args:
        complaints: errors and warnings of the console, and exceptions nobody caught.
        requests: every address asked for, the page itself included.
    """

    def __init__(self):
        self.complaints, self.requests = [], []

    def listen(self, page):
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        return self

    def _said(self, kind, text):
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")


@contextmanager
def open_page(chromium, address, *, width=1280, height=900, **options):
    """A new page in a context that has stored nothing, with what it said as ``page.heard``.

    It must not have complained when it closes. Pages of equal options follow each other in one context: a fresh one is
    a process of its own that compiles the page's scripts anew, which was half of what these tests cost.
    """
    options |= {"viewport": {"width": width, "height": height}}
    kept = vars(chromium).setdefault("contexts_by_options", {})
    made = kept.pop(repr(sorted(options.items())), None) or chromium.new_context(**options)
    try:
        page = made.new_page()
        page.set_default_timeout(10_000)
        page.heard = Heard().listen(page)
        page.goto(address)
        yield page
        assert page.heard.complaints == [], page.heard.complaints
        made.clear_cookies()
        page.evaluate("() => { try { localStorage.clear(); } catch { /* a sandboxed page has none */ } }")
        page.close()
    except BaseException:
        made.close()  # whatever it was, the next test does not see it
        raise
    kept[repr(sorted(options.items()))] = made
