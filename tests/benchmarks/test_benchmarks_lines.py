"""The harness of the benchmarks: bars, merging, the account of load, the page. Nothing is measured here."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
import watch
from lines import BARS, Line, dump, line, merged, not_measured
from page import in_readme, page
from plots import draw
from speed import GROUPS
from watch import Watch, others, ratios, spread, tree_seconds

WHERE = {"machine": "a processor, 2 cores", "versions": "kdlab 0", "measured": "2026-01-02T03:04Z", "quick": False}


def entry(figure, value, **more):
    return Line(figure, value, "so", value, value, 3, where=WHERE, **more).plain()


@pytest.mark.parametrize(
    ("figure", "value", "met", "aim_met"),
    [
        ("single_run", 1.6, True, False),
        ("single_run", 1.6001, False, False),
        ("single_run", 1.1, True, True),
        ("sweep", 4.0, True, False),
        ("sweep", 3.999, False, False),
        ("sweep", 6.0, True, True),
        ("bare_plain", 0.7, None, None),
    ],
)
def test_met_follows_from_the_value_and_the_bar(figure, value, met, aim_met):
    assert (entry(figure, value)["met"], entry(figure, value)["aim_met"]) == (met, aim_met)


def test_the_bars_are_those_of_the_table():
    bars = {name: (bar.must, bar.aim, bar.better) for name, bar in BARS.items() if bar.must is not None}
    assert bars == {
        "single_run": (1.6, 1.1, "low"),
        "cached_step": (1.25, 1.18, "low"),
        "training": (9, 14, "high"),
        "sweep": (4, 6, "high"),
        "marginal": (0.50, 0.38, "low"),
        "marginal_all": (0.28, 0.18, "low"),
        "gemm": (0.30, 0.40, "high"),
        "cnn1d": (3.6, 5.8, "high"),
        "start": (5, 3, "low"),
        "composing": (25, 9, "low"),
        "per_student": (0.3, 0.15, "low"),
        "report": (10, 3, "low"),
        "memory": (2, 1.3, "low"),
    }


def test_every_figure_has_one_group():
    assert sorted(figure for _, _, figures in GROUPS.values() for figure in figures) == sorted(BARS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1])
def test_what_is_no_measurement_is_no_line(value):
    with pytest.raises(ValueError, match="no line"):
        Line("start", value, "so")


def test_a_line_that_cannot_be_measured_has_no_number_and_meets_nothing():
    told = not_measured("sweep", "no index").plain()
    assert (told["value"], told["met"], told["how"]) == (None, None, "not measured: no index")


def test_a_failed_line_goes_and_the_others_stay_with_the_bars_of_today():
    before = [{**entry("start", 6.0), "must": 100, "met": True}, entry("report", 2.0), {"figure": "of old", "value": 1}]
    after = merged(before, [Line("composing", 8.0, "so", where=WHERE)], failed=["report"])
    assert [one["figure"] for one in after] == ["start", "composing"]
    assert (after[0]["must"], after[0]["met"]) == (5, False)


def test_the_spread_of_pairs_is_taken_pair_by_pair():
    assert ratios([(1.0, 2.0), (9.0, 3.0), (4.0, 4.0)]) == (1.0, 0.5, 3.0, 3)


def test_a_disturbed_measurement_is_taken_again_and_the_last_is_kept_and_marked(monkeypatch):
    loads, taken = [0.5, 0.4, 0.0, 0.9, 0.9], []
    monkeypatch.setattr(watch, "others", lambda action: (action(), loads.pop(0)))
    watched = Watch(quiet=0.1, tries=3, pause=0)
    assert watched.measure(lambda: taken.append(1) or len(taken)) == 3
    assert (watched.discarded, watched.loaded, watched.load) == (2, False, 0.0)
    watched.tries, loads[:] = 2, [0.9, 0.9, 0.8, 0.0]
    assert watched.measure(lambda: taken.append(1) or len(taken)) == 5
    assert (watched.discarded, watched.loaded, watched.load) == (3, True, 0.9)
    assert watched.measure(lambda: taken.append(1) or len(taken)) == 6  # it is known by now: no further tries
    assert (watched.discarded, loads) == (3, [0.0])
    assert line("start", spread([1.0]), watched, "so").plain()["loaded"]


def spin(seconds):
    started = time.process_time()
    while time.process_time() - started < seconds:
        pass


@pytest.mark.skipif(not (watch.PROC / "stat").exists(), reason="the system does not tell")
def test_our_own_work_here_and_in_children_is_not_that_of_others():
    before = tree_seconds(os.getpid())
    child = [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"]
    thread = threading.Thread(target=spin, args=(0.2,))
    thread.start()
    with subprocess.Popen(child) as running:
        running.wait()
    thread.join()
    assert 0.45 <= tree_seconds(os.getpid()) - before <= 2.0
    _, load = others(lambda: spin(0.05))
    assert load is not None
    assert load >= 0


def by_size(size, threads):
    cost = 0.6 / size + 0.2 / threads
    return {"K": size, "threads": threads, "ms": cost, "low": cost, "high": 0.9, "bare_ms": 0.65, "loaded": False}


def by_points(points, launcher):
    seconds = 3 + points * {"basic": 2, "stacked": 0.4}[launcher]
    return {"points": points, "launcher": launcher, "seconds": seconds, "steps": 9, "loaded": False}


def test_page_and_figures_come_from_the_files_alone_and_repeat(tmp_path):
    entries = [
        entry("single_run", 1.3),
        entry("sweep", 3.0, loaded=True, load=0.7),
        not_measured("training", "no room").plain() | WHERE,
        entry("bare_plain", 0.66),
    ]
    rows = [["aten::mm", 1.5, 2.0], ["all", 3, 4]]
    curves = {
        "by_size": [by_size(size, threads) for size in (1, 5, 25) for threads in (1, 2)],
        "by_points": [by_points(points, launcher) for points in (1, 5, 25) for launcher in ("basic", "stacked")],
        "profiles": [{"title": "A step", "columns": ["alone", "taught"], "rows": rows}],
    }
    first, second = (draw(tmp_path / name, curves) for name in ("one", "two"))
    assert sorted(path.suffix for path in first) == [".png", ".png", ".svg", ".svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    text = page(json.loads(dump(entries)), curves, first)
    rows = [row for row in text.splitlines() if row.startswith("| ")]
    assert any(row.endswith("| 1 | 1.3x [1.3, 1.3] | 1.6 | 1.1 | yes |") for row in rows)
    assert any("**loaded**" in row and row.endswith("| 4 | 6 | **no** |") for row in rows)
    assert any("**not measured: no room**" in row and row.endswith("| 9 | 14 | – |") for row in rows)
    assert "others kept at most 0.70 cores busy" in text
    assert "| Operation | alone | taught |\n| :-- | --: | --: |\n| `aten::mm` | 1.5 | 2.0 |\n| all | 3 | 4 |" in text
    assert all(path.name in text for path in first if path.suffix == ".png")


def test_the_block_of_the_readme_holds_the_lines_with_a_bar_and_nothing_else_moves():
    entries = [entry("single_run", 1.3), entry("bare_plain", 0.66)]
    text = in_readme("above\n<!-- benchmarks -->\nold\n<!-- /benchmarks -->\nbelow\n", entries, link="there.md")
    assert text.startswith("above\n<!-- benchmarks -->\n")
    assert text.endswith("(there.md).\n\n<!-- /benchmarks -->\nbelow\n")
    assert "1.3x" in text
    assert "old" not in text
    assert "Bare loop" not in text
    assert in_readme(text, entries, link="there.md") == text
    with pytest.raises(ValueError, match="no block"):
        in_readme("<!-- benchmarks -->", entries, link="there.md")
    with pytest.raises(ValueError, match="tiny"):
        in_readme(text, [{**entries[0], "quick": True}], link="there.md")
