"""What others call alpha: each convention beside the lines that its software computes, ends included."""

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor

from kdlab.commands.checking import read, resolved
from kdlab.commands.composing import Composer, make_loader
from kdlab.errors import UserError
from kdlab.objectives import Objective, effective_terms
from kdlab.outputs import Batch, ModelOutput, TeacherOutput

ROWS, CLASSES = 6, 7
COMPOSER = Composer(make_loader())


def soft(student: Tensor, teacher: Tensor, temperature: float, *, reduction: str) -> Tensor:
    log_q, p = F.log_softmax(student / temperature, 1), F.softmax(teacher / temperature, 1)
    return F.kl_div(log_q, p, reduction=reduction)


def repdistiller(s: Tensor, t: Tensor, y: Tensor, T: float, *, gamma: float, alpha: float) -> Tensor:
    """``loss = gamma * loss_cls + alpha * loss_div``; DistillKL: ``KLDivLoss(size_average=False) * T^2 / B``."""
    div = F.kl_div(F.log_softmax(s / T, 1), F.softmax(t / T, 1), reduction="sum") * (T**2) / s.shape[0]
    return gamma * F.cross_entropy(s, y) + alpha * div


def mdistiller(s: Tensor, t: Tensor, y: Tensor, T: float, *, ce_weight: float, kd_weight: float) -> Tensor:
    """``kd_loss``: ``F.kl_div(..., reduction="none").sum(1).mean() * T^2``."""
    kd = F.kl_div(F.log_softmax(s / T, 1), F.softmax(t / T, 1), reduction="none").sum(1).mean() * T**2
    return ce_weight * F.cross_entropy(s, y) + kd_weight * kd


def torchdistill(s: Tensor, t: Tensor, y: Tensor, T: float, *, alpha: float) -> Tensor:
    """``KDLoss(reduction="batchmean")``: without alpha (or with 0) the soft loss alone and as it is."""
    soft_loss = soft(s, t, T, reduction="batchmean")
    if alpha is None or alpha == 0:
        return soft_loss
    return alpha * F.cross_entropy(s, y) + (1 - alpha) * (T**2) * soft_loss


def textbrewer(s: Tensor, t: Tensor, y: Tensor, T: float, *, kd_loss_weight: float, hard_label_weight: float) -> Tensor:
    """``kd_ce_loss`` has the gradient of the KL, and the entropy of the targets more; no T^2."""
    p = F.softmax(t / T, -1)
    kd = -(p * F.log_softmax(s / T, -1)).sum(-1).mean() + (p * p.log()).sum(-1).mean()
    return kd_loss_weight * kd + hard_label_weight * F.cross_entropy(s, y)


def kd_lib(s: Tensor, t: Tensor, y: Tensor, T: float, *, distil_weight: float) -> Tensor:
    """``KLDivLoss()``, whose default is the mean over all numbers."""
    with pytest.warns(UserWarning, match="batchmean"):
        soft_loss = soft(s, t, T, reduction="mean")
    return (1 - distil_weight) * F.cross_entropy(s, y) + (distil_weight * T * T) * soft_loss


def deit(s: Tensor, t: Tensor, y: Tensor, T: float, *, alpha: float) -> Tensor:
    """``kl_div(log_q, log_p, reduction="sum", log_target=True) * (T * T) / outputs_kd.numel()``."""
    kd = F.kl_div(F.log_softmax(s / T, 1), F.log_softmax(t / T, 1), reduction="sum", log_target=True)
    return F.cross_entropy(s, y) * (1 - alpha) + kd * (T * T) / s.numel() * alpha


def distillkit(s: Tensor, t: Tensor, y: Tensor, T: float, *, ce_weight: float, kl_weight: float) -> Tensor:
    """Weights over their sum; one token an example."""
    total = ce_weight + kl_weight
    kl = soft(s, t, T, reduction="batchmean") * T**2
    return (ce_weight * F.cross_entropy(s, y) + kl_weight * kl) / total


def kdlab(s: Tensor, t: Tensor, y: Tensor, T: float, *, alpha: float) -> Tensor:
    return (1 - alpha) * F.cross_entropy(s, y) + alpha * T**2 * soft(s, t, T, reduction="batchmean")


WEIGHTS = {
    kdlab: [{"alpha": 0.9}, {"alpha": 0}, {"alpha": 1}],
    repdistiller: [{"gamma": 0.1, "alpha": 0.9}, {"gamma": 1, "alpha": 0}, {"gamma": 0, "alpha": 1},
                   {"gamma": 1, "alpha": 1}],
    mdistiller: [{"ce_weight": 0.1, "kd_weight": 0.9}, {"ce_weight": 1, "kd_weight": 0},
                 {"ce_weight": 0, "kd_weight": 3}],
    torchdistill: [{"alpha": 0.9}, {"alpha": 0.5}, {"alpha": 0}, {"alpha": 1}],
    textbrewer: [{"kd_loss_weight": 0.9, "hard_label_weight": 0.1}, {"kd_loss_weight": 1, "hard_label_weight": 0},
                 {"kd_loss_weight": 0, "hard_label_weight": 1}],
    kd_lib: [{"distil_weight": 0.9}, {"distil_weight": 0}, {"distil_weight": 1}],
    deit: [{"alpha": 0.9}, {"alpha": 0}, {"alpha": 1}],
    distillkit: [{"ce_weight": 0.2, "kl_weight": 0.6}, {"ce_weight": 2, "kl_weight": 0},
                 {"ce_weight": 0, "kl_weight": 5}],
}  # fmt: skip
CASES = [
    pytest.param(function, weights, id=f"{function.__name__}-{'-'.join(map(str, weights.values()))}")
    for function, several in WEIGHTS.items()
    for weights in several
]


def terms_of(name, weights, temperature=4):
    words = [f"objective.{key}={value}" for key, value in weights.items()]
    words += [f"objective.temperature={temperature}", f"objective/convention={name}"]
    raw, absent = COMPOSER.compose_raw(words)
    assert not absent
    return resolved(OmegaConf.create(raw))["objective"]["terms"]


@pytest.mark.parametrize(("function", "weights"), CASES)
def test_a_convention_is_what_its_software_computes(function, weights):
    temperature = 4 if len(weights) == 1 else 1.5  # a whole number is no special case
    stream = torch.Generator().manual_seed(3)
    student, teacher = (2 * torch.randn(ROWS, CLASSES, generator=stream, dtype=torch.float64) for _ in range(2))
    student.requires_grad_()
    labels = torch.arange(ROWS) % CLASSES
    batch = Batch(student.detach(), labels, labels, torch.ones(ROWS, dtype=torch.bool), all_labelled=True)
    objective = Objective.from_specs(terms_of(function.__name__, weights, temperature))
    ours = objective(ModelOutput(student, {}), TeacherOutput(teacher, {}), batch, 0).loss
    theirs = function(student, teacher, labels, temperature, **weights)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(loss, student)[0] for loss in (ours, theirs)))


def test_the_effective_weights_of_the_table():
    """Alpha 0.9, T 4: what each makes of it."""
    said = {
        "kdlab": ({"alpha": 0.9}, (0.1, 0.9)),
        "torchdistill": ({"alpha": 0.9}, (0.9, 0.1)),
        "distillkit": ({"ce_weight": 0.3, "kl_weight": 0.9}, (0.25, 0.75)),
    }
    for name, (weights, (hard, taught)) in said.items():
        effective = Objective.from_specs(terms_of(name, weights)).weights()
        assert effective == {"hard_labels": hard, "soft_targets": taught}


def test_how_classes_are_reduced_is_part_of_a_run_only_where_it_is_not_ours():
    plain, other = (effective_terms(terms_of(name, {"alpha": 0.9}), num_steps=9) for name in ("kdlab", "deit"))
    assert "class_reduction" not in plain["soft_targets"]
    assert other["soft_targets"]["class_reduction"] == "mean"


def test_a_convention_beside_another_objective_is_refused():
    with pytest.raises(UserError, match=r"objective/convention = deit: nothing in this config reads it"):
        read(["objective=hint", "objective/convention=deit"])
