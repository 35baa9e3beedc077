"""The Lightning module of a stack: K >= 1 learners of one architecture, each trained as it would be alone.

K = 1 holds the plain network: no ``vmap``, no ``functional_call``. K > 1 holds a ``Stack``. Either way one
``training_step`` does a chunk of optimizer steps, because a Trainer costs .3 to .4 ms each time it is entered, half of
what a step of a small student takes; ``global_step``, schedules, curves and checkpoints count optimizer steps.

What a learner sees (order of batches, dropout masks, random changes), how its gradient is clipped and whether its loss
is finite is its own. One that diverges is frozen at its last finite weights, and the others go on as if it were not
there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kdlab.errors import NonFiniteLossError
from kdlab.models import as_output
from kdlab.models.stacking import Stack, tensors_of
from kdlab.objectives import Objective
from kdlab.objectives.objective import Modules
from kdlab.objectives.stacking import merged
from kdlab.outputs import Batch, ModelOutput, TeacherOutput
from kdlab.streams import reseed, stream_seed
from kdlab.teachers import Teacher, answers_by_index
from kdlab.training.batches import Chunk, EvaluationBatches, TrainingBatches
from kdlab.training.callbacks import CurveSink
from kdlab.training.checkpoints import Span, go_on_from
from kdlab.training.curves import RunningAnswers, of_each, validated
from kdlab.training.equipped import after_step, learned, modules_of, remembers
from kdlab.training.layout import Places, asked_for, joined, part_of, rows_of, sections_of, spread
from kdlab.training.learner import Learner
from kdlab.training.monitor import LossMonitor
from kdlab.training.optimizers import (
    Group,
    build_optimizer,
    forget_student,
    groups_of,
    hand_gradients,
    spans_of,
)


@dataclass(frozen=True)
class Section:
    """Students ``start`` to ``stop``, whose objectives are computed in one pass.

    Args:
        objective: of all of them.
        asked: the teachers that are asked, each for the batches of some sources.
        answer: which of the answers each student gets; None where no term needs a teacher.
        modules: what the terms learn or remember beside these students.
    """

    start: int
    stop: int
    objective: Objective
    asked: list[tuple[Teacher, Places]]
    answer: Places | None
    modules: Modules


class StackModule(pl.LightningModule):
    """Trains K learners.

    Args:
        learners: ordered by ``order_of``.
        batches: of their sources.
        of_source: ``[K]``, the source of each learner.
        holdouts: their validation sets, the same object for those who share one.
        validate_every: epochs between two validations.
        fused: whether optimizers may be fused.
        compile_mode: of ``torch.compile``, None for none.
        listeners: who hears the curves of one learner for all (a progress bar).
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        *,
        batches: TrainingBatches,
        of_source: Sequence[int],
        holdouts: Sequence[EvaluationBatches],
        validate_every: int,
        fused: bool,
        compile_mode: str | None = None,
        listeners: Sequence[CurveSink] = (),
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.learners, self.batches, self.holdouts = list(learners), batches, list(holdouts)
        self.of_source = list(of_source)
        self.validate_every, self.fused, self.listeners = validate_every, fused, list(listeners)
        self.compile_mode = compile_mode
        networks = [learner.network for learner in learners]
        self.student: nn.Module = networks[0] if len(networks) == 1 else Stack(networks)
        self.recipe = learners[0].recipe
        self.monitor = LossMonitor()
        self._answers = RunningAnswers()
        self._before: dict[str, Tensor] = {}
        self._kept: dict[int, dict[str, Tensor]] = {}
        self._groups: list[Group] = []
        #: What a cut-off fit is taken up from.
        self.resumed: Mapping[str, Any] | None = None

    @property
    def size(self) -> int:
        """K."""
        return len(self.learners)

    @property
    def spans(self) -> list[Span]:
        """The groups that have an optimizer of their own."""
        return spans_of([learner.recipe for learner in self.learners])

    # --- set up -------------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """One optimizer and schedule for each group of learners that share a recipe."""
        if isinstance(self.student, Stack):
            self._groups = groups_of(self.student, [learner.recipe for learner in self.learners])
            parts = [(group.leaves, self.learners[group.start].recipe) for group in self._groups]
        else:
            # frozen parameters stay out, as in a stack, or checkpoints would not fit each other
            parts = [([one for one in self.student.parameters() if one.requires_grad], self.recipe)]
        built = []
        for leaves, recipe in parts:
            optimizer, schedule = build_optimizer(
                leaves, recipe.optimizer, recipe.schedule, steps=recipe.steps, fused=self.fused
            )
            built.append({"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}})
        return built

    def on_fit_start(self) -> None:
        """Teachers and values follow the students to their device and precision."""
        self.student.train()
        dtype = next((p.dtype for p in self.student.parameters() if p.is_floating_point()), None)
        teachers = {id(one.teacher): one.teacher for one in self.learners if one.teacher is not None}
        moved = {name: teacher.to(self.device, dtype) for name, teacher in teachers.items()}
        self._places = Places(self.of_source, device=self.device)
        self._sections = [self._section(start, stop, moved) for start, stop in sections_of(self.learners)]
        compiles = self.compile_mode is not None
        # held in a tuple: the compiled network must not become a submodule beside the one it compiles
        self._called = (torch.compile(self.student, mode=self.compile_mode) if compiles else self.student,)
        self._trained = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        self._optimizers: list[Any] = list(self.trainer.optimizers)
        self._schedules = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        self._scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        self._clips = self._clip_norms()
        self._remembers = remembers(self.student)
        if self.resumed is not None:
            go_on_from(self.resumed, self.trainer, self)

    def _section(self, start: int, stop: int, teachers: Mapping[int, Teacher]) -> Section:
        members = self.learners[start:stop]
        objective = members[0].objective
        if isinstance(self.student, Stack):
            objective = merged([member.objective for member in members], device=self.device)
        modules = modules_of(self.student, slice(start, stop))
        if not objective.needs:
            return Section(start, stop, objective, [], None, modules)
        pairs = []
        for one, at in zip(members, self.of_source[start:stop], strict=True):
            together = answers_by_index(one.teacher)  # one look-up serves the batches of all sources
            pairs.append(((id(one.teacher), -1 if together else at), at))
        asked: dict[tuple[int, int], list[int]] = {}
        for call, at in dict.fromkeys(pairs):
            asked.setdefault(call, []).append(at)
        answers = [(call, at) for call, places in asked.items() for at in places]
        answer = Places([answers.index(pair) for pair in pairs], device=self.device)
        calls = [(teachers[name], Places(places, device=self.device)) for (name, _), places in asked.items()]
        return Section(start, stop, objective, calls, answer, modules)

    def _clip_norms(self) -> Tensor | None:
        norms = [learner.recipe.gradient_clip_norm for learner in self.learners]
        if all(norm is None for norm in norms):
            return None
        return torch.tensor([float("inf") if norm is None else norm for norm in norms], device=self.device)

    # --- training -----------------------------------------------------------------------------------------------------

    def on_train_epoch_start(self) -> None:
        """Begin the streams of the epoch: the order of batches, and every learner's dropout."""
        epoch = self.trainer.current_epoch
        self.batches.epoch = epoch
        self.monitor.reset()
        self._answers.reset()
        seeds = [stream_seed(one.role, "dropout", one.seed, epoch=epoch) for one in self.learners]
        if isinstance(self.student, Stack):
            self.student.begin_dropout(seeds)
        else:
            reseed(seeds[0], device=self.device)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Chunks are cut where they are needed."""
        return batch

    def training_step(self, batch: Chunk, batch_idx: int) -> None:
        """Some optimizer steps."""
        self._before = self._snapshot()
        for rows in batch:
            if self.global_step >= self.recipe.steps:
                break
            self._step(rows)
            progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
            progress.increment_ready()
            progress.increment_completed()
        self._answers.count()

    def _step(self, rows: Batch) -> None:
        if not isinstance(self.student, Stack):
            self._step_alone(rows, self._optimizers[0])
        else:
            self._backward(rows)
            hand_gradients(self._trained, self._groups)
            for optimizer in self._optimizers:
                optimizer.step()
            self._hold_frozen(self.student)
        if self._remembers:
            after_step(self.student)
        for schedule in self._schedules:
            schedule.step()

    def _step_alone(self, rows: Batch, optimizer: Any) -> None:
        """As Lightning does it: the optimizer may ask for the loss again (L-BFGS), half precision has a scaler."""
        if self._scaler is None:
            optimizer.step(lambda: self._backward(rows))
            return
        self._backward(rows)
        self._scaler.step(optimizer)
        self._scaler.update()

    def _backward(self, rows: Batch) -> Tensor:
        """Gradients of every learner's loss, clipped: the gradient of a sum is that of each term."""
        for parameter in self._trained:  # a tenth of what ``Module.zero_grad`` costs
            parameter.grad = None
        output, whole = self._forward(rows)
        losses, terms = self._losses(output, rows, whole)
        self._freeze(self.monitor.add(self.global_step, losses, terms))
        self._answers.add(output.logits, whole)
        total = losses if self.size == 1 else losses.sum()
        (total if self._scaler is None else self._scaler.scale(total)).backward()
        self._clip()
        return total

    def _forward(self, rows: Batch) -> tuple[ModelOutput, Batch]:
        """What the learners say, and the batch of every learner."""
        whole = spread(rows, self._places) if self.size > 1 else rows
        return as_output(self._called[0](whole.inputs)), whole

    def _losses(self, output: ModelOutput, rows: Batch, whole: Batch) -> tuple[Tensor, list[Any]]:
        """The loss of every learner ``[K]``, and the terms of every section."""
        losses, terms = [], []
        for section in self._sections:
            taught = self._taught(section, rows)
            if self.size == 1:
                value = section.objective(output, taught, whole, self.global_step, section.modules)
            else:
                where = slice(section.start, section.stop)
                part, rows_there = part_of(output, where), rows_of(whole, where)
                value = section.objective(part, taught, rows_there, self.global_step, section.modules)
            losses.append(value.loss.reshape(-1))
            terms.append((section.start, {name: term.detach().reshape(-1) for name, term in value.terms.items()}))
        return losses[0] if len(losses) == 1 else torch.cat(losses), terms

    def _taught(self, section: Section, rows: Batch) -> TeacherOutput | None:
        """Each teacher is asked once for each batch, however many learners listen."""
        if section.answer is None:
            return None
        if self.size == 1:
            return section.asked[0][0](rows.inputs, rows.index)
        said = [asked_for(teacher, rows, places) for teacher, places in section.asked]
        logits = section.answer.spread(joined([one.logits for one in said]))
        names = section.objective.teacher_features
        features = {name: section.answer.spread(joined([one.features[name] for one in said])) for name in names}
        return TeacherOutput(logits, features)

    def _clip(self) -> None:
        """Every learner's gradient to its own norm (``torch.nn.utils.clip_grad_norm_``, student by student)."""
        if self._clips is None:
            return
        if not isinstance(self.student, Stack):
            if self._scaler is not None:
                self._scaler.unscale_(self._optimizers[0])
            nn.utils.clip_grad_norm_(self.student.parameters(), float(self._clips[0]))
            return
        gradients = [parameter.grad for parameter in self._trained if parameter.grad is not None]
        norms = torch.stack([gradient.reshape(self.size, -1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        factors = (self._clips.to(norms) / (norms + 1e-6)).clamp(max=1.0)
        factors = torch.where(self._clips.isinf(), 1.0, factors)  # inf / inf, of one that is not clipped
        for gradient in gradients:
            gradient.mul_(factors.view(-1, *[1] * (gradient.ndim - 1)))

    # --- learners that diverge ----------------------------------------------------------------------------------------

    def _snapshot(self) -> dict[str, Tensor]:
        """The students as they were before a chunk, to go back to where the first bad loss came with bad weights.

        One whose weights are bad already (its gradient was, in the last step) stays as it was a chunk earlier.
        """
        if not isinstance(self.student, Stack):
            return {}
        now = {name: tensor.detach().clone() for name, tensor in tensors_of(self.student.network).items()}
        sums = torch.stack([value.sum().float() for value in now.values()])
        if not self._before or bool(sums.isfinite().all()):  # a fifth of what looking at every value costs
            return now
        finite = torch.stack([value.view(len(value), -1).isfinite().all(1) for value in now.values()]).all(0)
        return {
            name: torch.where(finite.view(-1, *[1] * (value.ndim - 1)), value, self._before[name])
            for name, value in now.items()
        }

    def _freeze(self, found: Sequence[int]) -> None:
        """Keep learners at their last finite weights from here on; alone, or with all others frozen, training ends.

        Raises:
            NonFiniteLossError: nobody is left.
        """
        if isinstance(self.student, Stack):
            for at in found:
                self._keep(self.student, at)
                forget_student(self._groups, self._optimizers, at=at)
        if found and len(self.monitor.errors) == self.size:
            if isinstance(self.student, Stack):
                self._hold_frozen(self.student)
            raise self.monitor.errors[found[0]]

    def _keep(self, stack: Stack, at: int) -> None:
        now = {name: tensor.detach()[at] for name, tensor in tensors_of(stack.network).items()}
        finite = all(bool(tensor.isfinite().all()) for tensor in now.values() if tensor.is_floating_point())
        self._kept[at] = {name: (now[name] if finite else self._before[name][at]).clone() for name in now}

    def _hold_frozen(self, stack: Stack) -> None:
        for at, tensors in self._kept.items():
            forget_student(self._groups, self._optimizers, at=at)
            with torch.no_grad():
                for name, tensor in tensors_of(stack.network).items():
                    tensor[at].copy_(tensors[name])

    @property
    def errors(self) -> dict[int, NonFiniteLossError]:
        """The learners that diverged, by position."""
        return self.monitor.errors

    # --- curves -------------------------------------------------------------------------------------------------------

    def on_train_epoch_end(self) -> None:
        """Publish what the epoch accumulated, and how the learners do on their validation sets."""
        self._freeze(self.monitor.look())
        found = [{f"train/{name}": mean for name, mean in means.items()} for means in self.monitor.means()]
        for values, accuracy, rate in zip(found, self._answers.shares(), self._rates(), strict=True):
            values |= {"train/running_accuracy": accuracy, "train/lr": rate}
        for values, more in zip(found, self._changing(), strict=True):
            values |= more
        epoch = self.trainer.current_epoch + 1
        if epoch % self.validate_every == 0 and self.global_step == epoch * self.batches.steps:
            with self.trainer.precision_plugin.val_step_context():
                measured = validated(self.student, self.holdouts)
            for values, more in zip(found, measured, strict=True):
                values |= more
        self._publish(found)

    def _changing(self) -> list[dict[str, float]]:
        """What schedules said in the last step, and what modules tell of themselves, of every learner."""
        known: dict[str, float | Tensor] = {f"learned/{name}": value for name, value in learned(self.student).items()}
        parts = [(0, self.size, known)]
        for section in self._sections:
            numbers = section.objective.scheduled(max(self.global_step - 1, 0))
            named = {f"scheduled/{name}": value for name, value in numbers.items()}
            parts.append((section.start, section.stop, named))
        found: list[dict[str, float]] = [{} for _ in self.learners]
        for start, stop, named in parts:
            for name, value in named.items():
                for at, number in zip(range(start, stop), of_each(value, count=stop - start), strict=True):
                    found[at][f"train/{name}"] = number
        return found

    def _rates(self) -> list[float]:
        spans = zip(self.spans, self._optimizers, strict=True)
        return [optimizer.param_groups[0]["lr"] for (start, stop, _), optimizer in spans for _ in range(start, stop)]

    def _publish(self, found: Sequence[dict[str, float]]) -> None:
        """To everyone's own sinks; nothing more of a learner that diverged."""
        epoch = self.global_step / self.batches.steps
        going_on = [at for at in range(self.size) if at not in self.errors]
        told = [(sink, found[at]) for at in going_on for sink in self.learners[at].sinks]
        for sink, values in [*told, *((sink, found[going_on[0]]) for sink in self.listeners)]:
            sink.log(values, step=self.global_step, epoch=epoch)
