"""What may be combined: terms, families, qualities and augmentation as conf/ has them, on two tiny data sets."""

import yaml

from kdlab import targets
from kdlab.commands.places import configs_in, resource

TERMS = tuple(configs_in(resource("conf") / "objective/term"))
QUALITIES = tuple(configs_in(resource("conf") / "teacher/quality"))
#: One of each class of network, as small as it goes; digits are images, the tiny set is signals.
FAMILIES = {
    "mlp": "width=16",
    "cnn1d": "width=3",
    "cnn2d": "width=4",
    "resnet20": "width=2",
}
READS = {"digits": ("mlp", "cnn2d", "resnet20"), "signals": ("mlp", "cnn1d")}
DATA = {
    "digits": ["data=digits"],
    "signals": [
        *("data=custom", "data._target_=tiny_data.tiny", "data.name=tiny", "allow_targets=[tiny_data.*]"),
        *("+data.shift._target_=kdlab.data.shifts.white_noise", "teacher.quality.steps=2"),
    ],
}
BY_INDEX = ("virtual", "permuted")
#: These teachers give logits alone.
WITHOUT_FEATURES = (*BY_INDEX, "uniform")
#: These terms compare positions, of which vectors and the last layer of so short a signal have none.
BY_POSITION = ("attention_transfer", "neuron_selectivity")
OBJECTIVES = {
    "both": ["objective.alpha=0.5"],
    "soft targets alone": ["objective.alpha=1"],
    **{name: [f"+objective/term@objective.terms.{name}={name}"] for name in TERMS if name not in (
        "hard_labels", "soft_targets")},
}  # fmt: skip


def _reads_features(term):
    spec = yaml.safe_load((resource("conf") / "objective/term" / f"{term}.yaml").read_text())
    return not targets.resolve(spec["_target_"]).needs <= {"logits"}


BY_FEATURES = tuple(name for name in TERMS if _reads_features(name))
FACTORS = {
    "data": tuple(DATA),
    "student": tuple(FAMILIES),
    "teacher": tuple(FAMILIES),
    "quality": QUALITIES,
    "objective": tuple(OBJECTIVES),
    "augmentation": ("none", "jitter", "mixup"),
}
TINY = (
    *("training.steps=3", "training.batch_size=10", "teacher.training.steps=25", "teacher.training.batch_size=32"),
    *("tracker.mode=disabled", "trainer.progress=false", "evaluation.latency.enabled=false"),
    *("evaluation.sets=[train,validation]", "evaluation.keep_predictions=none", "objective.temperature=2"),
)


def allowed(row):
    """A network that can read the data, with the features that a term asks for; no random augmentation for a teacher
    that answers by index.
    """
    reads = READS[row["data"]]
    fits = row["student"] in reads and row["teacher"] in reads
    if row["objective"] in BY_POSITION and (row["data"] == "signals" or "mlp" in (row["student"], row["teacher"])):
        return False
    if row["objective"] in BY_FEATURES and row["quality"] in WITHOUT_FEATURES:
        return False
    return fits and (row["augmentation"] == "none" or row["quality"] not in BY_INDEX)


def overrides(row):
    """The command line of a combination."""
    words = [*DATA[row["data"]], f"student={row['student']}", f"student.{FAMILIES[row['student']]}"]
    if row["quality"] != "uniform":
        words += [f"teacher/model={row['teacher']}", f"teacher.model.{FAMILIES[row['teacher']]}", *TINY]
    else:
        words += [word for word in TINY if not word.startswith("teacher.")]
        words = [word for word in words if not word.startswith("teacher.")]
    if row["quality"] in ("weak", "untrained"):  # the preset says how long it trains
        words = [word for word in words if word != "teacher.training.steps=25"]
    if row["quality"] == "untrained":
        words = [word for word in words if not word.startswith("teacher.training.")]
    if row["quality"] != "weak":
        words = [word for word in words if not word.startswith("teacher.quality.steps")]
    if row["quality"] != "shifted":
        words = [word for word in words if "data.shift" not in word]
    return [
        *(*words, f"teacher/quality={row['quality']}", *OBJECTIVES[row["objective"]]),
        f"training/augmentation={row['augmentation']}",
    ]


def check(row, lab):
    """Train and measure a combination; what must hold for every one of them."""
    import math

    import torch

    from kdlab.commands.checking import read
    from kdlab.experiments.plan import plan
    from kdlab.experiments.students import build_student, run_point
    from kdlab.records.weights import load_weights

    config = read(overrides(row))
    point = plan(config)
    weights = lab.store.folder((point.teacher.parent or point.teacher).run_id) / "weights.safetensors"
    before = weights.read_bytes() if weights.exists() else None
    record = run_point(point, lab)
    assert record.status == "finished"
    assert record.role == "student"
    assert all(math.isfinite(value) for value in record.metrics.values() if value is not None)
    assert (record.metrics["validation/agreement"] is None) == (row["quality"] in ("uniform", "virtual"))
    teacher = lab.store.load(record.teacher["id"])
    transformed = row["quality"] in ("calibrated", "overconfident", "low_bit", "virtual", "permuted", "without_classes")
    assert (teacher.parent is not None) == transformed
    assert lab.store.load(record.twin).identity_config["training"] == record.identity_config["training"]
    assert weights.exists() == (row["quality"] != "uniform")
    assert before is None or weights.read_bytes() == before, "a teacher is as it was"
    trained = load_weights(lab.store.folder(record.run_id) / "weights.safetensors")
    initial = build_student(config, lab.dataset(config)).state_dict()
    assert trained.keys() == initial.keys()
    assert any(not torch.equal(trained[name], initial[name]) for name in trained)
    return record
