"""Terms on features, written from the papers: plain loops in float64.

Features are ``[B, *shape]``: vectors ``[B, D]`` or maps ``[B, C, *positions]`` (one or two axes of positions). Learned
modules come in as callables from the features of a batch to an array of a batch. The functions are for one pair of
layers; ``over_layers`` adds pairs up. ``RepDistiller`` is the code of Tian et al. (1910.10699), from which the default
weights are; ``published`` is the code of the authors of a term.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Module = Callable[[Array], Array]


def identity(features: Array) -> Array:
    return features


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def dot(first: Sequence[float], second: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def norm(vector: Sequence[float]) -> float:
    return math.sqrt(dot(vector, vector))


def unit(vector: Sequence[float]) -> list[float]:
    """The vector over its norm; a zero vector stays zero, as ``torch.nn.functional.normalize`` has it."""
    length = norm(vector)
    return [value / length if length > 0 else 0.0 for value in vector]


def flat(example: Array) -> list[float]:
    return [float(value) for value in np.asarray(example, dtype=np.float64).reshape(-1)]


def rows_of(features: Array) -> list[list[float]]:
    """Each example as one vector."""
    return [flat(example) for example in features]


def channels_of(example: Array) -> list[list[float]]:
    """Each channel of one map ``[C, *positions]`` as a vector over its positions."""
    return [flat(channel) for channel in example]


def over_layers(
    term: Callable[..., list[float]],
    students: Sequence[Array],
    teachers: Sequence[Array],
    *,
    how: Literal["sum", "mean"] = "sum",
    **knobs: object,
) -> list[float]:
    """A per-example term over pairs of layers; RepDistiller adds them up."""
    pairs = [term(student, teacher, **knobs) for student, teacher in zip(students, teachers, strict=True)]
    totals = [math.fsum(values) for values in zip(*pairs, strict=True)]
    return totals if how == "sum" else [total / len(pairs) for total in totals]


def bins(length: int, size: int) -> list[range]:
    """The places that each of ``size`` cells of adaptive pooling covers: floor(i n / m) to ceil((i + 1) n / m)."""
    return [range(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]


def pooled(example: Array, size: Sequence[int], *, how: Literal["average", "max"] = "average") -> Array:
    """Adaptive pooling of one map ``[C, *positions]`` to ``[C, *size]``, as torch does it."""
    positions = example.shape[1:]
    cells = [bins(length, target) for length, target in zip(positions, size, strict=True)]
    result = np.zeros((example.shape[0], *size))
    for channel in range(example.shape[0]):
        for at in itertools.product(*(range(target) for target in size)):
            places = itertools.product(*(cell[i] for cell, i in zip(cells, at, strict=True)))
            values = [float(example[(channel, *place)]) for place in places]
            result[(channel, *at)] = max(values) if how == "max" else mean(values)
    return result


def same_positions(first: Array, second: Array, *, how: Literal["average", "max"] = "average") -> tuple[Array, Array]:
    """Both maps at the smaller of the two sizes, axis by axis.

    RepDistiller compares heights alone and pools to a square; on square maps that is the same.
    """
    size = [min(a, b) for a, b in zip(first.shape[1:], second.shape[1:], strict=True)]
    return pooled(first, size, how=how), pooled(second, size, how=how)


def hint(
    student: Array, teacher: Array, *, regressor: Module = identity, form: Literal["mean", "half_norm"] = "mean"
) -> list[float]:
    """mean((r(student) - teacher)^2), per example (FitNets, 1412.6550).

    The paper has (1 / 2) |r(student) - teacher|^2: ``half_norm``; RepDistiller the mean over all units.
    """
    losses = []
    for guided, target in zip(regressor(student), teacher, strict=True):
        squares = [(a - b) ** 2 for a, b in zip(flat(guided), flat(target), strict=True)]
        losses.append(mean(squares) if form == "mean" else math.fsum(squares) / 2)
    return losses


def attention_map(example: Array, *, power: float = 2.0) -> list[float]:
    """sum_c |A_c|^p at each position, over its norm; a sum or a mean over channels is the same after that.

    RepDistiller leaves the absolute value out, which differs for odd p and features of both signs.
    """
    channels = channels_of(example)
    return unit([math.fsum(abs(channel[p]) ** power for channel in channels) for p in range(len(channels[0]))])


def attention_transfer(
    student: Array, teacher: Array, *, power: float = 2.0, form: Literal["mean_square", "norm"] = "mean_square"
) -> list[float]:
    """mean over positions of (Q_S - Q_T)^2, Q the attention maps of unit norm, per example (1612.03928).

    The paper has the norm |Q_S - Q_T|_2, not squared, and a weight beta / 2: ``norm``; the published code and
    RepDistiller the mean of squares.
    """
    losses = []
    for one, other in zip(student, teacher, strict=True):
        a, b = (attention_map(example, power=power) for example in same_positions(one, other))
        difference = [x - y for x, y in zip(a, b, strict=True)]
        losses.append(norm(difference) if form == "norm" else mean([x * x for x in difference]))
    return losses


def similarities(features: Array) -> list[list[float]]:
    """Row i: the inner products of example i with every example, over their norm."""
    rows = rows_of(features)
    return [unit([dot(one, other) for other in rows]) for one in rows]


def similarity_preserving(student: Array, teacher: Array) -> float:
    """(1 / B^2) |G_T - G_S|_F^2, G = Q Q^T with rows of unit norm, of the batch (1907.09682)."""
    a, b = similarities(student), similarities(teacher)
    return math.fsum((x - y) ** 2 for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)) / len(a) ** 2


def taylor_gaussian(first: Sequence[float], second: Sequence[float], *, gamma: float = 0.4, order: int = 2) -> float:
    """sum_p exp(-2 gamma) (2 gamma)^p / p! (x . y)^p: exp(-gamma |x - y|^2) of unit vectors to order P."""
    product = dot(first, second)
    return math.fsum(math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) * product**p for p in range(order + 1))


def correlation_congruence(
    student: Array,
    teacher: Array,
    *,
    student_embedding: Module = identity,
    teacher_embedding: Module = identity,
    gamma: float = 0.4,
    order: int = 2,
) -> float:
    """(1 / B^2) sum_ij (k(s_i, s_j) - k(t_i, t_j))^2 of embeddings of unit norm, of the batch (1904.01802).

    k is the Gaussian kernel expanded to ``order``; see ``neighbour_differences`` for what RepDistiller runs instead.
    """
    a = [unit(row) for row in rows_of(student_embedding(student))]
    b = [unit(row) for row in rows_of(teacher_embedding(teacher))]
    pairs = itertools.product(range(len(a)), repeat=2)
    return (
        math.fsum(
            (
                taylor_gaussian(a[i], a[j], gamma=gamma, order=order)
                - taylor_gaussian(b[i], b[j], gamma=gamma, order=order)
            )
            ** 2
            for i, j in pairs
        )
        / len(a) ** 2
    )


def neighbour_differences(
    student: Array,
    teacher: Array,
    *,
    student_embedding: Module = identity,
    teacher_embedding: Module = identity,
) -> float:
    """(1 / (B - 1)) sum_i sum_d |s_i - t_i|_d |s_(i+1) - t_(i+1)|_d, of the batch: RepDistiller's ``correlation``.

    By its comment from the authors of 1904.01802, but not an equation of that paper: it depends on the order of the
    rows, and its weight 0.02 belongs to it. Embeddings are not normalised.
    """
    a, b = rows_of(student_embedding(student)), rows_of(teacher_embedding(teacher))
    gaps = [[abs(x - y) for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]
    return mean([dot(gaps[i], gaps[i + 1]) for i in range(len(gaps) - 1)])


def huber(first: float, second: float) -> float:
    """(x - y)^2 / 2 where |x - y| <= 1, else |x - y| - 1 / 2."""
    gap = abs(first - second)
    return gap**2 / 2 if gap <= 1 else gap - 0.5


def relative_distances(features: Array) -> list[list[float]]:
    """|x_i - x_j| over its mean over the pairs i != j; all zero where every example is the same."""
    rows = rows_of(features)
    distances = [[norm([a - b for a, b in zip(one, other, strict=True)]) for other in rows] for one in rows]
    average = math.fsum(itertools.chain(*distances)) / (len(rows) * (len(rows) - 1))
    return [[value / average if average > 0 else 0.0 for value in row] for row in distances]


def relational_distance(
    student: Array, teacher: Array, *, form: Literal["mean_all", "mean_distinct", "sum"] = "mean_all"
) -> float:
    """Huber of relative distances over pairs of examples, of the batch (RKD, 1904.05068).

    The paper adds up the ordered pairs of distinct examples: ``sum``; the published code and RepDistiller take the mean
    over all B^2, the B zeros of the diagonal with them: ``mean_all``.
    """
    a, b = relative_distances(student), relative_distances(teacher)
    size = len(a)
    total = math.fsum(huber(a[i][j], b[i][j]) for i in range(size) for j in range(size) if i != j)
    return total / {"mean_all": size**2, "mean_distinct": size * (size - 1), "sum": 1}[form]


def cosine_at(vertex: Sequence[float], one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle one - vertex - other; 0 where a side has no length."""
    first = unit([a - v for a, v in zip(one, vertex, strict=True)])
    second = unit([b - v for b, v in zip(other, vertex, strict=True)])
    return dot(first, second)


def relational_angle(
    student: Array, teacher: Array, *, form: Literal["mean_all", "mean_distinct", "sum"] = "mean_all"
) -> float:
    """Huber of the cosines of angles over triples of examples, of the batch (RKD, 1904.05068).

    The paper adds up the ordered triples of distinct examples: ``sum``; the published code and RepDistiller take the
    mean over all B^3, where the triples with a repeated example add nothing: ``mean_all``.
    """
    a, b = rows_of(student), rows_of(teacher)
    size = len(a)
    total = math.fsum(
        huber(cosine_at(a[v], a[i], a[j]), cosine_at(b[v], b[i], b[j]))
        for v, i, j in itertools.permutations(range(size), 3)
    )
    return total / {"mean_all": size**3, "mean_distinct": size * (size - 1) * (size - 2), "sum": 1}[form]


def affinities(features: Array, *, itself: bool, epsilon: float = 0.0) -> list[list[float]]:
    """Row i: (cos(x_i, x_j) + 1) / 2 over its sum over j; ``itself`` keeps j = i, which is 0 otherwise."""
    rows = []
    for row in rows_of(features):
        length = norm(row)
        rows.append([value / (length + epsilon) if length > 0 else 0.0 for value in row])
    kernel = [
        [(dot(one, other) + 1) / 2 if itself or i != j else 0.0 for j, other in enumerate(rows)]
        for i, one in enumerate(rows)
    ]
    return [[value / math.fsum(row) for value in row] for row in kernel]


def probabilistic_transfer(
    student: Array, teacher: Array, *, form: Literal["mean", "sum"] = "mean", epsilon: float = 1e-7
) -> float:
    """sum_ij p_ij log(p_ij / q_ij), p of the teacher and q of the student, of the batch (PKT, 1803.10837).

    ``sum`` is the paper: pairs i != j alone, added up. ``mean`` is the published code and RepDistiller: each example is
    its own neighbour too, the mean is over all B^2, and epsilon is added to norms and probabilities.
    """
    own = form == "mean"
    small = epsilon if own else 0.0
    p, q = (affinities(features, itself=own, epsilon=small) for features in (teacher, student))
    total = math.fsum(
        a * math.log((a + small) / (b + small))
        for x, y in zip(p, q, strict=True)
        for a, b in zip(x, y, strict=True)
        if a
    )
    return total / len(p) ** 2 if own else total


def neuron_selectivity(student: Array, teacher: Array, *, degree: int = 2, offset: float = 0.0) -> list[float]:
    """Squared MMD between channels of unit norm over the positions, kernel (x . y + c)^d, per example (1707.01219).

    mean_ij k(t_i, t_j) + mean_ij k(s_i, s_j) - 2 mean_ij k(t_i, s_j), so the channels need not be as many. The paper
    weighs it with lambda / 2; the code is the same.
    """

    def kernel(first: list[list[float]], second: list[list[float]]) -> float:
        return mean([(dot(x, y) + offset) ** degree for x in first for y in second])

    losses = []
    for one, other in zip(student, teacher, strict=True):
        s, t = ([unit(channel) for channel in channels_of(example)] for example in same_positions(one, other))
        losses.append(kernel(t, t) + kernel(s, s) - 2 * kernel(t, s))
    return losses


def flow(bottom: Array, top: Array, *, pooling: Literal["average", "max"] = "average") -> list[list[float]]:
    """G_ij = (1 / positions) sum_positions bottom_i top_j of one example: the FSP matrix."""
    low, high = (channels_of(example) for example in same_positions(bottom, top, how=pooling))
    return [[dot(a, b) / len(a) for b in high] for a in low]


def solution_flow(
    students: Sequence[Array],
    teachers: Sequence[Array],
    *,
    form: Literal["mean", "sum"] = "mean",
    pooling: Literal["average", "max"] = "average",
) -> list[float]:
    """The squared difference of the FSP matrices of neighbouring layers, added over the pairs, per example.

    Yim et al., CVPR 2017: the squared norm (``sum``), where sizes differ after max pooling. RepDistiller: the mean over
    the entries (``mean``), after average pooling.
    """
    losses = []
    for example in range(len(students[0])):
        parts = []
        for layer in range(len(students) - 1):
            a, b = (
                itertools.chain(*flow(side[layer][example], side[layer + 1][example], pooling=pooling))
                for side in (students, teachers)
            )
            squares = [(x - y) ** 2 for x, y in zip(a, b, strict=True)]
            parts.append(mean(squares) if form == "mean" else math.fsum(squares))
        losses.append(math.fsum(parts))
    return losses


def hidden_cosine(
    student: Array, teacher: Array, *, projection: Module = identity, channel_axis: int | None = 1
) -> list[float]:
    """1 - cos(student, teacher) over the channels, mean over the positions, per example (DistilBERT, 1910.01108).

    ``channel_axis`` counts from the batch axis: 1 for maps, -1 for tokens ``[B, T, D]``, None for the feature as one
    vector. DistilBERT takes the mean over the tokens of the whole batch that are not padding, of the last layer.
    """
    losses = []
    for one, other in zip(projection(student), teacher, strict=True):
        a, b = (vectors_of(example, channel_axis=channel_axis) for example in (one, other))
        losses.append(mean([1 - dot(unit(x), unit(y)) for x, y in zip(a, b, strict=True)]))
    return losses


def vectors_of(example: Array, *, channel_axis: int | None) -> list[list[float]]:
    """The vector over the channels at each position of one example; one vector without positions."""
    if channel_axis is None or example.ndim == 1:
        return [flat(example)]
    last = np.moveaxis(example, channel_axis - 1 if channel_axis > 0 else channel_axis, -1)
    return [flat(vector) for vector in last.reshape(-1, last.shape[-1])]


def softplus_variance(parameter: Sequence[float] | Array, *, epsilon: float = 1e-5) -> list[float]:
    """log(1 + exp(a_c)) + epsilon: the learned variance of VID for each channel."""
    return [math.log1p(math.exp(float(a))) + epsilon for a in parameter]


def variational(
    student: Array,
    teacher: Array,
    *,
    variance: Sequence[float] | Array,
    regressor: Module = identity,
    form: Literal["mean", "sum"] = "mean",
) -> list[float]:
    """(1 / 2) ((t - mu(s))^2 / var_c + log var_c) over the units of the teacher, per example (VID, 1904.05835).

    The paper adds up the units (``sum``), the published code and RepDistiller take their mean. Both leave out the
    constant log(2 pi) / 2. The variance of a channel is the same at every position; maps meet at the smaller size,
    the student's before the regressor.
    """
    met = [same_positions(one, other) for one, other in zip(student, teacher, strict=True)]
    guesses = regressor(np.array([one for one, _ in met]))
    losses = []
    for guess, (_, target) in zip(guesses, met, strict=True):
        parts = [
            0.5 * ((t - mu) ** 2 / float(var) + math.log(float(var)))
            for var, mus, ts in zip(variance, channels_of(guess), channels_of(target), strict=True)
            for mu, t in zip(mus, ts, strict=True)
        ]
        losses.append(mean(parts) if form == "mean" else math.fsum(parts))
    return losses


def factor_transfer(
    student: Array,
    teacher: Array,
    *,
    translator: Module = identity,
    paraphraser: Module = identity,
    over: Literal["positions", "factor"] = "positions",
    power: int = 2,
    exponent: int = 1,
    form: Literal["mean", "sum"] = "mean",
) -> list[float]:
    """|F_S - F_T|^q of factors of unit norm, per example (factor transfer, 1802.04977).

    The paper and the published code normalise the whole factor (``over="factor"``), the first adds up |.|_1 (``sum``),
    the second takes the mean. RepDistiller makes an attention map of the factor first, mean over its channels of F^p
    (``over="positions"``, p = 2, no absolute value), and takes the mean over positions.
    """
    losses = []
    for one, other in zip(translator(student), paraphraser(teacher), strict=True):
        factors = []
        for factor in same_positions(one, other):
            channels = channels_of(factor)
            summed = [mean([channel[p] ** power for channel in channels]) for p in range(len(channels[0]))]
            factors.append(unit(flat(factor) if over == "factor" else summed))
        parts = [abs(a - b) ** exponent for a, b in zip(*factors, strict=True)]
        losses.append(mean(parts) if form == "mean" else math.fsum(parts))
    return losses


def paraphraser_reconstruction(
    teacher: Array, *, encode: Module, decode: Module, exponent: int = 2, form: Literal["mean", "sum"] = "mean"
) -> list[float]:
    """|decode(encode(t)) - t|^2, per example: what the paraphraser is trained on (1802.04977).

    The paper has the squared norm (``sum``), RepDistiller the mean of squares, the published code the mean of absolute
    values (``exponent=1``). All train it before the student, then hold it still.
    """
    losses = []
    for guess, target in zip(decode(encode(teacher)), teacher, strict=True):
        parts = [abs(a - b) ** exponent for a, b in zip(flat(guess), flat(target), strict=True)]
        losses.append(mean(parts) if form == "mean" else math.fsum(parts))
    return losses


def activation_boundaries(
    student: Array,
    teacher: Array,
    *,
    connector: Module = identity,
    margin: float = 1.0,
    form: Literal["mean", "sum"] = "sum",
) -> list[float]:
    """max(0, m - r(s))^2 where t > 0, max(0, m + r(s))^2 where t <= 0, over units, per example (AB, 1811.03233).

    Both sides are values before the ReLU; a teacher's after it gives the same, for only the sign of t > 0 is read.
    The paper and the code add up the units. Across layers see ``boundary_weights``.
    """
    losses = []
    for one, other in zip(connector(student), teacher, strict=True):
        parts = []
        for s, t in zip(flat(one), flat(other), strict=True):
            short = margin - s if t > 0 else margin + s
            parts.append(max(0.0, short) ** 2)
        losses.append(mean(parts) if form == "mean" else math.fsum(parts))
    return losses


def boundary_weights(layers: int) -> list[float]:
    """2^(i - n + 1) for layer i of n: halved with every layer away from the last, in the code of AB and RepDistiller.

    Both then divide by 1000, and RepDistiller multiplies by 3. RepDistiller has the term in a stage of its own, before
    the student is trained, and nothing of it after that, so that its weight there does nothing; ``solution_flow`` too.
    """
    return [2.0 ** (i - layers + 1) for i in range(layers)]


def critic(embedding: Sequence[float], stored: Sequence[float], *, temperature: float, normaliser: float) -> float:
    """exp(v . m / T) / Z, the unnormalised probability of a pair."""
    return math.exp(dot(embedding, stored) / temperature) / normaliser


def contrastive_side(
    embedding: Sequence[float],
    memory: Array,
    *,
    index: int,
    negatives: Sequence[int],
    temperature: float,
    normaliser: float = 1.0,
    epsilon: float = 0.0,
) -> float:
    """-log h(positive) - sum over N negatives of log(1 - h), h = P / (P + N / M), M rows in the memory, of one row."""
    noise = len(negatives) / len(memory)
    positive = critic(embedding, flat(memory[index]), temperature=temperature, normaliser=normaliser)
    loss = -math.log(positive / (positive + noise + epsilon))
    for row in negatives:
        other = critic(embedding, flat(memory[row]), temperature=temperature, normaliser=normaliser)
        loss -= math.log(noise / (other + noise + epsilon))
    return loss


def contrastive_rows(
    student: Array,
    teacher: Array,
    *,
    student_memory: Array,
    teacher_memory: Array,
    index: Sequence[int],
    negatives: Sequence[Sequence[int]],
    temperature: float = 0.07,
    student_normaliser: float = 1.0,
    teacher_normaliser: float = 1.0,
    student_embedding: Module = identity,
    teacher_embedding: Module = identity,
    epsilon: float = 0.0,
) -> list[float]:
    """CRD (1910.10699), per example: the student beside the teacher's memory, and the teacher beside the student's.

    Embeddings are brought to unit norm here. The paper's h = e / (e + N / M) has no normaliser Z and no epsilon (Z = 1,
    epsilon = 0); the published code divides e by the Z that ``memory_normaliser`` takes from the first batch, and adds
    1e-7 to the denominators. In both of ours, as in the code, the positive is the remembered embedding of the example.
    """
    v, w = ([unit(row) for row in rows_of(each)] for each in (student_embedding(student), teacher_embedding(teacher)))
    losses = []
    for row, (one, other) in enumerate(zip(v, w, strict=True)):
        sides = ((one, teacher_memory, student_normaliser), (other, student_memory, teacher_normaliser))
        losses.append(
            math.fsum(
                contrastive_side(
                    embedding,
                    memory,
                    index=index[row],
                    negatives=negatives[row],
                    temperature=temperature,
                    normaliser=normaliser,
                    epsilon=epsilon,
                )
                for embedding, memory, normaliser in sides
            )
        )
    return losses


def contrastive(student: Array, teacher: Array, **knobs: object) -> float:
    """The mean of ``contrastive_rows`` over the batch, as the published code has it."""
    return mean(contrastive_rows(student, teacher, **knobs))


def memory_normaliser(
    embeddings: Array, memory: Array, *, index: Sequence[int], negatives: Sequence[Sequence[int]], temperature: float
) -> float:
    """Z = M times the mean of exp(v . m / T) over the positives and negatives of the first batch; then held."""
    values = [
        critic(unit(embedding), flat(memory[at]), temperature=temperature, normaliser=1.0)
        for embedding, own, others in zip(rows_of(embeddings), index, negatives, strict=True)
        for at in (own, *others)
    ]
    return len(memory) * mean(values)


def memory_update(memory: Array, embeddings: Array, *, index: Sequence[int], momentum: float = 0.5) -> Array:
    """The memory with the rows of the batch at unit(momentum m + (1 - momentum) v), v of unit norm."""
    updated = np.array(memory, dtype=np.float64)
    for embedding, row in zip(rows_of(embeddings), index, strict=True):
        moved = [momentum * m + (1 - momentum) * v for m, v in zip(flat(memory[row]), unit(embedding), strict=True)]
        updated[row] = unit(moved)
    return updated


def nearest(features: Array, size: Sequence[int]) -> Array:
    """Maps of a batch at another size by the nearest neighbour, place floor(i n / m), as torch has it."""
    result = np.array(features, dtype=np.float64)
    for axis, target in enumerate(size, start=2):
        length = result.shape[axis]
        result = np.take(result, [i * length // target for i in range(target)], axis=axis)
    return result


class Fusion(NamedTuple):
    """What a stage learns: ``enter`` to the common width, ``attend`` to two maps, ``leave`` to the teacher's width.

    ``attend`` takes ``[B, 2 W, *positions]`` to ``[B, 2, *positions]``, sigmoid included; the deepest stage has none.
    """

    enter: Module
    leave: Module
    attend: Module | None = None


def fuse(features: Array, deeper: Array | None, *, stage: Fusion, size: Sequence[int]) -> tuple[Array, Array]:
    """Attention-based fusion (ABF): what is compared with the teacher's, and what the next shallower stage receives."""
    mixed = np.array(stage.enter(features), dtype=np.float64)
    if stage.attend is not None and deeper is not None:
        above = nearest(deeper, mixed.shape[2:])
        attention = stage.attend(np.concatenate([mixed, above], axis=1))
        mixed = mixed * attention[:, :1] + above * attention[:, 1:]
    mixed = nearest(mixed, size)
    return stage.leave(mixed), mixed


def hierarchical_context(student: Array, teacher: Array, *, levels: Sequence[int] = (4, 2, 1)) -> list[float]:
    """HCL: squared differences at full size and after pooling to 4, 2 and 1, weights 1, 1/2, 1/4, 1/8, per example.

    Levels that are not smaller than the map are left out, their weight goes to the next; the weights are divided by
    their sum. From the published code: the paper (2104.09044) gives no weights.
    """
    losses = []
    for one, other in zip(student, teacher, strict=True):
        parts, weights = [], []
        sizes = [one.shape[1:], *([level] * (one.ndim - 1) for level in levels if level < one.shape[1])]
        for depth, size in enumerate(sizes):
            a, b = flat(pooled(one, size)), flat(pooled(other, size))
            weights.append(0.5**depth)
            parts.append(weights[-1] * mean([(x - y) ** 2 for x, y in zip(a, b, strict=True)]))
        losses.append(math.fsum(parts) / math.fsum(weights))
    return losses


def review(students: Sequence[Array], teachers: Sequence[Array], *, stages: Sequence[Fusion]) -> list[float]:
    """HCL between each fused stage of the student and the teacher's, added over stages, per example (2104.09044).

    Layers from shallow to deep; the deepest enters first, and what it leaves goes up. Vectors count as maps of size 1,
    as the published code treats the pooled feature that it appends.
    """
    student_maps, teacher_maps = ([as_map(layer) for layer in side] for side in (students, teachers))
    deeper: Array | None = None
    parts = []
    for features, target, stage in reversed(list(zip(student_maps, teacher_maps, stages, strict=True))):
        fused, deeper = fuse(features, deeper, stage=stage, size=target.shape[2:])
        parts.append(hierarchical_context(fused, target))
    return [math.fsum(values) for values in zip(*parts, strict=True)]


def as_map(features: Array) -> Array:
    return features[:, :, None, None] if features.ndim == 2 else features
