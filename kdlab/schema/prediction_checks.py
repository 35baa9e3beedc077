"""What a study's predictions and doses contradict: its arms, the measured keys, its tuning, each other."""

from collections.abc import Collection, Iterator

from kdlab.errors import nearest
from kdlab.keys import out_of_scope
from kdlab.references import Who, parse_reference
from kdlab.schema.bookkeeping import EVERY_ARM, ReportConfig, StudyConfig
from kdlab.schema.predictions import Prediction
from kdlab.schema.statistics import RankCorrelation


def prediction_problems(study: StudyConfig, report: ReportConfig, *, measured: Collection[str]) -> list[str]:
    """Every contradiction, one a line.

    Args:
        study: the study.
        report: with the smallest effects of interest.
        measured: every key that is measured of its runs.
    """
    arms = {*study.arms, "scratch"}
    problems: list[str] = []
    for name, one in study.predictions.items():
        key = f"study.predictions.{name}"
        problems += _unknown_arms(f"{key}.effect", one.effect.statistic.references(), arms)
        problems += _metric_problems(key, one, measured)
        problems += _recipe_problems(key, one, study)
        if one.smallest(report.sesoi) is None:
            told = f"report.sesoi has none of {one.metric}"
            if not one.effect.statistic.is_difference:
                told = f"{one.effect.name} is no difference of one metric, of which it could take it"
            problems.append(f"{key}.sesoi = None: a number is needed; {told}")
    primary = [name for name, one in study.predictions.items() if one.primary]
    if len(primary) > 1:
        problems.append(f"study.predictions.{primary[1]}.primary = True: {primary[0]} is the primary one already")
    return [*problems, *_dose_problems(study, arms, measured)]


def _unknown_arms(key: str, references: list[str], arms: Collection[str]) -> Iterator[str]:
    for arm in dict.fromkeys(parse_reference(text).arm for text in references):
        if arm not in arms:
            yield f"{key} names '{arm}', no arm of this study; {nearest(arm, arms)}"


def _metric_problems(key: str, one: Prediction, measured: Collection[str]) -> Iterator[str]:
    """A metric that is no measured key, or one that is not measured of those who are asked for it."""
    statistic = one.effect.statistic
    readers: dict[str, list[Who]] = {}
    for reference in map(parse_reference, statistic.references()):
        readers.setdefault(reference.metric or one.metric, []).append(reference.who)
    asked = [(f"{key}.{_place(one, metric)}", metric, who) for metric, who in readers.items()]
    if isinstance(statistic, RankCorrelation):
        who: Who = "teacher" if statistic.of == "teacher" else "arm"
        asked.append((f"{key}.effect.rank_correlation.with", statistic.other, [who]))
    for place, metric, whose in asked:
        if metric not in measured:
            yield f"{place} = {metric!r}: no measured key; {nearest(metric, measured)}"
            continue
        roles = {"arm": "student", "scratch": "scratch", "teacher": "teacher"}
        outside = {who: out_of_scope(metric, roles[who]) for who in dict.fromkeys(whose)}
        yield from (f"{place} = {metric!r}: asked of a {roles[who]}, {why}" for who, why in outside.items() if why)


def _place(one: Prediction, metric: str) -> str:
    return "metric" if metric == one.metric else f"effect.{one.effect.name}"


def _recipe_problems(key: str, one: Prediction, study: StudyConfig) -> Iterator[str]:
    space = study.tune.space
    if one.recipe == "tuned" and not space:
        yield f"{key}.recipe = 'tuned': nothing is chosen on validation without study.tune.space; 'fixed' is allowed"
    if one.recipe == "fixed" and space:
        arms = dict.fromkeys(parse_reference(text).arm for text in one.effect.statistic.references())
        chosen = [arm for arm in arms if arm in study.arms and space.get(arm, space.get(EVERY_ARM))]
        if chosen:
            yield f"{key}.recipe = 'fixed': study.tune.space chooses knobs of {chosen[0]}; 'tuned' is allowed"


def _dose_problems(study: StudyConfig, arms: Collection[str], measured: Collection[str]) -> Iterator[str]:
    doses = study.doses
    if doses is None:
        if study.responses:
            yield f"study.responses = {study.responses}: shown by dose; study.doses is needed"
        return
    for arm in doses.values or ():
        if arm not in arms:
            yield f"study.doses.values.{arm}: no arm of this study; {nearest(arm, arms)}"
    slices = [name for name in doses.slices or () if f"{name}/gap" not in measured]
    if slices:
        known = {key.rpartition("/")[0] for key in measured if key.endswith("/gap")}
        yield f"study.doses.slices.{slices[0]}: no slice of this data set; {nearest(slices[0], known)}"
        return
    for response in study.responses:
        metric = next((key for key in doses.metrics(response) if key not in measured), None)
        if metric is not None:
            yield f"study.responses = {response!r}: {metric} is no measured key; {nearest(metric, measured)}"
        elif why := out_of_scope(doses.metrics(response)[0], "student"):
            yield f"study.responses = {response!r}: asked of a student, {why}"
