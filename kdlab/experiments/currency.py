"""Is a finished record up to date with what a config asks to be measured, and what to measure where it is not."""

import copy
from typing import Any

from kdlab.evaluation import EVALUATION_VERSION
from kdlab.records.identity import canonical_json
from kdlab.records.record import RunRecord
from kdlab.schema.bookkeeping import SETS
from kdlab.schema.config import RunConfig
from kdlab.schema.reading import read_config
from kdlab.targets import refuse_unsafe


def missing_evaluation(record: RunRecord, config: RunConfig) -> bool:
    """Whether a finished record was evaluated by older rules, or lacks a set, a slice or a time the config wants.

    Dark knowledge at another temperature is missing too; where a record is older than that, its absence is not.
    """
    wanted = {name for name in config.evaluation.sets if name != "slices"}
    older = record.evaluation_version < EVALUATION_VERSION
    lacks = (_lacks_slices, _lacks_times, _at_another_temperature)
    return older or not wanted <= set(record.bins) or any(one(record, config) for one in lacks)


def _lacks_slices(record: RunRecord, config: RunConfig) -> bool:
    """A slice counts as measured where the record was told the same of it: a knob turned since is another slice."""
    if "slices" not in config.evaluation.sets:
        return False
    if "slices" not in (record.config.get("evaluation") or {}).get("sets", SETS):
        return True  # those that come with the data set itself are named in no config
    told, wanted = _slices(record.config), _slices(config.plain)
    return any(
        name not in record.bins or canonical_json(spec) != canonical_json(told.get(name))
        for name, spec in wanted.items()
    )


def _lacks_times(record: RunRecord, config: RunConfig) -> bool:
    if not config.evaluation.latency.enabled or record.metrics.get("cost/num_params") is None:
        return False
    keys = ["latency/p50_ms", *(["cost/step_ms_ratio"] if record.role == "student" else [])]
    return any(record.metrics.get(key) is None for key in keys)


def _at_another_temperature(record: RunRecord, config: RunConfig) -> bool:
    told, wanted = record.dark_knowledge.get("temperature"), config.evaluation.dark_knowledge_temperature
    return told is not None and told != wanted


def widened(config: RunConfig, record: RunRecord) -> RunConfig:
    """``config`` that measures what the record holds as well: its sets, and its slices where it does not define them.

    Raises:
        UserError: a slice of the record's names code outside the allow-list.
    """
    evaluation = dict(record.config.get("evaluation") or {})
    told = set(evaluation.get("sets") or ()) | set(config.evaluation.sets)
    older = {name: spec for name, spec in _slices(record.config).items() if name not in config.data.slices}
    refuse_unsafe(older, allow=config.allow_targets, key="data.slices")
    plain: dict[str, Any] = copy.deepcopy(dict(config.plain))
    plain["evaluation"] = {**plain.get("evaluation", {}), "sets": [name for name in SETS if name in told]}
    plain["data"]["slices"] = {**older, **_slices(plain)}
    return read_config(plain)


def _slices(plain: Any) -> dict[str, Any]:
    return dict(plain["data"].get("slices") or {})
