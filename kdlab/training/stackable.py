"""Whether learners can be trained as one stack: tried on one batch, together and alone, before anything trains."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kdlab.models import as_output, untap
from kdlab.models.stacking import Stack
from kdlab.objectives.stacking import merged, structure
from kdlab.outputs import Batch, ModelOutput, TeacherOutput
from kdlab.streams import global_stream, stream_seed
from kdlab.training.batches import Source, TrainingBatches, stacked
from kdlab.training.distillation import listen
from kdlab.training.learner import Learner
from kdlab.training.optimizers import is_elementwise

MOST_TRIED = 3
TOLERANCE = 1e-3
"""Relative; a stack that mixes students up, or draws other dropout masks, is wrong by far more."""


def stack_problem(learners: Sequence[Learner]) -> str | None:
    """Why these learners cannot be trained as one stack, None where they can.

    The first, the last and one between are sent one batch through a stack and alone, in train mode: losses must agree.
    Networks are left as they are.
    """
    if len(learners) < 2:
        return None
    first = learners[0]
    for name, of in _SHARED.items():
        if any(of(learner) != of(first) for learner in learners):
            return f"they differ in {name}"
    if first.recipe.precision == "16-mixed":
        return "training.precision = '16-mixed' scales one loss"
    for learner in learners:
        kind = str(learner.recipe.optimizer["_target_"])
        if not is_elementwise(learner.recipe.optimizer) and kind.endswith("LBFGS"):
            return f"{kind} asks for the loss several times a step"
    places = sorted({0, len(learners) // 2, len(learners) - 1})[:MOST_TRIED]
    tried = [learners[at] for at in places]
    try:
        together, alone = _together(tried), [_alone(learner) for learner in tried]
    except Exception as error:  # whatever a network, a term or vmap raises: they run alone, where it counts
        said = (str(error).splitlines() or [""])[0]
        return f"{type(first.network).__name__} does not run under vmap ({type(error).__name__}: {said[:160]})"
    finally:
        for learner in tried:
            untap(learner.network)
    for whole, one in zip(together, alone, strict=True):
        if not torch.allclose(whole, one, rtol=TOLERANCE, atol=TOLERANCE):
            return f"{type(first.network).__name__} gives other losses in a stack than alone"
    return None


_SHARED: dict[str, Callable[[Learner], object]] = {
    "the sizes of their networks": lambda one: [(n, tuple(p.shape)) for n, p in one.network.named_parameters()],
    "training.steps": lambda one: one.recipe.steps,
    "training.batch_size": lambda one: one.recipe.batch_size,
    "training.precision": lambda one: one.recipe.precision,
    "training.views": lambda one: one.recipe.views,
    "training.augmentation": lambda one: (list(one.recipe.augmentation.items()), repr(one.recipe.augmentation)),
    "the sizes of their training sets": lambda one: (len(one.train), tuple(one.train.inputs.shape[1:])),
    "the sizes of their validation sets": lambda one: len(one.validation),
}


def _together(learners: Sequence[Learner]) -> list[Tensor]:
    """What a stack gives for the first batch of each learner: logits and losses, one vector a learner."""
    for learner in learners:
        listen(learner.objective, student=learner.network, teacher=learner.teacher)
    stack = Stack([learner.network for learner in learners]).train()
    stack.begin_dropout([_dropout_seed(learner) for learner in learners])
    batches = [_batch(learner) for learner in learners]
    output = stack(torch.stack([batch.inputs for batch in batches]))
    found = []
    for at, learner in enumerate(learners):
        mine = [other for other in range(len(learners)) if structure(learners[other].objective) == _kind(learner)]
        objective = merged([learners[other].objective for other in mine])
        told = [_taught(learners[other], batches[other]) for other in mine]
        taught = _stacked_output([one for one in told if one is not None]) if told[0] is not None else None
        part = ModelOutput(output.logits[mine], {name: value[mine] for name, value in output.features.items()})
        loss = objective(part, taught, stacked([batches[other] for other in mine]), 0).loss[mine.index(at)]
        found.append(torch.cat([output.logits[at].flatten(), loss.reshape(1)]).detach())
    return found


def _alone(learner: Learner) -> Tensor:
    network: nn.Module = copy.deepcopy(learner.network).train()
    batch = _batch(learner)
    with global_stream(_dropout_seed(learner)):
        output = as_output(network(batch.inputs))
    loss = learner.objective(output, _taught(learner, batch), batch, 0).loss
    return torch.cat([output.logits.flatten(), loss.reshape(1)]).detach()


def _kind(learner: Learner) -> object:
    return structure(learner.objective)


def _dropout_seed(learner: Learner) -> int:
    return stream_seed(learner.role, "dropout", learner.seed, epoch=0)


def _batch(learner: Learner) -> Batch:
    source = Source(learner.train, role=learner.role, seed=learner.seed, views=learner.recipe.views)
    size = min(learner.recipe.batch_size, 64)
    batches = TrainingBatches([source], batch_size=size, device=torch.device("cpu"))
    return next(iter(next(iter(batches))))


def _taught(learner: Learner, batch: Batch) -> TeacherOutput | None:
    if learner.teacher is None or not learner.objective.needs:
        return None
    return learner.teacher(batch.inputs, batch.index)


def _stacked_output(outputs: Sequence[TeacherOutput]) -> TeacherOutput:
    features = {name: torch.stack([one.features[name] for one in outputs]) for name in outputs[0].features}
    return TeacherOutput(torch.stack([one.logits for one in outputs]), features)
