"""What was predicted beside what was seen, as a table and as the section of a report."""

import shlex
from collections.abc import Sequence

from kdlab.reporting.aggregate import Summary
from kdlab.reporting.groups import Group, rerun_command
from kdlab.reporting.predictions import Prediction, predictions_of
from kdlab.reporting.statistics import MOST_NAMES
from kdlab.reporting.table import NOTHING, Table, parts, show_difference, table_name

SIGNS = {"positive": "above 0", "negative": "below 0", "zero": "no difference"}
COLUMNS = ("Prediction", "Claim", "Recipe", "Predicted", "Effect", "n", "Verdict", "Found with 80 % power")


def predictions_table(summary: Summary, data: str) -> Table:
    """A row for each prediction: the claim, the effect with its interval, the verdict."""
    found = predictions_of(summary, data)
    return Table(
        table_name("predictions", summary.datasets, data),
        f"What was predicted, and what was seen, on {data}",
        COLUMNS,
        [_cells(one) for one in found],
        [rerun_together(one.groups, summary) for one in found],
        [_record(one) for one in found],
    )


def _cells(one: Prediction) -> list[str]:
    name = f"**{one.name}** (primary)" if one.said["primary"] else one.name
    return [
        name,
        str(one.said["claim"]).strip(),
        str(one.said["recipe"]),
        SIGNS[one.said["sign"]],
        show_effect(one),
        str(one.effect.n) if one.effect else NOTHING,
        verdict_text(one),
        NOTHING if one.detectable is None else in_its_unit(one, one.detectable),
    ]


def verdict_text(one: Prediction) -> str:
    """The verdict; without one, why there is none."""
    return str(one.outcome) if one.outcome else one.reason or NOTHING


def show_effect(one: Prediction) -> str:
    """``+1.54 [+0.16, +2.91] points`` for a difference of fractions, the bare numbers otherwise."""
    if one.effect is None:
        return NOTHING
    if not one.in_points:
        return show_difference(one.effect)
    return f"{show_difference(one.effect.scaled(100), digits=2)} points"


def in_its_unit(one: Prediction, value: float) -> str:
    """A size in points, or as a bare number."""
    return f"{100 * value:.2f} points" if one.in_points else f"{value:.4f}"


def metric_words(one: Prediction) -> str:
    """The metric it is about; of many the first and the last."""
    named = one.metrics
    return ", ".join(named) if len(named) <= MOST_NAMES else f"{named[0]} to {named[-1]}"


def _record(one: Prediction) -> dict[str, object]:
    said = one.said
    return {
        "data": one.data,
        "prediction": one.name,
        "primary": int(said["primary"]),
        "claim": str(said["claim"]).strip(),
        "statistic": one.statistic,
        "effect of": one.words,
        "metric": said["metric"],
        "recipe": said["recipe"],
        "predicted": said["sign"],
        "sesoi": said["sesoi"],
        **parts("effect", one.effect),
        "p": one.p_value,
        "verdict": one.outcome.word if one.outcome else None,
        "units to decide": one.outcome.units if one.outcome else None,
        "detectable": one.detectable,
        "reason": one.reason,
        "added later": int(bool(said.get("added_later"))),
    }


def notes(found: Sequence[Prediction]) -> str:
    """How each effect is computed, and what has to be known of it, one a line."""
    lines = ["Every effect is computed inside each pair; the interval is over pairs.\n\n"]
    for one in found:
        smallest = in_its_unit(one, one.said["sesoi"])
        told = f"`{one.words}` of {metric_words(one)}; smallest effect of interest ± {smallest}"
        lines.append(f"- {one.name}: {'; '.join(filter(None, [told, one.note]))}.\n")
    return "".join(lines)


def rerun_together(groups: Sequence[Group], summary: Summary) -> str:
    """The command that makes the runs of several arms of a sweep again; empty where there are none."""
    commands = [shlex.split(rerun_command(group, header=summary.header)) for group in groups]
    if not commands:
        return ""
    told = [dict(word.split("=", 1) for word in words if "=" in word) for words in commands]
    arms = dict.fromkeys(one.pop("study.only", "[]").strip("[]") for one in told)
    common = [f"{key}={value}" for key, value in told[0].items() if all(one.get(key) == value for one in told)]
    only = [f"study.only=[{','.join(arms)}]"] if all(arms) else []
    head = [word for word in commands[0] if "=" not in word]
    return shlex.join([*head, *common, *only])
