"""Every file of ``conf/`` and ``sweeps/``: opens with what it is for and a command, composes and builds."""

import re
import shlex

import pytest
import torch
import yaml

from kdlab.commands.checking import read
from kdlab.commands.composing import Composer, make_loader, parse_overrides
from kdlab.commands.grid import expand
from kdlab.commands.help import COMMANDS, sweep_question
from kdlab.commands.hydra_front import _parse, check_sweep_names
from kdlab.commands.places import header_comment, names_under, resource
from kdlab.commands.sweeping import asked_of, grid_of, of_all_points, planned, sweep_of
from kdlab.data import Examples
from kdlab.experiments.objectives import objective_of
from kdlab.models import build_model
from kdlab.schema.bookkeeping import EVERY_ARM
from kdlab.targets import build
from kdlab.teachers import UNFITTED, Quality, make_teacher

CONF = names_under(resource("conf"))
SWEEPS = names_under(resource("sweeps"))
NEEDS = {"arrays": ["data.path=FILE.npz"], "idx": ["data.root=FOLDER"], "custom": ["data._target_=tiny_data.tiny"]}
SHAPES = {"cnn2d": (1, 8, 8)} | {name.rpartition("/")[2]: (1, 8, 8) for name in CONF if "/resnet" in name}
OWN = ["student._target_=factories.TinyNet", "teacher.model._target_=factories.TinyNet"]


@pytest.fixture(scope="module", autouse=True)
def files_are_read_once():
    """One loader for all tests of this module: it keeps the files that it has read."""
    shared = make_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdlab.commands.checking.make_loader", lambda folder: make_loader(folder) if folder else shared)
        yield


def commands_in(path):
    """Every ``kdlab ...`` command that a file's comments show."""
    text = "\n".join(line for line in path.read_text().splitlines() if line.lstrip().startswith("#"))
    return re.findall(rf"kdlab (?:{'|'.join(COMMANDS)})\b.*?(?=\s{{2,}}|`|\)(?![)'])|$)", text, re.MULTILINE)


@pytest.mark.parametrize("path", [*(resource("conf") / f"{name}.yaml" for name in CONF),
                                  *(resource("sweeps") / f"{name}.yaml" for name in SWEEPS)],
                         ids=[*CONF, *(f"sweeps/{name}" for name in SWEEPS)])  # fmt: skip
def test_a_file_opens_with_what_it_is_for_and_a_command_that_parses(path):
    opening = header_comment(path)
    assert opening
    assert len(opening[0]) > 20
    assert "kdlab " in " ".join(opening)
    commands = commands_in(path)
    assert commands
    for line in commands:
        _, name, *words = shlex.split(line)
        if name in ("run", "sweep", "teacher"):
            args = _parse(words, command=name)
            overrides = [word for word in args.overrides if "=" in word]
            sweep = [word for word in args.overrides if "=" not in word]
            check_sweep_names([*overrides, *(f"sweeps={word}" for word in sweep)])
            assert len(sweep) == (name == "sweep")
            parse_overrides(overrides)
            many = args.multirun or any(one.is_sweep_override() for one in parse_overrides(overrides))
            if not many and name == "run":
                assert objective_of(read(overrides)).weights()


OF_ALPHA = ("warm_up", "early_stopped")
"""Schedules whose numbers are weights."""


@pytest.mark.parametrize(
    "name", [name for name in CONF if "/" in name and not name.startswith(("size/", "objective/"))]
)
def test_a_choice_composes_and_builds(name):
    group, _, option = name.rpartition("/")
    if group == "data":
        config = read([f"data={option}", *NEEDS.get(option, [])])
    elif group == "schedule":
        config = read([f"+schedule@objective.{'alpha' if option in OF_ALPHA else 'temperature'}={option}"])
    elif option == "custom":
        config = read(["data=digits", "student=custom", "teacher/model=custom", *OWN])
    elif group == "student" and option == "cnn2d":
        config = read(["data=digits", f"{group}={option}"])
    else:
        config = read([f"{group}={option}"])
    assert config.data.name
    if group == "student":
        build_model(config.student, input_shape=SHAPES.get(option, (1, 40)), num_classes=10, seed_value=0)
    elif group == "teacher/model":
        build_model(config.teacher.model, input_shape=SHAPES.get(option, (1, 40)), num_classes=10, seed_value=0)
    elif group == "teacher/quality":
        network = build_model(config.student, input_shape=(1, 40), num_classes=10, seed_value=0)
        known = Examples(torch.randn(4, 1, 40), torch.arange(4), torch.arange(4))
        offered = {"seed": 0, "train": known, "validation": known, "predict": None, "fitted": UNFITTED}
        teacher = make_teacher(Quality.from_spec(config.teacher.quality), network, num_classes=10, **offered)
        output = teacher(torch.randn(4, 1, 40), torch.arange(4))
        assert output.logits.shape == (4, 10)
    elif group.startswith("training/"):
        weight = [torch.nn.Parameter(torch.zeros(2))]
        optimizer = build(config.training.optimizer, weight)
        assert isinstance(optimizer, torch.optim.Optimizer)


@pytest.mark.parametrize("name", [name for name in CONF if name.startswith("objective/term/")])
def test_a_term_composes_alone(name):
    term = name.rpartition("/")[2]
    config = read([f"objective/term=[{term}]"])
    assert list(config.objective.terms) == [term]


LARGE = re.compile(r"methods|teacher_quality|many_teachers|failure.*|finding/.*|(fashion_mnist/)?(failure|diagnosis).*")
"""Sweeps that take more than a few seconds to plan."""


def asked_for(name, *more):
    """What a sweep asks for, whatever its grid is."""
    words, composer = [f"sweeps={name}", *more], Composer(make_loader())
    config = of_all_points(words, composer)
    return asked_of(words, config=config, composer=composer, sweep=sweep_of(config))


@pytest.mark.parametrize("name", [name for name in SWEEPS if re.search("finding/|failure", name)])
def test_every_arm_of_a_large_sweep_is_planned_with_one_seed_and_what_it_would_choose_first(name):
    asked = asked_for(name, "seed=0")
    planning = asked.confirming(asked.first)
    content = yaml.safe_load((resource("sweeps") / f"{name}.yaml").read_text())
    assert {point.arm for point in planning.points} == set(content["study"]["arms"])
    assert content["study"]["question"] == sweep_question(name)
    assert content["study"]["question"].rstrip().endswith("?")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * bool(LARGE.fullmatch(name))) for name in SWEEPS]
)
def test_a_sweep_is_planned_whole(name):
    path = resource("sweeps") / f"{name}.yaml"
    content = yaml.safe_load(path.read_text())
    assert path.read_text().startswith("# @package _global_\n# ")
    assert content["hydra"]["mode"] == "MULTIRUN"
    assert content["study"]["question"].endswith("?")
    assert content["study"]["question"] == sweep_question(name)
    assert content["study"]["cost"]
    assert "Cost: " in "\n".join(header_comment(path))
    composer = Composer(make_loader())
    words = [f"sweeps={name}"]
    config = of_all_points(words, composer)
    seeds = expand(words, grid=grid_of(config))[0][-1]
    assert seeds.key == "seed"
    words += [f"seed={','.join(choice.split('=')[1] for choice in seeds.choices[:2])}"]  # pairs differ in nothing else
    axes, planning = planned(words, config=config, composer=composer, sweep=sweep_of(config))
    assert {axis.key for axis in axes} == set(content["hydra"]["sweeper"]["params"])
    assert not planning.dropped, "a value of the file's own grid is read by every point"
    assert len(planning.points) >= 2
    assert {point.arm for point in planning.points} == set(content["study"].get("arms") or {None})
    for entry in content["study"].get("compare", []):
        assert set(entry) <= {*content["study"]["arms"], "scratch", EVERY_ARM}
    for point in planning.points:
        tunes = point.config.study.phase == "tune"
        of_tuning = range(1000, 2000)  # planted failures, which set thresholds or test them, have those above
        assert (point.plan.run.seeds["student"] in of_tuning) == tunes, "tuning has seeds of its own"
        assert not tunes or set(point.config.evaluation.sets) <= {"train", "validation"}


def test_the_root_config_names_every_group():
    defaults = yaml.safe_load((resource("conf") / "config.yaml").read_text())["defaults"]
    named = {key.split(" ")[-1].split("@")[0] for entry in defaults if isinstance(entry, dict) for key in entry}
    groups = {name.rpartition("/")[0] for name in CONF if "/" in name} - {"objective/term", "schedule"}  # put anywhere
    assert groups <= named


@pytest.mark.parametrize("name", [name for name in CONF if name.startswith("size/")])
def test_a_size_belongs_to_one_network_on_one_data_set(name):
    group, _, option = name.removeprefix("size/").rpartition("/")
    data, _, family = option.rpartition("_")
    slot = {"student": "student", "teacher": "teacher/model"}[group]
    needed = [f"data={data}", *NEEDS.get(data, [])]

    def width(*words):
        config = read([*needed, *words])
        return (config.student if group == "student" else config.teacher.model)["width"]

    content = yaml.safe_load((resource("conf") / f"{name}.yaml").read_text())
    assert width(f"{slot}={family}") == content["width"]
    assert width(f"{slot}={family}", f"{slot.replace('/', '.')}.width=7") == 7
    for other in ("resnet8x4", "resnet20"):
        own = yaml.safe_load((resource("conf") / slot / f"{other}.yaml").read_text())["width"]
        assert width(f"{slot}={other}") == own


@pytest.mark.parametrize("name", [name for name in CONF if name.startswith("data/")])
def test_a_data_set_says_nothing_of_a_network_that_is_chosen_beside_it(name):
    data = name.removeprefix("data/")
    if not (resource("conf") / f"{name}.yaml").read_text().startswith("# @package _global_"):
        pytest.skip("no choice of its own")
    config = read([f"data={data}", *NEEDS.get(data, []), "student=custom", "teacher/model=custom", *OWN])
    assert set(config.student) == set(config.teacher.model) == {"_target_"}
