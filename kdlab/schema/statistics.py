"""The statistics that a prediction may be about, as a sweep file writes them; the sums stand in the room of reports.

A reference is ``ARM``, ``scratch(ARM)`` or ``teacher(ARM)``, or a list of them: their mean within the pair. A new
statistic is one model here, one function in kdlab/reporting/statistics.py, and one row in the contract test of both.
"""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, RootModel, model_validator

from kdlab.references import parse_reference, whose
from kdlab.schema.section import Section


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_number(value: Any) -> Any:
    """A number that a saved config has as text: keys of JSON are."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _apart(doses: Iterable[float]) -> None:
    if len(set(doses)) < 2:
        raise ValueError("at least two distinct doses are needed")


def _arms_alone(names: list[str]) -> list[str]:
    other = [name for name in names if parse_reference(name).who != "arm"]
    if other:
        raise ValueError(f"a gain is taken over the scratch twin of an arm; '{other[0]}' is no arm")
    return names


Reference = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
Gainer = Annotated[Reference, AfterValidator(_arms_alone)]
Dose = Annotated[float, BeforeValidator(_as_number)]
PositiveDose = Annotated[float, BeforeValidator(_as_number), Field(gt=0)]


class Difference(RootModel[Annotated[list[Reference], Field(min_length=2, max_length=2)]]):
    """``[A, B]``: A - B."""

    is_difference: ClassVar[bool] = True

    def references(self) -> list[str]:
        """Whom it reads."""
        return [name for reference in self.root for name in reference]


class Gains(RootModel[Annotated[list[Gainer], Field(min_length=2, max_length=2)]]):
    """``[A, B]``: the gain of A over its scratch twin minus that of B, an interaction."""

    is_difference: ClassVar[bool] = True

    def references(self) -> list[str]:
        """Whom it reads: the arms and their twins."""
        arms = [name for reference in self.root for name in reference]
        return [*arms, *(whose("scratch", name) for name in arms)]


class Ratio(Section):
    """``mean(of[0] - of[1]) / mean(to[0] - to[1])``, Fieller's interval: the share of a gap that is closed."""

    is_difference: ClassVar[bool] = False
    of: Difference
    to: Difference

    def references(self) -> list[str]:
        """Whom it reads."""
        return [*self.of.references(), *self.to.references()]


class Slope(Section):
    """The least-squares slope, in each pair, of the metric (or of the gain over the twin) on the transformed dose."""

    is_difference: ClassVar[bool] = False
    values: dict[str, float]
    scale: Literal["linear", "log", "log1p"] = "linear"
    gains: bool = False

    @model_validator(mode="after")
    def _checked(self) -> "Slope":
        _apart(self.values.values())
        lowest = {"linear": None, "log": 0.0, "log1p": -1.0}[self.scale]
        outside = [dose for dose in self.values.values() if lowest is not None and dose <= lowest]
        if outside:
            raise ValueError(f"scale = {self.scale} needs doses above {lowest:g}, got {outside[0]:g}")
        if self.gains:
            _arms_alone(list(self.values))
        return self

    def references(self) -> list[str]:
        """Whom it reads."""
        return [*self.values, *(whose("scratch", name) for name in self.values if self.gains)]


class LastMinusBest(RootModel[Annotated[list[Reference], Field(min_length=2)]]):
    """``[A, B, C, ...]``: the last minus the best of all, which is chosen in each pair on validation accuracy."""

    is_difference: ClassVar[bool] = True

    def references(self) -> list[str]:
        """Whom it reads."""
        return [name for reference in self.root for name in reference]


class BestDoseSlope(RootModel[dict[PositiveDose, Annotated[dict[PositiveDose, Reference], Field(min_length=2)]],]):
    """``{CAPACITY: {DOSE: ARM}}``: the slope of log(best dose) on log(capacity); best on validation accuracy."""

    is_difference: ClassVar[bool] = False

    @model_validator(mode="after")
    def _checked(self) -> "BestDoseSlope":
        if len(self.root) < 2:
            raise ValueError("at least two capacities are needed")
        return self

    def references(self) -> list[str]:
        """Whom it reads."""
        return [name for doses in self.root.values() for reference in doses.values() for name in reference]


class RankCorrelation(Section):
    """Spearman's correlation over arms, in each pair, of a metric of teacher or student (``with``) and the metric."""

    is_difference: ClassVar[bool] = False
    arms: Annotated[list[str], Field(min_length=3), AfterValidator(_arms_alone)]
    other: Annotated[str, Field(alias="with")]
    of: Literal["teacher", "student"] = "teacher"

    def references(self) -> list[str]:
        """Whom it reads ``metric`` of."""
        return list(self.arms)


class ShareAbove(Section):
    """The share of arms whose metric exceeds that of the reference in the pair, minus a number."""

    is_difference: ClassVar[bool] = False
    arms: Annotated[list[str], Field(min_length=1)]
    reference: Reference
    minus: Annotated[float, Field(ge=0, le=1)] = 0.5

    def references(self) -> list[str]:
        """Whom it reads."""
        return [*self.arms, *self.reference]


Statistic = Difference | Gains | Ratio | Slope | LastMinusBest | BestDoseSlope | RankCorrelation | ShareAbove


class Effect(Section):
    """What is predicted: exactly one statistic."""

    difference: Difference | None = None
    gains: Gains | None = None
    ratio: Ratio | None = None
    slope: Slope | None = None
    last_minus_best: LastMinusBest | None = None
    best_dose_slope: BestDoseSlope | None = None
    rank_correlation: RankCorrelation | None = None
    share_above: ShareAbove | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Effect":
        if len(self._given()) != 1:
            raise ValueError(f"exactly one statistic is needed, of {', '.join(type(self).model_fields)}")
        return self

    def _given(self) -> dict[str, Statistic]:
        every = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: one for name, one in every.items() if one is not None}

    @property
    def statistic(self) -> Statistic:
        """The one that is given."""
        return next(iter(self._given().values()))

    @property
    def name(self) -> str:
        """Its name."""
        return next(iter(self._given()))
