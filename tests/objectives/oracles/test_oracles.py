"""The oracles themselves: cases worked by hand, zeros at equality, invariances, and torch's own primitives."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from oracles import features as on_features
from oracles import logits as on_logits

LABELS = [0, 3, 2, 4]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


STUDENT, TEACHER = draw(4, 5), draw(4, 5, seed=1)


# Logits ---------------------------------------------------------------------------------------------------------------


def test_hard_labels_are_torch_s() -> None:
    for smoothing in (0.0, 0.1):
        expected = functional.cross_entropy(
            torch.from_numpy(STUDENT), torch.tensor(LABELS), label_smoothing=smoothing, reduction="none"
        )
        assert on_logits.hard_labels(STUDENT, LABELS, label_smoothing=smoothing) == pytest.approx(expected.tolist())


def test_softmax_is_torch_s_at_every_temperature() -> None:
    for temperature in (0.5, 1.0, 3.0):
        warm = torch.from_numpy(1000 * STUDENT[0]) / temperature
        found = on_logits.softmax(1000 * STUDENT[0], temperature=temperature)
        assert found == pytest.approx(warm.softmax(0).tolist())
        found = on_logits.log_softmax(1000 * STUDENT[0], temperature=temperature)
        assert found == pytest.approx(warm.log_softmax(0).tolist())


def test_divergences_by_hand() -> None:
    student, teacher = np.array([[0.0, 0.0]]), np.array([[math.log(3), 0.0]])  # (1/2, 1/2) beside (3/4, 1/4)
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    backward = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    mixture = 0.5 * (0.75 * math.log(1.2) + 0.25 * math.log(2 / 3)) + 0.5 * (
        0.5 * math.log(0.8) + 0.5 * math.log(4 / 3)
    )
    assert on_logits.soft_targets(student, teacher, temperature=1) == pytest.approx([forward])
    assert on_logits.reverse_kl(student, teacher, temperature=1) == pytest.approx([backward])
    assert on_logits.jensen_shannon(student, teacher, temperature=1) == pytest.approx([mixture])


def test_jensen_shannon_divergence_is_the_teacher_s_at_a_small_beta() -> None:
    beta = 1e-6
    near_zero = on_logits.jensen_shannon(STUDENT, TEACHER, temperature=2, beta=beta)
    near_one = on_logits.jensen_shannon(STUDENT, TEACHER, temperature=2, beta=1 - beta)
    forward = on_logits.soft_targets(STUDENT, TEACHER, temperature=2)
    backward = on_logits.reverse_kl(STUDENT, TEACHER, temperature=2)
    assert np.array(near_zero) / beta == pytest.approx(forward, rel=1e-4)
    assert np.array(near_one) / beta == pytest.approx(backward, rel=1e-4)


def test_hot_divergences_are_the_mean_square_of_centred_logits() -> None:
    limit = np.array(on_logits.hot_limit(STUDENT, TEACHER))
    for direction in (on_logits.soft_targets, on_logits.reverse_kl):
        assert direction(STUDENT, TEACHER, temperature=1e4) == pytest.approx(limit, rel=1e-3)
    mixed = on_logits.jensen_shannon(STUDENT, TEACHER, temperature=1e3, beta=0.3)
    assert mixed == pytest.approx(0.3 * 0.7 * limit, rel=1e-2)
    by_hand = on_logits.hot_limit(np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]]))
    assert by_hand == pytest.approx([(0.5**2 + 0.5**2) / (2 * 2)])


@pytest.mark.parametrize(
    "term",
    [
        lambda s, t: on_logits.soft_targets(s, t, temperature=3),
        lambda s, t: on_logits.reverse_kl(s, t, temperature=3),
        lambda s, t: on_logits.jensen_shannon(s, t, temperature=3, beta=0.2),
        lambda s, t: on_logits.logit_mse(s, t, centred=True),
        lambda s, t: on_logits.decoupled(s, t, LABELS, temperature=3),
        lambda s, t: [on_logits.dist_relations(s, t, temperature=3)],
        lambda s, t: on_logits.standardised_targets(s, t),
        lambda s, t: on_logits.learned_temperature(s, t, parameter=0.3),
        lambda s, t: on_logits.averaged_probabilities(s, t),
    ],
)
def test_terms_on_logits_are_zero_at_equality_and_do_not_see_a_shift_of_a_row(term) -> None:
    shift = np.array([[3.0], [-2.0], [0.5], [7.0]])
    assert term(STUDENT, STUDENT) == pytest.approx([0] * len(term(STUDENT, STUDENT)), abs=1e-12)
    assert term(STUDENT + shift, TEACHER - 2 * shift) == pytest.approx(term(STUDENT, TEACHER), rel=1e-9)
    assert min(term(STUDENT, TEACHER)) > 0


def test_the_parts_of_dkd_make_up_the_divergence() -> None:
    probs = [on_logits.softmax(row, temperature=2) for row in TEACHER]
    target = on_logits.target_class(STUDENT, TEACHER, LABELS, temperature=2)
    rest = on_logits.non_target_classes(STUDENT, TEACHER, LABELS, temperature=2)
    whole = [a + (1 - p[label]) * b for a, b, p, label in zip(target, rest, probs, LABELS, strict=True)]
    assert whole == pytest.approx(on_logits.soft_targets(STUDENT, TEACHER, temperature=2, t2_scaling=False))


def test_two_classes_leave_dkd_nothing_beside_the_target() -> None:
    assert on_logits.non_target_classes(STUDENT[:, :2], TEACHER[:, :2], [0, 1, 1, 0], temperature=1) == [0] * 4


def test_pearson_is_numpy_s_and_zero_beside_a_constant() -> None:
    assert on_logits.pearson(STUDENT[0], TEACHER[0]) == pytest.approx(np.corrcoef(STUDENT[0], TEACHER[0])[0, 1])
    assert on_logits.pearson([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == 0


def test_dist_relations_by_hand() -> None:
    """Two classes: probabilities of a row are mirror images, so that every correlation is 1 or -1."""
    student, teacher = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [0.0, 3.0]])
    assert on_logits.inter_class(student, teacher) == pytest.approx([2, 0])
    assert on_logits.intra_class(student, teacher) == pytest.approx([0, 0], abs=1e-12)
    assert on_logits.dist_relations(student, teacher, temperature=2, inter=3) == pytest.approx(4 * 3 * 1)


def test_standardised_logits_do_not_see_a_scale() -> None:
    first = on_logits.standardised_targets(STUDENT, TEACHER)
    assert on_logits.standardised_targets(5 * STUDENT + 1, 0.1 * TEACHER) == pytest.approx(first)
    assert on_logits.standardise([1.0, 3.0]) == pytest.approx([-1, 1])
    assert on_logits.standardise([1.0, 3.0], epsilon=1.0) == pytest.approx([-0.5, 0.5])
    assert on_logits.standardise([1.0, 3.0], unbiased=True) == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)])
    hotter = 2 * math.sqrt(4 / 5)
    ours = on_logits.standardised_targets(STUDENT, TEACHER, temperature=2, t2_scaling=False)
    theirs = on_logits.standardised_targets(STUDENT, TEACHER, temperature=hotter, t2_scaling=False, unbiased=True)
    assert theirs == pytest.approx(ours)


def test_virtual_teacher_by_hand() -> None:
    plain = on_logits.virtual_teacher(1, num_classes=3, correct=0.9, temperature=1, softening="logarithms")
    assert plain == pytest.approx([0.05, 0.9, 0.05])
    roots = np.sqrt([0.05, 0.9, 0.05])
    warmer = on_logits.virtual_teacher(1, num_classes=3, correct=0.9, temperature=2, softening="logarithms")
    assert warmer == pytest.approx(roots / roots.sum())
    warm = on_logits.virtual_teacher(1, num_classes=3, correct=0.9, temperature=20)
    peak = math.exp(0.85 / 20)
    assert warm == pytest.approx([1 / (2 + peak), peak / (2 + peak), 1 / (2 + peak)])
    assert max(warm) - min(warm) < 0.02


def test_teacher_free_is_zero_at_the_virtual_teacher() -> None:
    student = 20 * np.log(
        [on_logits.virtual_teacher(label, num_classes=5, correct=0.9, temperature=20) for label in LABELS]
    )
    assert on_logits.teacher_free(student, LABELS, correct=0.9, temperature=20) == pytest.approx([0] * 4, abs=1e-12)
    published = on_logits.teacher_free(STUDENT, LABELS, tempered_student=False, mean_over_classes=True)
    target = torch.tensor([on_logits.virtual_teacher(y, num_classes=5, correct=0.99, temperature=20) for y in LABELS])
    log_probs = functional.log_softmax(torch.from_numpy(STUDENT).float(), dim=1)
    expected = functional.kl_div(log_probs, target, reduction="none").mean(1)
    assert published == pytest.approx(expected.tolist(), rel=1e-4)


def test_confidence_weights_are_those_of_the_labelled_rows() -> None:
    even = np.zeros((4, 5))
    assert on_logits.confidence_weighted(STUDENT, even, LABELS) == pytest.approx(
        on_logits.mean(on_logits.hard_labels(STUDENT, LABELS))
    )
    assert on_logits.confidence_weights(np.array([[math.log(3), 0.0], [0.0, 0.0]])) == pytest.approx([0.6, 0.4])
    some = [True, False, True, False]
    kept = on_logits.confidence_weighted(STUDENT[::2], TEACHER[::2], LABELS[::2])
    assert on_logits.confidence_weighted(STUDENT, TEACHER, [0, -1, 2, 99], labelled=some) == pytest.approx(kept)
    assert on_logits.confidence_weighted(STUDENT, TEACHER, LABELS, labelled=[False] * 4) == 0


def test_learned_temperature_and_its_reversed_gradient() -> None:
    assert on_logits.learned_temperature_of(0.0) == 11
    assert [on_logits.reversal(done=share) for share in (0, 0.5, 1, 2)] == pytest.approx([0, 0.5, 1, 1])
    parameter = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    temperature = 1 + 20 * torch.sigmoid(parameter)
    student, teacher = (torch.from_numpy(x) / temperature for x in (STUDENT, TEACHER))
    divergence = functional.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean")
    (divergence * temperature**2).backward()
    found = on_logits.learned_temperature_gradient(STUDENT, TEACHER, parameter=0.2, done=0.5)
    assert found == pytest.approx(-0.5 * parameter.grad.item(), rel=1e-4)


def test_moving_average_begins_as_the_mean_and_then_decays() -> None:
    history = [np.array([float(step**2)]) for step in range(5)]
    assert on_logits.moving_average(history, decay=0.999) == pytest.approx([np.mean(history)])
    assert on_logits.moving_average(history[:3], decay=0.5, ramp=False) == pytest.approx(
        [0.25 * 0 + 0.25 * 1 + 0.5 * 4]
    )


# Features -------------------------------------------------------------------------------------------------------------

MAPS, OTHER_MAPS = draw(3, 2, 4, 4), draw(3, 2, 4, 4, seed=1)
VECTORS, OTHER_VECTORS = draw(5, 3), draw(5, 3, seed=1)


@pytest.mark.parametrize(("length", "size"), [(5, 2), (7, 3), (4, 4), (6, 1)])
def test_pooling_and_stretching_are_torch_s(length: int, size: int) -> None:
    lines, squares = draw(2, 3, length), draw(2, 3, length, length + 1)
    line = functional.adaptive_avg_pool1d(torch.from_numpy(lines), size)
    square = functional.adaptive_avg_pool2d(torch.from_numpy(squares), (size, 2))
    peaks = functional.adaptive_max_pool2d(torch.from_numpy(squares), (size, 2))
    assert np.stack([on_features.pooled(x, [size]) for x in lines]) == pytest.approx(line.numpy())
    assert np.stack([on_features.pooled(x, [size, 2]) for x in squares]) == pytest.approx(square.numpy())
    assert np.stack([on_features.pooled(x, [size, 2], how="max") for x in squares]) == pytest.approx(peaks.numpy())
    for target in (size, 2 * length + 1):
        stretched = functional.interpolate(torch.from_numpy(squares), (target, target), mode="nearest")
        assert np.array_equal(on_features.nearest(squares, [target, target]), stretched.numpy())


@pytest.mark.parametrize(
    "term",
    [
        on_features.hint,
        on_features.attention_transfer,
        on_features.neuron_selectivity,
        on_features.hidden_cosine,
        on_features.factor_transfer,
        on_features.hierarchical_context,
        lambda s, t: on_features.solution_flow([s, s], [t, t]),
        lambda s, t: on_features.factor_transfer(s, t, over="factor", form="sum"),
        lambda s, t: on_features.hidden_cosine(s, t, channel_axis=None),
    ],
)
def test_terms_on_maps_are_zero_at_equality_alone(term) -> None:
    assert term(MAPS, MAPS) == pytest.approx([0] * 3, abs=1e-12)
    assert len(term(MAPS, OTHER_MAPS)) == 3
    assert min(term(MAPS, OTHER_MAPS)) > 1e-6


RELATIONS = [
    on_features.similarity_preserving,
    on_features.correlation_congruence,
    on_features.relational_distance,
    on_features.relational_angle,
    on_features.probabilistic_transfer,
    lambda s, t: on_features.probabilistic_transfer(s, t, form="sum"),
]


@pytest.mark.parametrize("term", RELATIONS)
def test_relations_are_zero_at_equality_and_do_not_see_order_scale_or_rotation(term) -> None:
    assert term(VECTORS, VECTORS) == pytest.approx(0, abs=1e-12)
    value = term(VECTORS, OTHER_VECTORS)
    assert value > 1e-6
    order = [3, 1, 4, 0, 2]
    rotation = np.linalg.qr(draw(3, 3, seed=2))[0]
    assert term(VECTORS[order], OTHER_VECTORS[order]) == pytest.approx(value)
    assert term(2 * VECTORS, OTHER_VECTORS @ rotation) == pytest.approx(value, rel=1e-5)
    assert term(VECTORS, np.concatenate([OTHER_VECTORS, np.zeros((5, 2))], axis=1)) == pytest.approx(value)


@pytest.mark.parametrize("term", [on_features.relational_distance, on_features.relational_angle])
def test_relations_between_points_do_not_see_where_they_are(term) -> None:
    assert term(VECTORS + 10, OTHER_VECTORS - 3) == pytest.approx(term(VECTORS, OTHER_VECTORS))


def test_hint_by_hand() -> None:
    student, teacher = np.array([[1.0, 2.0]]), np.array([[2.0, 6.0, 1.0]])

    def regressor(features: np.ndarray) -> np.ndarray:
        return features @ np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])  # gives 1, 3, 2

    assert on_features.hint(student, teacher, regressor=regressor) == pytest.approx([(1 + 9 + 1) / 3])
    assert on_features.hint(student, teacher, regressor=regressor, form="half_norm") == pytest.approx([5.5])


def test_attention_map_by_hand_and_whatever_the_channels() -> None:
    example = np.array([[[1.0, 0.0]], [[-1.0, 2.0]]])
    assert on_features.attention_map(example) == pytest.approx([2 / math.sqrt(20), 4 / math.sqrt(20)])
    assert on_features.attention_map(example, power=1) == pytest.approx([1 / math.sqrt(2)] * 2)
    twice = np.concatenate([MAPS, -MAPS], axis=1)
    assert on_features.attention_transfer(twice, 3 * MAPS) == pytest.approx([0] * 3, abs=1e-12)


def test_similarity_preserving_by_hand() -> None:
    student, teacher = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    half = math.sqrt(0.5)  # rows (1, 0), (0, 1) beside rows (half, half)
    assert on_features.similarity_preserving(student, teacher) == pytest.approx(2 * ((1 - half) ** 2 + half**2) / 4)
    third = math.sqrt(1 / 3)
    found = on_features.similarity_preserving(np.eye(3), np.ones((3, 1)))
    assert found == pytest.approx(3 * ((1 - third) ** 2 + 2 * third**2) / 9)


def test_the_kernel_of_correlation_congruence_is_gaussian_at_a_high_order() -> None:
    first, second = (on_features.unit(row) for row in VECTORS[:2])
    squared = sum((a - b) ** 2 for a, b in zip(first, second, strict=True))
    found = on_features.taylor_gaussian(first, second, order=30)
    assert found == pytest.approx(math.exp(-0.4 * squared))
    student, teacher = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    gap = math.exp(-0.8) * (0.8 + 0.8**2 / 2)
    assert on_features.correlation_congruence(student, teacher) == pytest.approx(2 * gap**2 / 4)
    assert on_features.correlation_congruence(np.eye(3), np.ones((3, 1))) == pytest.approx(6 * gap**2 / 9)


def test_neighbour_differences_by_hand_depend_on_the_order() -> None:
    student, teacher = np.array([[2.0, 5.0], [3.0, 4.0], [1.0, 8.0]]), np.array([[1.0, 5.0]] * 3)
    assert on_features.neighbour_differences(student, teacher) == pytest.approx((2 + 3) / 2)
    assert on_features.neighbour_differences(student[[0, 2, 1]], teacher) == pytest.approx((0 + 3) / 2)


def test_relational_distance_by_hand() -> None:
    student, teacher = np.array([[0.0], [1.0], [2.0]]), np.array([[0.0], [1.0], [5.0]])
    a, b = np.array([1, 2, 1]) * 3 / 4, np.array([1, 5, 4]) * 3 / 10  # pairs 01, 02, 12
    total = 2 * sum(gap**2 / 2 for gap in abs(a - b))
    assert on_features.relational_distance(student, teacher, form="sum") == pytest.approx(total)
    assert on_features.relational_distance(student, teacher) == pytest.approx(total / 9)
    assert on_features.relational_distance(student, teacher, form="mean_distinct") == pytest.approx(total / 6)
    assert on_features.relational_distance(np.ones((3, 2)), np.ones((3, 2))) == 0


def test_relational_angle_by_hand() -> None:
    """On a line the cosines are 1, -1, 1; in an equilateral triangle all are 1/2; each angle counts twice."""
    line, triangle = np.array([[0.0, 0], [1, 0], [3, 0]]), np.array([[0.0, 0], [1, 0], [0.5, math.sqrt(0.75)]])
    total = 2 * (0.125 + (1.5 - 0.5) + 0.125)
    assert on_features.relational_angle(line, triangle, form="sum") == pytest.approx(total)
    assert on_features.relational_angle(line, triangle) == pytest.approx(total / 27)
    assert on_features.relational_angle(line, triangle, form="mean_distinct") == pytest.approx(total / 6)


def test_huber_is_torch_s() -> None:
    for gap in (0.0, 0.4, 1.0, -2.5):
        expected = functional.smooth_l1_loss(torch.tensor(gap), torch.tensor(0.0))
        assert on_features.huber(gap, 0.0) == pytest.approx(expected.item())


def test_probabilistic_transfer_by_hand() -> None:
    """Cosines 1, 0 and -1 are affinities 1, 1/2 and 0; an affinity of 0 adds nothing."""
    assert on_features.affinities(np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]), itself=True) == [
        pytest.approx(row) for row in ([2 / 3, 1 / 3, 0], [1 / 4, 1 / 2, 1 / 4], [0, 1 / 3, 2 / 3])
    ]
    student, teacher = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    expected = 2 * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)) / 4
    assert on_features.probabilistic_transfer(student, teacher) == pytest.approx(expected, rel=1e-5)
    assert on_features.probabilistic_transfer(student, teacher, form="sum") == 0  # one neighbour has it all
    student, teacher = np.ones((3, 2)), np.array([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    divergence = 2 * math.log(1 / (1 / 3) / 2) + math.log(1 / (1 / 3))  # (1/2, 1/2, 0) twice and (0, 0, 1)
    assert on_features.probabilistic_transfer(student, teacher) == pytest.approx(divergence / 9, rel=1e-5)


def test_neuron_selectivity_by_hand_and_whatever_the_order_and_scale_of_channels() -> None:
    student, teacher = np.array([[[1.0, 0.0]]]), np.array([[[3.0, 0.0], [0.0, 2.0]]])
    assert on_features.neuron_selectivity(student, teacher) == pytest.approx([(1 + 0 + 0 + 1) / 4 + 1 - 2 * 0.5])
    raised = on_features.neuron_selectivity(student, teacher, degree=3, offset=1.0)  # kernels 2^3 and 1^3
    assert raised == pytest.approx([(8 + 1 + 1 + 8) / 4 + 8 - 2 * (8 + 1) / 2])
    same = np.concatenate([2 * MAPS[:, ::-1], MAPS], axis=1)
    assert on_features.neuron_selectivity(same, MAPS) == pytest.approx([0] * 3, abs=1e-12)


def test_solution_flow_by_hand() -> None:
    low, high = np.array([[[1.0, 2.0], [0.0, 4.0]]]), np.array([[[3.0, 1.0]]])
    assert on_features.flow(low[0], high[0]) == [[2.5], [2.0]]
    zero = [np.zeros_like(low), np.zeros_like(high)]
    assert on_features.solution_flow([low, high], zero) == pytest.approx([(2.5**2 + 2**2) / 2])
    thrice = on_features.solution_flow([low, high, high], [*zero, zero[1]])
    assert thrice == pytest.approx([(2.5**2 + 2**2) / 2 + ((9 + 1) / 2) ** 2])
    assert on_features.solution_flow([low, high], zero, form="sum") == pytest.approx([2.5**2 + 2**2])
    coarse = np.array([[6.0]])
    assert on_features.flow(low[0], coarse) == [[9.0], [12.0]]
    assert on_features.flow(low[0], coarse, pooling="max") == [[12.0], [24.0]]


def test_hidden_cosine_by_hand_over_every_axis() -> None:
    student, teacher = np.array([[[1.0, 1.0], [0.0, 0.0]]]), np.array([[[2.0, 0.0], [0.0, 5.0]]])
    assert on_features.hidden_cosine(student, teacher) == pytest.approx([0.5])  # 1 - 1 and 1 - 0 at two positions
    tokens = (np.swapaxes(student, 1, 2), np.swapaxes(teacher, 1, 2))
    assert on_features.hidden_cosine(*tokens, channel_axis=-1) == pytest.approx([0.5])
    whole = 1 - 2 / (math.sqrt(2) * math.sqrt(29))
    assert on_features.hidden_cosine(student, teacher, channel_axis=None) == pytest.approx([whole])
    assert on_features.hidden_cosine(student[:, 0], teacher[:, 0]) == pytest.approx([1 - math.sqrt(0.5)])


def test_variational_is_a_gaussian_without_its_constant() -> None:
    variance = on_features.softplus_variance([0.0, 2.0])
    assert variance[0] == pytest.approx(math.log(2) + 1e-5)
    normal = torch.distributions.Normal(
        torch.from_numpy(MAPS), torch.tensor(variance, dtype=torch.float64).sqrt()[:, None, None]
    )
    expected = -normal.log_prob(torch.from_numpy(OTHER_MAPS)).sum((1, 2, 3)) - 32 * math.log(2 * math.pi) / 2
    found = on_features.variational(MAPS, OTHER_MAPS, variance=variance, form="sum")
    assert found == pytest.approx(expected.tolist())
    assert on_features.variational(MAPS, OTHER_MAPS, variance=variance) == pytest.approx((expected / 32).tolist())


def test_variational_with_one_value_in_a_channel() -> None:
    vectors = on_features.variational(np.array([[1.0, 2.0]]), np.array([[2.0, 2.0]]), variance=[1.0, math.e])
    assert vectors == pytest.approx([(0.5 + 0.5) / 2])


def test_factor_transfer_by_hand() -> None:
    student, teacher = np.array([[[1.0, 0.0], [1.0, 0.0]]]), np.array([[[0.0, 3.0], [0.0, 0.0]]])
    assert on_features.factor_transfer(student, teacher) == pytest.approx([1.0])  # (1, 0) beside (0, 1)
    fifth = math.sqrt(0.2)
    apart = np.array([[[0.0, 3.0], [3.0, 0.0]]]), np.array([[[0.0, 1.0], [2.0, 0.0]]])
    squares = on_features.factor_transfer(*apart, power=1, exponent=2)
    assert squares == pytest.approx([((math.sqrt(0.5) - fifth) ** 2 + (math.sqrt(0.5) - 2 * fifth) ** 2) / 2])
    maps = on_features.factor_transfer(*apart)  # (1, 1) beside (4, 1), each over its norm
    assert maps == pytest.approx([(4 / math.sqrt(17) - math.sqrt(0.5) + math.sqrt(0.5) - 1 / math.sqrt(17)) / 2])
    half = math.sqrt(0.5)
    whole = on_features.factor_transfer(student, teacher, over="factor", form="sum")
    assert whole == pytest.approx([2 * half + 1])
    doubled = on_features.factor_transfer(student, teacher, translator=lambda x: 2 * x, paraphraser=np.abs)
    assert doubled == pytest.approx([1.0])


def test_reconstruction_by_hand() -> None:
    kept = {"encode": lambda x: x[:, :1], "decode": lambda x: np.concatenate([x, x], axis=1)}
    teacher = np.array([[1.0, 4.0]])
    assert on_features.paraphraser_reconstruction(teacher, **kept) == pytest.approx([4.5])
    assert on_features.paraphraser_reconstruction(teacher, **kept, form="sum") == pytest.approx([9])
    assert on_features.paraphraser_reconstruction(teacher, **kept, exponent=1) == pytest.approx([1.5])


def test_activation_boundaries_by_hand() -> None:
    student = np.array([[0.25, 2.0, 0.25, -2.0, -1.0]])
    teacher = np.array([[3.0, 0.1, -3.0, 0.0, 5.0]])
    assert on_features.activation_boundaries(student, teacher) == pytest.approx([0.75**2 + 0 + 1.25**2 + 0 + 4])
    after_relu = on_features.activation_boundaries(student, np.maximum(teacher, 0))
    assert after_relu == on_features.activation_boundaries(student, teacher)
    wide = on_features.activation_boundaries(student, teacher, margin=2, form="mean")
    assert wide == pytest.approx([(1.75**2 + 0 + 2.25**2 + 0 + 9) / 5])
    assert on_features.boundary_weights(3) == [0.25, 0.5, 1.0]


def test_contrastive_by_hand() -> None:
    """Scores are all exp(0) = 1, so that h = 1 / (1 + N / M) for every pair."""
    memory = np.tile([0.0, 1.0], (4, 1))
    batch = {"student_memory": memory, "teacher_memory": memory, "index": [2], "negatives": [[0, 1]]}
    across = np.array([[1.0, 0.0]])
    side = math.log(1.5) + 2 * math.log(3)
    assert on_features.contrastive(across, across, **batch) == pytest.approx(2 * side)
    side = -math.log(0.5 / 1) + 2 * math.log(2)
    normalised = on_features.contrastive(across, across, **batch, student_normaliser=2, teacher_normaliser=2)
    assert normalised == pytest.approx(2 * side)
    side = math.log(1 + 0.5 + 0.1) - 2 * math.log(0.5 / (1 + 0.5 + 0.1))
    assert on_features.contrastive(across, across, **batch, epsilon=0.1) == pytest.approx(2 * side)


def test_contrastive_sets_each_side_against_the_memory_of_the_other() -> None:
    student, teacher = np.array([[2.0, 0.0]]), np.array([[0.0, 3.0]])
    memory = {
        "student_memory": np.array([[0.0, 1.0], [1.0, 0.0]]),
        "teacher_memory": np.array([[1.0, 0.0], [0.0, 1.0]]),
    }
    close = on_features.contrastive(student, teacher, **memory, index=[0], negatives=[[1]])
    far = on_features.contrastive(student, teacher, **memory, index=[1], negatives=[[0]])
    peak = math.exp(1 / 0.07)
    assert close == pytest.approx(2 * (math.log1p(0.5 / peak) + math.log(3)))
    assert far == pytest.approx(2 * (math.log(1.5) + math.log1p(2 * peak)))


def test_the_memory_moves_half_way_and_stays_on_the_sphere() -> None:
    memory = np.array([[1.0, 0.0], [0.0, 1.0]])
    moved = on_features.memory_update(memory, np.array([[0.0, 5.0]]), index=[0])
    assert moved == pytest.approx(np.array([[math.sqrt(0.5)] * 2, [0.0, 1.0]]))
    assert np.array_equal(memory, [[1, 0], [0, 1]])
    both = on_features.memory_normaliser(np.array([[2.0, 0.0]]), memory, index=[0], negatives=[[1]], temperature=0.5)
    assert both == pytest.approx(2 * (math.exp(2) + 1) / 2)


def test_hierarchical_context_by_hand() -> None:
    """A checkerboard is seen at full size alone; a constant at every size, whatever the weights."""
    board = (np.indices((8, 8)).sum(0) % 2 * 2.0 - 1)[None, None]
    assert on_features.hierarchical_context(board, 0 * board) == pytest.approx([1 / (1 + 1 / 2 + 1 / 4 + 1 / 8)])
    assert on_features.hierarchical_context(0 * board + 3, 0 * board) == pytest.approx([9])
    small = np.array([[[[1.0, -1.0], [-1.0, 1.0]]]])
    assert on_features.hierarchical_context(small, 0 * small) == pytest.approx([1 / 1.5])


def test_review_hands_the_deeper_stage_up() -> None:
    shallow, deep = draw(2, 3, 4, 4), draw(2, 3, 2, 2, seed=1)

    def attend(maps: np.ndarray) -> np.ndarray:
        return np.stack([np.full(maps.shape[:1] + maps.shape[2:], share) for share in (0.25, 0.5)], axis=1)

    stages = [
        on_features.Fusion(enter=on_features.identity, leave=on_features.identity, attend=attend),
        on_features.Fusion(enter=lambda x: 2 * x, leave=lambda x: x + 1),
    ]
    first = 0.25 * shallow + 0.5 * np.repeat(np.repeat(2 * deep, 2, axis=2), 2, axis=3)
    assert on_features.review([shallow, deep], [first, 2 * deep + 1], stages=stages) == pytest.approx([0, 0], abs=1e-12)
    off = on_features.review([shallow, deep], [first + 1, 2 * deep + 3], stages=stages)
    assert off == pytest.approx([1 + 4, 1 + 4])


def test_review_takes_vectors_as_maps_of_size_one() -> None:
    stage = on_features.Fusion(enter=on_features.identity, leave=on_features.identity)
    expected = ((VECTORS - OTHER_VECTORS) ** 2).mean(1)
    assert on_features.review([VECTORS], [OTHER_VECTORS], stages=[stage]) == pytest.approx(expected)


def test_layers_are_added_or_averaged() -> None:
    layers, others = [MAPS, VECTORS[:3]], [OTHER_MAPS, OTHER_VECTORS[:3]]
    one, two = (np.array(on_features.hint(a, b)) for a, b in zip(layers, others, strict=True))
    assert on_features.over_layers(on_features.hint, layers, others) == pytest.approx(one + two)
    assert on_features.over_layers(on_features.hint, layers, others, how="mean") == pytest.approx((one + two) / 2)
