"""The config of a run, whole."""

from typing import Annotated, Any, Literal

from pydantic import Field

from kdlab.schema.bookkeeping import (
    EvaluationConfig,
    ReportConfig,
    StackConfig,
    StoreConfig,
    StudyConfig,
    TrackerConfig,
    TrainerConfig,
)
from kdlab.schema.learning import DataConfig, ObjectiveConfig, TeacherConfig, TrainingConfig
from kdlab.schema.section import Section, Spec


class RunConfig(Section):
    """One run, whole. ``plain`` is the resolved mapping it was read from: what is saved and shown."""

    seed: Annotated[int, Field(ge=0)]
    data: DataConfig
    student: Spec
    teacher: TeacherConfig | None
    objective: ObjectiveConfig
    training: TrainingConfig
    threads: Annotated[int, Field(gt=0)] | Literal["auto"] = "auto"
    stack: StackConfig = StackConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    store: StoreConfig = StoreConfig()
    report: ReportConfig = ReportConfig()
    tracker: TrackerConfig = TrackerConfig()
    study: StudyConfig = StudyConfig()
    optimized_metric: str = "validation/accuracy"
    force: bool = False
    allow_targets: list[str] = []
    plain: Annotated[dict[str, Any], Field(exclude=True)] = {}

    def shown_training(self) -> TrainingConfig:
        """The recipe of the student, and so of its scratch twin, with the views that its teacher's cache asks for."""
        if self.teacher is None or not self.teacher.cache.views:
            return self.training
        return self.training.model_copy(update={"views": self.teacher.cache.views})
