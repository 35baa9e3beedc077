"""A network and a data set of the user's own: the README's lines as they stand, run from the folder they lie in."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

import kdlab
from kdlab.commands import cli
from kdlab.errors import UserError
from kdlab.models import build_model

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "tests" / "support" / "my_lab.py"
OWN = ["student=custom", "student._target_=my_lab.Net", "data=custom", "data._target_=my_lab.data"]
SHORT = ["training.steps=3", "teacher.training.steps=3", "tracker.mode=disabled", "evaluation.latency.enabled=false"]


def test_the_readme_shows_the_module_that_is_tested_and_its_command():
    text = (ROOT / "README.md").read_text()
    if "my_lab" not in text:
        pytest.skip("README.md does not show it")
    assert MODULE.read_text() in text
    assert f"kdlab run {' '.join(OWN)}" in text
    lines = [line for line in MODULE.read_text().splitlines() if line]
    assert len(lines) <= 12


@pytest.fixture
def stand_there(tmp_path, monkeypatch):
    """In a folder with ``my_lab.py`` alone, which is on nobody's path, as the console script finds it."""
    shutil.copy(MODULE, tmp_path / "my_lab.py")
    monkeypatch.chdir(tmp_path)
    mine = {"", str(tmp_path), str(MODULE.parent), str(ROOT / "tests")}
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in mine])
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)
    yield tmp_path
    sys.modules.pop("my_lab", None)


def console(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["kdlab", *words])
    with pytest.raises(SystemExit) as left:
        cli.entry()
    return left.value.code


def test_own_model_and_data_run_from_the_folder_they_lie_in(stand_there, monkeypatch, capsys):
    words = ["run", *OWN, "+student.hidden=8", *SHORT]
    assert console(monkeypatch, *words) == 0, capsys.readouterr()
    assert sys.path[-1] == str(stand_there)
    records = [json.loads(path.read_text()) for path in stand_there.glob("runs/*/record.json")]
    (student,) = [record for record in records if record["role"] == "student"]
    assert student["config"]["student"] == {"_target_": "my_lab.Net", "hidden": 8}
    assert student["metrics"]["cost/num_params"] == 30 * 8 + 8 + 8 * 2 + 2
    assert {record["role"] for record in records} == {"student", "scratch", "teacher"}

    with pytest.raises(UserError, match=r"allow_targets=\[my_lab"):
        kdlab.load_model(student["run_id"])
    model = kdlab.load_model(student["run_id"], allow_targets=["my_lab.*"])
    assert model(torch.zeros(2, 30)).shape == (2, 2)
    assert console(monkeypatch, *words) == 0
    assert len(list(stand_there.glob("runs/*/record.json"))) == 3, "found again by its identity"


def test_the_same_from_python(stand_there):
    sys.path.append(str(stand_there))
    record = kdlab.run([*OWN, "teacher/model=custom", "teacher.model._target_=my_lab.Net", "objective.alpha=1", *SHORT])
    assert record.config["teacher"]["model"] == {"_target_": "my_lab.Net"}
    assert record.metrics["test/agreement"] is not None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["student=custom", "student._target_=torch.nn.Flatten", "data=digits"], "'torch.nn.Flatten' has no parameter"),
        (["student=custom"], "student._target_ = ???: a value is needed"),
        ([*OWN, "+student.hiden=8"], "student.hiden = 8: my_lab.Net has no such argument; did you mean hidden?"),
        ([*OWN, "student._target_=my_lab.Nets"], "my_lab has no 'Nets'; did you mean Net?"),
        ([*OWN, "data._target_=my_lap.data"], "no module 'my_lap'"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_work(stand_there, monkeypatch, capsys, words, told):
    assert console(monkeypatch, "run", *words) == 2
    assert told in capsys.readouterr().err
    assert not (stand_there / "runs").exists() or not list((stand_there / "runs").glob("*/record.json"))


def test_a_library_goes_before_a_file_of_the_same_name(stand_there, monkeypatch):
    (stand_there / "torch.py").write_text("raise AssertionError('imported')\n")
    assert console(monkeypatch, "--version") == 0
    assert sys.path.index(str(stand_there)) == len(sys.path) - 1
    assert build_model({"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1}, input_shape=(1,),
                       num_classes=1, seed_value=0)  # fmt: skip


def test_a_wrong_layer_of_an_own_term_is_told_before_a_teacher_trains(stand_there, monkeypatch, capsys, trainings):
    shutil.copy(MODULE.with_name("user_terms.py"), stand_there)
    term = {
        "_target_": "user_terms.same_scale",
        "weight": 0.1,
        "student_layer": "0",
        "teacher_layer": "blocks.0.affine",
    }
    words = ["run", *OWN, *SHORT]

    def added(**change):
        inner = ", ".join(f"{key}: {json.dumps(value) if key.endswith('layer') else value}"
                          for key, value in {**term, **change}.items())  # fmt: skip
        return f"+objective.terms.mine={{{inner}}}"

    assert console(monkeypatch, *words, added(student_layer="7", teacher_layer="blocks.0.afine")) == 2
    said = capsys.readouterr().err
    assert "objective.terms.mine needs features.7 of the student, which provides features.0, features.1" in said
    assert "needs features.blocks.0.afine of the teacher, did you mean features.blocks.0.affine" in said
    assert trainings == []
    assert console(monkeypatch, *words, added()) == 0, capsys.readouterr()
    assert [role for role, _ in trainings] == ["teacher", "student", "student"]
