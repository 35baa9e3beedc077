import pytest
from pydantic import ValidationError

from kdlab.keys import expected_keys
from kdlab.references import parse_reference
from kdlab.schema.bookkeeping import ReportConfig, StudyConfig
from kdlab.schema.prediction_checks import prediction_problems
from kdlab.schema.predictions import Prediction, primary_of

MEASURED = expected_keys("student", ("train", "validation", "test"), ("noise",))
ARMS = {name: [] for name in ("plain", "smoothed", "labels", "uniform")}


def prediction(**changes):
    said = {"claim": "It is worse.", "effect": {"difference": ["smoothed", "plain"]}, "sign": "negative"}
    return {**said, **changes}


def problems(sesoi=None, **study):
    """What is wrong with a study, at whichever of the two stages it is seen."""
    try:
        config = StudyConfig.model_validate({"arms": ARMS, **study})
    except ValidationError as error:
        return [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
    return prediction_problems(config, ReportConfig(sesoi=sesoi or {}), measured=MEASURED)


def of(effect, **changes):
    return problems(predictions={"one": prediction(effect=effect, **changes)})


SOUND = {
    "difference": {"difference": [["smoothed", "plain"], "scratch(plain)"]},
    "gains": {"gains": ["smoothed", ["plain", "uniform"]]},
    "ratio": {"ratio": {"of": ["plain", "scratch(plain)"], "to": ["teacher(plain)", "scratch(plain)"]}},
    "slope": {"slope": {"values": {"plain": 1, "smoothed": 2.5}, "scale": "log", "gains": True}},
    "last_minus_best": {"last_minus_best": ["plain", "smoothed", "uniform"]},
    "best_dose_slope": {"best_dose_slope": {8: {1: "plain", 2: "smoothed"}, 16: {1: "labels", "2": "uniform"}}},
    "rank_correlation": {
        "rank_correlation": {"arms": ["plain", "smoothed", "labels"], "with": "test/log_fitted_temperature"}
    },
    "share_above": {"share_above": {"arms": ["plain", "smoothed"], "reference": "labels", "minus": 0.25}},
}


@pytest.mark.parametrize("name", SOUND)
def test_every_statistic_is_read(name):
    assert of(SOUND[name], sesoi=0.1) == []
    read = Prediction.model_validate(prediction(effect=SOUND[name]))
    assert read.effect.name == name
    assert all(parse_reference(text).arm in ARMS for text in read.effect.statistic.references())


@pytest.mark.parametrize("name", SOUND)
def test_a_saved_effect_is_read_again(name):
    first = Prediction.model_validate(prediction(effect=SOUND[name])).effect
    saved = first.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert list(saved) == [name]
    assert Prediction.model_validate(prediction(effect=saved)).effect == first


def test_a_reference_may_be_read_at_a_metric_of_its_own():
    assert of({"difference": ["plain[noise/accuracy]", "scratch(plain)[noise/accuracy]"]}, sesoi=0.1) == []
    (told,) = of({"difference": ["plain[nois/accuracy]", "plain"]}, sesoi=0.1)
    assert told.startswith("study.predictions.one.effect.difference = 'nois/accuracy': no measured key")
    (told,) = of({"difference": ["scratch(plain)[test/agreement]", "plain"]}, sesoi=0.1)
    assert "asked of a scratch" in told


BAD_EFFECTS = {
    "two statistics": ({"difference": ["plain", "labels"], "gains": ["plain", "labels"]}, "exactly one statistic"),
    "no statistic": ({}, "exactly one statistic"),
    "an unknown statistic": ({"diff": ["plain", "labels"]}, "effect.diff"),
    "a difference of three": ({"difference": ["plain", "labels", "uniform"]}, "difference"),
    "an unknown arm": ({"difference": ["plain", "scratch(smothed)"]}, "did you mean smoothed?"),
    "a gain of a twin": ({"gains": ["plain", "scratch(plain)"]}, "'scratch(plain)' is no arm"),
    "one dose": ({"slope": {"values": {"plain": 1, "smoothed": 1}}}, "two distinct doses"),
    "no log of 0": ({"slope": {"values": {"plain": 0, "smoothed": 1}, "scale": "log"}}, "doses above 0, got 0"),
    "no log1p of -1": ({"slope": {"values": {"plain": -1, "smoothed": 1}, "scale": "log1p"}}, "doses above -1"),
    "one capacity": ({"best_dose_slope": {8: {1: "plain", 2: "smoothed"}}}, "two capacities"),
    "one dose of a capacity": ({"best_dose_slope": {8: {1: "plain"}, 16: {1: "labels", 2: "plain"}}}, "at least 2"),
    "a rank of two": ({"rank_correlation": {"arms": ["plain", "labels"], "with": "test/ece"}}, "at least 3"),
    "a rank with what is not measured": (
        {"rank_correlation": {"arms": ["plain", "labels", "uniform"], "with": "test/ec"}},
        "'test/ec': no measured key",
    ),
    "a rank with what a student does not have": (
        {
            "rank_correlation": {
                "arms": ["plain", "labels", "uniform"],
                "with": "transfer/target_entropy",
                "of": "student",
            }
        },
        "measured of teacher records only",
    ),
    "a share of more than one": ({"share_above": {"arms": ["plain"], "reference": "labels", "minus": 2}}, "equal to 1"),
}


@pytest.mark.parametrize("what", BAD_EFFECTS)
def test_a_wrong_effect_is_refused(what):
    effect, told = BAD_EFFECTS[what]
    found = of(effect, sesoi=0.1)
    assert len(found) == 1, found
    assert told in found[0]


def test_what_else_is_wrong_with_a_prediction_is_told():
    assert "did you mean test/accuracy" in problems(predictions={"one": prediction(metric="test/acuracy")})[0]
    asked = prediction(effect={"difference": ["plain", "scratch(plain)"]}, metric="test/agreement", sesoi=0.1)
    assert "asked of a scratch, measured of student records only" in problems(predictions={"one": asked})[0]
    assert "'positive', 'negative' or 'zero'" in problems(predictions={"one": prediction(sign="up")})[0]
    assert "at least 1 character" in problems(predictions={"one": prediction(claim="")})[0]
    twice = {"one": prediction(primary=True), "two": prediction(primary=True)}
    assert problems(predictions=twice) == ["study.predictions.two.primary = True: one is the primary one already"]


def test_the_smallest_effect_of_interest_is_that_of_the_metric_where_the_effect_is_a_difference_of_it():
    assert problems(predictions={"one": prediction()}) == []
    assert "report.sesoi has none of test/ece" in problems(predictions={"one": prediction(metric="test/ece")})[0]
    assert problems(sesoi={"ece": 0.01}, predictions={"one": prediction(metric="test/ece")}) == []
    for name in ("ratio", "slope", "best_dose_slope", "rank_correlation", "share_above"):
        assert f"{name} is no difference" in of(SOUND[name])[0]
    for name in ("difference", "gains", "last_minus_best"):
        assert of(SOUND[name]) == []


def test_a_recipe_is_tuned_where_the_study_tunes():
    assert "study.tune.space" in problems(predictions={"one": prediction(recipe="tuned")})[0]
    space = {"space": {"plain": {"objective.alpha": [0.5, 1]}}}
    assert problems(tune=space, predictions={"one": prediction(recipe="tuned")}) == []
    assert "chooses knobs of plain" in problems(tune=space, predictions={"one": prediction()})[0]


def test_the_first_prediction_is_the_primary_one_unless_another_says_so():
    first, second = (Prediction.model_validate(prediction(primary=primary)) for primary in (False, True))
    assert primary_of({"a": first, "b": first}) == "a"
    assert primary_of({"a": first, "b": second}) == "b"
    assert primary_of({}) is None


def test_doses_are_checked():
    doses = {"label": "width", "log": True, "values": {"plain": 1, "smoothed": 2}}
    assert problems(doses=doses, responses=["test/ece", "ood/mean_gap"]) == []
    assert "doses above 0" in problems(doses={**doses, "values": {"plain": 0, "smoothed": 2}})[0]
    assert "two distinct" in problems(doses={**doses, "values": {"plain": 2, "smoothed": 2}})[0]
    assert "did you mean plain" in problems(doses={**doses, "values": {"plan": 2, "smoothed": 1}})[0]
    assert "study.doses is needed" in problems(responses=["test/ece"])[0]
    assert "no measured key" in problems(doses=doses, responses=["test/ec"])[0]
    assert "measured of teacher records only" in problems(doses=doses, responses=["transfer/target_entropy"])[0]


def test_doses_of_slices_are_checked():
    doses = {"label": "noise", "slices": {"noise": 1, "louder": 2}}
    assert "study.doses.slices.louder: no slice" in problems(doses=doses)[0]
    assert "one of them" in problems(doses={**doses, "values": {"plain": 1, "smoothed": 2}})[0]
    assert "one of them" in problems(doses={"label": "noise"})[0]
    config = StudyConfig.model_validate({"arms": ARMS, "doses": doses, "responses": ["accuracy", "entropy"]})
    measured = expected_keys("student", ("train", "validation", "test"), ("noise", "louder"))
    (found,) = prediction_problems(config, ReportConfig(), measured=measured)
    assert "noise/entropy is no measured key" in found
