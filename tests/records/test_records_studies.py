import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdlab.errors import UserError
from kdlab.records.studies import Member, Study, check_study_name, plan, read_study, studies

HEADER = {"question": "does it help?", "compare": [["kd", "scratch"]]}
ONE = Member("a" * 16, "student", "kd", None, ("seed=0",))
TWO = Member("b" * 16, "scratch")

ROOT = str(Path(__file__).parents[2])


def test_a_study_comes_back_as_planned(tmp_path):
    assert read_study(tmp_path, "s") is None
    assert studies(tmp_path) == []
    assert plan(tmp_path, "s", HEADER, [ONE, TWO]) == Study(HEADER, [ONE, TWO])
    assert read_study(tmp_path, "s") == Study(HEADER, [ONE, TWO])
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "studies" / "s.jsonl").read_text().splitlines()]
    assert kinds == ["study", "member", "member"]


def test_planning_again_adds_only_what_is_new(tmp_path):
    plan(tmp_path, "s", HEADER, [ONE])
    again = Member(ONE.run_id, "student", "kd", None, ["seed=0"])
    other_arm = Member(ONE.run_id, "student", "kd_two", None, ("seed=0",))
    other_phase = Member(ONE.run_id, "student", "kd", "confirm", ("seed=0",))
    other_overrides = Member(ONE.run_id, "student", "kd", None, ("seed=0", "alpha=1"))
    expected = [ONE, TWO, other_arm, other_phase, other_overrides]
    assert plan(tmp_path, "s", HEADER, [TWO, again, other_arm, other_phase, other_overrides, TWO]).members == expected
    path = tmp_path / "studies" / "s.jsonl"
    before = path.stat().st_mtime_ns
    plan(tmp_path, "s", HEADER, expected)
    assert path.stat().st_mtime_ns == before
    assert plan(tmp_path, "s", {"question": "new"}, []) == Study({"question": "new"}, expected)


def test_names_may_be_nested(tmp_path):
    for name in ("temperature_alpha", "fashion_mnist/temperature_alpha", "fashion_mnist", "v1.2/a-b"):
        plan(tmp_path, name, HEADER, [ONE])
    assert studies(tmp_path) == ["fashion_mnist", "fashion_mnist/temperature_alpha", "temperature_alpha", "v1.2/a-b"]


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a/../b", "a//b", "a/", ".", ".hidden", "a\\b", "a b", "-x", 3])
def test_names_that_leave_their_folder_are_refused(tmp_path, name):
    for call in (check_study_name, lambda n: plan(tmp_path, n, {}, []), lambda n: read_study(tmp_path, n)):
        with pytest.raises(UserError, match=r"study\.name"):
            call(name)


@pytest.mark.parametrize("line", ["{", "[]", "null", "{}", '{"kind": "other"}', '{"kind": "member", "who": 1}'])
def test_damaged_studies_name_file_and_line(tmp_path, line):
    plan(tmp_path, "s", HEADER, [ONE])
    path = tmp_path / "studies" / "s.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"s\.jsonl, line 3"):
        read_study(tmp_path, "s")


def test_two_processes_plan_one_study_and_lose_nothing(tmp_path):
    code = """
import sys
from pathlib import Path
from kdlab.records.studies import Member, plan
for number in range(40):
    mine, shared = Member(f"{sys.argv[2]}{number:015d}", "student"), Member("c" * 16, "teacher")
    plan(Path(sys.argv[1]), "shared/s", {"q": 1}, [mine, shared])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])}
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), who], env=environment, stdout=subprocess.DEVNULL)
        for who in "ab"
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    found = [member.run_id for member in read_study(tmp_path, "shared/s").members]
    assert sorted(found) == sorted([f"{who}{number:015d}" for who in "ab" for number in range(40)] + ["c" * 16])
