"""The sections that train nothing: what is measured, on what machine, where results go, what a study asks."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from kdlab.schema.matrix import Matrix
from kdlab.schema.predictions import Doses, Prediction
from kdlab.schema.section import Section

FIRST_TUNING_SEED = 1000
EVERY_ARM = "*"  # in study.compare, as the first of a pair: every arm but the other one
SetName = Literal["train", "validation", "test", "slices"]
SETS: tuple[SetName, ...] = ("train", "validation", "test", "slices")


class LatencyConfig(Section):
    """How latency is measured; it belongs to the architecture and the machine, not to the weights."""

    enabled: bool = True
    batch_size: Annotated[int, Field(gt=0)] = 1
    threads: Annotated[int, Field(gt=0)] = 1
    calls: Annotated[int, Field(ge=1000)] = 1000
    blocks: Annotated[int, Field(ge=10)] = 10
    wait_seconds: Annotated[float, Field(ge=0)] = 60.0


class EvaluationConfig(Section):
    """What is measured and what is kept of it; the temperature at which a teacher's dark knowledge is described."""

    sets: list[SetName] = list(SETS)
    batch_size: Annotated[int, Field(gt=0)] = 1000
    keep_predictions: Literal["all", "test", "none"] | None = None
    dark_knowledge_temperature: Annotated[float, Field(gt=0)] = 4.0
    latency: LatencyConfig = LatencyConfig()


class TrainerConfig(Section):
    """Where and how often: Lightning's accelerator, torch.compile's mode, logging and checkpoint intervals."""

    accelerator: str = "auto"
    devices: int | str = 1
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None = None
    validate_every_epochs: Annotated[int, Field(gt=0)] = 1
    checkpoint_every_seconds: Annotated[float, Field(gt=0)] = 30.0
    progress: bool = True


class StackConfig(Section):
    """How many networks of a sweep are trained together: as many as fit into memory, or a number; 1 for none."""

    max_size: Annotated[int, Field(gt=0)] | Literal["auto"] = "auto"


class StoreConfig(Section):
    """Where runs are kept, relative to where the user stands."""

    root: str = "runs"


class ReportConfig(Section):
    """Where reports go, and the smallest effects of interest (metric -> value)."""

    root: str = "reports"
    sesoi: dict[str, Annotated[float, Field(gt=0)]] = {}


class TrackerConfig(Section):
    """Weights & Biases: where runs go, and how long the user may be kept waiting for its server."""

    mode: Literal["offline", "online", "auto", "disabled"] = "offline"
    project: str = "kdlab"
    entity: str | None = None
    tags: list[str] = []
    notes: str | None = None
    init_timeout_seconds: Annotated[float, Field(gt=0)] = 20.0
    finish_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0
    sync_timeout_seconds: Annotated[float, Field(gt=0)] = 120.0


def _each_once(values: list[Any]) -> list[Any]:
    twice = [value for at, value in enumerate(values) if value in values[:at]]
    if twice:
        raise ValueError(f"each value once, {twice[0]!r} stands there again")
    return values


class TuneConfig(Section):
    """The tuning phase of a study: which knobs of each arm are chosen on validation, before the study confirms.

    Args:
        space: arm, or ``*`` for every arm that has no space of its own -> key -> values; all combinations are tried.
        seeds: of the phase, a list or as Hydra writes a grid; 1000 and up.
        metric: what the best trial is best in, on average over the seeds.
    """

    space: dict[str, dict[str, Annotated[list[Any], Field(min_length=1), AfterValidator(_each_once)]]] = {}
    seeds: str | list[int] | int = f"range({FIRST_TUNING_SEED},{FIRST_TUNING_SEED + 4})"
    metric: str = "validation/accuracy"

    @property
    def seeds_text(self) -> str:
        """The seeds as Hydra writes a grid."""
        return ",".join(str(seed) for seed in self.seeds) if isinstance(self.seeds, list) else str(self.seeds)


class StudyConfig(Section):
    """The question a sweep asks, what it predicts, its arms and comparisons; and which part of it this run is."""

    name: str | None = None
    sweep: str | None = None
    question: str | None = None
    hypothesis: str | None = None
    cost: str | None = None
    says: str | None = None
    reference: str | None = None
    caveats: str | None = None
    predictions: dict[str, Prediction] = {}
    doses: Doses | None = None
    responses: list[str] = []
    matrix: Matrix | None = None
    arms: dict[str, list[str]] = {}
    only: list[str] = []
    compare: list[list[str]] = []
    tune: TuneConfig = TuneConfig()
    arm: str | None = None
    phase: Literal["tune", "confirm"] = "confirm"
