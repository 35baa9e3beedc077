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
from kdlab.schema.learning import (
    DataConfig,
    ObjectiveConfig,
    TeacherConfig,
    TrainingConfig,
    needs_teacher,
    teacher_needs,
)
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

    @property
    def taught_terms(self) -> dict[str, Spec]:
        """The terms of the objective that count and ask for a teacher, with all of their knobs.

        Raises:
            UserError: a term has a target that is none.
        """
        from kdlab.objectives import effective_terms

        counting = effective_terms(self.objective.terms, num_steps=self.training.steps)
        return {name: term for name, term in counting.items() if needs_teacher(term)}

    @property
    def shown_temperature(self) -> float | None:
        """The one temperature at which the terms show what a teacher says; None where there is none, or more than one.

        It is what stands in the terms: ``objective.temperature`` may be read by none.
        """
        taught = self.taught_terms.values()
        found = [term["temperature"] for term in taught if "temperature" in term and "logits" in teacher_needs(term)]
        one = found[0] if found and all(item == found[0] for item in found) else None
        return one if isinstance(one, int | float) else None
