"""What a report calls teachers of several networks, and that it tells what they cost."""

import pytest
import synthetic_records as synthetic
from plain_config import config

from kdlab.experiments.plan import plan, plan_teacher
from kdlab.reporting.aggregate import summarize
from kdlab.reporting.groups import flatten, rerun_command, without_seeds
from kdlab.reporting.lineage import has_several_teachers, is_taught, of_teacher, several_word
from kdlab.reporting.tables import results_table, teachers_table

ASSISTANTS = {"large": {"width": 8}, "small": {"width": 7}}


def identity_of(run):
    return flatten(without_seeds(run.identity_config))


@pytest.mark.parametrize(("changes", "word"), [
    ({}, ""),
    ({"ensemble": {"count": 3}}, "ensemble of 3, probabilities"),
    ({"ensemble": {"members": {"a": {"seed": 0}, "b": {"seed": 1}}, "combination": "random"}}, "ensemble of 2, random"),
    ({"assistants": {"large": {"width": 8}}}, "assistant"),
    ({"assistants": ASSISTANTS}, "assistant 2"),
    ({"generations": 1}, ""),
    ({"generations": 3}, "generation 2"),
    ({"generations": 2, "logit_scale": 2.0}, "generation 1, scaled"),
    ({"ensemble": {"count": 2}, "match_entropy": 0.5}, "ensemble of 2, probabilities, scaled"),
])  # fmt: skip
def test_a_teacher_is_called_by_what_is_behind_it(changes, word):
    point = plan(config(**{f"teacher__{name}": value for name, value in changes.items()}))
    identity, student = identity_of(point.teacher), identity_of(point.run)
    assert several_word(identity) == several_word(of_teacher(student)) == word
    assert has_several_teachers(student) == bool(word)
    assert is_taught(identity) == ("assistant" in word or "generation" in word)
    assert not has_several_teachers(identity_of(point.twin))


@pytest.fixture
def lines():
    """A study whose teachers are ensembles, as their identities tell."""
    found = synthetic.grid(seeds=3, temperatures=(4,), alphas=(0.9,))
    planned = plan_teacher(config(teacher__ensemble={"count": 3}))
    asked = ["data=mnist1d", "teacher/ensemble=seeds", "objective.temperature=4", "objective.alpha=0.9"]
    for line in found[1:]:
        if line["role"] == "teacher":
            seed = line["seeds"]["teacher"]
            line["identity"] = dict(planned.identity_config)
            line["members"] = [{"arm": "teacher", "phase": None, "overrides": [*asked, f"teacher.seed={seed}"]}]
        if line["role"] == "student":
            line["identity"] = {**line["identity"], "teacher": dict(planned.identity_config)}
            line["metrics"]["cost/teacher_train_seconds"] = 12.0 + line["seeds"]["student"]
    return found


def test_a_report_names_an_ensemble_and_tells_what_it_cost(lines):
    summary = summarize(lines)
    teachers = teachers_table(summary, "mnist1d")
    assert [row[0] for row in teachers.rows] == ["ensemble of 3, probabilities"]
    (command,) = teachers.commands
    assert command == (
        "kdlab teacher -m data=mnist1d teacher/ensemble=seeds objective.temperature=4 teacher.seed=0,1,2"
    )
    results = results_table(summary, "mnist1d")
    at = list(results.columns).index("Teacher training (s)")
    assert [row[at] for row in results.rows] == ["\N{EN DASH}", "13.0"]
    assert results.records[-1]["cost/teacher_train_seconds"] == pytest.approx(13.0)


def test_a_report_of_single_teachers_says_nothing_of_it():
    summary = summarize(synthetic.grid(seeds=2, temperatures=(4,), alphas=(0.9,)))
    assert "Teacher training (s)" not in results_table(summary, "mnist1d").columns


def test_a_link_is_made_again_with_all_that_its_student_learns_from(lines):
    planned = plan_teacher(config(teacher__assistants=ASSISTANTS))
    asked = ["data=mnist1d", "teacher/chain=assistant", "objective.alpha=0.9", "training.steps=15"]
    for line in lines[1:]:
        if line["role"] == "teacher":
            line["identity"] = dict(planned.identity_config)
            line["members"] = [{"arm": "teacher", "phase": None, "overrides": asked}]
    summary = summarize(lines)
    (teacher,) = summary.teachers
    assert teacher.group.label == "assistant 2"
    assert rerun_command(teacher.group, header=summary.header).startswith(f"kdlab teacher -m {' '.join(asked)} seed=")
