"""Grouping, labels, pairing and comparisons on synthetic studies."""

import numpy as np
import pytest
import synthetic_records as synthetic

from kdlab.reporting.aggregate import summarize
from kdlab.reporting.frame import frame
from kdlab.reporting.groups import rerun_command


@pytest.fixture(scope="module")
def grid():
    return synthetic.grid(seeds=6, failed=2, uniform=True)


@pytest.fixture(scope="module")
def arms():
    return synthetic.arms(seeds=5)


def test_only_seeds_are_averaged(grid):
    summary = summarize(grid)
    assert len(summary.rows) == 1 + 1 + 16  # scratch (alpha 0 at every T), uniform, the grid
    assert len({row.group.label for row in summary.rows}) == 18
    for row in summary.rows:
        assert len({str(run["identity"].get("terms")) for run in row.group.runs}) <= 1


def test_rows_against_a_slow_mean(grid):
    summary = summarize(grid)
    runs = [line for line in grid if line["kind"] == "run" and "objective.temperature=4" in str(line["members"])]
    row = next(row for row in summary.rows if row.group.label == "T=4, alpha=0.6")
    mine = [run for run in runs if any("objective.alpha=0.6" in member["overrides"] for member in run["members"])]
    assert row.metrics["test/accuracy"].estimate == pytest.approx(
        np.mean([run["metrics"]["test/accuracy"] for run in mine])
    )
    by_id = {line["run_id"]: line for line in grid[1:]}
    gains = [run["metrics"]["test/accuracy"] - by_id[run["twin"]]["metrics"]["test/accuracy"] for run in mine]
    against = row.against("scratch").differences["test/accuracy"]
    assert against.estimate == pytest.approx(np.mean(gains))
    assert against.sd == pytest.approx(np.std(gains, ddof=1))
    assert (against.case, against.n) == ("pairs", 6)


def test_failed_runs_are_counted_never_averaged(grid):
    summary = summarize(grid)
    assert summary.failed == 2
    row = next(row for row in summary.rows if row.group.failed)
    assert (row.group.label, row.group.failed, row.metrics["test/accuracy"].n) == ("T=1, alpha=1.0", 2, 4)


def test_scratch_at_alpha_zero_belongs_to_every_temperature(grid):
    scratch = next(row for row in summarize(grid).rows if row.group.role == "scratch")
    assert (scratch.group.label, scratch.metrics["test/accuracy"].case) == ("scratch", "students")
    assert sorted(float(point["objective.temperature"]) for point in scratch.group.points) == [1, 2, 4, 8]
    assert scratch.comparisons == ()


def test_uniform_control_pairs_on_the_student_seed_with_the_same_settings(arms):
    summary = summarize(arms)
    for width in (50, 100, 200):
        row = next(row for row in summary.rows if row.group.label == f"kd: width={width}")
        against = row.against("uniform")
        assert against.reference == f"uniform: width={width}"
        control = next(other for other in summary.rows if other.group.label == against.reference)
        theirs = {run["seeds"]["student"]: run["metrics"]["test/accuracy"] for run in control.group.runs}
        slow = np.mean([run["metrics"]["test/accuracy"] - theirs[run["seeds"]["student"]] for run in row.group.runs])
        assert against.differences["test/accuracy"].estimate == pytest.approx(slow)
        assert against.differences["test/accuracy"].case == "pairs"


def test_arms_are_compared_at_the_same_point_of_the_grid(arms):
    summary = summarize(arms)
    row = next(row for row in summary.rows if row.group.label == "kd: width=100")
    references = [against.reference for against in row.comparisons if against.kind == "arm"]
    assert references == ["weak: width=100", "uniform: width=100"]
    weak = next(row for row in summary.rows if row.group.label == "weak: width=100")
    assert not [against for against in weak.comparisons if against.kind == "arm"]


def test_the_best_is_chosen_on_validation_not_on_test():
    maker = synthetic.Maker()
    for seed in range(4):
        for alpha, validation in ((0.5, 0.9), (0.9, 0.1)):
            run = maker.student(seed, alpha=alpha, overrides=[f"seed={seed}", f"objective.alpha={alpha}"])
            run["metrics"] = {**run["metrics"], "validation/accuracy": validation, "test/accuracy": 1 - validation}
    assert summarize(maker.lines()).best("mnist1d").group.label == "alpha=0.5"


def test_labels_that_collide_get_the_identity_keys_that_differ():
    maker = synthetic.Maker()
    for seed in range(3):
        for T in (2, 4):  # two settings asked for with the same overrides
            maker.student(seed, T=T, overrides=[f"seed={seed}"])
    labels = sorted(row.group.label for row in summarize(maker.lines()).rows if row.group.role == "student")
    assert labels == ["student (T=2)", "student (T=4)"]


def test_four_and_four_point_zero_are_one_setting():
    maker = synthetic.Maker()
    for seed in range(4):
        maker.student(seed, T=4.0 if seed % 2 else 4, overrides=[f"seed={seed}"])
    assert len([row for row in summarize(maker.lines()).rows if row.group.role == "student"]) == 1


def test_a_pinned_teacher_and_crossed_seeds_are_named():
    maker = synthetic.Maker()
    for seed in range(4):
        maker.student(
            seed, teacher_seed=0, alpha=0.5, overrides=[f"seed={seed}", "teacher.seed=0", "objective.alpha=0.5"]
        )
        for teacher in (0, 1, 2):
            maker.student(
                seed,
                teacher_seed=teacher,
                alpha=0.9,
                overrides=[f"seed={seed}", f"teacher.seed={teacher}", "objective.alpha=0.9"],
            )
    rows = {row.group.label: row for row in summarize(maker.lines()).rows}
    assert rows["alpha=0.5"].metrics["test/accuracy"].case == "pinned"
    crossed = rows["alpha=0.9"].against("scratch").differences["test/accuracy"]
    assert (crossed.case, crossed.n) == ("crossed", 3)
    command = rerun_command(rows["alpha=0.9"].group, header={"sweep": "synthetic"})
    assert command == "kdlab sweep synthetic objective.alpha=0.9 'seed=range(0,4)' teacher.seed=0,1,2"


def test_small_sets_split_again_carry_the_correction():
    summary = summarize(synthetic.grid(seeds=5, data="digits", resplit=True, temperatures=(1, 2)))
    row = summary.rows[-1]
    assert row.metrics["test/accuracy"].resplit == pytest.approx(360 / 1078)
    assert row.against("scratch").differences["test/accuracy"].resplit == pytest.approx(360 / 1078)


def test_commands_of_scratch_teacher_and_arm_rows(arms):
    summary = summarize(arms)
    rows = {row.group.label: row.group for row in (*summary.rows, *summary.teachers)}
    header = summary.header
    assert (
        rerun_command(rows["scratch: width=50"], header=header)
        == "kdlab sweep synthetic student.width=50 'study.only=[scratch]' 'seed=range(0,5)'"
    )
    assert (
        rerun_command(rows["weak: width=50"], header=header)
        == "kdlab sweep synthetic student.width=50 'study.only=[weak]' 'seed=range(0,5)'"
    )
    assert (
        rerun_command(rows["teacher, weak"], header=header)
        == "kdlab teacher -m data=mnist1d teacher/quality=weak 'seed=range(0,5)'"
    )


def test_frame_has_one_row_per_run_with_knobs_and_metrics(arms):
    table = frame(arms)
    assert len(table) == len(arms) - 1
    assert table["run_id"].is_unique
    student = table[(table["role"] == "student") & (table["arm"] == "weak")]
    assert set(student["student.width"]) == {50, 100, 200}
    assert set(student["teacher_quality"]) == {"weak"}
    assert student["test/accuracy"].notna().all()
    assert table[table["role"] == "scratch"]["test/agreement"].isna().all()


def test_an_empty_study_is_no_error():
    summary = summarize([{"kind": "study", "name": "x"}])
    assert (summary.rows, summary.datasets) == ((), [])
    assert len(frame([{"kind": "study"}])) == 0


def test_a_lone_uniform_control_serves_the_whole_grid(grid):
    against = [row.against("uniform") for row in summarize(grid).rows if row.group.has_teacher]
    assert len(against) == 16
    assert {found.reference for found in against} == {"T=4, alpha=0.9, quality=uniform"}


@pytest.mark.parametrize("tempered", [True, False])
def test_the_command_of_a_teacher_names_the_temperature_its_targets_are_made_for(tempered):
    lines = synthetic.qualities(seeds=2)
    teacher = next(line for line in lines[1:] if line["role"] == "teacher")
    outputs = {"_target_": "kdlab.teachers.virtual", "temperature": 4} if tempered else {"scale": 3}
    teacher["identity"] = {"parent": teacher["identity"], "outputs": outputs}
    asked = ["data=mnist1d", "teacher/quality=virtual", "objective.temperature=4", "objective.alpha=0.5"]
    teacher["members"] = [{"arm": "teacher", "phase": None, "overrides": asked}]
    summary = summarize(lines)
    group = next(row.group for row in summary.teachers if teacher in row.group.runs)
    command = rerun_command(group, header=summary.header)
    assert command.startswith("kdlab teacher")
    assert "teacher/quality=virtual" in command
    assert ("objective.temperature=4" in command) == tempered
    assert "alpha" not in command


def test_records_from_before_a_field_was_added_are_of_one_group_with_those_after():
    lines = synthetic.grid(seeds=6, temperatures=(4,), alphas=(0.9,))
    for line in lines[1:]:
        later = {"augmentation": {}} if (line["seeds"].get("student") or 0) >= 3 else {}
        line["identity"] = {**line["identity"], "training": {"steps": 5, **later}}
    rows = summarize(lines).rows
    assert [(row.group.label, row.metrics["test/accuracy"].n) for row in rows if row.group.role == "scratch"] == [
        ("scratch", 6)
    ]
    assert all("augmentation" not in key for row in rows for key in row.group.identity)
