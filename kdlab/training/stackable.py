"""Whether learners can be trained as one stack: tried on one batch, together and alone, before anything trains."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from pytorch_lightning.plugins import DoublePrecision, MixedPrecision, Precision
from torch import Tensor, nn

from kdlab.models import as_output, untap
from kdlab.models.stacking import Stack
from kdlab.objectives.stacking import Structure, merged, structure
from kdlab.outputs import Batch, ModelOutput, TeacherOutput
from kdlab.streams import global_stream, stream_seed
from kdlab.training.batches import Source, TrainingBatches, stacked
from kdlab.training.equipped import bare, made_ready, modules_of
from kdlab.training.learner import Learner
from kdlab.training.optimizers import is_elementwise

ROWS = 32
"""Of the batch that is tried."""
TOLERANCES = {"32-true": 1e-3, "64-true": 1e-5, "bf16-mixed": 0.1}
"""Relative; a stack that mixes students up, or draws other dropout masks, is wrong by far more.

bfloat16 keeps 8 bits: gradients of the families we have, of a stack and alone, were up to 2 % apart.
"""
Seen = dict[str, dict[str, Tensor]]
"""What one step does to a learner, by what it is called in a message: name -> value."""


def stack_problem(learners: Sequence[Learner]) -> str | None:
    """Why these learners cannot be trained as one stack, None where they can.

    The first and the last of every choice of terms are sent one batch through a stack and alone, on the CPU, in the
    precision they are trained in: losses, gradients, buffers (running means) and, in eval mode, logits must agree.
    Networks are left as they are.
    """
    if len(learners) < 2:
        return None
    first = learners[0]
    if (name := difference(learners)) is not None:
        return f"they differ in {name}"
    if first.recipe.precision == "16-mixed":
        return "training.precision = '16-mixed' scales one loss"
    for learner in learners:
        kind = str(learner.recipe.optimizer["_target_"])
        if not is_elementwise(learner.recipe.optimizer) and kind.endswith("LBFGS"):
            return f"{kind} asks for the loss several times a step"
    tried, precision = _both_ends(learners), first.recipe.precision
    if not precision.endswith("mixed"):
        return _problem(tried, precision)
    # half precision hides what is wrong by little: that is looked for without it
    return _problem(tried, "32-true") or _problem(tried, precision, said=f" with training.precision = '{precision}'")


def _problem(learners: Sequence[Learner], precision: str, *, said: str = "") -> str | None:
    """What goes wrong with these learners in one precision; ``said`` is added to the message."""
    name, numbers = type(bare(learners[0].network)).__name__, _numbers(precision)
    try:
        ready = [made_ready(learner) for learner in learners]
        taught = _moved(ready, torch.float64 if precision == "64-true" else torch.float32)
        with numbers.forward_context():
            together, alone = _together(taught, numbers), [_alone(learner, numbers) for learner in taught]
    except Exception as error:  # whatever a network, a term or vmap raises: they run alone, where it counts
        raised = (str(error).splitlines() or [""])[0]
        return f"{name} does not run under vmap{said} ({type(error).__name__}: {raised[:160]})"
    finally:
        _moved(learners, torch.float32)
        for learner in learners:
            untap(learner.network)
    for whole, one in zip(together, alone, strict=True):
        for what in one:
            if not _agree(whole[what], one[what], tolerance=TOLERANCES[precision]):
                return f"{name} gives other {what} in a stack than alone{said}"
    return None


def _numbers(precision: str) -> Precision:
    """What a Trainer on the CPU does about a precision."""
    if precision == "64-true":
        return DoublePrecision()
    return MixedPrecision("bf16-mixed", "cpu") if precision == "bf16-mixed" else Precision()


def _moved(learners: Sequence[Learner], dtype: torch.dtype) -> list[Learner]:
    """Learners with their teachers on the CPU in a dtype, as ``fit`` moves them there and back."""
    teachers = {id(one.teacher): one.teacher for one in learners if one.teacher is not None}
    moved = {name: teacher.to("cpu", dtype) for name, teacher in teachers.items()}
    return [replace(one, teacher=moved.get(id(one.teacher))) for one in learners]


def difference(learners: Sequence[Learner]) -> str | None:
    """What learners must share and do not, None where they share all of it."""
    for name, of in _SHARED.items():
        if any(of(learner) != of(learners[0]) for learner in learners[1:]):
            return name
    return None


def _both_ends(learners: Sequence[Learner]) -> list[Learner]:
    """The first and the last learner of every choice of terms: one of them alone would hide what mixes students up.

    What is computed together lies together, as in a stack that trains.
    """
    places: dict[object, list[int]] = {}
    for at, learner in enumerate(learners):
        places.setdefault(tuple(term[:2] for term in _kind(learner)), []).append(at)
    found = [learners[at] for members in places.values() for at in sorted({members[0], members[-1]})]
    kinds = [_kind(learner) for learner in found]
    return [found[at] for at in sorted(range(len(found)), key=lambda at: kinds.index(kinds[at]))]


def _agree(whole: Mapping[str, Tensor], one: Mapping[str, Tensor], *, tolerance: float) -> bool:
    """Whether values are the same but for rounding; what has none in one of them must have none in both."""
    if whole.keys() != one.keys():
        return False
    size = max((float(value.double().norm()) for value in one.values()), default=0.0)
    for name, expected in one.items():
        apart = float((whole[name].double() - expected.double()).norm())
        if not apart <= tolerance * (float(expected.double().norm()) + 10 * tolerance * size + tolerance):
            return False
    return True


_SHARED: dict[str, Callable[[Learner], object]] = {
    "the sizes of their networks, or what of them trains": lambda one: [
        (name, tuple(p.shape), p.requires_grad) for name, p in one.network.named_parameters()
    ],
    "what their terms learn beside them": lambda one: one.objective.fixed_modules,
    "training.steps": lambda one: one.recipe.steps,
    "training.batch_size": lambda one: one.recipe.batch_size,
    "training.precision": lambda one: one.recipe.precision,
    "training.views": lambda one: one.recipe.views,
    "training.augmentation": lambda one: (list(one.recipe.augmentation.items()), repr(one.recipe.augmentation)),
    "how their batches are mixed of labelled rows and a transfer set": lambda one: one.mixture,
    "the sizes of their training sets": lambda one: (len(one.train), tuple(one.train.inputs.shape[1:])),
    "the sizes of their validation sets": lambda one: len(one.validation),
}


def _together(learners: Sequence[Learner], numbers: Precision) -> list[Seen]:
    """What a step of a stack does to each learner, on a batch of its own."""
    stack = numbers.convert_module(Stack([learner.network for learner in learners])).train()
    assert isinstance(stack, Stack)
    stack.begin_dropout([_dropout_seed(learner) for learner in learners])
    batches = [_batch(learner, numbers) for learner in learners]
    output = stack(torch.stack([batch.inputs for batch in batches]))
    losses = _losses(learners, stack, output, batches)
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    logits = _in_eval_mode(stack, torch.stack([batch.inputs for batch in batches]))
    return [
        _seen(stack.network, output.logits[at], loss, logits[at], of=lambda tensor, at=at: tensor[at])  # type: ignore[misc]
        for at, loss in enumerate(losses)
    ]


def _losses(learners: Sequence[Learner], stack: Stack, output: ModelOutput, batches: Sequence[Batch]) -> list[Tensor]:
    """The loss of each learner, those of one structure computed together."""
    found: dict[int, Tensor] = {}
    for kind in {_kind(learner) for learner in learners}:
        mine = [at for at, learner in enumerate(learners) if _kind(learner) == kind]
        told = [_taught(learners[at], batches[at]) for at in mine]
        taught = _stacked_output([one for one in told if one is not None]) if told[0] is not None else None
        part = ModelOutput(output.logits[mine], {name: value[mine] for name, value in output.features.items()})
        objective = merged([learners[at].objective for at in mine])
        rows = stacked([batches[at] for at in mine])
        value = objective(part, taught, rows, 0, modules_of(stack, slice(mine[0], mine[-1] + 1)))
        found.update(zip(mine, value.loss.expand(len(mine)), strict=True))
    return [found[at] for at in range(len(learners))]


def _alone(learner: Learner, numbers: Precision) -> Seen:
    network = numbers.convert_module(copy.deepcopy(learner.network)).train()
    network.zero_grad()
    batch = _batch(learner, numbers)
    modules = modules_of(network, slice(None))
    with global_stream(_dropout_seed(learner)):  # terms may draw too, behind the network
        output = as_output(network(batch.inputs))
        loss = learner.objective(output, _taught(learner, batch), batch, 0, modules).loss
    loss.backward()  # type: ignore[no-untyped-call]
    return _seen(network, output.logits, loss, _in_eval_mode(network, batch.inputs), of=lambda tensor: tensor)


def _in_eval_mode(network: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return as_output(network.eval()(inputs)).logits


def _seen(network: nn.Module, said: Tensor, loss: Tensor, logits: Tensor, *, of: Callable[[Tensor], Tensor]) -> Seen:
    """What is compared.

    Args:
        network: after a backward pass.
        said: its logits in train mode.
        loss: its loss.
        logits: its logits in eval mode, after that step's batch.
        of: the learner's part of the network's tensors.
    """
    gradients = {name: of(p.grad) for name, p in network.named_parameters() if p.grad is not None}
    return {
        "losses": {"logits": said.detach(), "loss": loss.detach()},
        "gradients": gradients,
        "buffers": {name: of(buffer) for name, buffer in network.named_buffers()},
        "logits in eval mode": {"logits": logits},
    }


def _kind(learner: Learner) -> Structure:
    return structure(learner.objective)


def _dropout_seed(learner: Learner) -> int:
    return stream_seed(learner.role, "dropout", learner.seed, epoch=0)


def _batch(learner: Learner, numbers: Precision) -> Batch:
    views, mixture = learner.recipe.views, learner.mixture
    source = Source(learner.train, role=learner.role, seed=learner.seed, views=views, mixture=mixture)
    size = min(learner.recipe.batch_size, ROWS) if mixture is None else mixture.batch_size
    batches = TrainingBatches([source], batch_size=size, device=torch.device("cpu"))
    batch: Batch = next(iter(next(iter(batches))))
    return batch._replace(inputs=numbers.convert_input(batch.inputs))


def _taught(learner: Learner, batch: Batch) -> TeacherOutput | None:
    if learner.teacher is None or not learner.objective.needs:
        return None
    return learner.teacher(batch.inputs, batch.index)


def _stacked_output(outputs: Sequence[TeacherOutput]) -> TeacherOutput:
    features = {name: torch.stack([one.features[name] for one in outputs]) for name in outputs[0].features}
    return TeacherOutput(torch.stack([one.logits for one in outputs]), features)
