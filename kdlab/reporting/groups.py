"""Groups of runs that differ in seeds alone, and what to call them.

A report never pools over config: runs are grouped by data set, then by every identity key other than seeds, and by
arm. A group is named after the overrides its points were asked for; where two names collide, the identity keys that
tell them apart are added.
"""

import functools
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kdlab.records.identity import without_neutral
from kdlab.reporting.compact import Line, override_key
from kdlab.reporting.intervals import Seeds
from kdlab.reporting.lineage import is_taught, of_teacher, several_word, with_parents

TAUGHT_KEYS = re.compile(r"^(objective|teacher)([./@]|$)")
OF_TEACHER_KEYS = re.compile(r"^(data|teacher)([./@]|$)")
COUNT = "ensemble.count"
"""Of an ensemble's members: its word says it."""
MEMBERS = "ensemble.members"
"""There where they differ by more than their seeds."""
TUNE = "tune"
"""The phase whose rows stand in a table of their own."""
SHORT_NAMES: Mapping[str, str] = {"objective.temperature": "T", "objective.alpha": "alpha"}

#: Teacher qualities that are controls: what such a student gains is not distilled from what a teacher learned.
CONTROLS = ("uniform", "untrained", "virtual", "permuted")


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ in seeds alone.

    Args:
        data: the data set.
        role: student, scratch or teacher.
        quality: of the teacher the students had, None without one.
        arms: the arms it belongs to (one for students; all that name the run otherwise).
        phase: the phase of the study.
        label: its name, unique in the data set.
        knobs: override key -> value, common to all its points, seeds left out.
        identity: flat identity config without seeds.
        runs: the finished runs, by run id.
        failed: how many runs failed.
        points: the overrides of every point its runs answer, seeds left out.
        seeds: seed override key -> its values.
    """

    data: str
    role: str
    quality: str | None
    arms: tuple[str, ...]
    phase: str | None
    label: str
    knobs: Mapping[str, str]
    identity: Mapping[str, str]
    runs: tuple[Line, ...]
    failed: int
    points: tuple[Mapping[str, str], ...] = ()
    seeds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @functools.cached_property
    def units(self) -> tuple[Seeds, ...]:
        """(data seed, teacher seed, student seed) of every run; the teacher's only where it is told apart."""
        seeds = (seeds_of(run) for run in self.runs)
        return tuple((data, teacher if self.has_teacher else None, student) for data, teacher, student in seeds)

    @property
    def arm(self) -> str | None:
        """The one arm it is shown as: of students theirs, of networks on labels alone one that asked for just that."""
        names = self.arms if self.role == "student" else [name for name in self.arms if name != "scratch"]
        return names[0] if len(names) == 1 and self.role != "teacher" else None

    @property
    def has_teacher(self) -> bool:
        """False for students of nobody and of the uniform control: they pair on the student seed alone."""
        return self.role == "student" and self.quality not in (None, "uniform")


def seeds_of(run: Line) -> Seeds:
    """(data seed, teacher seed, student seed) of a run; a teacher's own seed stands where a student's does."""
    seeds = run["seeds"]
    if run["role"] == "teacher":
        return seeds.get("data"), None, seeds.get("teacher")
    return seeds.get("data"), seeds.get("teacher"), seeds.get("student")


def is_seed(key: str) -> bool:
    """Whether an override key only sets a seed: ``seed``, ``teacher.seed``, ``data.seed``."""
    return key == "seed" or key.endswith(".seed")


def quality_of(run: Line) -> str | None:
    """The name of the teacher quality a student was taught with; None without a teacher."""
    teacher = run.get("teacher")
    if run["role"] != "student" or not teacher:
        return None
    quality = teacher.get("quality")
    if isinstance(quality, Mapping):
        quality = quality.get("name") or quality.get("kind") or str(quality.get("_target_", "")).rsplit(".", 1)[-1]
    return str(quality).lower() if quality else "standard"


def without_seeds(value: Any) -> Any:
    """The identity config without every mapping under a key ``seeds``; 4.0 reads as 4."""
    if isinstance(value, str | int) or value is None:  # nearly all, and cheaper to tell than a mapping
        return value
    if isinstance(value, dict | Mapping):
        return {key: without_seeds(item) for key, item in value.items() if key != "seeds"}
    if isinstance(value, list):
        return [without_seeds(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def flatten(value: Any, *, prefix: str = "") -> dict[str, str]:
    """``{"student": {"width": 16}}`` -> ``{"student.width": "16"}``."""
    if isinstance(value, Mapping) and value:
        flat: dict[str, str] = {}
        for key in sorted(value):
            flat |= flatten(value[key], prefix=f"{prefix}.{key}" if prefix else str(key))
        return flat
    return {prefix: value if isinstance(value, str) else json.dumps(value, sort_keys=True)}


def parse_overrides(overrides: Iterable[str]) -> dict[str, str]:
    """Override key (without ``+``) -> value."""
    return {override_key(text): text.split("=", 1)[1] if "=" in text else "" for text in overrides}


def number(text: str) -> float | None:
    """The number a knob's value is, None where it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def group_runs(runs: Iterable[Line], *, header: Mapping[str, Any]) -> list[Group]:
    """The groups of a study in display order: scratch, uniform, students by arm and knob, teachers."""
    keyed: dict[tuple[str, str, str, str | None, str | None], list[Line]] = {}
    runs = list(runs)
    qualities, askers = _teacher_qualities(runs), _askers(runs)
    for run in runs:
        if not run["members"]:
            run = {**run, "members": askers.get(run["run_id"], [])}
        signature = json.dumps(without_seeds(without_neutral(run["identity"])), sort_keys=True)
        for arm, phase in _places(run):
            keyed.setdefault((run["data"], run["role"], signature, arm, phase), []).append(run)
    groups = [_group(key, members, qualities) for key, members in keyed.items()]
    arms = {name: place for place, name in enumerate(header.get("arms") or {})}
    knobs = list(dict.fromkeys(name for group in groups for name in group.knobs))
    groups.sort(key=lambda group: _order(group, arms, knobs))
    return _named(groups, header)


def _places(run: Line) -> list[tuple[str | None, str | None]]:
    """The (arm, phase) a run is shown under; only students are told apart by arm."""
    if run["role"] == "teacher":
        return [(None, None)]
    arms = run["role"] == "student"
    places = {(member.get("arm") if arms else None, member.get("phase")) for member in run["members"]}
    return sorted(places or {(None, None)}, key=lambda place: (place[0] or "", place[1] or ""))


def _askers(runs: Sequence[Line]) -> dict[str, list[dict[str, Any]]]:
    """Run id of a twin or teacher -> the memberships of the students that refer to it."""
    askers: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        for other in (
            run.get("twin"),
            (run.get("teacher") or {}).get("id"),
            run.get("parent"),
            *run.get("ensemble", ()),
        ):
            if other:
                askers.setdefault(other, []).extend(run["members"])
    return askers


def _teacher_qualities(runs: Sequence[Line]) -> dict[str, str]:
    """Teacher run id -> the quality its students name."""
    return {
        run["teacher"]["id"]: quality_of(run) or "" for run in runs if run.get("teacher") and run["teacher"].get("id")
    }


def _group(key: tuple[str, str, str, str | None, str | None], runs: list[Line], qualities: Mapping[str, str]) -> Group:
    data, role, signature, arm, phase = key
    mine = [
        (run, member)
        for run in runs
        for member in run["members"]
        if role == "teacher" or ((role != "student" or member.get("arm") == arm) and member.get("phase") == phase)
    ]
    parsed = [parse_overrides(member["overrides"]) for _, member in mine]
    seeds: dict[str, set[str]] = {}
    points: dict[str, dict[str, str]] = {}
    for overrides in parsed:
        point = {name: value for name, value in overrides.items() if not is_seed(name)}
        points.setdefault(json.dumps(point, sort_keys=True), point)
        for name in overrides.keys() - point.keys():
            seeds.setdefault(name, set()).add(overrides[name])
    knobs = _common(list(points.values()))
    if role == "scratch":  # it belongs to points whose teacher and objective it does not have
        knobs = {name: value for name, value in knobs.items() if not TAUGHT_KEYS.match(name)}
    if role == "teacher":
        told = flatten(json.loads(signature))
        tempered = any(name.endswith(".temperature") for name in told)
        knobs = {
            name: value for name, value in knobs.items() if is_taught(told) or _of_teacher(name, tempered=tempered)
        }
    arms = {arm} if role == "student" else {member.get("arm") for _, member in mine}
    finished = sorted((run for run in runs if run["status"] == "finished"), key=lambda run: str(run["run_id"]))
    quality = quality_of(runs[0]) if role == "student" else None
    if role == "teacher":
        quality = next((qualities[run["run_id"]] for run in runs if run["run_id"] in qualities), None)
    return Group(
        data=data,
        role=role,
        quality=quality,
        arms=tuple(sorted(name for name in arms if name)),
        phase=phase,
        label="",
        knobs=knobs,
        identity=flatten(json.loads(signature)),
        runs=tuple(finished),
        failed=len(runs) - len(finished),
        points=tuple(points[name] for name in sorted(points)),
        seeds={name: tuple(sorted(seeds[name], key=_natural)) for name in sorted(seeds)},
    )


def _of_teacher(name: str, *, tempered: bool) -> bool:
    """Whether an override concerns a teacher; T does where its targets are made for one (virtual, match_entropy)."""
    shows = name in ("objective", "objective/term") or name.endswith(".temperature")
    return OF_TEACHER_KEYS.match(name) is not None or (tempered and shows)


def _common(points: Sequence[Mapping[str, str]]) -> dict[str, str]:
    if not points:
        return {}
    first, *rest = points
    return {name: value for name, value in first.items() if all(point.get(name) == value for point in rest)}


def _natural(text: str) -> tuple[bool, float, str]:
    value = number(text)
    return value is None, value or 0.0, text


def _order(group: Group, arms: Mapping[str, int], names: Sequence[str]) -> tuple[Any, ...]:
    role = {"scratch": 0, "student": 1 if group.quality == "uniform" else 2, "teacher": 3}[group.role]
    arm = min((arms.get(name, len(arms)) for name in group.arms), default=-1)
    knobs = [_natural(group.knobs.get(name, "")) for name in names]
    identity = [(name, *_natural(group.identity[name])) for name in sorted(group.identity)]
    control = group.role == "teacher" and group.quality not in (None, "standard")
    return group.data, role, arm, group.arms, control, group.phase or "", knobs, identity


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Key -> its last part, or the whole key where two would read the same.

    >>> short_names(["objective.temperature", "student.width"])
    {'objective.temperature': 'T', 'student.width': 'width'}
    """
    keys = sorted(set(keys))
    short = {key: SHORT_NAMES.get(key, re.split(r"[./@]", key)[-1]) for key in keys}
    values = list(short.values())
    return {key: name if values.count(name) == 1 else key for key, name in short.items()}


def varied_knobs(groups: Iterable[Group], *, header: Mapping[str, Any]) -> list[str]:
    """The override keys that tell groups apart: two values at least, or set for some students and not for others.

    A key of one value outside the grid and the arms was set for all that read it, and tells nothing apart.
    """
    arms = [key for lines in (header.get("arms") or {}).values() for key in parse_overrides(lines)]
    swept = {*header["grid"], *arms} if header.get("grid") else None
    groups = list(groups)
    values: dict[str, set[str]] = {}
    for group in groups:
        for name, value in group.knobs.items():
            values.setdefault(name, set()).add(value)
    students = [group for group in groups if group.role == "student"]
    asked = {name: sum(name in group.knobs for group in students) for name in values}
    return [
        name
        for name, found in values.items()
        if name != "data" and (len(found) > 1 or (0 < asked[name] < len(students) and (swept is None or name in swept)))
    ]


def _named(groups: list[Group], header: Mapping[str, Any]) -> list[Group]:
    varied = varied_knobs((group for group in groups if group.role != "teacher"), header=header)
    names = short_names(varied)
    labels = [_label(group, varied, names, header) for group in groups]
    buckets: dict[tuple[str, str | None, str], list[int]] = {}
    for place, (group, label) in enumerate(zip(groups, labels, strict=True)):
        buckets.setdefault((group.data, group.phase, label), []).append(place)  # a table has one phase
    for (_, _, label), places in buckets.items():
        if len(places) > 1:
            for place, extra in zip(places, _differences([groups[i] for i in places]), strict=True):
                labels[place] = f"{label} ({extra})" if extra else label
    return [replace(group, label=label) for group, label in zip(groups, labels, strict=True)]


def _label(group: Group, varied: Sequence[str], names: Mapping[str, str], header: Mapping[str, Any]) -> str:
    implied = set(parse_overrides((header.get("arms") or {}).get(group.arm) or []))
    if group.phase == TUNE:  # what is chosen among is what tells trials apart
        implied -= set((header.get("tune") or {}).get(group.arm, ()))
    knobs = ", ".join(f"{names[key]}={group.knobs[key]}" for key in varied if key in group.knobs and key not in implied)
    if group.role == "teacher":
        word = several_word(group.identity) or "teacher"
        return f"{word}, {group.quality}" if group.quality and group.quality != "standard" else word
    head = group.arm or ("scratch" if group.role == "scratch" else "")
    if not head and group.quality == "uniform" and "uniform" not in knobs:
        head = "uniform"
    return ": ".join(part for part in (head, knobs) if part) or group.role


def _differences(groups: Sequence[Group]) -> list[str]:
    """What tells groups apart: how many taught them, else the identity keys in which they differ, as ``key=value``.

    One of them may say nothing: a teacher beside those made from it.
    """
    words = [several_word(of_teacher(group.identity)) for group in groups]
    if any(words) and len(set(words)) == len(groups):
        return [word or "one teacher" for word in words]
    identities = [with_parents(group.identity) for group in groups]
    keys = _telling_apart(identities)
    names = short_names(keys)
    texts = [", ".join(_shown(names[key], one[key]) for key in keys if key in one) for one in identities]
    return [text if texts.count(text) == 1 else f"{text} #{place + 1}".strip() for place, text in enumerate(texts)]


def _telling_apart(identities: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys that tell identities apart, each next one that which parts most; none that parts nothing further.

    >>> _telling_apart([{"depth": "1", "width": "2"}, {"depth": "1", "width": "4"}, {"depth": "3", "width": "4"}])
    ['depth', 'width']
    """
    every = {key for identity in identities for key in identity} - {COUNT}
    keys = sorted(every, key=lambda key: (key != MEMBERS, key))
    chosen, parted = list[str](), 1
    while parted < len(identities):
        counts = {key: len({tuple(map(one.get, (*chosen, key))) for one in identities}) for key in keys}
        best = max(keys, key=counts.__getitem__)
        if counts[best] == parted:
            break
        chosen, parted = [*chosen, best], counts[best]
    return sorted(chosen)


def _shown(name: str, value: str) -> str:
    """``width=8``; a class or function by its own name alone."""
    if name == "members":
        return "different members"
    return value.rpartition(".")[2] if name.endswith("_target_") else f"{name}={value[:16]}"


def rerun_command(group: Group, *, header: Mapping[str, Any]) -> str:
    """The command that trains and measures the runs of a group again (finished ones are skipped).

    A row of a sweep is the sweep narrowed down to it: its arm (``study.only``) and its point of the grid, so what the
    sweep file sets for all points holds. A row of a plain multirun is a plain multirun.
    """
    sweep, arms = str(header.get("sweep") or "").removesuffix(".yaml"), header.get("arms") or {}
    if group.phase == TUNE and header.get("tune") and group.role != "teacher":
        return _tuning_command(group, sweep, header)
    seeds = dict(group.seeds) or _recorded_seeds(group)
    if group.role == "teacher":
        many = any(len(values) > 1 for values in seeds.values())
        head, point = ["kdlab", "teacher", *(["-m"] if many else [])], {"data": group.data, **group.knobs}
        seeds = {"teacher.seed": seeds["teacher.seed"]} if "teacher.seed" in seeds else seeds
    else:
        head = ["kdlab", "sweep", sweep] if sweep else ["kdlab", "run", "-m"]
        arm = group.arm or ("scratch" if group.role == "scratch" else None)
        point = dict(group.points[0] if group.points and group.role == "student" else group.knobs)
        of_arm = parse_overrides(arms.get(arm) or [])
        if sweep:
            point = {key: value for key, value in point.items() if key not in of_arm}
            point |= {"study.only": f"[{arm}]"} if arm in (*arms, "scratch") else {}
        else:
            point = {**of_arm, **({"objective": "hard_labels"} if arm == "scratch" else {}), **point}
        point |= _name_of(header, sweep or "multirun")
    overrides = [f"{key}={','.join(_ranged(values))}" for key, values in seeds.items()]
    return " ".join([*head, *_quoted([*_lines(point), *overrides])])


def _tuning_command(group: Group, sweep: str, header: Mapping[str, Any]) -> str:
    """All trials of an arm, with what was set for all of them: the rows of an arm share their command."""
    arms, arm = header.get("arms") or {}, group.arm
    chosen = {*(header["tune"].get(arm) or ()), *parse_overrides(arms.get(arm) or [])}
    point = {key: value for key, value in (group.points or ({},))[0].items() if key not in chosen}
    point |= {"study.only": f"[{arm}]"} if arm in arms else {}
    point |= _name_of(header, sweep)
    return " ".join(["kdlab", "sweep", sweep, *_quoted(_lines(point)), "study.phase=tune"])


def _name_of(header: Mapping[str, Any], usual: str) -> dict[str, str]:
    """The name of a study as an override, where it is not the usual one."""
    name = header.get("name")
    return {"study.name": str(name)} if name and name != usual else {}


def _lines(point: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" if value else f"~{key}" for key, value in point.items()]


def _quoted(overrides: Iterable[str]) -> list[str]:
    return [shlex.quote(text) if re.search(r"[\s\[\]{}()'\"*]", text) else text for text in overrides]


def _recorded_seeds(group: Group) -> dict[str, tuple[str, ...]]:
    key = "teacher" if group.role == "teacher" else "student"
    seeds = {str(run["seeds"].get(key)) for run in group.runs if run["seeds"].get(key) is not None}
    return {"seed": tuple(sorted(seeds, key=_natural))} if seeds else {}


def _ranged(values: Sequence[str]) -> list[str]:
    """``0, 1, 2, 3`` -> ``range(0,4)``, Hydra's own sweep syntax, where that is shorter."""
    if len(values) > 3 and all(value.isdigit() for value in values):
        seeds = [int(value) for value in values]
        if seeds == list(range(seeds[0], seeds[0] + len(seeds))):
            return [f"range({seeds[0]},{seeds[-1] + 1})"]
    return list(values)
