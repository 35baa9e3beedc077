"""Bad input, end to end: exit code 2, a few lines on stderr, nothing trained, nothing left behind."""

import pytest

# what is wrong -> (words, what stderr must hold)
SINGLE = {
    "unknown key": (["objective.temprature=4"], ["unknown key objective.temprature = 4", "objective.temperature"]),
    "unknown key behind +": (["+objective.temprature=4"], ["objective.temprature = 4", "objective.temperature"]),
    "unknown key behind ++": (["++objective.temprature=4"], ["objective.temprature = 4", "objective.temperature"]),
    "unknown section": (["studnet.width=4"], ["unknown key studnet.width = 4", "student.width"]),
    "unknown root key behind +": (["+sede=3"], ["unknown key sede = 3", "did you mean seed"]),
    "unknown knob of a model": (["student.widht=4"], ["unknown key student.widht = 4", "student.width"]),
    "unknown knob of a model behind +": (["+student.widht=4"], ["student.widht", "did you mean width"]),
    "unknown slice": (["data.slices.luod.factor=2"], ["data.slices.luod.factor = 2", "data.slices.loud"]),
    "unknown group": (["teacher/qualty=weak"], ["teacher/qualty = weak", "teacher/quality"]),
    "a quality as a key": (["teacher.quality=weak"], ["teacher.quality = 'weak'"]),
    "text for a number": (["seed=abc"], ["seed = 'abc'", "integer"]),
    "nothing for a number": (["objective.alpha="], ["objective.alpha = ''", "number"]),
    "null for a number": (["objective.alpha=null"], ["objective.alpha"]),
    "a list for a number": (["training.steps=[1,2]"], ["training.steps = [1, 2]", "integer"]),
    "text for a learning rate": (["training.optimizer.lr=abc"], ["training.optimizer", "lr = 'abc'"]),
    "a negative learning rate": (["training.optimizer.lr=-1"], ["training.optimizer", "lr = -1"]),
    "a knob of the teacher's schedule": (
        ["training/schedule@teacher.training.schedule=onecycle", "+teacher.training.schedule.pct_start=7"],
        ["teacher.training.schedule", "pct_start = 7"],
    ),
    "no such metric": (["optimized_metric=test/acuracy"], ["optimized_metric = 'test/acuracy'", "test/accuracy"]),
    "alpha above 1": (["objective.alpha=1.5"], ["objective.alpha = 1.5", "1"]),
    "alpha below 0": (["objective.alpha=-0.1"], ["objective.alpha = -0.1", "0"]),
    "T = 0": (["objective.temperature=0"], ["objective.temperature = 0", "greater than 0"]),
    "T not a number": (["objective.temperature=nan"], ["objective.temperature = nan", "finite"]),
    "no such data set": (["data=mnist"], ["data = 'mnist'", "did you mean mnist1d"]),
    "no such student": (["student=mpl"], ["student = 'mpl'", "mlp", "cnn1d"]),
    "no such quality": (["teacher/quality=weka"], ["teacher/quality = 'weka'", "weak", "uniform"]),
    "no such launcher": (["hydra/launcher=nope"], ["hydra/launcher = 'nope'", "basic"]),
    "no such tracker mode": (["tracker.mode=onlin"], ["tracker.mode = 'onlin'", "'online'"]),
    "a number for a group": (["student=5"], ["student = 5", "mlp"]),
    "class counts": (["+student.num_classes=7"], ["student", "[2, 7]", "[2, 3]"]),
    "missing checkpoint": (["teacher.checkpoint=nowhere.pt"], ["teacher.checkpoint = 'nowhere.pt'", "No such file"]),
    "corrupt checkpoint": (["teacher.checkpoint=corrupt.pt"], ["corrupt.pt", "cannot be read"]),
    "interpolation to nowhere": (["student.width=${nowhere}"], ["student.width = ${nowhere}", "not found"]),
    "no such resolver": (["student.width=${nope:1}"], ["student.width = ${nope:1}", "nope"]),
    "missing value": (["student.width=???"], ["student.width = ???", "a value is needed"]),
    "bad grammar": (["seed=[1"], ["'seed=[1' cannot be read"]),
    "no value": (["seed"], ["'seed'", "key=value"]),
    "no key": (["=3"], ["'=3'", "key=value"]),
    "a grid without -m": (["seed=1,2"], ["seed=1,2", "-m"]),
    "a range without -m": (["seed=range(0,3)"], ["seed=range(0,3)", "-m"]),
    "unknown option": (["--cfgg", "job"], ["--cfgg", "kdlab run --help"]),
    "unknown kind of config": (["--cfg", "jobb"], ["jobb", "job"]),
    "no such config folder": (["--config-dir", "nowhere"], ["--config-dir", "nowhere", "no such folder"]),
    "a file in the way of the store": (["store.root=corrupt.pt"], ["store.root", "corrupt.pt", "cannot be written"]),
    "a store below a file": (["store.root=corrupt.pt/runs"], ["store.root", "cannot be written"]),
    "a store that no one can write": (["store.root=/proc/kdlab"], ["store.root = /proc/kdlab", "cannot be written"]),
    "no such sweep": (["sweeps=quikstart"], ["sweeps = 'quikstart'", "quickstart"]),
    "no such sweep beside a grid": (["sweeps=quikstart", "seed=1,2"], ["sweeps = 'quikstart'", "quickstart"]),
    "a knob of another preset": (["teacher.quality.scale=3"], ["teacher.quality.scale = 3", "teacher/quality=overcon"]),
    "alpha of the scratch student": (
        ["objective=hard_labels", "objective.alpha=0.5"],
        ["objective.alpha = 0.5", "nothing in this config reads it", "objective=distillation"],
    ),
    "the teacher of the scratch student": (
        ["objective=hard_labels", "teacher.seed=3"],
        ["teacher.seed = 3", "objective=distillation"],
    ),
    "the seed of a control": (["teacher/quality=uniform", "teacher.seed=3"], ["teacher.seed = 3", "standard"]),
    "a knob of a transfer set that there is not": (
        ["data.transfer.size=5"],
        ["data.transfer.size = 5", "nothing in this config reads it", "data/transfer=heldout", "data/transfer=pool"],
    ),
    "no such transfer set": (["data/transfer=nosie"], ["data/transfer = 'nosie'", "noise"]),
    "a transfer set that no term reads": (
        ["objective=hard_labels", "data/transfer=noise"],
        ["data/transfer = noise: nothing in this config reads it"],
    ),
    "labels of noise": (["data/transfer=noise", "data.transfer.labels=true"], ["data.transfer.labels = True"]),
    "a share of labels that is none": (
        ["data/transfer=noise", "data.transfer.labelled_fraction=0"],
        ["data.transfer.labelled_fraction = 0", "greater than 0"],
    ),
    "a class that there is not": (["data.shown.omit=[3]"], ["data.shown.omit = [3]", "classes are 0 to 2"]),
    "a pool that there is not": (["data/transfer=pool"], ["'tiny' has no unlabelled pool"]),
    "steps that the preset sets": (
        ["teacher/quality=weak", "teacher.training.steps=9"],
        ["teacher.training.steps = 9"],
    ),
}
MANY = {
    "two sweeps": (["run", "-m", "sweeps=quickstart,recipe"], ["quickstart,recipe", "one sweep at a time"]),
    "two sweeps without -m": (["run", "sweeps=quickstart,recipe"], ["one sweep at a time"]),
    "-m alone": (["run", "-m"], ["the sweep is empty"]),
    "an empty range": (["run", "-m", "seed=range(0,0)"], ["the sweep is empty", "seed=range(0,0)"]),
    "an empty sweep file": (["sweep", "empty"], ["the sweep is empty", "'empty'"]),
    "no such sweep with -m": (["run", "-m", "sweeps=quikstart", "seed=1,2"], ["sweeps = 'quikstart'", "quickstart"]),
    "no such sweep by name": (["sweep", "quikstart"], ["quikstart", "did you mean quickstart"]),
    "no name": (["sweep"], ["one name is needed", "quickstart"]),
    "two names": (["sweep", "quickstart", "recipe"], ["one name", "quickstart recipe"]),
    "an interval": (["run", "-m", "seed=interval(0,1)"], ["seed=interval(0,1)", "range(0,4)"]),
    "no value of an axis": (["run", "-m", "seed=choice()"], ["seed=choice()", "empty"]),
    "a grid over what trains nothing": (["run", "-m", "store.root=a,b"], ["store.root=a,b", "trains"]),
    "a wrong name of a study": (["run", "-m", "seed=0,1", "study.name=../up"], ["study.name = '../up'"]),
    "a key that no point reads": (
        ["run", "-m", "teacher.quality.scale=2,3"],
        ["teacher.quality.scale = 2,3", "no point"],
    ),
    "an unknown key of the grid": (
        ["run", "-m", "objective.temprature=1,2"],
        ["objective.temprature = 1,2", "temperature"],
    ),
    "an unknown arm in compare": (["sweep", "mine", "study.compare=[[scratch,nope]]"], ["study.compare", "nope"]),
    "an arm with a grid": (["sweep", "mine", "+study.arms.a=['seed=1,2']"], ["study.arms.a", "one value"]),
    "an arm that is no list": (["sweep", "mine", "+study.arms.a=3"], ["study.arms.a = 3", "list"]),
    "an unwritable store": (["run", "-m", "seed=0,1", "store.root=/proc/kdlab"], ["store.root = /proc/kdlab"]),
    "a wrong choice among good ones": (["run", "-m", "student=mlp,mpl"], ["student = 'mpl'", "mlp"]),
    "what a teacher does not read": (["teacher", "student.width=3"], ["student.width = 3"]),
    "what a teacher is not concerned by": (["teacher", "data.shown.omit=[1]"], ["data.shown.omit = [1]"]),
    "what no teacher reads": (["teacher", "-m", "student.width=3,4"], ["student.width = 3,4", "no point"]),
}


def check(kdlab, said, needed):
    assert said.code == 2
    assert said.out == ""
    lines = said.err.splitlines()
    assert 1 <= len(lines) <= 10
    assert lines[0].startswith("kdlab: ")
    assert "Traceback" not in said.err
    for words in needed:
        assert words in said.err
    left = [
        path.name
        for path in kdlab.here.rglob("*")
        if path.name in ("record.json", "config.yaml") or ".jsonl" in path.name
    ]
    assert left == []  # nothing was begun


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_run(kdlab, name):
    words, needed = SINGLE[name]
    (kdlab.here / "corrupt.pt").write_bytes(b"\x80\x02not a checkpoint")
    given = [] if "--config-dir" in words else ["--config-dir", kdlab.conf]
    given += [] if any(word.startswith("data=") for word in words) or not given else ["data=tiny"]
    check(kdlab, kdlab("run", *given, *words), needed)


@pytest.mark.parametrize("name", MANY)
def test_a_sweep_before_its_first_point(kdlab, name):
    (command, *words), needed = MANY[name]
    check(kdlab, kdlab(command, *words, "--config-dir", kdlab.conf), needed)


@pytest.mark.parametrize("many", [[], ["-m", "objective.t2_scaling=true,false"]])
def test_all_mistakes_at_once(kdlab, many):
    wrong = ["studnet.width=4", "objective.temprature=3", "seed=abc", "objective.alpha=2", "teacher.quality.scale=3"]
    said = kdlab.tiny("run", *many, *wrong)
    check(kdlab, said, ["studnet.width = 4", "objective.temprature = 3", "seed = 'abc'", "objective.alpha = 2"])
    assert "teacher.quality.scale = 3" in said.err
    assert len(said.err.splitlines()) == 5, "a wrong value is told once, not by each of those that read it"


def test_the_mistakes_of_all_points_are_told_once_each(kdlab):
    said = kdlab.tiny("run", "-m", "objective.alpha=0.5,2,3", "objective.temperature=1,0", "seed=range(0,3)")
    check(kdlab, said, ["objective.alpha = 2", "objective.alpha = 3", "objective.temperature = 0"])
    assert len(said.err.splitlines()) == 3


def test_more_than_ten_lines_are_counted(kdlab):
    wrong = [f"+data.slices.loud.knob{number}=1" for number in range(14)]
    lines = kdlab.tiny("run", *wrong).err.splitlines()
    assert len(lines) == 10
    assert lines[-1].strip() == "... and 5 more"


def test_a_term_put_in_the_wrong_place_is_not_ignored(kdlab):
    said = kdlab.tiny("run", "+objective/term@_global_=margin")
    check(kdlab, said, ["unknown key _target_ = 'user_terms.margin_loss'"])
