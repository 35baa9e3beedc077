import pytest

from kdlab.errors import UserError
from kdlab.experiments.diagnosis.fixes import MATRIX, Fix, advice

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
        + "weak_teacher,alpha,lower alpha,0.4,0.2,0.6,repairs\n"
        + "weak_teacher,longer,a longer teacher,0.9,0.7,1.1,repairs\n"
        + "weak_teacher,wide,a wide student,2.0,,,inconclusive\n"
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


def test_without_a_fix_in_it_that_is_said(tmp_path):
    root = matrix(tmp_path, HEAD + "weak_teacher,alpha,lower alpha,0.1,-0.2,0.4,inconclusive\n")
    assert "has no fix that repairs it" in advice("weak_teacher", report_root=root).note


@pytest.mark.parametrize(
    ("rows", "told"),
    [("failure,fix\na,b\n", "no column label, repaired"), (HEAD + "weak_teacher,a,b,much,,,repairs\n", "much")],
)
def test_a_damaged_matrix_is_told(tmp_path, rows, told):
    with pytest.raises(UserError, match=told):
        advice("weak_teacher", report_root=matrix(tmp_path, rows))
