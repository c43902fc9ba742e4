"""BaselineForward in Captum's attributors: what they give with that baseline."""

import pytest
import torch
from captum._utils.models.linear_model import SkLearnLinearRegression
from captum.attr import FeatureAblation, FeaturePermutation, KernelShap, Lime, Occlusion, ShapleyValueSampling
from torch import nn

from captum_ad import BaselineForward
from captum_ad.baselines import BASELINES, baseline, inpaint
from tests.forwards.baseline_forward.models import network, randn

QUADRANTS = torch.tensor([[0, 1], [2, 3]]).repeat_interleave(4, 0).repeat_interleave(4, 1)[None, None]
CASES = {
    "Occlusion": (Occlusion, {"sliding_window_shapes": (3, 3, 3), "strides": (3, 2, 2)}),
    "Occlusion of one channel": (Occlusion, {"sliding_window_shapes": (1, 4, 4), "strides": (1, 4, 4)}),
    "FeatureAblation": (FeatureAblation, {"feature_mask": QUADRANTS}),
    "ShapleyValueSampling": (ShapleyValueSampling, {"feature_mask": QUADRANTS, "n_samples": 5}),
}
GIVEN = {
    **{name: (name, lambda x, name=name: baseline(name, x)) for name in BASELINES},
    "value": (0.3, lambda x: 0.3),
    "whole number": (2, lambda x: 2),
    "color": (randn(5, 3, 1, 1), lambda x: randn(5, 3, 1, 1).expand_as(x)),
    "image": (randn(6, 1, 3, 8, 8), lambda x: randn(6, 1, 3, 8, 8)),
}


@pytest.mark.parametrize("perturbations_per_eval", [1, 3])
@pytest.mark.parametrize("given_", GIVEN)
@pytest.mark.parametrize("name", CASES)
def test_captum_gives_what_it_gives_with_that_baseline(name, given_, perturbations_per_eval, x):
    attributor, options = CASES[name]
    options = options | {"target": [1, 3], "perturbations_per_eval": perturbations_per_eval}
    model, (masking, painted) = network(), GIVEN[given_]
    torch.manual_seed(5)
    expected = attributor(model).attribute(x, baselines=painted(x), **options)
    torch.manual_seed(5)
    ours = attributor(BaselineForward(model, masking)).attribute(x, **options)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    assert ours.abs().sum() > 0
    if given_ not in ("avg", "blur"):  # means may be rounded otherwise in another batch
        assert torch.equal(ours, expected)


@pytest.mark.filterwarnings("ignore:You are providing multiple inputs")
@pytest.mark.parametrize("kind", ["Lime", "KernelShap"])
def test_captum_s_surrogates_give_what_they_give_with_that_baseline(kind, x):
    """Lime's default kernel compares inputs, which are masks here and images there; with one kernel they agree."""
    model, options = network(), {"target": 1, "feature_mask": QUADRANTS, "n_samples": 30}

    def surrogate(forward):
        torch.manual_seed(5)
        if kind == "KernelShap":
            return KernelShap(forward)
        return Lime(forward, SkLearnLinearRegression(), similarity_func=lambda *_, **__: 1.0)

    expected = surrogate(model).attribute(x[:1], baselines=0.3, **options)
    ours = surrogate(BaselineForward(model, 0.3)).attribute(x[:1], **options)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert ours.abs().sum() > 0


def test_captum_paints_by_a_function_of_the_mask(x):
    """The drop when a quadrant of a linear model's input is replaced by three times itself is minus twice its part."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval()
    found = FeatureAblation(BaselineForward(model, lambda x, mask: 3 * x)).attribute(
        x, target=0, feature_mask=QUADRANTS
    )
    part = (x * model[1].weight[0].reshape(3, 8, 8)).detach()
    for quadrant in range(4):
        inside = QUADRANTS.eq(quadrant).expand_as(x)
        expected = -2 * (part * inside).sum((1, 2, 3))
        torch.testing.assert_close(found[:, 0][inside[:, 0]].reshape(2, -1)[:, 0], expected)


def test_captum_inpaints(x):
    """The drop of each window is that of the inpainted image."""
    model, options = network(), {"sliding_window_shapes": (3, 4, 4), "strides": (3, 4, 4)}
    found = Occlusion(BaselineForward(model, "inpaint")).attribute(x[:1], target=2, **options)
    with torch.no_grad():
        for top in (0, 4):
            for left in (0, 4):
                mask = torch.ones(1, 1, 8, 8, dtype=torch.bool)
                mask[..., top : top + 4, left : left + 4] = False
                drop = (model(x[:1]) - model(inpaint(x[:1], mask)))[0, 2]
                torch.testing.assert_close(found[0, :, top : top + 4, left : left + 4], drop.expand(3, 4, 4))
    assert found.unique().numel() == 4


def test_captum_with_additional_arguments(x):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network()

        def forward(self, image, scale, shift):
            return scale * self.body(image) + shift

    model, shift = Scaled().eval(), randn(3, 2, 4)
    options = {"target": 0, "feature_mask": QUADRANTS, "additional_forward_args": (2.0, shift)}
    expected = FeatureAblation(model).attribute(x, baselines=0.5, **options)
    assert torch.equal(FeatureAblation(BaselineForward(model, 0.5)).attribute(x, **options), expected)


@pytest.mark.parametrize("name", CASES)
def test_captum_s_own_baselines_are_refused_beside_it(name, x):
    attributor, options = CASES[name]
    with pytest.raises(ValueError, match=r"baselines together with a BaselineForward.*Leave baselines out"):
        attributor(BaselineForward(network(), 0.5)).attribute(x, target=0, baselines=0, **options)


def test_captum_s_other_methods_and_buried_ones_are_refused(x):
    forward = BaselineForward(network(), 0.5)
    with pytest.raises(ValueError, match=r"FeaturePermutation.*run a BaselineForward like the plain model"):
        FeaturePermutation(forward).attribute(x, target=0)
    with pytest.raises(ValueError, match=r"Sequential contains a BaselineForward.*put it outermost"):
        FeatureAblation(nn.Sequential(forward, nn.Softmax(1))).attribute(x, target=0, feature_mask=QUADRANTS)


def test_several_inputs_are_masked_by_captum(x):
    class Two(nn.Module):
        def forward(self, first, second):
            return (first + second).flatten(1)

    labels = (torch.zeros(1, 1, *x.shape[2:], dtype=torch.long), torch.ones(1, 1, *x.shape[2:], dtype=torch.long))
    given = {"target": 0, "feature_mask": labels}
    ours = FeatureAblation(BaselineForward(Two().eval(), 0)).attribute((x, 2 * x), **given)
    expected = FeatureAblation(Two().eval()).attribute((x, 2 * x), baselines=(0, 0), **given)
    for one, other in zip(ours, expected):
        torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match="paints one input"):
        FeatureAblation(BaselineForward(Two().eval(), torch.zeros(1))).attribute((x, x), **given)
