"""What is wrong with a schedule in a config: its target, its knobs, and the numbers it says in any run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kdlab import targets
from kdlab.objectives.marks import Rule, is_number, number, rule_errors
from kdlab.objectives.schedules import SCHEDULES, breakpoints, is_schedule, number_at


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def _are_shares(value: Any) -> bool:
    return _is_list(value) and all(map(_is_share, value)) and list(value) == sorted(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


SHARE = Rule(_is_share, "a share of the run in [0, 1]")
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("start", "end", "value", "outside"), number),
    **dict.fromkeys(("begin", "until"), SHARE),
    "values": Rule(lambda value: _is_list(value) and value and all(map(is_number, value)), "a list of finite numbers"),
    "at": Rule(_are_shares, "a list of shares of the run in [0, 1], in their order,"),
    "of": Rule(is_schedule, "a schedule, {_target_: kdlab.objectives.schedules.linear, ...},"),
}
"""What the knobs of schedules may be."""


def schedule_errors(spec: Mapping[str, Any], *, key: str, rule: Rule) -> list[str]:
    """What is wrong with a schedule that stands in the place of a value.

    Args:
        spec: the schedule.
        key: the config key of the value.
        rule: what the value may be.
    """
    if not rule.may_change:
        return [f"{key}._target_ = {spec['_target_']!r}: {rule.words} is needed, and no schedule"]
    if problems := list(_knob_errors(spec, key=key)):
        return problems
    said = ((share, number_at(spec, share)) for share in sorted(breakpoints(spec)))
    wrong = (f"{key} = {value:g} at the share {share:g} of the run" for share, value in said if not rule.holds(value))
    return [f"{line}: {rule.words} is needed" for line in wrong][:1]


def _knob_errors(spec: Mapping[str, Any], *, key: str) -> Iterator[str]:
    path = spec["_target_"]
    if not isinstance(path, str) or path not in SCHEDULES:
        yield f"{key}._target_ = {path!r}: no schedule; allowed: {', '.join(SCHEDULES)}"
        return
    if "share" in spec:
        yield f"{key}.share: kdlab passes this itself"
    flat = {name: "a mapping" if isinstance(value, Mapping) else value for name, value in spec.items()}
    problems = targets.spec_errors(flat, key=key, provided=("share",))
    for name in RULES.keys() & spec.keys():
        problems += rule_errors(spec[name], RULES[name], key=f"{key}.{name}")
    yield from problems or _sense_errors(spec, key=key)


def _sense_errors(spec: Mapping[str, Any], *, key: str) -> Iterator[str]:
    """Whether knobs that are in order each go together."""
    begin, until = spec.get("begin", 0.0), spec.get("until", 1.0)
    if begin > until:
        yield f"{key}.begin = {begin:g}: at most until = {until:g} is needed"
    values, at = spec.get("values", ()), spec.get("at", ())
    if at and len(at) != len(values) - 1:
        told = f"a list of length {len(values) - 1} is needed for {len(values)} values, or [] (each holds equally long)"
        yield f"{key}.at = {list(at)}: {told}"
    if "of" in spec:
        yield from _knob_errors(spec["of"], key=f"{key}.of")
