"""The page shows what each teacher says of the wrong classes: the means of the report, one teacher at a time."""

import numpy as np
import pytest
import synthetic_records as synthetic
from browser import open_page

from kdlab.reporting.aggregate import summarize
from kdlab.reporting.dark_knowledge import panels
from kdlab.reporting.page.data import payload

NAMES = ["T-shirt/top", "Coat", "<b>Bag</b>", "Boot"]
CHART = "figures.find((one) => one.id === 'dark-knowledge').made.chart.getOption()"


def told(quality, seed):
    """Shares of four classes; nobody has an example of the last one."""
    shares = np.random.default_rng([len(quality), seed]).uniform(size=(4, 4))
    np.fill_diagonal(shares, 0.0)
    rows = (shares / shares.sum(axis=1, keepdims=True)).tolist()
    rows = [[None if i == j or i == 3 else one for j, one in enumerate(row)] for i, row in enumerate(rows)]
    return {"set": "test", "temperature": 4.0, "class_names": NAMES, "probabilities": rows}


@pytest.fixture(scope="module")
def lines():
    maker = synthetic.Maker()
    for seed in (0, 1):
        for quality in ("standard", "weak"):
            maker.student(
                seed, quality=quality, overrides=[f"seed={seed}", f"teacher/quality={quality}"], T=len(quality)
            )
    return [
        {**line, "dark_knowledge": told(line["identity"]["quality"], line["seeds"]["teacher"])}
        if line.get("role") == "teacher"
        else line
        for line in maker.lines()
    ]


def test_the_payload_has_the_means_of_the_figure(lines):
    summary = summarize(lines)
    measure, every = panels(summary, "mnist1d")
    made = {one["label"]: one["dark_knowledge"] for one in payload(summary)["configurations"]}
    assert {label for label, one in made.items() if one} == {"teacher", "teacher, weak"}
    for panel in every:
        one = made[panel.row.group.label]
        assert (one["set"], one["temperature"], one["n"]) == ("test", 4.0, 2)
        assert one["class_names"] == list(measure.class_names) == NAMES
        np.testing.assert_allclose(np.array(one["shares"], dtype=float), panel.shares, rtol=5.1e-4)


def test_it_draws_one_teacher_and_another_where_that_is_chosen(chromium, written, lines):
    with open_page(chromium, written("dark", lines)) as page:
        page.wait_for_selector("html[data-ready]")
        page.evaluate("figures.forEach((one) => one.show())")
        for quality, label in (("standard", "teacher"), ("weak", "teacher, weak")):
            page.get_by_label("Teacher", exact=True).select_option(label=label)
            mean = np.mean([np.array(told(quality, seed)["probabilities"], dtype=float) for seed in (0, 1)], axis=0)
            drawn = page.evaluate(f"{CHART}.series[0].data.map((one) => one.value)")
            assert len(drawn) == 9
            ((low, high),) = page.evaluate(f"{CHART}.visualMap.map((one) => [one.min, one.max])")
            assert 0 <= low <= np.nanmin(mean) + 5e-4
            assert np.nanmax(mean) - 5e-4 <= high
            for other, true, share in drawn:
                assert share == pytest.approx(mean[true, other], rel=5.1e-4)
            true, other = np.unravel_index(np.nanargmax(mean), mean.shape)
            caption = page.locator("#dark-knowledge-caption").inner_text()
            assert f"The strongest: {NAMES[true]} looks like {NAMES[other]} ({np.nanmax(mean):.2f})." in caption
            assert f"{label}, test set, T = 4, mean of 2 teachers" in caption
        page.reload()
        page.wait_for_selector("html[data-ready]")
        page.evaluate("figures.forEach((one) => one.show())")
        page.locator("#dark-knowledge-caption", has_text="teacher, weak, test set").wait_for()
        page.locator("#dark-knowledge details summary").click()
        assert page.locator("#dark-knowledge .numbers tbody tr").count() == 4
        assert page.locator("#dark-knowledge b").count() == 0


def test_a_teacher_that_prefers_nothing_has_colours_all_the_same(chromium, written):
    even = [[None if i == j else 0.5 for j in range(3)] for i in range(3)]
    said = {"set": "test", "temperature": 4.0, "class_names": ["0", "1", "2"], "probabilities": even}
    lines = [
        line | ({"dark_knowledge": said} if line.get("role") == "teacher" else {})
        for line in synthetic.grid(seeds=1, temperatures=(1,))
    ]
    with open_page(chromium, written("even", lines)) as page:
        page.wait_for_selector("html[data-ready]")
        page.evaluate("figures.forEach((one) => one.show())")
        assert "0.50, the share of each" in page.locator("#dark-knowledge-caption").inner_text()
        assert "NaN" not in page.locator("#dark-knowledge").inner_html()


def test_a_page_without_it_says_that_it_is_not_drawn(chromium, written):
    with open_page(chromium, written("without", synthetic.grid(seeds=2, temperatures=(1,)))) as page:
        page.wait_for_selector("html[data-ready]")
        assert page.locator("#dark-knowledge").count() == 0
        assert "what a teacher says of the wrong classes" in page.locator("#figures").inner_text()
