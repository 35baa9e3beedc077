"""The figure of the first screen: the right numbers in plain words, from whatever studies are there, the same bytes."""

import numpy as np
import pytest
import synthetic_records as synthetic
import yaml

from kdlab.commands.places import resource
from kdlab.reporting import overview
from kdlab.reporting.aggregate import summarize
from kdlab.reporting.compact import dump_lines
from kdlab.reporting.overview import PANELS, Panel, draw_overview, gains_of

DOSED = {
    "standard": [],
    "weak_25": ["teacher/quality=weak", "teacher.quality.steps=25"],
    "uniform": ["teacher/quality=uniform"],
    "weak_100": ["teacher/quality=weak", "teacher.quality.steps=100"],
    "low_bit_2_channel": ["teacher/quality=low_bit", "teacher.quality.bits=2", "teacher.quality.granularity=channel"],
    "label_noise_0.3": ["teacher/quality=label_noise", "teacher.quality.label_noise=0.3"],
}


def qualities(seeds=3):
    maker = synthetic.Maker(seed=1)
    for place, (name, lines) in enumerate(DOSED.items()):
        quality = lines[0].split("=")[1] if lines else "standard"
        for seed in range(seeds):
            words = [f"seed={seed}", *lines]
            maker.student(seed, arm=name, quality=quality, gain=0.01 * place, overrides=words, T=1 + place)
    return maker.lines(arms=DOSED)


def widths(seeds=3):
    arms = {"distilled": [], "uniform": ["teacher/quality=uniform"]}
    maker = synthetic.Maker(seed=2)
    for seed in range(seeds):
        for width in (8, 32, 128):
            for arm, lines in arms.items():
                words = [f"seed={seed}", f"student.width={width}", *lines]
                quality = "uniform" if lines else "standard"
                maker.student(seed, width=width, arm=arm, quality=quality, gain=0.01, overrides=words)
    return maker.lines(arms=arms)


def commit(reports, **studies):
    for name, lines in studies.items():
        (reports / name).mkdir(parents=True)
        (reports / name / "records.jsonl").write_text(dump_lines(lines))


def test_an_arm_is_told_in_words_with_its_dose_and_controls_come_last():
    lines = qualities()
    gains = gains_of(Panel("teacher_quality", "?"), summarize(lines))
    assert [(gain.label, gain.dose, gain.control) for gain in gains] == [
        ("as trained", "", False),
        ("stopped early", "25 steps", False),
        ("stopped early", "100 steps", False),
        ("few bits", "2 bits, per channel", False),
        ("noisy labels", "30 %", False),
        ("no teacher: uniform targets", "", True),
    ]
    runs = {line["run_id"]: line for line in lines if line["kind"] == "run"}
    for gain, arm in zip(gains, ("standard", "weak_25", "weak_100", *list(DOSED)[4:], "uniform"), strict=True):
        of_arm = [run for run in runs.values() if any(m.get("arm") == arm for m in run["members"]) and run["twin"]]
        accuracy = [run["metrics"]["test/accuracy"] - runs[run["twin"]]["metrics"]["test/accuracy"] for run in of_arm]
        assert len(accuracy) == 3
        assert gain.difference.estimate == pytest.approx(np.mean(accuracy), abs=1e-6)


def test_a_knob_gives_a_line_for_each_kind_of_teacher():
    gains = gains_of(Panel("student_size", "?", "student.width"), summarize(widths()))
    assert [(gain.control, gain.at) for gain in gains] == [(c, at) for c in (False, True) for at in (8, 32, 128)]


def test_other_knobs_stand_where_validation_chose_them():
    summary = summarize(synthetic.grid(seeds=3, temperatures=(1, 4), alphas=(0.3, 0.9), uniform=True))
    gains = gains_of(Panel("temperature_alpha", "?", "objective.temperature"), summary)
    best = summary.best("mnist1d")
    alphas = {row.group.knobs["objective.alpha"] for row in summary.rows_of("mnist1d")
              if row.against("scratch") and row.against("scratch").differences["test/accuracy"] in
              [gain.difference for gain in gains]}  # fmt: skip
    assert alphas == {best.group.knobs["objective.alpha"]}
    assert [gain.at for gain in gains if not gain.control] == [1, 4]


def test_what_is_there_is_drawn_and_a_missing_study_is_left_out(tmp_path, monkeypatch):
    assert draw_overview(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    drawn = []
    real = {name: getattr(overview, name) for name in ("_draw_arms", "_draw_knob")}

    def noted(name):
        def draw(axes, gains):
            drawn.append(name)
            real[name](axes, gains)

        return draw

    for name in real:
        monkeypatch.setattr(overview, name, noted(name))
    commit(tmp_path, student_size=widths())
    files = draw_overview(tmp_path)
    assert [path.name for path in files] == ["overview.png", "overview.svg"]
    assert drawn == ["_draw_knob"]
    first = [path.read_bytes() for path in files]
    commit(tmp_path, teacher_quality=qualities())
    commit(tmp_path, temperature_alpha=synthetic.grid(seeds=2, temperatures=(1, 4), alphas=(0.3,)))
    draw_overview(tmp_path)
    assert drawn[1:] == ["_draw_arms", "_draw_knob"], "two panels, in the order they are declared"
    assert [path.read_bytes() for path in files] != first


def test_the_same_bytes_again_with_something_in_them(tmp_path):
    import matplotlib
    from matplotlib.image import imread

    for place in ("one", "two"):
        commit(tmp_path / place, student_size=widths(), teacher_quality=qualities())
        matplotlib.rcParams["font.size"] = 30  # the user's own settings change nothing
        try:
            draw_overview(tmp_path / place)
        finally:
            matplotlib.rcdefaults()
    for name in ("overview.png", "overview.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    image = imread(tmp_path / "one" / "overview.png")
    assert 0.01 < np.mean(np.any(image[:, :, :3] < 0.9, axis=2)) < 0.5
    assert image[:4, :4].min() == 1, "its own white ground, on a dark page too"


def test_the_panels_name_sweeps_that_exist_and_every_arm_has_words():
    for panel in PANELS:
        assert (resource("sweeps") / f"{panel.study}.yaml").is_file()
    arms = yaml.safe_load((resource("sweeps") / "teacher_quality.yaml").read_text())["study"]["arms"]
    named = {line.split("=")[1] for lines in arms.values() for line in lines if line.startswith("teacher/quality=")}
    assert named <= set(overview.QUALITIES)
    doses = {line.split("=")[0].rpartition(".")[2] for lines in arms.values() for line in lines if "quality." in line}
    assert doses - {"granularity"} <= set(overview.DOSES)
