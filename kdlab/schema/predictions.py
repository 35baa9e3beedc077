"""What a study predicts, and the doses its arms stand for: written in the sweep file before the runs."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from kdlab.keys import sesoi_of
from kdlab.schema.section import Section
from kdlab.schema.statistics import Effect

Sign = Literal["positive", "negative", "zero"]
Recipe = Literal["fixed", "tuned"]


class Prediction(Section):
    """One prediction.

    Args:
        claim: in a sentence.
        effect: the statistic, computed inside every pair.
        metric: of what.
        sign: what is predicted of the effect as it is written.
        recipe: whether the arms' knobs are fixed, or chosen on validation (``study.tune``).
        sesoi: the smallest effect of interest; by default that of the metric, where the effect is a difference of it.
        primary: whether it is the one that counts for the study; without any the first is.
    """

    claim: Annotated[str, Field(min_length=1)]
    effect: Effect
    metric: str = "test/accuracy"
    sign: Sign
    recipe: Recipe = "fixed"
    sesoi: Annotated[float, Field(gt=0)] | None = None
    primary: bool = False

    def smallest(self, sesoi: Mapping[str, float | None]) -> float | None:
        """Its smallest effect of interest: its own, or that of the metric; None where there is none."""
        if self.sesoi is not None or not self.effect.statistic.is_difference:
            return self.sesoi
        return sesoi_of(self.metric, sesoi)


class Doses(Section):
    """A dose-response: what the dose is called, and the dose of each arm (``values``), or of each slice (``slices``).

    Doses of slices are shown for every arm; the responses are then quantities of a slice (``accuracy``, ``gap``).
    """

    label: Annotated[str, Field(min_length=1)]
    log: bool = False
    values: dict[str, float] | None = None
    slices: dict[str, float] | None = None

    @model_validator(mode="after")
    def _checked(self) -> "Doses":
        if (self.values is None) == (self.slices is None):
            raise ValueError("doses of arms (values) or of slices are needed, one of them")
        doses = list((self.values or self.slices or {}).values())
        if len(set(doses)) < 2:
            raise ValueError("at least two distinct doses are needed")
        outside = [dose for dose in doses if self.log and dose <= 0]
        if outside:
            raise ValueError(f"log = True needs doses above 0, got {outside[0]:g}")
        return self

    def metrics(self, response: str) -> list[str]:
        """The keys that a response is read at."""
        return [response] if self.slices is None else [f"{name}/{response}" for name in self.slices]


def primary_of(predictions: Mapping[str, Prediction]) -> str | None:
    """The name of the primary prediction: the one that says so, else the first; None where nothing is predicted."""
    said = [name for name, one in predictions.items() if one.primary]
    return next(iter([*said, *predictions]), None)
