"""The page in a real browser: it says what the report says, its parts are linked, and it tells nobody."""

import re
import time
from pathlib import Path

import pytest
import synthetic_records as synthetic
from browser import open_page

from kdlab.reporting.aggregate import summarize
from kdlab.reporting.compact import read_lines

REPORTS = Path(__file__).parents[3] / "reports"
TAKEN_AWAY = "#facets [title='Take this filter away']"
EVIL = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def size_lines():
    return read_lines(REPORTS / "student_size" / "records.jsonl")


@pytest.fixture(scope="module")
def address(written, size_lines):
    return written("student_size", size_lines)


def opened(chromium, address, view="", **options):
    return open_page(chromium, f"{address}{view}", **options)


def ready(page, *, figures=False):
    """Wait for the page; ``figures``: also draw those that are below the screen."""
    page.wait_for_selector("html[data-ready]")
    if figures:
        page.evaluate("figures.forEach((one) => one.show())")


def column(page, heading):
    """The texts of a column of the table, by its heading."""
    place = page.locator("#explorer table.data").first.locator("thead th").all_inner_texts().index(heading)
    return page.locator(f"#explorer > .table-frame tbody tr > :nth-child({place + 1})").all_inner_texts()


def rows(page):
    return page.locator("#explorer > .table-frame tbody tr").count()


def state(page):
    return page.evaluate("state")


def lines_drawn(page, figure):
    """The series of lines with points that a figure draws."""
    option = f"figures.find((one) => one.id === '{figure}').made.chart.getOption()"
    return page.evaluate(f"{option}.series.filter((one) => one.data.length > 1).map((one) => one.name)")


def test_it_shows_the_verdict_and_the_numbers_of_the_readme_and_asks_for_nothing(chromium, address):
    with opened(chromium, address) as page:
        ready(page, figures=True)
        readme = (REPORTS / "student_size" / "README.md").read_text(encoding="utf-8")
        best = next(line for line in readme.splitlines() if line.startswith("| **distilled: width=128**"))
        gain = re.search(r"\+0\.0\d+ \[.*?\]", best).group()
        assert page.locator("h1").inner_text().startswith("How does what a student gains from its teacher depend")
        assert page.locator(".gain .difference").inner_text() == gain
        assert page.locator(".gain .verdict").inner_text() == "better"
        for setting, accuracy in zip(column(page, "Setting"), column(page, "Accuracy"), strict=True):
            label = re.escape(setting.removesuffix("best on validation").strip())
            assert label == "teacher,\\ uniform" or re.search(rf"\| (\*\*)?{label}\b.*{accuracy}", readme), setting
        assert page.locator("figure svg").count() >= 5
        assert page.heard.requests == [address], "the page itself, and nothing else"


def test_it_sorts_by_mouse_and_by_keyboard(chromium, address):
    with opened(chromium, address, "#view=runs") as page:
        ready(page)
        heading = page.locator("#explorer > .table-frame thead th[data-key='test/accuracy']")
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == "descending"
        found = [float(text) for text in column(page, "Accuracy")]
        assert found == sorted(found, reverse=True)
        page.keyboard.press("Enter")  # the focus stayed on the heading
        assert heading.get_attribute("aria-sort") == "ascending"
        found = [float(text) for text in column(page, "Accuracy")]
        assert found == sorted(found)
        assert "Rows 1 to 50 of 257" in page.locator("#pages").inner_text()
        assert rows(page) == 50
        page.get_by_role("button", name="All on one page").click()
        assert rows(page) == 257


def test_it_filters_by_words_comparisons_and_facets_and_keeps_them_in_the_address(chromium, address):
    with opened(chromium, address, "#view=runs") as page:
        ready(page)
        page.fill("#search", "distilled width>=64")
        assert page.locator("#shown-count").inner_text() == "32 of 257 runs"
        page.fill("#search", "test/accuracy>0.69")
        assert {float(text) > 0.69 for text in column(page, "Accuracy")} == {True}
        page.fill("#search", "")
        page.locator("[data-facet='role=teacher']").click()
        assert page.locator("#shown-count").inner_text() == "17 of 257 runs"
        assert set(column(page, "Role")) == {"teacher"}
        page.reload()
        ready(page)
        assert page.locator("#shown-count").inner_text() == "17 of 257 runs"
        page.get_by_role("button", name="Clear all filters").click()
        assert page.locator("#shown-count").inner_text() == "All 257 runs"
        page.fill("#search", "no run is called so")
        assert "Nothing passes" in page.locator("#explorer .nothing").inner_text()


def test_the_keyboard_reaches_the_table_at_once_and_the_tabs_by_arrows(chromium, address):
    with opened(chromium, address, "#find=distilled") as page:
        ready(page)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "table"
        assert state(page)["query"] == "distilled", "the view stays as the address has it"
        page.locator("#tab-configurations").focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == "tab-runs"
        assert page.locator("#tab-runs").get_attribute("aria-selected") == "true"
        assert page.locator("#shown-count").inner_text() == "80 of 257 runs"
        page.evaluate("location.hash = 'find=scratch'")  # as a link into the page does
        page.locator("#tab-configurations[aria-selected='true']").wait_for()
        assert page.locator("#shown-count").inner_text() == "5 of 17 configurations"


def test_two_ticked_runs_are_drawn_in_their_colours_everywhere(chromium, address):
    with opened(chromium, address, "#view=runs&find=distilled width=8") as page:
        ready(page, figures=True)
        boxes = page.locator("[data-tick]")
        boxes.nth(0).click()
        boxes.nth(1).click()
        labels = page.evaluate("ticked().map((item) => item.label)")
        assert labels == ["distilled: width=8 · seed 0", "distilled: width=8 · seed 1"]
        assert lines_drawn(page, "curves") == labels
        assert len(lines_drawn(page, "reliability")) == 5  # two lines, their counts, the diagonal
        tokens = page.evaluate("ticked().map((item) => colourOf(item))")
        assert len(set(tokens)) == 2
        for figure in ("curves", "reliability"):
            drawn = page.evaluate(
                f"figures.find((one) => one.id === '{figure}').made.chart.getOption().series.map((one) => one.color)"
            )
            assert set(tokens) <= set(drawn)
        swatch = page.locator("[data-swatch]").first.evaluate("(it) => getComputedStyle(it).backgroundColor")
        assert swatch == tokens[0]
        page.select_option("#curve-key", "train/loss")
        assert "train/loss" in page.locator("#curves figcaption").inner_text()
        boxes.nth(5).click(modifiers=["Shift"])
        assert page.evaluate("ticked().length") == 6
        page.locator("#curves details summary").click()
        page.locator("#curves .numbers table").wait_for()
        assert page.locator("#curves .numbers thead th").count() == 7


def test_drawing_along_an_axis_filters_the_table_and_the_plane_and_can_be_taken_away(chromium, address):
    with opened(chromium, address) as page:
        ready(page, figures=True)
        chart = page.locator("#parallel .chart")
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        x = box["x"] + page.evaluate(
            "figures.find((one) => one.id === 'parallel').made.chart.getModel().getComponent('parallel')"
            ".coordinateSystem.dataToPoint(0, 'dim1')[0]"
        )
        page.mouse.move(x, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(x, box["y"] + 100, steps=3)
        page.mouse.move(x, box["y"] + 140, steps=3)
        page.mouse.up()
        page.locator(TAKEN_AWAY).wait_for()
        assert {re.search(r"width=(\d+)", label).group(1) for label in column(page, "Setting")} == {"64", "128"}
        assert page.evaluate("paretoItems().length") == rows(page) == 6
        page.get_by_role("button", name="width: 64, 128").click()
        assert page.locator("#shown-count").inner_text() == "All 17 configurations"
        assert page.evaluate("state.brushes") == {}


def test_an_area_of_the_plane_filters_the_table_and_the_lines(chromium, address):
    with opened(chromium, address) as page:
        ready(page, figures=True)
        page.locator("#pareto").scroll_into_view_if_needed()
        page.click("#select-area")
        box = page.locator("#pareto .chart").bounding_box()
        at = page.evaluate(
            "[[0.13, 0.72], [0.17, 0.61]].map((value) => figures.find((one) => one.id === 'pareto')"
            ".made.chart.convertToPixel({ xAxisIndex: 0, yAxisIndex: 0 }, value))"
        )
        (left, top), (right, bottom) = at
        page.mouse.move(box["x"] + left, box["y"] + top)
        page.mouse.down()
        page.mouse.move(box["x"] + right, box["y"] + bottom, steps=5)
        page.mouse.up()
        page.locator(TAKEN_AWAY).wait_for()
        inside = page.evaluate("shownItems().map(point)")
        assert 0 < len(inside) < 17
        assert all(0.125 < x < 0.175 and 0.6 < y < 0.73 for x, y in inside)
        assert rows(page) == len(inside) == page.evaluate("parallelShown().length")
        assert page.locator("#select-area").get_attribute("aria-pressed") == "false"


def test_a_click_opens_all_that_the_record_knows_and_escape_gives_the_focus_back(chromium, address, size_lines):
    summary = summarize(size_lines)
    run = next(run for run in summary.by_id.values() if run["role"] == "student" and run["teacher"]["id"])
    with opened(chromium, address, f"#view=runs&find={run['run_id']}") as page:
        ready(page)
        button = page.locator(f"[data-open='{run['run_id']}']")
        button.focus()
        page.keyboard.press("Enter")
        panel = page.locator("dialog[open]")
        text = panel.inner_text()
        for said in (run["run_id"], run["twin"], run["teacher"]["id"], "kdlab sweep student_size", run["commit"]):
            assert said in text
        for key in run["metrics"]:
            place, _, quantity = key.rpartition("/")
            assert key in text or (place in run["slices"] and place in text and quantity.replace("_", " ") in text), key
        undefined = next(iter(run["undefined"]))
        assert undefined in text
        assert f"runs/{run['run_id']}/record.json" in text
        assert panel.locator(".chart svg").count() == 2
        panel.get_by_role("button", name=re.compile(r"^scratch: .*seed")).click()
        assert run["twin"] in page.locator("dialog[open] .panel-head").inner_text()
        page.keyboard.press("Escape")
        page.wait_for_url(lambda address: "open=" not in address)
        assert page.locator("dialog[open]").count() == 0
        assert page.evaluate("document.activeElement.dataset.open") == run["run_id"]
        page.keyboard.press("Enter")
        page.locator("dialog[open]").get_by_role("button", name="Compare", exact=True).click()  # draws the table anew
        page.keyboard.press("Escape")
        page.locator(f"[data-open='{run['run_id']}']:focus").wait_for()


def test_columns_are_added_and_undefined_numbers_say_why(chromium, address):
    with opened(chromium, address, "#view=runs&only.role=teacher") as page:
        ready(page)
        page.select_option("#columns", "transfer/target_entropy")
        assert "transfer/target_entropy" in page.locator("#explorer > .table-frame thead").inner_text()
        reason = "a teacher was taught by no other network"
        nothing = page.locator("#explorer > .table-frame tbody tr").first.locator(f"span[title='{reason}']")
        assert nothing.inner_text() == "–"


def test_a_phone_has_nothing_beside_the_page_and_all_parts(chromium, address):
    with opened(chromium, address, width=360, height=740) as page:
        ready(page, figures=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.locator("[data-open]").first.click()
        assert round(page.locator("dialog[open]").bounding_box()["width"]) <= 360
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= 360


def test_dark_is_dark_follows_the_system_and_the_switch_and_figures_go_along(chromium, address):
    def ink(page):
        return page.evaluate("[getComputedStyle(document.body).backgroundColor, kd.colour('student')]")

    with opened(chromium, address, color_scheme="dark") as page:
        ready(page, figures=True)
        dark = ink(page)
        assert max(map(int, re.findall(r"\d+", dark[0]))) < 60
        page.locator("[data-role='theme']").click()
        light = ink(page)
        assert min(map(int, re.findall(r"\d+", light[0]))) > 200
        drawn = page.locator("#pareto svg").inner_html().replace(" ", "")
        assert light[1].replace(" ", "") in drawn
        assert dark[1].replace(" ", "") not in drawn
        page.reload()
        ready(page)
        assert ink(page) == light, "the choice is remembered"


def test_on_paper_it_is_light_and_has_the_table_and_every_figure(chromium, address):
    with opened(chromium, address, "#view=runs", color_scheme="dark") as page:
        page.wait_for_selector("html[data-ready]")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        page.emulate_media(media="print")
        assert page.locator("#printed tbody tr").count() == 17
        assert page.locator("#printed").is_visible()
        assert not page.locator("#explorer > .table-frame").is_visible()
        assert page.locator("figure svg").count() >= 5
        page.emulate_media(media="screen")
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate("document.documentElement.dataset.theme ?? 'system'") == "system"


def test_without_javascript_question_and_verdict_stand_there(chromium, address):
    with opened(chromium, address, java_script_enabled=False) as page:
        text = page.locator("body").inner_text()
        assert "depend on the student's size?" in text
        assert "+0.0193" in text
        assert "README.md" in text


def test_text_of_records_is_text(chromium, written):
    lines = synthetic.arms(seeds=3)
    named = {"kd": f"kd{EVIL}", "weak": f"</script>{EVIL}"}
    for run in lines[1:]:
        run["members"] = [{**member, "arm": named.get(member["arm"], member["arm"])} for member in run["members"]]
    lines[0] |= {
        "name": EVIL,
        "question": f"{EVIL} {{{{script}}}}",
        "says": f"</title>{EVIL}",
        "command": f"kdlab {EVIL}",
    }
    lines[0]["arms"] = {named.get(arm, arm): overrides for arm, overrides in lines[0]["arms"].items()}
    student = next(run for run in lines[1:] if run["role"] == "student")
    student |= {"status": "failed", "metrics": {}, "bins": {}, "curves": {}, "error": {"type": EVIL, "message": EVIL}}
    with opened(chromium, written("evil", lines)) as page:
        ready(page, figures=True)
        assert page.locator("h1").inner_text() == f"{EVIL} {{{{script}}}}"
        page.evaluate("change({level: 'runs', query: 'failed'})")
        page.locator("[data-open]").first.click()
        assert EVIL in page.locator("dialog .error").inner_text()
        page.keyboard.press("Escape")
        page.evaluate("change({level: 'configurations', query: ''})")
        for figure in ("pareto", "parallel", "slices"):  # tooltips are the one place that takes HTML
            page.evaluate(
                f"figures.find((one) => one.id === '{figure}').made.chart"
                ".dispatchAction({type: 'showTip', seriesIndex: 2, dataIndex: 0})"
            )
        told = page.evaluate(f"kd.tip({EVIL!r}, [[{EVIL!r}, {EVIL!r}]])")
        assert "<img" not in told
        assert page.locator("img").count() == 0
        assert page.title().startswith(EVIL)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("empty", lambda: [{"kind": "study", "name": "x", "question": "Why?"}]),
        ("one", lambda: (maker := synthetic.Maker(), maker.scratch(0))[0].lines()),
        ("failed", lambda: synthetic.grid(seeds=2, temperatures=(4,), alphas=(1.0,), failed=2)),
        ("two", lambda: [*synthetic.grid(seeds=2), *synthetic.grid(seeds=3, data="digits", resplit=True)[1:]]),
        ("qualities", lambda: synthetic.qualities(seeds=3)),
        ("tuning", lambda: read_lines(REPORTS / "recipe" / "records.jsonl")),
    ],
)
def test_every_kind_of_study_makes_a_sane_page(chromium, written, name, make):
    lines = make()
    with opened(chromium, written(name, lines)) as page:
        ready(page, figures=True)
        for view in ("runs", "configurations"):
            page.evaluate(f"change({{level: '{view}'}})")
            count = page.evaluate("items().length")
            assert rows(page) == min(count, 50) or (rows(page) == count and count <= 75)
            assert ("No run" in page.locator("#explorer").inner_text()) == (count == 0)
            for details in page.locator("figure details").all():
                details.evaluate("(it) => { it.open = true; }")
        for numbers in page.locator("figure .numbers").all():
            numbers.locator("table").wait_for()
        for item in page.evaluate("[...study.runs, ...study.configurations].map((one) => one.id)")[
            :: max(1, len(lines) // 6)
        ]:
            page.evaluate(f"change({{open: '{item}'}})")
            assert page.locator("dialog[open] h2").inner_text()
        drawn = page.locator("figure").count()
        assert drawn == {"empty": 0, "one": 3, "failed": 4, "tuning": 2}.get(name, 5)


@pytest.mark.long
def test_a_thousand_runs_are_usable_at_once(chromium, written):
    lines = synthetic.grid(seeds=56, alphas=(0.3, 0.6, 0.9, 1.0))
    assert len(lines) > 1000
    address = written("thousand", lines)
    assert Path(address.removeprefix("file://")).stat().st_size < 3_000_000
    with opened(chromium, address, "#view=runs") as page:
        ready(page, figures=True)
        seconds = page.evaluate("performance.now()") / 1000
        assert page.locator("figure svg").count() >= 5
        assert seconds < 6, "2 s on a machine with nothing else to do"
        start = time.perf_counter()
        page.fill("#search", "T=4 alpha>=0.9")
        assert page.locator("#shown-count").inner_text() == "112 of 1,008 runs".replace("1,008", f"{len(lines) - 1:,}")
        assert time.perf_counter() - start < 3
