"""How many networks fit into one stack: what one of them needs in a training step, against the memory that is free."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from kdlab.data.dataset import Examples
from kdlab.experiments.assembling import build_teacher_network
from kdlab.experiments.lab import Lab, device_of, say
from kdlab.experiments.planned import PlannedRun
from kdlab.experiments.several import teacher_recipe
from kdlab.experiments.students import build_student
from kdlab.models import as_output
from kdlab.schema.learning import TrainingConfig
from kdlab.streams import global_stream
from kdlab.targets import build

MOST = 400
"""Beyond this a stack gains nothing more, and a mistake costs much."""
SHARE = 0.5
"""Of the free memory: the allocator rounds up, and what is evaluated comes on top."""
UNKNOWN_BYTES = 2 * 1024**3
"""What counts as free where the system does not tell."""
FILES_A_RUN, FILES_BESIDE = 3, 200
"""Open files: lock, history, what the tracker holds; and those of the process itself."""


def most_together(group: Sequence[PlannedRun], lab: Lab) -> int:
    """The most networks of a group that are trained together: ``stack.max_size``, or what fits into memory."""
    config = group[0].config
    wanted = config.stack.max_size
    if wanted != "auto" or len(group) < 2:
        return min(len(group), len(group) if wanted == "auto" else wanted)
    try:
        each = _step_bytes_of(group[0], lab)
    except Exception as error:  # of its data, network or optimizer: told of each run, where it counts
        told = f"{type(error).__name__}: {error}".splitlines()[0]
        say(f"  {len(group)} networks are trained one after the other: {told}")
        return 1
    return fitting(each, free=free_bytes(device_of(config)), files=file_limit())


def _step_bytes_of(planned: PlannedRun, lab: Lab) -> int:
    config = planned.config
    dataset = lab.dataset(config)
    if planned.role == "teacher":
        network, recipe = build_teacher_network(config, dataset), teacher_recipe(config)
    else:
        network, recipe = build_student(config, dataset), config.shown_training()
    return step_bytes(network, dataset.train, recipe)


def fitting(each: int, *, free: int, files: float) -> int:
    """How many steps of ``each`` bytes fit into a share of the free memory, with so many open files; at least 1."""
    by_files = (files - FILES_BESIDE) / FILES_A_RUN
    return max(1, int(min(MOST, SHARE * free / max(each, 1), by_files)))


def step_bytes(network: nn.Module, examples: Examples, recipe: TrainingConfig) -> int:
    """Bytes of one network's training step: weights, gradients, optimizer state, saved activations, its batch.

    Measured: one forward and backward pass, and one step of its optimizer, on a copy that is thrown away.
    """
    rows = examples.select(torch.arange(min(recipe.batch_size, len(examples))))
    weights = [*network.parameters(), *network.buffers()]
    own = {weight.data_ptr() for weight in weights}
    saved: dict[tuple[int, int], Tensor] = {}  # held, so that no memory is used twice while it counts

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:  # a weight that is saved for the backward pass is no activation
            saved[tensor.data_ptr(), tensor.numel()] = tensor
        return tensor

    with global_stream(0), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = as_output(network.train()(rows.inputs)).logits
        loss = nn.functional.cross_entropy(logits, rows.labels)
    loss.backward()  # type: ignore[no-untyped-call]
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = build(recipe.optimizer, trained)
    optimizer.step(lambda: loss)  # L-BFGS asks for it
    state = [value for of_weight in optimizer.state.values() for value in of_weight.values()]
    wide = 2 if recipe.precision == "64-true" else 1
    total = _bytes(weights) + _bytes(trained) + _bytes([one for one in state if isinstance(one, Tensor)])
    # Activations twice: their gradients come and go in the backward pass.
    return wide * (total + 2 * _bytes(saved.values()) + _bytes([rows.inputs]))


def free_bytes(device: torch.device) -> int:
    """Memory that may be taken now, on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not every system tells
        return UNKNOWN_BYTES
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else UNKNOWN_BYTES


def file_limit() -> float:
    """How many files this process may hold open."""
    try:
        import resource
    except ImportError:  # Windows has another limit, which is high
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else soft


def raise_file_limit() -> None:
    """Let this process hold as many files open as it may: each run of a stack holds a lock and a history."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 10240)  # what macOS allows whatever it says
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
