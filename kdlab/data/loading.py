"""From specs to a data set: build it, build its slices, and refuse what would make a later number wrong."""

import dataclasses
import functools
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import torch
from torch import Tensor

from kdlab.data.dataset import Dataset, Examples, Reference, Slice
from kdlab.errors import UserError, nearest
from kdlab.keys import RESERVED_NAMES
from kdlab.targets import accepted, build, parameters, resolve, spec_errors

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SPLITS = ("train", "validation", "test", "pool")
_PROVIDED = ("cache_dir", "progress")
_SLICE_KEYS = ("reference", "ood")
_NAMES_NEEDED = f"an identifier other than {', '.join(dict.fromkeys((*SPLITS, *RESERVED_NAMES)))} is needed"


def load_dataset(
    spec: Mapping[str, Any],
    slices: Mapping[str, Mapping[str, Any]],
    *,
    cache_dir: Path,
    progress: bool = True,
) -> Dataset:
    """The data set of a config with all of its slices.

    Args:
        spec: ``{"name": ..., "_target_": ..., **knobs}``; the target gives a ``Dataset``, which may have slices of its
            own (one of the config's replaces one of the same name).
        slices: slice name -> ``{"_target_": ..., "reference": "twins" | "test", "ood": bool, **knobs}``. The target is
            called as ``target(dataset, **knobs)``, with ``cache_dir`` and ``progress`` where it takes them, and gives
            ``Examples``.
        cache_dir: where made data is kept.
        progress: show a progress bar (on stderr) while data is made.

    Raises:
        UserError: all mistakes of the specs at once; or the first set that breaks the rules of ``check_dataset``.
    """
    problems = dataset_errors(spec) + slice_errors(slices)
    if problems:
        raise UserError("\n".join(problems))
    offered = {"cache_dir": Path(cache_dir), "progress": progress}
    try:
        dataset = build(_data_knobs(spec), **offered)
    except UserError as error:
        raise UserError(f"data: {error}") from error
    except Exception as error:
        if str(spec["_target_"]).startswith("kdlab."):
            raise  # a mistake of ours: the whole traceback is wanted
        raise UserError(f"data._target_ = '{spec['_target_']}' failed: {_where(error)}") from error
    if not isinstance(dataset, Dataset):
        raise UserError(f"data._target_ = '{spec['_target_']}' gives {type(dataset).__name__}, not kdlab.data.Dataset")
    dataset = dataclasses.replace(dataset, name=str(spec.get("name", dataset.name)))
    check_dataset(dataset)
    for name, piece in dataset.slices.items():
        _check_own_slice(dataset, name, piece)
    named = {name: _slice(dataset, name, slices[name], offered) for name in slices}
    return dataclasses.replace(dataset, slices={**dataset.slices, **named})


def _where(error: BaseException) -> str:
    """An error of a user's function in one line, with the line of their file that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"


def dataset_errors(spec: Mapping[str, Any]) -> list[str]:
    """What is wrong with the spec of a data set, found without making any data."""
    knobs = _data_knobs(spec)
    return spec_errors(knobs, key="data", provided=_PROVIDED) + _value_errors(knobs, key="data")


def _data_knobs(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What a data set is built with: without its name, and without seed 0 where the target draws nothing."""
    knobs = {key: value for key, value in spec.items() if key != "name"}
    try:
        takes_seed = "seed" in accepted(resolve(str(knobs.get("_target_"))), knobs)
    except (UserError, TypeError, ValueError):
        return knobs  # spec_errors says what is wrong with the target
    if not takes_seed and knobs.get("seed") == 0:
        del knobs["seed"]
    return knobs


def data_identity(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What of a data set's spec trains a network: the spec itself, or what its target says by ``target.identity``.

    A target that reads files has ``identity(**knobs) -> dict``, which replaces paths by the hash of what lies there:
    the same file under another name is the same data, another file under the same name is not. Where a cache lies and
    whether a bar is shown is no part of it.

    Raises:
        UserError: a file cannot be read.
    """
    knobs = {name: value for name, value in spec.items() if name not in ("_target_", *_PROVIDED)}
    described = getattr(resolve(str(spec["_target_"])), "identity", None)
    return {"_target_": spec["_target_"], **(knobs if described is None else described(**knobs))}


def own_slices(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the slices that a data set brings itself, where its target says them without making data.

    It says them by ``slice_names(**knobs) -> names``, so that ``optimized_metric=<slice>/accuracy`` can be checked
    before any work. Slices that are not said are measured all the same.

    Raises:
        UserError: a file cannot be read.
    """
    try:
        said = getattr(resolve(str(spec.get("_target_"))), "slice_names", None)
    except UserError:
        return ()  # reported by the check of the targets
    return () if said is None else tuple(said(**{name: value for name, value in spec.items() if name != "_target_"}))


def shift_errors(spec: Any, *, key: str = "data.shift") -> list[str]:
    """What is wrong with the shift of a data set, called ``target(dataset, examples, severity=..., **knobs)``."""
    if spec is None:
        return []
    if not isinstance(spec, Mapping):
        return [f"{key} = {spec!r}: a mapping with _target_ is needed"]
    return spec_errors(spec, key=key, provided=("dataset", "examples", "severity", *_PROVIDED)) + _value_errors(
        spec, key=key
    )


def transfer_errors(spec: Any, *, key: str = "data.transfer") -> list[str]:
    """What is wrong with the spec of a transfer set, called ``target(material, **knobs)``; without a target: none."""
    if not isinstance(spec, Mapping) or "_target_" not in spec:
        return []
    ours = ("labelled_fraction", "labels")
    knobs = {name: value for name, value in spec.items() if name not in ours and value is not None}
    problems = spec_errors(knobs, key=key, provided=("material",)) + _value_errors(knobs, key=key)
    if spec.get("labels") is True and not problems and not getattr(resolve(str(knobs["_target_"])), "has_labels", True):
        problems.append(f"{key}.labels = True: what {knobs['_target_']} makes has no true labels; false is allowed")
    return problems


def slice_errors(slices: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is wrong with the specs of slices, found without making any data."""
    return [problem for name, spec in slices.items() for problem in _one_slice_errors(name, spec)]


def _one_slice_errors(name: str, spec: Mapping[str, Any]) -> list[str]:
    key = f"data.slices.{name}"
    if not _may_be_called(name):
        return [f"{key}: a slice may not be called '{name}': {_NAMES_NEEDED}"]
    if not isinstance(spec, Mapping):
        return [f"{key} = {spec!r}: a mapping with _target_, reference and ood is needed"]
    problems = []
    if spec.get("reference") not in get_args(Reference):
        told = spec.get("reference")
        hint = nearest(str(told), get_args(Reference))
        problems.append(f"{key}.reference = {told!r}: 'twins' or 'test' is needed; {hint}")
    if not isinstance(spec.get("ood"), bool):
        problems.append(f"{key}.ood = {spec.get('ood')!r}: true or false is needed")
    knobs = _knobs(spec)
    try:
        first = next(iter(parameters(resolve(str(knobs.get("_target_"))))[0]), "dataset")
    except (UserError, TypeError, ValueError):
        first = "dataset"  # spec_errors says what is wrong with the target
    return problems + spec_errors(knobs, key=key, provided=(first, *_PROVIDED)) + _value_errors(knobs, key=key)


def _value_errors(knobs: Mapping[str, Any], *, key: str) -> list[str]:
    """Values that are not of the type the target's signature names (``seed: abc``); nothing where it names none."""
    from pydantic import ValidationError

    try:
        target = resolve(str(knobs.get("_target_")))
        named = _hints(target).keys() & {name for name, value in knobs.items() if not isinstance(value, Mapping)}
    except (UserError, TypeError, NameError):
        return []  # no such target (spec_errors says so), or hints that cannot be read: the call itself will tell
    problems = []
    for name in named:
        try:
            _type_of(target, name).validate_python(knobs[name], strict=True)
        except ValidationError as error:
            problems.append(f"{key}.{name} = {knobs[name]!r}: {error.errors()[0]['msg']}")
    return sorted(problems)


# A sweep asks for the same few types at each of its points; making them costs more than all else that is checked.
@functools.lru_cache(maxsize=256)
def _hints(target: Callable[..., Any]) -> Mapping[str, Any]:
    return get_type_hints(target.__init__ if isinstance(target, type) else target)  # type: ignore[misc]


@functools.lru_cache(maxsize=1024)
def _type_of(target: Callable[..., Any], name: str) -> "TypeAdapter[Any]":
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(_hints(target)[name], config=ConfigDict(arbitrary_types_allowed=True))


def _knobs(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key not in _SLICE_KEYS}


def _slice(dataset: Dataset, name: str, spec: Mapping[str, Any], offered: Mapping[str, Any]) -> Slice:
    key = f"data.slices.{name}"
    try:
        examples = build(_knobs(spec), dataset, **offered)
    except UserError as error:
        raise UserError(f"{key}: {error}") from error
    if not isinstance(examples, Examples):
        raise UserError(f"{key}: {spec['_target_']} gives {type(examples).__name__}, not kdlab.data.Examples")
    piece = Slice(examples=examples, reference=spec["reference"], ood=spec["ood"])
    _check_slice(dataset, key, piece)
    return piece


def check_dataset(dataset: Dataset) -> None:
    """Hold a data set to its contract.

    Every set is float32 and finite, of one shape, with labels in ``[0, C)`` and unique index values; train, validation,
    test and pool share no index value.

    Raises:
        UserError: naming the set (``data.<set>``) and the value.
    """
    seen: list[tuple[str, Tensor]] = []
    for name in SPLITS:
        examples: Examples | None = getattr(dataset, name)
        if examples is None:
            continue
        _check_examples(dataset, f"data.{name}", examples)
        for other, index in seen:
            shared = examples.index[torch.isin(examples.index, index)]
            if len(shared):
                raise UserError(f"data.{name} and data.{other} share index {int(shared[0])}: splits must be disjoint")
        seen.append((name, examples.index))


def _check_examples(dataset: Dataset, key: str, examples: Examples) -> None:
    inputs, labels, index = examples.inputs, examples.labels, examples.index
    if len(examples) == 0:
        raise UserError(f"{key} is empty: at least one example is needed")
    if inputs.dtype != torch.float32:
        raise UserError(f"{key}: inputs are {inputs.dtype}, float32 is needed")
    if tuple(inputs.shape[1:]) != dataset.input_shape:
        raise UserError(f"{key}: an example has shape {tuple(inputs.shape[1:])}, data.train has {dataset.input_shape}")
    if not torch.isfinite(inputs.sum()):  # quick; an overflow of the sum alone is told from a value by looking at each
        finite = torch.isfinite(inputs).flatten(1).all(1)
        if not finite.all():
            raise UserError(f"{key}: the input with index {int(index[~finite][0])} is not finite")
    outside = (labels < 0) | (labels >= dataset.num_classes)
    if outside.any():
        at = int(outside.nonzero()[0, 0])
        raise UserError(
            f"{key}: label {int(labels[at])} of index {int(index[at])} is not in [0, {dataset.num_classes})"
        )
    values, counts = torch.unique(index, return_counts=True)
    if len(values) != len(index):
        raise UserError(f"{key}: index {int(values[counts > 1][0])} occurs more than once")


def _check_own_slice(dataset: Dataset, name: str, piece: Slice) -> None:
    """Hold a slice that came with the data set to what a configured one is held to."""
    key = f"data: its own slice '{name}'"
    if not _may_be_called(name):
        raise UserError(f"{key}: {_NAMES_NEEDED}")
    if piece.reference not in get_args(Reference) or not isinstance(piece.ood, bool):
        raise UserError(f"{key}: reference = {piece.reference!r}, ood = {piece.ood!r}: twins or test, and a bool")
    _check_slice(dataset, key, piece)


def _may_be_called(name: str) -> bool:
    return name.isidentifier() and name not in (*SPLITS, *RESERVED_NAMES)


def _check_slice(dataset: Dataset, key: str, piece: Slice) -> None:
    examples, test = piece.examples, dataset.test
    _check_examples(dataset, key, examples)
    for name in ("train", "validation", "pool"):
        other: Examples | None = getattr(dataset, name)
        shared = examples.index[torch.isin(examples.index, other.index)] if other is not None else examples.index[:0]
        if len(shared):
            raise UserError(f"{key}: index {int(shared[0])} belongs to data.{name}: a slice may not hold its examples")
    rows, known = _rows_in(test.index, examples.index)
    if piece.reference == "twins" and not known.all():
        missing = int(examples.index[~known][0])
        raise UserError(f"{key}: index {missing} is not in data.test: with reference: twins every row needs its twin")
    if not torch.equal(test.labels[rows[known]], examples.labels[known]):
        raise UserError(f"{key}: labels differ from those of the test examples with the same index")
    if piece.reference == "test" and not torch.equal(test.inputs[rows[known]], examples.inputs[known]):
        raise UserError(
            f"{key}: inputs differ from those of the test examples with the same index: a transformed test example "
            "needs reference: twins, another example an index of its own"
        )


def _rows_in(index: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """For each value of ``wanted`` its row in ``index`` (any row where it has none), and whether it has one."""
    ordered, order = torch.sort(index)
    at = torch.searchsorted(ordered, wanted).clamp(max=len(index) - 1)
    return order[at], ordered[at] == wanted
