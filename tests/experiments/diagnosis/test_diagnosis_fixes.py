import pytest

from kdlab.errors import UserError
from kdlab.experiments.diagnosis.fixes import CONFIRMING, IN_MATRIX, MATRIX, MISCALIBRATED, Fix, advice

HEAD = "failure,fix,label,repaired,low,high,verdict\n"


def matrix(root, rows):
    path = root / MATRIX
    path.parent.mkdir(parents=True)
    path.write_text(rows)
    return root


def test_the_fixes_that_repair_come_best_first(tmp_path):
    root = matrix(
        tmp_path,
        HEAD
        + "weak,alpha,lower alpha,0.4,0.2,0.6,repairs\n"
        + "weak,longer,a longer teacher,0.9,0.7,1.1,repairs\n"
        + "weak,wide,a wide student,2.0,,,inconclusive\n"
        + "domain_shift,pool,unlabelled inputs,0.5,,,repairs\n",
    )
    assert advice("weak_teacher", report_root=root).fixes == (
        Fix("a longer teacher", 0.9, 0.7, 1.1), Fix("lower alpha", 0.4, 0.2, 0.6)
    )  # fmt: skip
    assert advice("domain_shift", report_root=root).fixes == (Fix("unlabelled inputs", 0.5, None, None),)


def test_without_a_matrix_the_intervention_is_called_untested(tmp_path):
    found = advice("student_too_small", report_root=tmp_path)
    assert found.fixes == ()
    assert "there is no failure x fix matrix" in found.note
    assert "untested here: a wider student" in found.note


def test_what_is_better_without_harm_to_repair_is_no_fix(tmp_path):
    root = matrix(tmp_path, HEAD + "underconfident,features,matching features,,,,better\n")
    found = advice(MISCALIBRATED, report_root=root, fitted_temperature=0.3)
    assert found.fixes == ()
    assert "has no fix that repairs it" in found.note


def test_without_a_fix_in_it_that_is_said(tmp_path):
    root = matrix(tmp_path, HEAD + "weak,alpha,lower alpha,0.1,-0.2,0.4,inconclusive\n")
    assert "has no fix that repairs it" in advice("weak_teacher", report_root=root).note


@pytest.mark.parametrize(
    ("rows", "told"),
    [("failure,fix\na,b\n", "no column label, repaired"), (HEAD + "weak,a,b,much,,,repairs\n", "much")],
)
def test_a_damaged_matrix_is_told(tmp_path, rows, told):
    with pytest.raises(UserError, match=told):
        advice("weak_teacher", report_root=matrix(tmp_path, rows))


@pytest.mark.parametrize(("temperature", "name"), [(6.0, "a cooler teacher"), (0.2, "a sharper teacher")])
def test_a_miscalibrated_teacher_is_looked_up_by_its_direction(tmp_path, temperature, name):
    rows = (
        "overconfident,c,a cooler teacher,0.8,0.5,1.1,repairs\nunderconfident,s,a sharper teacher,0.5,0.2,0.8,repairs\n"
    )
    root = matrix(tmp_path, HEAD + rows)
    found = advice("teacher_miscalibrated", report_root=root, fitted_temperature=temperature)
    assert [fix.label for fix in found.fixes] == [name]


def test_every_failure_but_one_has_a_name_in_the_matrix(tmp_path):
    assert set(CONFIRMING) - {*IN_MATRIX, MISCALIBRATED} == {"under_trained"}
    found = advice("under_trained", report_root=matrix(tmp_path, HEAD + "weak,alpha,lower alpha,0.9,0.5,1.4,repairs\n"))
    assert (found.fixes, "no row of it" in found.note, "more steps" in found.note) == ((), True, True)
