"""The specs of a config, ``{name: {"_target_": path, "weight": w, **knobs}}``: what is wrong, and what counts."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from kdlab import targets
from kdlab.errors import UserError
from kdlab.objectives.layers import layer_rules
from kdlab.objectives.marks import Rule, non_negative, rule_errors
from kdlab.objectives.schedule_errors import schedule_errors
from kdlab.objectives.schedules import Schedule, Scheduled, held, is_schedule
from kdlab.objectives.term_spec import KEY, TermSpec, default_knobs

PROVIDED = ("student", "teacher", "batch", "step")
ANYTHING = Rule(lambda value: True, "one value", may_change=False)
"""Of a knob that its term says nothing of."""


def objective_errors(specs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Every mistake in the specs of an objective: targets, knobs and their ranges, weights."""
    problems: list[str] = []
    for name, spec in specs.items():
        found = _shape_errors(name, spec)
        problems += found or value_errors(term_spec(name, spec, num_steps=1), name=name)
    return problems


def effective_terms(specs: Mapping[str, Mapping[str, Any]], *, num_steps: int) -> dict[str, dict[str, Any]]:
    """What of an objective trains the network: the terms of weight != 0 with weight and all knobs, defaults filled in.

    Args:
        specs: sound ones.
        num_steps: optimizer steps of the run; a term that a schedule holds at weight 0 in all of them is none.

    >>> effective_terms({"ce": {"_target_": "kdlab.objectives.hard_labels", "weight": 1}}, num_steps=100)
    {'ce': {'_target_': 'kdlab.objectives.terms.hard_labels', 'label_smoothing': 0.0, 'weight': 1.0}}
    """
    terms = {}
    for name, weight in _effective_weights(specs, num_steps=num_steps).items():
        spec = specs[name]
        function = targets.resolve(spec["_target_"])
        knobs = {knob: value for knob, value in spec.items() if knob != "weight"}
        neutral = getattr(function, "added_later", {})
        path = f"{function.__module__}.{function.__qualname__}"  # one identity, by whatever path it was named
        terms[name] = {**default_knobs(function), **knobs, "_target_": path, "weight": weight}
        kept = {knob: value for knob, value in terms[name].items() if knob not in neutral or value != neutral[knob]}
        terms[name] = dict(sorted(kept.items()))
    return terms


def _effective_weights(specs: Mapping[str, Mapping[str, Any]], *, num_steps: int) -> dict[str, Any]:
    """Numbers or schedules of the terms that are heard in some step.

    Where a schedule silences a term, the schedules that never change are their numbers: the labels at 1 minus 0 are
    those of the scratch student. Elsewhere they stay what they are, and so do the identities of runs.
    """
    given = {name: specs[name]["weight"] for name in sorted(specs)}
    weights = {name: dict(value) if is_schedule(value) else float(value) for name, value in given.items()}
    numbers = {name: held(value, num_steps=num_steps) for name, value in given.items() if is_schedule(value)}
    if 0 in numbers.values():
        weights |= {name: value for name, value in numbers.items() if value is not None}
    return {name: weight for name, weight in weights.items() if weight != 0}


def term_spec(name: str, spec: Mapping[str, Any], *, num_steps: int) -> TermSpec:
    """A term of sound specs; a schedule in it is spread over ``num_steps``."""
    values = {key: Schedule(value, num_steps) if is_schedule(value) else value for key, value in spec.items()}
    knobs = {key: value for key, value in values.items() if key not in ("weight", "_target_")}
    return TermSpec(partial(targets.resolve(spec["_target_"]), **knobs), values["weight"], name)


def _shape_errors(name: str, spec: Mapping[str, Any]) -> list[str]:
    """Whether a spec names a term and gives it the right keys."""
    knobs = {key: value for key, value in spec.items() if key != "weight" and not is_schedule(value)}
    scheduled = [key for key, value in spec.items() if is_schedule(value)]
    provided = (*PROVIDED, *_own_modules(knobs))
    problems = targets.spec_errors(knobs, key=f"{KEY}.{name}", provided=(*provided, *scheduled))
    problems += [f"{KEY}.{name}.{key}: kdlab passes this itself" for key in knobs if key in provided]
    if not problems and not hasattr(targets.resolve(knobs["_target_"]), "needs"):
        problems = [f"{KEY}.{name}._target_ = '{knobs['_target_']}' is no term: mark it with @kdlab.objectives.term"]
    if "weight" not in spec:
        problems.append(f"missing key {KEY}.{name}.weight")
    return problems


def _own_modules(knobs: Mapping[str, Any]) -> tuple[str, ...]:
    """The arguments of a term that kdlab builds modules for; none where the target is no term."""
    try:
        return tuple(getattr(targets.resolve(str(knobs.get("_target_"))), "modules", ()))
    except UserError:
        return ()


def value_errors(spec: TermSpec, *, name: str) -> list[str]:
    """Whether the weight and the knobs of a term are in range."""
    given = spec.function.keywords if isinstance(spec.function, partial) else {}
    values = {"weight": spec.weight, **given}
    rules = {**layer_rules(values), **spec.marked.knob_rules, "weight": non_negative}
    problems = []
    for knob, value in values.items():
        rule = rules.get(knob, ANYTHING)
        if knob in spec.built_with:
            rule = rule._replace(may_change=False)
        problems += _range_errors(value, rule, key=f"{KEY}.{name}.{knob}")
    return problems


def _range_errors(value: Any, rule: Rule, *, key: str) -> list[str]:
    if isinstance(value, Schedule):
        return schedule_errors(value.spec, key=key, rule=rule)
    return [] if isinstance(value, Scheduled) else rule_errors(value, rule, key=key)
