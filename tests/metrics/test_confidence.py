"""Size and confidence of explanations, by hand and one forward at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_ad import ADForward
from captum_ad.metrics import (
    SolidColors,
    confidence_drop_off,
    confidence_kept,
    confidence_on_backgrounds,
    explanation_size,
    rho_robustness,
    sufficient_explanation,
)
from tests.metrics import reference
from tests.metrics.models import CORNERS, answer, linear, noise, sigmoid, small_net, two_patches, untouched

X = torch.ones(1, 1, 4, 4)


@st.composite
def problems(draw):
    shape = draw(st.sampled_from([(2, 6, 5), (2, 8), (1, 4, 2, 3)]))
    model, x = small_net(draw(st.integers(0, 50)), shape), noise(draw(st.integers(0, 50)), (1, *shape))
    return model, x, noise(draw(st.integers(0, 50)), shape[1:]) > draw(st.sampled_from([-1.0, 0.0, 1.0]))


@given(problems(), st.integers(0, 2), st.booleans())
def test_equal_the_definitions(problem, target, by_activations):
    model, x, mask = problem
    if by_activations:
        forward, options, view = ADForward(model), {}, reference.view_masked(ADForward(model), x, target)
    else:
        forward, options = model, {"baseline": 0.3}
        view = reference.view_painted(model, x, torch.full_like(x, 0.3), target)
    present = reference.as_set(mask)
    alone, whole = view(present)[0], view(range(reference.count(x)))[0]
    assert confidence_kept(forward, x, mask, target, **options) == pytest.approx(alone)
    expected = max(0.0, (whole - alone) / whole)
    assert confidence_drop_off(forward, x, mask, target, **options) == pytest.approx(expected, abs=1e-12)
    assert explanation_size(x, mask) == pytest.approx(len(present) / reference.count(x))


@given(problems(), st.integers(1, 9))
def test_on_backgrounds_is_the_mean_that_robustness_reports(problem, n):
    model, x, mask = problem
    target, backgrounds = answer(model, x), SolidColors(n, 1, mean=0.5, std=0.1)
    found = confidence_on_backgrounds(model, x, mask, target, backgrounds, batch_size=2)
    assert found == pytest.approx(rho_robustness(model, x, mask, target, backgrounds).confidence)
    colors = backgrounds.draw(model, x, target).batch(0, n)
    assert found == pytest.approx(reference.rho(model, x, reference.as_set(mask), colors, target)[1])


@given(problems())
def test_the_whole_input_keeps_everything(problem):
    model, x, mask = problem
    target, whole = answer(model, x), torch.ones_like(mask)
    with torch.no_grad():
        confidence = float(model(x).softmax(1)[0, target])
    assert confidence_kept(ADForward(model), x, whole, target) == pytest.approx(confidence)
    assert confidence_drop_off(ADForward(model), x, whole, target) == pytest.approx(0, abs=1e-12)
    assert explanation_size(x, whole) == 1


@pytest.mark.parametrize("forward", [two_patches(), ADForward(two_patches())])
@pytest.mark.parametrize(
    ("mask", "size", "margin"),
    [(CORNERS == 3, 0, -6), (CORNERS == 0, 0.25, -2), (CORNERS != 2, 0.5, 2), (CORNERS != 1, 0.75, -2)],
)
def test_two_patches_by_hand(forward, mask, size, margin):
    options = {} if isinstance(forward, ADForward) else {"baseline": "zero"}
    assert explanation_size(X, mask) == size
    assert confidence_kept(forward, X, mask, 1, **options) == pytest.approx(sigmoid(margin))
    drop = confidence_drop_off(forward, X, mask, 1, **options)
    assert drop == pytest.approx(1 - sigmoid(margin) / sigmoid(2), abs=1e-6)


def test_a_gain_is_no_drop():
    """Class 0 has margin -2 with everything and 6 with nothing."""
    nothing = CORNERS == 3
    assert confidence_kept(two_patches(), X, nothing, 0, baseline=0) == pytest.approx(sigmoid(6))
    assert confidence_drop_off(two_patches(), X, nothing, 0, baseline=0) == 0


def test_explanations_stand_for_their_masks():
    explanation = sufficient_explanation(two_patches(), X, CORNERS == 0, 1, baseline=0, minimize=True, step=1)
    assert explanation_size(X, explanation) == explanation.size == 0.5
    kept = confidence_kept(two_patches(), X, explanation, 1, baseline=0)
    assert kept == pytest.approx(explanation.confidence)


def test_activations_apply_to_all_of_them():
    """Logits (0, 4 (a + b) - 6): -2 with one patch."""
    options = {"baseline": 0, "to_confidence": "sigmoid"}
    assert confidence_kept(two_patches(), X, CORNERS == 0, 1, **options) == pytest.approx(sigmoid(-2))
    drop = confidence_drop_off(two_patches(), X, CORNERS == 0, 1, **options)
    assert drop == pytest.approx(1 - sigmoid(-2) / sigmoid(2))
    backgrounds = SolidColors(1, low=0.0, high=1e-9)
    on_black = confidence_on_backgrounds(two_patches(), X * 0, CORNERS == 0, 1, backgrounds, to_confidence="none")
    assert on_black == pytest.approx(-6)


def test_nothing_is_changed_and_no_graph_is_kept():
    model, x = small_net(0), noise(0, (1, 2, 6, 6)).requires_grad_()
    mask, target = noise(1, (6, 6)) > 0, answer(model, x)
    with untouched(model, x):
        confidence_kept(ADForward(model), x, mask, target)
        confidence_drop_off(model, x, mask, target, baseline="avg")
        confidence_on_backgrounds(model, x, mask, target, SolidColors(3, mean=0.5, std=0.1))


@pytest.mark.parametrize("function", [confidence_kept, confidence_drop_off])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"baseline": None}, ValueError, "plain model needs a baseline"),
        ({"forward_func": ADForward(two_patches())}, ValueError, "baseline was given with ADForward"),
        ({"forward_func": two_patches().train()}, ValueError, "train mode"),
        ({"inputs": torch.ones(2, 1, 4, 4)}, ValueError, "explain one at a time"),
        ({"explanation": torch.ones(4, 4)}, TypeError, "got torch.float32"),
        ({"explanation": torch.ones(4, 3, dtype=torch.bool)}, ValueError, r"\(4, 3\), expected \(4, 4\)"),
        ({"target": 7}, ValueError, "target 7 is out of range"),
        ({"to_confidence": "exp"}, ValueError, "got 'exp'"),
    ],
)
def test_bad_arguments_are_refused(function, changes, error, message):
    good = {"forward_func": two_patches(), "inputs": X, "explanation": CORNERS == 0, "target": 1, "baseline": 0.0}
    with pytest.raises(error, match=message):
        function(**(good | changes))


def test_a_confidence_of_nothing_cannot_drop():
    certain = linear(torch.zeros(2, 1, 4, 4), (0.0, -200.0))
    with pytest.raises(ValueError, match="the confidence in the target is 0 for the whole input"):
        confidence_drop_off(certain, X, CORNERS == 0, 1, baseline=0)


def test_an_explanation_that_was_not_found_is_refused():
    none = sufficient_explanation(
        linear(torch.zeros(2, 1, 4, 4), (1.0, 0.0)), X, CORNERS == 0, 1, baseline=0, allow_other_target=True
    )
    with pytest.raises(ValueError, match="no sufficient explanation was found"):
        explanation_size(X, none)
    with pytest.raises(ValueError, match="no sufficient explanation was found"):
        confidence_kept(two_patches(), X, none, 1, baseline=0)
    with pytest.raises(ValueError, match="no sufficient explanation was found"):
        confidence_drop_off(two_patches(), X, none, 1, baseline=0)
    with pytest.raises(ValueError, match="no sufficient explanation was found"):
        confidence_on_backgrounds(two_patches(), X, none, 1, SolidColors(1))
