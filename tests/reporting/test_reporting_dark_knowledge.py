"""What teachers say of the wrong classes: means against a slow loop, the choice of panels, the figure and its words."""

import doctest
import math

import numpy as np
import pytest
import synthetic_records as synthetic

from kdlab.records.record import RunRecord
from kdlab.reporting import canvas
from kdlab.reporting import dark_knowledge as module
from kdlab.reporting.aggregate import summarize
from kdlab.reporting.canvas import style
from kdlab.reporting.compact import MOST_BYTES, compact, read_lines, size_of
from kdlab.reporting.dark_knowledge import MOST_PANELS, chosen, draw_dark_knowledge, mean_shares, panels, strongest
from kdlab.reporting.report import write_report

DIGITS = [str(label) for label in range(10)]


def entry(seed, *, classes=DIGITS, set_name="test", temperature=4.0, pair=None, absent=()):
    """What a record holds; ``pair``: the true and the other class that are confused most, ``absent``: no examples."""
    shares = np.random.default_rng(seed).uniform(0.5, 1.0, (len(classes), len(classes)))
    if pair is not None:
        shares[pair] = 6.0
    np.fill_diagonal(shares, 0.0)
    shares /= shares.sum(axis=1, keepdims=True)
    rows = [[None if i == j or i in absent else one for j, one in enumerate(row)] for i, row in enumerate(shares)]
    return {"set": set_name, "temperature": temperature, "class_names": list(classes), "probabilities": rows}


def told(lines, say):
    """The lines, with what ``say(quality, seed)`` tells of a teacher; None is nothing."""
    made = []
    for line in lines:
        found = None
        if line.get("role") == "teacher":
            found = say(line["identity"]["quality"], line["seeds"]["teacher"])
        made.append(line if found is None else {**line, "dark_knowledge": found})
    return made


@pytest.fixture(scope="module")
def grid():
    """Nine looks like four. Without what the other figures need, which take seconds."""
    lines = synthetic.grid(seeds=3, temperatures=(1,), alphas=(0.9,))
    lines = [line | {"curves": {}, "bins": {}, "slices": {}} if line["kind"] == "run" else line for line in lines]
    return told(lines, lambda quality, seed: entry(seed, pair=(9, 4)))


def test_the_mean_over_teachers_against_a_slow_loop():
    found = {0: entry(0), 1: entry(1, absent=(2,)), 2: entry(2, absent=(2, 5))}
    found[0]["probabilities"][5] = found[1]["probabilities"][5] = [None] * 10
    summary = summarize(told(synthetic.grid(seeds=3, temperatures=(1,)), lambda quality, seed: found[seed]))
    measure, (panel,) = panels(summary, "mnist1d")
    assert (measure.set_name, measure.temperature, measure.even_share) == ("test", 4.0, pytest.approx(1 / 9))
    assert panel.num_teachers == 3
    for i in range(10):
        for j in range(10):
            known = [one["probabilities"][i][j] for one in found.values()]
            known = [share for share in known if share is not None]
            expected = sum(known) / len(known) if known else math.nan
            assert panel.shares[i, j] == pytest.approx(expected, nan_ok=True)
    assert np.isnan(panel.shares[5]).all()
    assert np.isfinite(panel.shares[2]).sum() == 9


def test_one_set_and_one_temperature_are_drawn_the_test_set_first_then_what_most_teachers_have():
    measures = [("validation", 4.0)] * 4 + [("test", 9.0), ("test", 4.0), ("test", 4.0)]
    lines = synthetic.grid(seeds=7, temperatures=(1,))

    def say(quality, seed):
        set_name, temperature = measures[seed]
        return entry(seed, set_name=set_name, temperature=temperature)

    summary = summarize(told(lines, say))
    measure, (panel,) = panels(summary, "mnist1d")
    assert (measure.set_name, measure.temperature, panel.num_teachers) == ("test", 4.0, 2)
    expected = np.mean([np.array(say("", seed)["probabilities"], dtype=float) for seed in (5, 6)], axis=0)
    np.testing.assert_allclose(panel.shares, expected)
    other = measure._replace(temperature=5.0)
    assert mean_shares(panel.row, other) is None


def test_a_study_without_it_draws_nothing(tmp_path):
    summary = summarize(synthetic.grid(seeds=2, temperatures=(1,)))
    assert panels(summary, "mnist1d") is None
    assert draw_dark_knowledge(summary, "mnist1d", tmp_path, "x") is None
    assert not list(tmp_path.iterdir())


def test_of_several_qualities_each_has_a_panel_before_a_second_dose_of_any():
    maker = synthetic.Maker()
    for seed in (0, 1):
        for quality in ("standard", "weak", "low_bit", "permuted", "label_noise"):
            maker.student(
                seed, quality=quality, overrides=[f"seed={seed}", f"teacher/quality={quality}"], T=len(quality)
            )
    summary = summarize(told(maker.lines(), lambda quality, seed: entry(seed)))
    _, every = panels(summary, "mnist1d")
    assert len(every) == 5
    assert every[0].row.group.quality == "standard"
    assert chosen(every) == every[:MOST_PANELS]
    doubled = [every[0], every[0], every[1], every[1], every[2]]
    assert chosen(doubled) == [every[0], every[0], every[1], every[2]]
    assert chosen(doubled, most=3) == [every[0], every[1], every[2]]
    assert chosen(every[:1]) == every[:1]


def test_the_report_has_the_figure_says_how_to_read_it_and_names_the_strongest_confusion(grid, tmp_path):
    result = write_report(tmp_path / "a", lines=grid)
    names = {path.name for path in result.files}
    assert {"dark_knowledge.png", "dark_knowledge.svg"} <= names
    text = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.endswith("(figures/dark_knowledge.png)")]
    share = np.mean([entry(seed, pair=(9, 4))["probabilities"][9][4] for seed in range(3)])
    assert f"The strongest: 9 looks like 4 ({share:.2f})." in line
    assert "on the test set of mnist1d at T = 4" in line
    assert "0.11, the share of each without any preference" in line
    assert text.index("## Teachers") < text.index("dark_knowledge.png")
    with style():
        again, caption = draw_dark_knowledge(
            summarize(read_lines(tmp_path / "a" / "records.jsonl")), "mnist1d", tmp_path, "b"
        )
    assert caption in line
    for path in again:
        assert path.read_bytes() == (tmp_path / "a" / "figures" / f"dark_knowledge{path.suffix}").read_bytes()


@pytest.mark.parametrize(
    ("num_panels", "classes"),
    [(1, [f"c{number}" for number in range(20)]), (3, ["T-shirt/top", "a $b$", "Ankle boot"])],
)
def test_it_can_be_drawn_of_few_and_of_many_classes_and_of_names_that_are_no_formula(tmp_path, num_panels, classes):
    maker = synthetic.Maker()
    for quality in ("standard", "weak", "low_bit")[:num_panels]:
        maker.student(0, quality=quality, overrides=["seed=0", f"teacher/quality={quality}"], T=len(quality))
    summary = summarize(told(maker.lines(), lambda quality, seed: entry(seed, classes=classes)))
    with style():
        (png, svg), caption = draw_dark_knowledge(summary, "mnist1d", tmp_path, "x")
    assert png.stat().st_size > 10_000
    drawn = svg.read_text(encoding="utf-8")
    for name in classes:
        assert drawn.count(f"<!-- {name} -->") >= 2 * num_panels
    assert drawn.count("<!-- true class -->") == num_panels
    assert ("The strongest (teacher):" in caption) == (num_panels > 1)


def test_a_teacher_that_prefers_nothing_is_pale(tmp_path):
    even = [[None if i == j else 1 / 3 for j in range(4)] for i in range(4)]
    said = entry(0, classes=["a", "b", "c", "d"]) | {"probabilities": even}
    summary = summarize(told(synthetic.grid(seeds=1, temperatures=(1,)), lambda quality, seed: said))
    with style():
        (png, _), caption = draw_dark_knowledge(summary, "mnist1d", tmp_path, "x")
    from matplotlib.image import imread

    image = imread(png)[:, : imread(png).shape[1] * 3 // 4, :3]  # without the colour bar
    assert image.min(axis=(0, 1)).min() < 0.2, "there are numbers on it"
    assert np.mean(np.ptp(image, axis=2) > 0.05) == 0.0, "and no colour"
    assert "a looks like b (0.33)" in caption


def test_the_strongest_pair_is_named_true_class_first():
    shares = np.array([[np.nan, 0.2, 0.8], [0.4, np.nan, 0.6], [np.nan] * 3])
    assert strongest(shares) == (0, 2, 0.8)


def test_a_line_keeps_four_decimals_and_fits_with_twenty_classes_and_its_curves():
    names = [f"some class of animals {number}" for number in range(20)]
    rng = np.random.default_rng(0)
    record = RunRecord(
        **{"run_id": "0" * 16, "identity": "0" * 64, "status": "finished", "role": "teacher", "data": "animals"},
        **{"seeds": {"teacher": 0}, "config": {}, "identity_config": {"model": {"width": 8}}},
        metrics=synthetic.metrics(rng, accuracy=0.9, ece=0.1, data="mnist1d", role="teacher", teacher_accuracy=None),
        slices=synthetic.SLICES,
        curves={"validation/accuracy": [[step, step / 7] for step in range(200)]},
        dark_knowledge=entry(0, classes=names),
    )
    line = compact(record, [])
    assert size_of(line) <= MOST_BYTES
    assert len(line["curves"]["validation/accuracy"]) >= 10
    kept = line["dark_knowledge"]
    exact = record.dark_knowledge["probabilities"]
    assert kept["probabilities"][0][0] is None
    assert kept["probabilities"][3][4] == round(exact[3][4], 4)
    assert {**kept, "probabilities": 0} == {**record.dark_knowledge, "probabilities": 0}


@pytest.mark.parametrize("nothing", [{}, {"probabilities": None, "reason": "100 classes"}])
def test_a_line_without_it_has_no_key_for_it(nothing):
    record = RunRecord("0" * 16, "0" * 64, "finished", "teacher", "x", {}, {}, {}, dark_knowledge=nothing)
    assert "dark_knowledge" not in compact(record, [])


def test_doctests():
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0
    assert doctest.testmod(canvas).failed == 0
