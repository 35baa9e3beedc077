"""The effects figure of a study with named arms, and the controls that are never its best student."""

import numpy as np
import pytest
import synthetic_records as synthetic

from kdlab.reporting.aggregate import summarize
from kdlab.reporting.canvas import new_figure, style
from kdlab.reporting.effects import LOOKS, draw_effects, draw_forest, effects
from kdlab.reporting.intervals import Interval


@pytest.fixture(scope="module")
def summary():
    return summarize(synthetic.qualities())


def test_every_arm_has_its_difference_to_scratch_in_the_order_of_the_study(summary):
    found = effects(summary, "mnist1d")
    assert [row.group.arms[0] for row, _ in found][1:] == ["standard", "weak_25", "weak_100", "low_bit_2", "permuted"]
    by_arm = {row.group.arms[0]: against for row, against in found}
    for arm, against in by_arm.items():  # the slow way: pair by pair
        lines = [line for line in synthetic.qualities() if line.get("role")]
        twins = {line["run_id"]: line["metrics"]["test/accuracy"] for line in lines}
        pairs = [
            line["metrics"]["test/accuracy"] - twins[line["twin"]]
            for line in lines
            if any(member["arm"] == arm for member in line["members"]) and line["role"] == "student"
        ]
        assert len(pairs) == 8
        assert against.differences["test/accuracy"].estimate == pytest.approx(np.mean(pairs), abs=1e-9)


def test_the_figure_is_drawn_for_named_arms_alone(summary, tmp_path):
    with style():
        files, caption = draw_effects(summary, "mnist1d", tmp_path, "effects")
        assert all(path.stat().st_size > 5000 for path in files)
        assert "smallest effect of interest (0.5 points)" in caption
        grid = summarize(synthetic.grid(seeds=3, temperatures=(1, 4), alphas=(0.5, 0.9)))
        assert draw_effects(grid, "mnist1d", tmp_path, "none") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["effects.png", "effects.svg"]


def test_what_is_drawn_is_the_interval_in_points():
    def found(estimate, half):
        return Interval(estimate, estimate - half, estimate + half, n=8, sd=0.01, df=7, case="pairs")

    with style():
        _, axes = new_figure(4, 2)
        draw_forest(axes, [("a", found(0.02, 0.01), "better"), ("b", found(-0.01, 0.03), "inconclusive")])
        bars = [container.lines[2][0].get_segments()[0] for container in axes.containers]
        assert np.allclose(bars[0], [[1, 0], [3, 0]])
        assert np.allclose(bars[1], [[-4, 1], [2, 1]])
        faces = [container.lines[0].get_markerfacecolor() for container in axes.containers]
        assert faces == [LOOKS["better"][0], "white"]
        assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
        assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first arm stands on top"


def test_a_control_is_never_the_best_student(summary):
    rows = summary.rows_of("mnist1d")
    highest = max(rows, key=lambda row: row.metrics["validation/accuracy"].estimate)
    assert highest.group.quality == "permuted", "the control is above every teacher here"
    assert summary.best("mnist1d").group.quality not in ("permuted", "uniform")
