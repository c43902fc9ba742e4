"""Insertion and deletion curves: by hand, and one forward per step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_ad import ADForward
from captum_ad.metrics import deletion_curve, insertion_curve, sufficient_explanation
from tests.metrics import reference
from tests.metrics.models import (
    DESCENDING,
    ONES,
    answer,
    batches,
    noise,
    one_pixel,
    seesaw,
    sigmoid,
    small_net,
    untouched,
)

both = pytest.mark.parametrize("function", [insertion_curve, deletion_curve])


@st.composite
def problems(draw):
    shape = draw(st.sampled_from([(2, 6, 5), (1, 4, 4), (2, 8), (1, 4, 2, 3)]))
    model, x = small_net(draw(st.integers(0, 50)), shape), noise(draw(st.integers(0, 50)), (1, *shape))
    labels = (3 * noise(draw(st.integers(0, 50)), shape[1:])).long() if draw(st.booleans()) else None
    return model, x, noise(draw(st.integers(0, 50)), shape), labels, draw(st.integers(1, 5))


@settings(max_examples=30)
@given(problems(), st.integers(0, 2), st.booleans(), st.integers(1, 9))
def test_equal_one_forward_per_step(problem, target, by_activations, batch_size):
    model, x, attribution, labels, step = problem
    if by_activations:
        forward, baseline, view = ADForward(model), None, reference.view_masked(ADForward(model), x, target)
    else:
        forward, baseline = model, -0.2
        view = reference.view_painted(model, x, torch.full_like(x, -0.2), target)
    options = {"baseline": baseline, "feature_mask": labels, "step": step, "batch_size": batch_size}
    steps = reference.ranking(attribution, reference.count(x), labels, step)
    for function, loop in ((insertion_curve, reference.insertion), (deletion_curve, reference.deletion)):
        curve, expected = function(forward, x, attribution, target, **options), loop(view, steps)
        assert curve.sizes.tolist() == reference.sizes(steps)
        assert curve.values.tolist() == pytest.approx([confidence for confidence, _ in expected])
        assert curve.class_kept.tolist() == [kept for _, kept in expected]
        area = reference.area(reference.sizes(steps), [confidence for confidence, _ in expected])
        assert curve.area == pytest.approx(area)


@settings(max_examples=20)
@given(problems())
def test_insertion_is_what_a_scan_measures(problem):
    model, x, attribution, labels, step = problem
    target, options = answer(model, x), {"feature_mask": labels, "step": step}
    curve = insertion_curve(ADForward(model), x, attribution, target, **options)
    scanned = sufficient_explanation(ADForward(model), x, attribution, target, **options).curve
    torch.testing.assert_close(curve.values, scanned.values)
    assert torch.equal(curve.sizes, scanned.sizes)
    assert torch.equal(curve.class_kept, scanned.class_kept)


@settings(max_examples=20)
@given(problems())
def test_deleting_is_inserting_backwards_in_the_opposite_order(problem):
    model, x, attribution, _, _ = problem
    target = answer(model, x)
    deleted = deletion_curve(model, x, attribution, target, baseline=0.1, step=1)
    inserted = insertion_curve(model, x, -attribution, target, baseline=0.1, step=1)
    torch.testing.assert_close(deleted.values, inserted.values.flip(0))


def test_a_seesaw_by_hand():
    """+3, -4, +5, 0 against 1: margins while they come, and while they go."""
    forward = seesaw(3, -4, 5, 0)
    inserted = insertion_curve(forward, ONES, DESCENDING, 1, baseline="zero")
    deleted = deletion_curve(forward, ONES, DESCENDING, 1, baseline="zero")
    assert inserted.values.tolist() == pytest.approx([sigmoid(m) for m in (-1, 2, -2, 3, 3)])
    assert deleted.values.tolist() == pytest.approx([sigmoid(m) for m in (3, 0, 4, -1, -1)])
    assert deleted.class_kept.tolist() == [True, False, True, False, False]
    assert inserted.sizes.tolist() == deleted.sizes.tolist() == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize("rank", [0, 7, 15])
def test_the_area_of_one_pixel_tells_its_rank(rank):
    """Confidence goes from σ(-1) to σ(3) within the step at which the pixel comes, and back when it goes."""
    order = [place for place in range(16) if place != 6]
    order.insert(rank, 6)
    attribution = torch.zeros(16)
    attribution[order] = torch.arange(16.0, 0, -1)
    arguments = (ADForward(one_pixel((0, 1, 2))), torch.ones(1, 1, 4, 4), attribution.reshape(4, 4), 1)
    before = (rank + 0.5) / 16
    expected = before * sigmoid(-1) + (1 - before) * sigmoid(3)
    assert insertion_curve(*arguments).area == pytest.approx(expected)
    assert deletion_curve(*arguments).area == pytest.approx(sigmoid(-1) + sigmoid(3) - expected)


@both
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_every_prefix_runs_once_in_full_batches(function, batch_size):
    model = one_pixel((0, 1, 2))
    with batches(model) as sizes:
        function(ADForward(model), torch.ones(1, 1, 4, 4), noise(0, (4, 4)), 1, batch_size=batch_size)
    full, rest = divmod(17, batch_size)
    assert sizes == [batch_size] * full + [rest] * (rest > 0)


@both
def test_nothing_is_changed_and_no_graph_is_kept(function):
    model, x = small_net(0), noise(0, (1, 2, 6, 6)).requires_grad_()
    attribution = noise(1, (2, 6, 6)).requires_grad_()
    for forward, baseline in ((ADForward(model), None), (model, "avg")):
        with untouched(model, x, attribution):
            curve = function(forward, x, attribution, 0, baseline=baseline)
        assert not curve.values.requires_grad


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(function, dtype):
    arguments = (DESCENDING.to(dtype), 1)
    half = function(ADForward(seesaw(3, -4, 5, 0).to(dtype)), ONES.to(dtype), *arguments)
    single = function(ADForward(seesaw(3, -4, 5, 0)), ONES, *arguments)
    torch.testing.assert_close(half.values, single.values, rtol=1e-5, atol=0)
    assert half.values.dtype == torch.float64


@both
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"baseline": None}, ValueError, "plain model needs a baseline"),
        ({"forward_func": ADForward(seesaw(1, 1, 1, 1))}, ValueError, "baseline was given with ADForward"),
        ({"forward_func": seesaw(1, 1, 1, 1).train()}, ValueError, "train mode"),
        ({"inputs": ONES.expand(2, 1, 2, 2)}, ValueError, "explain one at a time"),
        ({"inputs": ONES.numpy()}, TypeError, "must be a Tensor, got ndarray"),
        ({"attribution": torch.ones(3)}, ValueError, r"\(3,\)"),
        ({"attribution": DESCENDING * torch.inf}, ValueError, "NaN or Inf"),
        ({"target": 2}, ValueError, "target 2 is out of range"),
        ({"step": 0.5}, ValueError, "positive integer, got 0.5"),
        ({"feature_mask": torch.zeros(2, 2)}, ValueError, "integer labels"),
        ({"batch_size": 0}, ValueError, "batch_size must be a positive integer"),
        ({"to_confidence": None}, TypeError, "to_confidence"),
    ],
)
def test_bad_arguments_are_refused(function, changes, error, message):
    good = {"forward_func": seesaw(1, 1, 1, 1), "inputs": ONES, "attribution": DESCENDING, "target": 1, "baseline": 0.0}
    with pytest.raises(error, match=message):
        function(**(good | changes))


@both
def test_progress_is_shown_only_when_asked(function, capsys):
    arguments = (ADForward(seesaw(3, -4, 5, 0)), ONES, DESCENDING, 1)
    function(*arguments)
    assert capsys.readouterr().err == ""
    function(*arguments, show_progress=True)
    assert "curve" in capsys.readouterr().err
