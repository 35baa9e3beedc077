"""Terms on logits, written from the papers: plain loops in float64.

Shapes: ``student_logits`` and ``teacher_logits`` ``[B, C]``, ``labels`` ``[B]`` of integers.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def softmax(logits: Sequence[float] | Array, *, temperature: float = 1.0) -> list[float]:
    """exp(z_c / T) / sum_k exp(z_k / T) of one row."""
    largest = max(float(z) for z in logits)
    raised = [math.exp((float(z) - largest) / temperature) for z in logits]
    return [value / math.fsum(raised) for value in raised]


def log_softmax(logits: Sequence[float] | Array, *, temperature: float = 1.0) -> list[float]:
    """z_c / T - log sum_k exp(z_k / T) of one row."""
    largest = max(float(z) for z in logits)
    total = math.fsum(math.exp((float(z) - largest) / temperature) for z in logits)
    return [(float(z) - largest) / temperature - math.log(total) for z in logits]


def kl(first: Sequence[float], second: Sequence[float]) -> float:
    """KL(first || second) = sum_c first_c log(first_c / second_c); a class of probability 0 in first adds nothing."""
    return math.fsum(p * (math.log(p) - math.log(q)) for p, q in zip(first, second, strict=True) if p > 0)


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def hard_labels(student_logits: Array, labels: Sequence[int], *, label_smoothing: float = 0.0) -> list[float]:
    """- sum_c y_c log p_c with y = (1 - e) one-hot + e / C, per example (Szegedy et al., 1512.00567).

    The code of Yuan et al. (1909.11723) spreads its e over the C - 1 wrong classes: the same target at e (C - 1) / C.
    """
    losses = []
    for logits, label in zip(student_logits, labels, strict=True):
        log_probs = log_softmax(logits)
        spread = label_smoothing / len(log_probs)
        target = [spread + (1 - label_smoothing if c == label else 0) for c in range(len(log_probs))]
        losses.append(-math.fsum(y * log_p for y, log_p in zip(target, log_probs, strict=True)))
    return losses


def soft_targets(
    student_logits: Array, teacher_logits: Array, *, temperature: float, t2_scaling: bool = True
) -> list[float]:
    """T^2 KL(teacher_T || student_T), per example (Hinton et al., 1503.02531)."""
    scale = temperature**2 if t2_scaling else 1.0
    return [
        scale * kl(softmax(teacher, temperature=temperature), softmax(student, temperature=temperature))
        for student, teacher in zip(student_logits, teacher_logits, strict=True)
    ]


def reverse_kl(
    student_logits: Array, teacher_logits: Array, *, temperature: float, t2_scaling: bool = True
) -> list[float]:
    """T^2 KL(student_T || teacher_T), per example (MiniLLM, 2306.08543, per token and at T = 1 there)."""
    return soft_targets(teacher_logits, student_logits, temperature=temperature, t2_scaling=t2_scaling)


def jensen_shannon(
    student_logits: Array, teacher_logits: Array, *, temperature: float, beta: float = 0.5, t2_scaling: bool = True
) -> list[float]:
    """T^2 (beta KL(P || M) + (1 - beta) KL(Q || M)), M = beta P + (1 - beta) Q, P teacher, Q student, per example.

    GKD (2306.13649), equation 1, which has no factor T^2. Early releases of trl weighted M the other way round
    (beta for the student), which agrees with the paper at beta = 0.5 alone; here it is the paper's.
    """
    losses = []
    for student, teacher in zip(student_logits, teacher_logits, strict=True):
        p, q = softmax(teacher, temperature=temperature), softmax(student, temperature=temperature)
        mixture = [beta * a + (1 - beta) * b for a, b in zip(p, q, strict=True)]
        value = beta * kl(p, mixture) + (1 - beta) * kl(q, mixture)
        losses.append((temperature**2 if t2_scaling else 1.0) * value)
    return losses


def logit_mse(student_logits: Array, teacher_logits: Array, *, centred: bool = False) -> list[float]:
    """(1 / C) sum_c (z_c - v_c)^2, per example; centred: each row of logits less its mean over the classes first.

    Ba & Caruana (1312.6184) write (1 / 2) sum_c: C / 2 times this. Kim et al. (2105.08919) write the squared norm:
    C times this.
    """
    losses = []
    for student, teacher in zip(student_logits, teacher_logits, strict=True):
        z, v = [float(value) for value in student], [float(value) for value in teacher]
        if centred:
            z, v = [value - mean(z) for value in z], [value - mean(v) for value in v]
        losses.append(mean([(a - b) ** 2 for a, b in zip(z, v, strict=True)]))
    return losses


def hot_limit(student_logits: Array, teacher_logits: Array) -> list[float]:
    """The limit of T^2 KL as T grows, in both directions: (1 / (2 C)) sum_c (z_c - v_c)^2 of centred logits.

    Per example; half of the centred ``logit_mse`` (Hinton et al., 1503.02531, section 2.1). The generalised
    Jensen-Shannon divergence tends to beta (1 - beta) times this.
    """
    return [value / 2 for value in logit_mse(student_logits, teacher_logits, centred=True)]


def target_class(
    student_logits: Array, teacher_logits: Array, labels: Sequence[int], *, temperature: float
) -> list[float]:
    """TCKD of DKD: KL between (p_t, 1 - p_t) of the teacher and of the student, p_t of the label, without T^2."""
    losses = []
    for student, teacher, label in zip(student_logits, teacher_logits, labels, strict=True):
        p, q = softmax(teacher, temperature=temperature), softmax(student, temperature=temperature)
        others = [c for c in range(len(p)) if c != label]
        losses.append(
            kl(
                [p[label], math.fsum(p[c] for c in others)],
                [q[label], math.fsum(q[c] for c in others)],
            )
        )
    return losses


def non_target_classes(
    student_logits: Array, teacher_logits: Array, labels: Sequence[int], *, temperature: float
) -> list[float]:
    """NCKD of DKD: KL between the softmaxes over the classes other than the label, without T^2."""
    losses = []
    for student, teacher, label in zip(student_logits, teacher_logits, labels, strict=True):
        others = [c for c in range(len(student)) if c != label]
        p = softmax([teacher[c] for c in others], temperature=temperature)
        q = softmax([student[c] for c in others], temperature=temperature)
        losses.append(kl(p, q))
    return losses


def decoupled(
    student_logits: Array,
    teacher_logits: Array,
    labels: Sequence[int],
    *,
    temperature: float,
    target_weight: float = 1.0,
    non_target_weight: float = 8.0,
    t2_scaling: bool = True,
) -> list[float]:
    """T^2 (alpha TCKD + beta NCKD), per example (DKD, 2203.08679, which leaves T^2 out of the equation).

    The published code masks the label by subtracting 1000 from its logit, the same to the last digit of a float, and
    multiplies by T^2 as here.
    """
    target = target_class(student_logits, teacher_logits, labels, temperature=temperature)
    non_target = non_target_classes(student_logits, teacher_logits, labels, temperature=temperature)
    scale = temperature**2 if t2_scaling else 1.0
    return [
        scale * (target_weight * one + non_target_weight * other) for one, other in zip(target, non_target, strict=True)
    ]


def pearson(first: Sequence[float], second: Sequence[float], *, epsilon: float = 0.0) -> float:
    """sum (a - mean a)(b - mean b) / (|a - mean a| |b - mean b| + epsilon); 0 where one of the two is constant."""
    a = [value - mean(first) for value in first]
    b = [value - mean(second) for value in second]
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(y * y for y in b))
    above = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return above / (norms + epsilon) if norms > 0 else 0.0


def inter_class(
    student_logits: Array, teacher_logits: Array, *, temperature: float = 1.0, epsilon: float = 0.0
) -> list[float]:
    """1 - Pearson correlation of the two distributions of each example over the classes: B values (DIST)."""
    return [
        1 - pearson(softmax(s, temperature=temperature), softmax(t, temperature=temperature), epsilon=epsilon)
        for s, t in zip(student_logits, teacher_logits, strict=True)
    ]


def intra_class(
    student_logits: Array, teacher_logits: Array, *, temperature: float = 1.0, epsilon: float = 0.0
) -> list[float]:
    """1 - Pearson correlation of the two probabilities of each class over the batch: C values (DIST)."""
    student = [softmax(row, temperature=temperature) for row in student_logits]
    teacher = [softmax(row, temperature=temperature) for row in teacher_logits]
    return [
        1 - pearson([row[c] for row in student], [row[c] for row in teacher], epsilon=epsilon)
        for c in range(len(student[0]))
    ]


def dist_relations(
    student_logits: Array,
    teacher_logits: Array,
    *,
    temperature: float = 1.0,
    inter: float = 1.0,
    intra: float = 1.0,
    t2_scaling: bool = True,
    epsilon: float = 0.0,
) -> float:
    """T^2 (inter mean_i d(row i) + intra mean_c d(column c)), d = 1 - Pearson, of the batch (DIST, 2205.10536).

    The paper's equations have no T^2 and no epsilon; the published code for classification multiplies by T^2
    and adds 1e-8 to the product of the norms, the one for segmentation has no temperature at all.
    """
    rows = mean(inter_class(student_logits, teacher_logits, temperature=temperature, epsilon=epsilon))
    columns = mean(intra_class(student_logits, teacher_logits, temperature=temperature, epsilon=epsilon))
    return (temperature**2 if t2_scaling else 1.0) * (inter * rows + intra * columns)


def standardise(logits: Sequence[float] | Array, *, unbiased: bool = False, epsilon: float = 0.0) -> list[float]:
    """(z - mean z) / (standard deviation of z + epsilon) of one row, over its classes."""
    row = [float(value) for value in logits]
    total = math.fsum((value - mean(row)) ** 2 for value in row)
    deviation = math.sqrt(total / (len(row) - 1 if unbiased else len(row)))
    return [(value - mean(row)) / (deviation + epsilon) for value in row]


def standardised_targets(
    student_logits: Array,
    teacher_logits: Array,
    *,
    temperature: float = 2.0,
    t2_scaling: bool = True,
    unbiased: bool = False,
    epsilon: float = 0.0,
) -> list[float]:
    """T^2 KL of standardised logits, per example (Sun et al., 2403.01427, algorithms 1 and 2).

    The paper divides by the root of the mean square (1 / C, ``unbiased=False``); the published code by ``torch.std``
    (1 / (C - 1)) plus 1e-7: ``unbiased=True, epsilon=1e-7``. The first at T is the second at T sqrt(C / (C - 1)).
    """
    student = np.array([standardise(row, unbiased=unbiased, epsilon=epsilon) for row in student_logits])
    teacher = np.array([standardise(row, unbiased=unbiased, epsilon=epsilon) for row in teacher_logits])
    return soft_targets(student, teacher, temperature=temperature, t2_scaling=t2_scaling)


def virtual_teacher(
    label: int,
    *,
    num_classes: int,
    correct: float,
    temperature: float,
    softening: Literal["probabilities", "logarithms"] = "probabilities",
) -> list[float]:
    """p^d of Tf-KD_reg, softened: a on the label, (1 - a) / (C - 1) on every other class.

    ``probabilities``: softmax(p^d / T), as the published code has it; at T = 20 it is nearly uniform. ``logarithms``:
    softmax(log p^d / T), which is what a temperature does to a network whose softmax is p^d.
    """
    designed = [correct if c == label else (1 - correct) / (num_classes - 1) for c in range(num_classes)]
    if softening == "probabilities":
        return softmax(designed, temperature=temperature)
    raised = [p ** (1 / temperature) for p in designed]
    return [value / math.fsum(raised) for value in raised]


def teacher_free(
    student_logits: Array,
    labels: Sequence[int],
    *,
    correct: float = 0.99,
    temperature: float = 20.0,
    softening: Literal["probabilities", "logarithms"] = "probabilities",
    tempered_student: bool = True,
    t2_scaling: bool = False,
    mean_over_classes: bool = False,
) -> list[float]:
    """KL(p^d_T || student_T), per example (Tf-KD_reg, Yuan et al., 1909.11723), without the weight alpha.

    The paper tempers both sides and has no T^2. The published code leaves the student at T = 1 and takes the mean over
    classes too (``nn.KLDivLoss()``), which a ``multiplier`` then undoes by hand: ``tempered_student=False,
    mean_over_classes=True``.
    """
    losses = []
    for logits, label in zip(student_logits, labels, strict=True):
        size = len(logits)
        target = virtual_teacher(label, num_classes=size, correct=correct, temperature=temperature, softening=softening)
        value = kl(target, softmax(logits, temperature=temperature if tempered_student else 1.0))
        losses.append((temperature**2 if t2_scaling else 1.0) * value / (size if mean_over_classes else 1))
    return losses


def confidence_weights(teacher_logits: Array, *, labelled: Sequence[bool] | None = None) -> list[float]:
    """max_c p_c of the teacher on each row over the sum of it on all labelled rows; 0 on a row without a label."""
    rows = [True] * len(teacher_logits) if labelled is None else list(labelled)
    confidence = [max(softmax(row)) if has else 0.0 for row, has in zip(teacher_logits, rows, strict=True)]
    total = math.fsum(confidence)
    return [value / total if total > 0 else 0.0 for value in confidence]


def confidence_weighted(
    student_logits: Array,
    teacher_logits: Array,
    labels: Sequence[int],
    *,
    labelled: Sequence[bool] | None = None,
) -> float:
    """sum_s (max p_s / sum_u max p_u) CE(student_s, label_s), of the batch: CWTM (Furlanello et al., 1805.04770).

    The paper gives the gradient, sum_s w_s (q_s - y_s), with the teacher's p at T = 1 and also where it errs: that of
    this sum. The labels of rows that are not ``labelled`` are not read.
    """
    weights = confidence_weights(teacher_logits, labelled=labelled)
    kept = [row for row, weight in enumerate(weights) if weight > 0]
    return math.fsum(weights[row] * hard_labels(student_logits[row : row + 1], [labels[row]])[0] for row in kept)


def reversal(*, done: float) -> float:
    """lambda of CTKD after a share ``done`` of the ramp: (1 + cos((1 + done) pi)) / 2, from 0 to 1, then 1.

    The schedule of 2211.16231 with lambda_min = 0 and lambda_max = 1. The published code has it negative (0 to -1) and
    multiplies the gradient by it as it is: the same.
    """
    return (1 + math.cos((1 + min(max(done, 0.0), 1.0)) * math.pi)) / 2


def learned_temperature_of(parameter: float, *, start: float = 1.0, span: float = 20.0) -> float:
    """T = start + span sigmoid(parameter), of CTKD; so T lies in (start, start + span), not in (start, span)."""
    return start + span / (1 + math.exp(-parameter))


def learned_temperature(
    student_logits: Array, teacher_logits: Array, *, parameter: float, start: float = 1.0, span: float = 20.0
) -> list[float]:
    """T^2 KL(teacher_T || student_T) at T = start + span sigmoid(parameter), per example (CTKD, 2211.16231)."""
    temperature = learned_temperature_of(parameter, start=start, span=span)
    return soft_targets(student_logits, teacher_logits, temperature=temperature)


def learned_temperature_gradient(
    student_logits: Array,
    teacher_logits: Array,
    *,
    parameter: float,
    done: float,
    start: float = 1.0,
    span: float = 20.0,
    width: float = 1e-5,
) -> float:
    """What reaches the parameter: - lambda d(mean loss) / d(parameter), by central differences (error about 1e-9)."""
    above, below = (
        mean(learned_temperature(student_logits, teacher_logits, parameter=parameter + side, start=start, span=span))
        for side in (width, -width)
    )
    return -reversal(done=done) * (above - below) / (2 * width)


def moving_average(history: Sequence[Array], *, decay: float, ramp: bool = True) -> Array:
    """a_t = d_t a_(t-1) + (1 - d_t) w_t from a_0 = w_0, over weights w_0, w_1, ... (mean teacher, 1703.01780).

    The paper's d is constant within a phase (``ramp=False``; 0.99, then 0.999); its code takes min(d, 1 - 1 / (t + 1)),
    so that the average is the plain mean at first.
    """
    average = np.array(history[0], dtype=np.float64)
    for step, weights in enumerate(history[1:], start=1):
        kept = min(decay, 1 - 1 / (step + 1)) if ramp else decay
        average = kept * average + (1 - kept) * np.asarray(weights, dtype=np.float64)
    return average


def averaged_probabilities(student_logits: Array, average_logits: Array) -> list[float]:
    """sum_c (p_c - q_c)^2, per example: the consistency cost of mean teacher (1703.01780); its code divides by C.

    With T^2 KL in its place the cost of a student beside its own average is ``soft_targets``.
    """
    return [
        math.fsum((p - q) ** 2 for p, q in zip(softmax(average), softmax(student), strict=True))
        for student, average in zip(student_logits, average_logits, strict=True)
    ]
