"""What was predicted, in a real browser: readable, drawn, and without a complaint of the content security policy."""

import synthetic_records as synthetic
from browser import open_page


def test_what_was_predicted_is_drawn_in_its_row(chromium, written):
    maker = synthetic.Maker(seed=3)
    for seed in range(6):
        maker.student(seed, arm="kd", gain=0.05, overrides=[f"seed={seed}"])
    first = {"claim": "It helps.", "metric": "test/accuracy", "sign": "positive", "recipe": "fixed", "sesoi": 0.005}
    said = {**first, "primary": True, "effect": {"difference": [["kd"], ["scratch(kd)"]]}}
    address = written("predicted", maker.lines(arms={"kd": []}, predictions={"one": said}))
    with open_page(chromium, address) as page:
        page.wait_for_selector("html[data-ready]")
        row = page.locator(".predictions tbody tr")
        assert row.count() == 1
        assert "It helps." in row.inner_text()
        assert "reproduced" in row.inner_text()
        dot, side = row.locator(".dot").bounding_box(), row.locator(".side").bounding_box()
        assert side["x"] < dot["x"] < side["x"] + side["width"]  # on the side that was predicted
        assert page.locator("#explorer table.data").first.is_visible()
