"""The board in a real browser beside real sweeps: what it shows, and that nothing has to be loaded again."""

import os
import signal
import subprocess
import sys

import pytest
from browser import chromium, open_page  # noqa: F401 - the fixture
from shelf import Shelf, listening, run_id

from kdlab.board.server import make_app
from kdlab.records import studies

SECONDS = 90_000  # a loaded machine; a tenth of it is usual
SWEEP = [
    *("sweep", "quickstart", "seed=0", "objective.temperature=2", "teacher.training.steps=60", "threads=1"),
    *("tracker.mode=disabled", "evaluation.latency.enabled=false", "evaluation.sets=[validation,test]"),
    *("hydra/launcher=basic", "store.root=runs"),
]
POINTS = (
    "() => echarts.getInstanceByDom(document.querySelector('.chart'))?.getOption().series.map((one) => one.data.length)"
)


@pytest.fixture
def sweep(tmp_path):
    """A sweep in a process of its own, in the folder whose ``runs`` the board shows."""
    started = []

    def start(*words):
        command = [sys.executable, "-m", "kdlab.commands.cli", *SWEEP, *words]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=tmp_path, start_new_session=True, **quiet)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def board(tmp_path):
    """A board of the folder."""
    with listening(make_app(tmp_path / "runs", tmp_path / "reports")) as found:
        yield found


@pytest.fixture
def opened(chromium, board):  # noqa: F811
    """Open a page of the board; it asks nobody else and complains of nothing."""

    def open_one(path, **options):
        return open_page(chromium, f"{board.address}{path}", **options)

    return open_one


def see(page, text, where="body"):
    page.wait_for_function(
        "([where, text]) => document.querySelector(where)?.innerText.includes(text)", arg=[where, text], timeout=SECONDS
    )


def fits(page):
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# --- beside real sweeps ---------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_sweep_from_nothing_to_its_results_without_loading_again(opened, board, sweep):
    with opened("/") as page:
        see(page, "Nothing here yet")
        process = sweep("training.steps=2500")
        see(page, "Does a small student of digits", ".studies")
        see(page, "1 running", ".studies")
        page.click(".studies a:has-text('quickstart')")
        page.evaluate("window.before = true")
        see(page, "of 5 finished", ".lead")
        see(page, "/ 2,500", ".running")
        page.wait_for_function(f"() => Math.max(0, ...(({POINTS})() ?? [])) > 3", timeout=SECONDS)
        before = page.evaluate(POINTS)
        page.wait_for_function(
            f"(before) => (({POINTS})()).reduce((sum, one) => sum + one, 0) > before", arg=sum(before), timeout=SECONDS
        )
        see(page, "5 of 5 finished", ".lead")
        assert process.wait(timeout=60) == 0
        see(page, "Complete: 5 of 5 runs", ".results")
        assert "distilled" in page.inner_text(".results table")
        assert page.locator(".members tbody tr").count() == 5
        assert set(page.locator(".members tbody .state").all_inner_texts()) == {"finished"}
        assert page.locator(".running li").count() == 0
        assert page.evaluate("window.before"), "the page was loaded again"
        assert all(address.startswith((board.address, "data:")) for address in page.heard.requests)


@pytest.mark.long
def test_a_killed_sweep_is_told_and_so_is_how_to_go_on(opened, sweep):
    process = sweep("training.steps=1000000", "study.only=[distilled]")
    with opened("/study/quickstart") as page:
        see(page, "/ 1,000,000", ".running")
        os.killpg(process.pid, signal.SIGKILL)
        see(page, "1 stopped", ".lead")
        see(page, "No run goes on", ".lead")
        assert "kdlab sweep quickstart" in page.inner_text(".lead .command")
        assert page.locator(".members .state[data-state=stopped]").count() == 1


# --- with what a sweep leaves ---------------------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path):
    """Thirteen runs in every state."""
    made = Shelf(tmp_path / "runs")
    made.plan(count=13)
    for number in range(6):
        made.begin(number)
        for step in (20, 60, 100):
            made.log(number, step, validation_accuracy=number / 10 + step / 1000, train_loss=2 - step / 100)
        made.end(number)
    made.done(6, status="failed", error={"type": "NonFiniteLossError", "message": "the loss is not finite"}, metrics={})
    made.begin(7)
    return made


def test_members_are_found_and_ticked(opened, shelf):
    with opened("/study/question") as page:
        see(page, "6 of 13 finished")
        see(page, "NonFiniteLossError: the loss is not finite", ".failures")
        page.click(".chip:has-text('failed')")
        page.wait_for_function("() => document.querySelectorAll('.members tbody tr').length === 1")
        page.click(".chip:has-text('all')")
        page.fill("input[type=search]", "T=1")
        page.wait_for_function("() => document.querySelectorAll('.members tbody tr').length === 4")
        page.fill("input[type=search]", "")
        page.uncheck("label:has-text('newest') input")
        see(page, "Tick runs", ".curves")
        for label in ("T=2", "T=4"):
            page.check(f"input[aria-label='Curves of distilled {label}']")
        page.wait_for_function(f"() => JSON.stringify(({POINTS})()) === '[3,3]'")
        page.select_option(".curves select", "train/loss")
        see(page, "train/loss", ".chart")
        page.click("summary:has-text('last numbers')")
        assert "distilled T=4\tfinished\t100\t1" in page.inner_text(".curves table")
        page.click("text=Untick all")
        see(page, "Tick runs", ".curves")
        assert page.locator(".members input:checked").count() == 0


def test_a_run_in_its_drawer_with_the_keyboard_alone(opened, shelf):
    with opened("/study/question") as page:
        see(page, "T=3", ".members")
        page.focus(".members button:has-text('T=3')")
        page.keyboard.press("Enter")
        see(page, "team/kdlab/" + run_id(3), "#drawer")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Close"
        assert page.locator("#drawer a").all_inner_texts() == ["record.json", "config.yaml", "history.jsonl"]
        page.keyboard.press("Escape")
        assert not page.evaluate("document.querySelector('#drawer').open")
        assert page.evaluate("document.activeElement.textContent") == "T=3"


def test_focus_and_ticks_stay_while_the_store_changes(opened, shelf):
    with opened("/study/question") as page:
        see(page, "T=4", ".members")
        page.check("input[aria-label='Curves of distilled T=4']")
        page.focus("input[aria-label='Curves of distilled T=4']")
        shelf.done(8)
        see(page, "7 of 13 finished")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Curves of distilled T=4"
        assert page.is_checked("input[aria-label='Curves of distilled T=4']")
        see(page, "question: 7 finished", "#announcement")


@pytest.mark.long
def test_a_board_that_is_gone_and_comes_back(chromium, shelf, tmp_path):  # noqa: F811
    app = make_app(tmp_path / "runs", tmp_path / "reports")
    page = chromium.new_page()
    with listening(app) as board:
        page.goto(f"{board.address}/study/question")
        see(page, "live", "#connection")
    see(page, "connection lost, trying again", "#connection")
    shelf.done(9)
    with listening(app, port=board.port):
        see(page, "live", "#connection")
        see(page, "7 of 13 finished")
        page.close()


def test_a_page_nobody_looks_at_asks_nothing(opened, shelf):
    with opened("/study/question") as page:
        see(page, "6 of 13 finished")
        page.evaluate(
            """() => {
                Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
                document.dispatchEvent(new Event("visibilitychange"));
            }"""
        )
        see(page, "paused", "#connection")
        asked = len(page.heard.requests)
        page.wait_for_timeout(2500)  # longer than it waits between two questions
        assert len(page.heard.requests) == asked
        page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
        see(page, "live", "#connection")
        page.wait_for_function(f"() => performance.getEntriesByType('resource').length > {asked - 1}")


EVIL = "<img src=x onerror=\"document.title='evil'\">"


def test_text_from_records_is_text(opened, shelf):
    members = [studies.Member(run_id(at), "student", EVIL, None, (f"data.name={EVIL}{at}",)) for at in range(3)]
    studies.plan(shelf.root, "evil", {"question": EVIL, "hypothesis": EVIL, "command": EVIL, "cost": EVIL,
                                      "data": [EVIL], "arms": {EVIL: []}}, members)  # fmt: skip
    shelf.done(
        1,
        status="failed",
        error={"type": EVIL, "message": EVIL},
        overrides=[EVIL],
        tracker_id=EVIL,
        metrics={EVIL: 1.0},
    )
    (shelf.store.folder(run_id(1)) / "log.txt").write_text(EVIL)
    shelf.log(0, 100, **{EVIL: 0.5, "validation_accuracy": 0.4})
    with opened("/") as page:
        see(page, EVIL, ".studies")
        page.goto(page.url + "study/evil")
        see(page, EVIL, "h1")
        see(page, f"{EVIL}: {EVIL}", ".failures")
        see(page, EVIL, ".legend")
        page.select_option(".curves select", EVIL)
        see(page, EVIL, ".chart")
        page.hover(".chart", position={"x": 400, "y": 150})
        see(page, EVIL, ".chart-tip")
        page.click(".failures button")
        see(page, EVIL, "#drawer .log")
        assert page.locator("img").count() == 0
        assert page.title() == "evil · kdlab board"
        page.goto(page.url.replace("/study/", "/page/"))
        see(page, EVIL)
        assert page.locator("img").count() == 0


def test_it_waits_for_a_study_that_is_about_to_start(opened, shelf):
    with opened("/study/later") as page:
        see(page, "This page fills by itself when its sweep starts")
        shelf.plan("later", count=2)
        see(page, "Why?", "h1")
        see(page, "2 of 2 finished", ".lead")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_and_both_themes(opened, shelf, theme):
    for path, text in (("/", "6 of 13 finished"), ("/study/question", "Members")):
        with opened(path, width=360, height=740, color_scheme=theme) as page:
            see(page, text)
            assert fits(page), f"{path} is wider than a phone"
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (int(background.split("(")[1].split(",")[0]) < 128) == (theme == "dark")
