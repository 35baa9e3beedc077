"""The pictures of README's "Compare runs": page, board and terminal as they are, from real runs.   make pictures

Needs chromium and tmux. The page is that of a committed report; the board watches a sweep that really runs; the
terminal shows the W&B files of that sweep by ``wandb leet``.
"""

import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
TO = ROOT / "reports" / "compare"
BIN = Path(sys.executable).parent
WIDE, SCALE = 1200, 1.5
SWEEP = ("quickstart", "store.root=runs", "hydra/launcher=basic", "training.steps=1500", "seed=0,1,2,3")
STUDY = "quickstart"
TICKED = "#tick.configurations=c10,c12,c14,c9"
FONT = "DejaVu Sans Mono"


def pictures():
    """Make all three."""
    from playwright.sync_api import sync_playwright

    TO.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDE, "height": 1000}, device_scale_factor=SCALE)
        of_the_page(page)
        with running([BIN / "kdlab", "sweep", *SWEEP], folder) as sweep:
            of_the_board(page, folder, sweep)
            sweep.wait()
        of_the_terminal(page, folder)
        browser.close()


def of_the_page(page):
    """A committed study: verdict, table and the charts below."""
    page.goto((ROOT / "reports" / "student_size" / "index.html").as_uri() + TICKED)
    page.set_viewport_size({"width": WIDE, "height": 1890})
    page.wait_for_timeout(2500)
    page.screenshot(path=TO / "page.png")


def of_the_board(page, folder, sweep):
    """A study while it runs, seen when about a half is done."""
    with running([BIN / "kdlab", "board", "--port", "8791", "store.root=runs"], folder):
        page.set_viewport_size({"width": WIDE, "height": 1150})
        wait_for(lambda: len(list((folder / "runs").glob("*/record.json"))) >= 9, sweep)
        page.goto(f"http://127.0.0.1:8791/study/{STUDY}")
        page.wait_for_timeout(6000)
        page.screenshot(path=TO / "board.png")


def of_the_terminal(page, folder):
    """``wandb leet`` over the folder of the mirror; its last line, which tells where that lies, is left out."""
    from rich.console import Console
    from rich.terminal_theme import MONOKAI
    from rich.text import Text

    settings = f"WANDB_CONFIG_DIR={folder / 'leet'} WANDB_ERROR_REPORTING=false COLORTERM=truecolor"
    words = f"cd {folder} && {settings} {BIN / 'wandb'} leet runs/wandb"
    tmux = ["tmux", "-L", "kdlab-pictures"]
    subprocess.run([*tmux, "new-session", "-d", "-s", "leet", "-x", "150", "-y", "30", words], check=True)
    time.sleep(5)
    only_curves = ("/", *"train/loss|train/terms|validation", "Enter", "Escape")
    for key in ("]", *only_curves, "Down", "Space", "Down", "Space", "Down", "Space"):  # "]": the side with the machine
        subprocess.run([*tmux, "send-keys", "-t", "leet", key], check=True)
        time.sleep(0.3)
    told = subprocess.run([*tmux, "capture-pane", "-t", "leet", "-e", "-p"], capture_output=True, text=True, check=True)
    subprocess.run([*tmux, "kill-server"], check=True)
    console = Console(record=True, width=150, file=io.StringIO())
    console.print(Text.from_ansi("\n".join(told.stdout.rstrip().splitlines()[:-1])))
    drawn = console.export_html(inline_styles=True, theme=MONOKAI, code_format="{code}")
    drawn = re.sub("[\u2800-\u28ff\u25b6\u25cb\u25cf]", r"<b>\g<0></b>", drawn)  # of other fonts, which are wider
    style = (
        f"margin: 0; padding: 14px; background: #0c0c0c; color: #d9d9d9; font: 15px/18px {FONT}; display: inline-block"
    )
    cell = (
        "<style>b {display: inline-block; width: 1ch; overflow: hidden; vertical-align: top; font-weight: 400}</style>"
    )
    page.set_content(f"{cell}<body style='margin: 0'><pre style='{style}'>{drawn}</pre></body>")
    page.locator("pre").screenshot(path=TO / "leet.png")


@contextmanager
def running(words, folder):
    """A command that goes on beside what is inside, and is ended behind it."""
    process = subprocess.Popen([str(word) for word in words], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_for(condition, process, *, seconds=180):
    """Until something holds; an error where the process ended or the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the sweep ended with {process.poll()} before there was something to see")
        time.sleep(0.3)


if __name__ == "__main__":
    pictures()
