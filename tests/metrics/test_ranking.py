"""The order of positions: against sorting exact fractions by hand, ties and groups included."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_ad.metrics.ranking import ranked
from tests.metrics import reference
from tests.metrics.models import noise

SHAPES = st.sampled_from([(1, 7), (3, 5), (1, 3, 4), (2, 4, 3), (1, 2, 3, 2), (2, 2, 2, 3)])


@st.composite
def problems(draw):
    """Attributions with many ties, or hardly any; groups with gaps between their labels, or none."""
    shape = draw(SHAPES)
    attribution = noise(draw(st.integers(0, 99)), (1, *shape))
    if draw(st.booleans()):
        attribution = (2 * attribution).round()
    labels = None
    if draw(st.booleans()):
        groups = draw(st.integers(1, 5))
        labels = 3 * (noise(draw(st.integers(0, 99)), shape[1:]) * groups).long() - 7
    return attribution, labels, draw(st.integers(1, 6))


@given(problems())
def test_equals_sorting_fractions(problem):
    attribution, labels, step = problem
    ranking = ranked(attribution, torch.zeros(attribution.shape), feature_mask=labels, step=step)
    positions = reference.count(attribution)
    expected = reference.ranking(attribution, positions, labels, step)
    step_of = [next(i for i, step in enumerate(expected) if place in step) for place in range(positions)]
    assert ranking.steps.shape == attribution.shape[2:]
    assert ranking.steps.flatten().tolist() == step_of
    assert len(ranking) == len(expected)
    assert ranking.sizes.dtype == torch.float64
    assert ranking.sizes.tolist() == reference.sizes(expected)


@given(problems())
def test_prefixes_grow_from_nothing_to_everything(problem):
    attribution, labels, step = problem
    ranking = ranked(attribution, torch.zeros(attribution.shape), feature_mask=labels, step=step)
    prefixes = ranking.prefixes(torch.arange(len(ranking) + 1))
    assert prefixes.dtype == torch.bool
    assert not prefixes[0].any()
    assert prefixes[-1].all()
    assert (prefixes[1:] | ~prefixes[:-1]).all()
    assert prefixes.flatten(1).double().mean(1).tolist() == ranking.sizes.tolist()


@given(problems(), st.sampled_from([0.5, 4.0]))
def test_the_scale_of_an_attribution_is_no_matter(problem, scale):
    attribution, labels, step = problem
    x = torch.zeros(attribution.shape)
    steps = ranked(attribution, x, feature_mask=labels, step=step).steps
    assert torch.equal(ranked(scale * attribution, x, feature_mask=labels, step=step).steps, steps)


@pytest.mark.parametrize("spatial", [(9,), (3, 4), (2, 3, 2)])
def test_every_accepted_shape_ranks_alike(spatial):
    x = torch.zeros(1, 3, *spatial)
    attribution = noise(1, tuple(x.shape))
    summed = attribution.sum(1, keepdim=True)
    expected = ranked(attribution, x).steps
    for spelling in (attribution[0], summed, summed[0], summed[0, 0]):
        assert torch.equal(ranked(spelling, x).steps, expected)


def test_channels_are_added_up_not_their_sizes():
    """A position of +5 and -5 is worth nothing."""
    attribution = torch.tensor([[[5.0, 1.0, 2.0]], [[-5.0, 0.0, 0.0]]])
    assert ranked(attribution, torch.zeros(1, 2, 1, 3)).steps.tolist() == [[2, 1, 0]]


def test_negative_attributions_come_last():
    steps = ranked(torch.tensor([[-3.0, 0.0], [2.0, -1.0]]), torch.zeros(1, 1, 2, 2)).steps
    assert steps.tolist() == [[3, 1], [0, 2]]


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1, -7.0])
@pytest.mark.parametrize("spatial", [(3, 5), (20, 30)])
def test_a_constant_attribution_is_row_major(value, spatial):
    """Of many positions too, which sort otherwise than a few."""
    steps = ranked(torch.full(spatial, value), torch.zeros(1, 2, *spatial), step=1).steps
    assert steps.flatten().tolist() == list(range(steps.numel()))


def test_zero_and_minus_zero_tie():
    attribution = torch.tensor([[-0.0, 0.0], [0.0, -0.0]])
    assert ranked(attribution, torch.zeros(1, 1, 2, 2)).steps.flatten().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.1, 0.7, -0.3])
def test_equal_groups_of_unequal_size_are_ordered_by_label(value, dtype):
    """The mean over three positions of one value is that value, whatever a sum of three rounds to."""
    labels = torch.tensor([[0, 1, 1, 1], [2, 3, 3, 3], [3, 3, 3, 4]])
    steps = ranked(torch.full((3, 4), value, dtype=dtype), torch.zeros(1, 1, 3, 4), feature_mask=labels).steps
    assert steps.tolist() == labels.tolist()


def test_a_group_counts_by_its_mean_not_its_sum():
    attribution = torch.tensor([[1.0, 1.0, 1.0, 2.0]])
    labels = torch.tensor([[5, 5, 5, 9]])
    assert ranked(attribution, torch.zeros(1, 1, 1, 4), feature_mask=labels).steps.tolist() == [[1, 1, 1, 0]]


@pytest.mark.parametrize(("side", "steps"), [(4, 16), (10, 100), (11, 61), (16, 86), (20, 100)])
def test_the_default_step_is_a_hundredth_rounded_up(side, steps):
    ranking = ranked(noise(0, (side, side)), torch.zeros(1, 1, side, side))
    assert len(ranking) == steps
    positions_per_step = torch.bincount(ranking.steps.flatten())
    assert (positions_per_step[:-1] == -(-(side**2) // 100)).all()


def test_the_default_step_of_groups_is_one_group():
    labels = torch.arange(256).reshape(16, 16) // 2
    assert len(ranked(noise(0, (16, 16)), torch.zeros(1, 1, 16, 16), feature_mask=labels)) == 128


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (1, 1, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_feature_masks_with_leading_ones_and_any_integers(shape, dtype):
    labels = (torch.arange(16) // 4).reshape(4, 4)
    x, attribution = torch.zeros(1, 3, 4, 4), noise(2, (4, 4))
    expected = ranked(attribution, x, feature_mask=labels).steps
    assert torch.equal(ranked(attribution, x, feature_mask=labels.reshape(shape).to(dtype)).steps, expected)


def test_a_step_beyond_the_end_is_one_step():
    assert ranked(noise(0, (3, 3)), torch.zeros(1, 1, 3, 3), step=100).sizes.tolist() == [0, 1]


def test_the_attribution_may_carry_a_graph_and_keeps_its_values():
    attribution = noise(0, (3, 3)).requires_grad_()
    before = attribution.detach().clone()
    assert not ranked(attribution, torch.zeros(1, 1, 3, 3)).sizes.requires_grad
    assert torch.equal(attribution.detach(), before)
    assert attribution.grad is None


X = torch.zeros(1, 2, 3, 4)
GOOD = noise(0, (3, 4))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((noise(0, (4, 3)), X), ValueError, r"\(4, 3\).*\(1, 2, 3, 4\)"),
        ((noise(0, (2, 2, 3, 4)), X), ValueError, r"\(2, 2, 3, 4\)"),
        ((noise(0, (3, 3, 4)), X), ValueError, r"\(3, 3, 4\)"),
        ((noise(0, (12,)), X), ValueError, r"\(12,\)"),
        ((GOOD.where(GOOD > 0, torch.nan), X), ValueError, "NaN or Inf"),
        ((GOOD.where(GOOD > 0, torch.inf), X), ValueError, "NaN or Inf"),
        ((GOOD.numpy(), X), TypeError, "ndarray"),
        ((None, X), TypeError, "NoneType"),
        ((GOOD, X.expand(2, 2, 3, 4)), ValueError, r"\(2, 2, 3, 4\): explain one at a time"),
        ((GOOD, X[0, 0]), ValueError, r"\(1, C, \*spatial\)"),
    ],
)
def test_what_cannot_be_ranked_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        ranked(*arguments)


@pytest.mark.parametrize("step", [0, -1, 1.0, True, "2"])
def test_steps_that_are_no_positive_integer_are_refused(step):
    with pytest.raises(ValueError, match=f"positive integer.*{step!r}"):
        ranked(GOOD, X, step=step)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3, 4), "float32, expected integer labels"),
        (torch.zeros(3, 4, dtype=torch.bool), "bool, expected integer labels"),
        (torch.zeros(4, 3, dtype=torch.long), r"\(4, 3\), expected \(3, 4\)"),
        (torch.zeros(1, 2, 3, 4, dtype=torch.long), r"\(1, 2, 3, 4\)"),
        (torch.zeros(4, dtype=torch.long), r"\(4,\)"),
    ],
)
def test_feature_masks_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        ranked(GOOD, X, feature_mask=labels)
