"""One run, from the shell and from Python: what is said, what is left, and what is done with it afterwards."""

import json
import re
import shutil
import threading

import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import load_file

import kdlab as package
from kdlab.commands.places import resource
from kdlab.models import MLP

TINY = ["data=tiny", "evaluation.sets=[validation,test,slices]"]


ALLOW = "allow_targets=[tiny_data]"  # the tiny data set is the user's own: a run folder may not name it unasked


@pytest.fixture(scope="module")
def store(tmp_path_factory, user_conf):
    """A store with one student, its twin and its teacher; and the id of the student."""
    root = tmp_path_factory.mktemp("made") / "runs"
    return root, package.run([*TINY, f"store.root={root}"], config_dir=user_conf).run_id


@pytest.fixture
def made(kdlab, store):
    """The id of a finished student in a store of one's own."""
    root, student = store
    shutil.copytree(root, kdlab.here / "runs")
    return student


def test_the_path_of_the_run_is_the_last_line_and_nothing_else_is_littered(kdlab):
    said = kdlab.tiny("run", "tracker.mode=offline")
    (student,) = kdlab.ids("student")
    assert (said.code, said.err) == (0, "")
    assert said.last == f"runs/{student}"
    assert "test accuracy" in said.out
    assert "against its scratch twin" in said.out
    for chatter in ("wandb", "GPU", "Lightning", "Trainer", "Launching"):
        assert chatter not in said.out
    kept = {
        "runs",
        "runs/locks",
        "runs/splits",
        "runs/teacher_outputs",
        "runs/wandb",
        "runs/hydra",
        *(f"runs/{run_id}" for run_id in kdlab.ids()),
    }
    assert set(kdlab.left()) <= kept, "the store holds all there is"
    again = kdlab.tiny("run", "tracker.mode=offline")
    assert again.out.splitlines() == [
        f"student {student} is finished already (force=true repeats it)",
        f"runs/{student}",
    ]


def test_a_store_elsewhere_is_told_whole_and_the_folder_stays_empty(kdlab, tmp_path):
    said = kdlab.tiny("run", f"store.root={tmp_path}/far/runs")
    assert re.fullmatch(rf"{tmp_path}/far/runs/[0-9a-f]{{16}}", said.last)
    assert kdlab.left() == []


def test_force_trains_a_finished_run_again(kdlab, made, trainings):
    assert kdlab.tiny("run", *TINY[1:], "force=true").last == f"runs/{made}"
    assert trainings == [("student", 0)]


def test_a_scratch_student_is_its_own_twin(kdlab):
    said = kdlab.tiny("run", "objective=hard_labels")
    (scratch,) = kdlab.ids()
    assert (kdlab.records()[scratch].role, said.last) == ("scratch", f"runs/{scratch}")
    assert kdlab.tiny("run", "objective.alpha=0").last == said.last


def test_a_teacher_alone(kdlab):
    said = kdlab.tiny("teacher", "teacher/quality=overconfident", "teacher.quality.scale=3")
    teachers = kdlab.ids("teacher")
    assert len(teachers) == len(kdlab.ids()) == 2, "the dose and its trained parent"
    assert said.last.removeprefix("runs/") in teachers
    again = kdlab.tiny("teacher", "teacher/quality=overconfident", "teacher.quality.scale=3")
    assert "is finished already" in again.out
    assert again.last == said.last


def test_a_run_that_breaks_has_exit_code_1(kdlab):
    said = kdlab.tiny("run", "+objective/term@objective.terms.fragile=fragile")
    assert said.code == 1
    assert "broken at step 5" in said.err
    (student,) = kdlab.ids("student")
    assert kdlab.records()[student].status == "failed"


# --- from Python ----------------------------------------------------------------------------------------------------


def test_run_returns_the_record_and_leaves_hydra_alone(kdlab, user_conf):
    with initialize_config_dir(str(resource("conf")), version_base=None):
        somebody = GlobalHydra.instance().hydra
        record = package.run(TINY, config_dir=user_conf)
        assert GlobalHydra.instance().hydra is somebody
    assert (record.status, record.role, record.overrides) == ("finished", "student", TINY)
    assert kdlab.records()[record.run_id] == record
    assert package.run(TINY, config_dir=user_conf) == record, "found, not made again"


def test_run_works_in_a_thread_as_in_a_notebook(kdlab, user_conf):
    found = []
    thread = threading.Thread(target=lambda: found.append(package.run([*TINY, "seed=1"], config_dir=user_conf)))
    thread.start()
    thread.join()
    assert found[0].seeds == {"student": 1, "teacher": 1, "data": 0}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["student.widht=3", "seed=abc"], ["student.widht = 3", "seed = 'abc'"]),
        (["data=mnist"], ["data = 'mnist'", "mnist1d"]),
        (["seed=1,2"], ["seed=1,2", "-m"]),
        (["seed=[1"], ["'seed=[1'"]),
        (["teacher.quality.scale=3"], ["teacher/quality=overconfident"]),
    ],
)
def test_mistakes_are_user_errors(kdlab, overrides, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are what is looked at
        package.run(overrides)
    for word in words:
        assert word in str(caught.value)
    assert kdlab.left() == []


def test_no_such_config_folder(kdlab):
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        package.run(config_dir="nowhere")


def test_load_model_gives_the_trained_network(kdlab, made):
    state = load_file(kdlab.here / "runs" / made / "weights.safetensors")
    for name in (made, made[:6], kdlab.here / "runs" / made):
        network = package.load_model(name, allow_targets=["tiny_data"])
        assert isinstance(network, MLP)
        assert not network.training
        torch.testing.assert_close(dict(network.state_dict()), state)


def test_the_weights_load_into_the_bare_architecture(kdlab, made):
    bare = MLP(width=4, depth=1, input_shape=(1, 8), num_classes=3)
    bare.load_state_dict(load_file(kdlab.here / "runs" / made / "weights.safetensors"), strict=True)
    inputs = torch.randn(5, 1, 8)
    loaded = package.load_model(made, allow_targets=["tiny_data"])
    torch.testing.assert_close(bare.eval()(inputs).logits, loaded(inputs).logits)


def test_load_gives_one_row_a_run(kdlab):
    assert kdlab.tiny("run", "-m", *TINY[1:], "objective.temperature=1,2", "seed=0,1").code == 0
    frame = package.load("multirun")
    assert len(frame) == len(kdlab.ids()) == 8
    students = frame[frame.role == "student"]
    assert sorted(students["objective.temperature"]) == [1, 1, 2, 2]
    records = kdlab.records()
    for _, row in students.iterrows():
        assert row["test/accuracy"] == pytest.approx(records[row.run_id].metrics["test/accuracy"], rel=1e-5)
    with pytest.raises(ValueError, match="multirun"):
        package.load("multrun")


# --- evaluate -------------------------------------------------------------------------------------------------------


def test_evaluate_measures_again_from_the_weights(kdlab, made):
    before = kdlab.records()[made]
    record = kdlab.here / "runs" / made / "record.json"
    spoilt = json.loads(record.read_text())
    spoilt["metrics"]["test/accuracy"] = 0.123
    record.write_text(json.dumps(spoilt))
    for name in (made, made[:7], f"runs/{made}", str(kdlab.here / "runs" / made)):
        said = kdlab("evaluate", name, ALLOW)
        assert (said.code, said.last) == (0, f"runs/{made}")
    after = kdlab.records()[made]
    assert after.metrics["test/accuracy"] == before.metrics["test/accuracy"]
    assert after.config == before.config


def test_evaluate_takes_settings_of_the_evaluation(kdlab, made):
    folder = kdlab.here / "runs" / made / "predictions"
    for keep, kept in (("none", set()), ("test", {"test"}), ("all", {"validation", "test", "loud"})):
        shutil.rmtree(folder, ignore_errors=True)
        assert kdlab("evaluate", made, f"evaluation.keep_predictions={keep}", ALLOW).code == 0
        assert {path.stem for path in folder.glob("*")} == kept


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["seed=3"], ["seed", "the network is trained"]),
        (["student.width=9", "objective.alpha=1"], ["student.width, objective.alpha"]),
        (["evaluation.batch_szie=3"], ["evaluation.batch_szie = 3", "evaluation.batch_size"]),
        (["evaluation.batch_size=0"], ["evaluation.batch_size = 0"]),
        (["--again"], ["--again"]),
        (["another"], ["one name"]),
    ],
)
def test_evaluate_refuses_what_it_does_not_read(kdlab, made, words, needed):
    before = (kdlab.here / "runs" / made / "record.json").read_bytes()
    said = kdlab("evaluate", made, *words)
    assert said.code == 2
    for word in needed:
        assert word in said.err
    assert (kdlab.here / "runs" / made / "record.json").read_bytes() == before


def test_evaluate_names_the_runs_it_may_mean(kdlab, made):
    shutil.copytree(kdlab.here / "runs" / made, kdlab.here / "runs" / f"{made[:15]}{'0' if made[15] != '0' else '1'}")
    said = kdlab("evaluate", made[:10])
    assert said.code == 2
    assert "prefix of 2 runs" in said.err
    assert made in said.err
    assert kdlab("evaluate", "zzz").code == kdlab("evaluate", "nowhere/at/all").code == kdlab("evaluate").code == 2


def test_evaluate_wants_a_folder_with_the_name_of_its_run(kdlab, made):
    shutil.copytree(kdlab.here / "runs" / made, kdlab.here / "copy")
    said = kdlab("evaluate", "copy")
    assert said.code == 2
    assert f"holds run {made}" in said.err
    assert kdlab.left().count(made) == 0


@pytest.mark.parametrize("spec", [{"_target_": "os.system", "command": "touch PWNED"}, {"_target_": "torch.hub.load"}])
def test_a_run_folder_never_names_code_to_execute(kdlab, made, spec):
    path = kdlab.here / "runs" / made / "record.json"
    record = json.loads(path.read_text())
    record["config"]["student"] = spec
    path.write_text(json.dumps(record))
    said = kdlab("evaluate", made, "allow_targets=[tiny_data.*]")
    assert said.code == 2
    assert f"student._target_ = '{spec['_target_']}'" in said.err
    assert "allow_targets" in said.err
    assert not (kdlab.here / "PWNED").exists()
    with pytest.raises(ValueError, match="allow_targets"):
        package.load_model(made)


def test_the_user_may_allow_a_target(kdlab, made):
    """The tiny data set itself lies outside kdlab: it was composed by the user, and is rebuilt from the run folder."""
    said = kdlab("evaluate", made)
    assert said.code == 2
    assert "tiny_data.tiny" in said.err
    assert kdlab("evaluate", made, ALLOW).code == 0
    with pytest.raises(ValueError, match="tiny_data"):
        package.load_model(made)
    assert isinstance(package.load_model(made, allow_targets=["tiny_data"]), MLP)


# --- list and report ------------------------------------------------------------------------------------------------


def test_list_of_an_empty_place(kdlab):
    said = kdlab("list")
    assert (said.code, said.out) == (0, "no runs in runs; kdlab run makes the first\n")
    assert kdlab.left() == []


def test_list_shows_the_runs(kdlab, made):
    lines = kdlab("list").out.strip().splitlines()
    assert lines[0].startswith("all: status=finished data=tiny")
    assert lines[1].split()[:2] == ["run", "role"]
    assert [line.split()[1] for line in lines[2:]] == ["scratch", "student", "teacher"]
    assert made in lines[3]


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["nope"], "no study 'nope'"),
        (["--all"], "--all"),
        (["one", "two"], "one two"),
        (["store.rot=x"], "store.rot"),
    ],
)
def test_list_refuses(kdlab, words, needed):
    said = kdlab("list", *words)
    assert (said.code, said.out) == (2, "")
    assert needed in said.err


@pytest.fixture
def study(kdlab):
    """A small finished study with a nested name."""
    words = ["-m", *TINY[1:], "objective.temperature=1,2", "seed=0,1", "study.name=tiny/first"]
    assert kdlab.tiny("run", *words).code == 0
    return "tiny/first"


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_report_is_rebuilt_to_the_byte_without_runs(kdlab, study):
    said = kdlab("report", study)
    assert (said.code, said.last) == (0, "reports/tiny/first/index.html")
    first = tree(kdlab.here / "reports")
    assert {"tiny/first/README.md", "tiny/first/index.html", "tiny/first/records.jsonl"} <= set(first)
    shutil.rmtree(kdlab.here / "runs")
    assert kdlab("report").out.split() == ["reports/tiny/first/README.md", "reports/tiny/first/index.html"]
    assert tree(kdlab.here / "reports") == first
    text = b"".join(content for name, content in first.items() if not name.endswith(".png"))
    for secret in (str(kdlab.here), str(kdlab.conf)):
        assert secret.encode() not in text


def test_report_rebuilds_the_tables_of_the_readme_between_its_markers(kdlab, study):
    readme = kdlab.here / "README.md"
    readme.write_text("before\n<!-- kdlab:keys -->\nold\n<!-- /kdlab:keys -->\nafter\n")
    said = kdlab("report")
    assert said.last == "README.md: numbers rebuilt"
    text = readme.read_text()
    assert text.startswith("before\n<!-- kdlab:keys -->\n")
    assert text.endswith("<!-- /kdlab:keys -->\nafter\n")
    assert "test/accuracy" in text or "<set>/accuracy" in text
    assert "tables rebuilt" not in kdlab("report").out, "the second time changes nothing"


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["nope"], "nope"),
        (["--prun"], "--prune"),
        (["a", "b"], "a b"),
        (["seed=3"], "seed cannot be set here"),
        ([], "no study"),
    ],
)
def test_report_refuses(kdlab, words, needed):
    said = kdlab("report", *words)
    assert (said.code, said.out) == (2, "")
    assert needed in said.err
    assert kdlab.left() == []
