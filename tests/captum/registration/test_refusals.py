"""What attributors must not do with an ADForward is refused."""

from collections.abc import Callable

import captum.attr
import pytest
import torch
from captum.attr import (
    FeatureAblation,
)
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from tests.captum.registration.cases import CASES, QUADRANTS, lime_base


@pytest.mark.parametrize("name", [name for name in CASES if name != "LimeBase"])
def test_baselines_are_refused(name: str, ad: ADForward, x: Tensor) -> None:
    attributor, arguments = CASES[name]
    with pytest.raises(ValueError, match="needs none"):
        attributor(ad).attribute(x[:1], target=0, baselines=0, **arguments)


def test_methods_that_cannot_mask_are_refused(ad: ADForward, x: Tensor) -> None:
    layer = ad.model[0]
    with pytest.raises(ValueError, match=r"FeaturePermutation.*cannot mask"):
        captum.attr.FeaturePermutation(ad).attribute(x, target=0)
    with pytest.raises(ValueError, match=r"LayerFeatureAblation.*cannot mask"):
        captum.attr.LayerFeatureAblation(ad, layer).attribute(x, target=0)
    with pytest.raises(ValueError, match=r"NeuronFeatureAblation.*cannot mask"):
        captum.attr.NeuronFeatureAblation(ad, layer).attribute(x, (0, 0, 0))
    with pytest.raises(ValueError, match=r"FeaturePermutation.attribute_future cannot mask"):
        captum.attr.FeaturePermutation(ad).attribute_future(x, target=0)


def test_perturbations_that_paint_are_refused(ad: ADForward, x: Tensor) -> None:
    attributor = lime_base(ad)
    attributor.from_interp_rep_transform = lambda sample, original, **_: original * 0.5
    with pytest.raises(ValueError, match="may only set features to 0"):
        attributor.attribute(x[:1], target=0, n_samples=2)


def test_an_adforward_inside_another_module_is_refused(ad: ADForward, x: Tensor) -> None:
    """It gets no mask there, so Captum would paint."""
    with pytest.raises(ValueError, match="put it outermost"):
        FeatureAblation(nn.Sequential(ad, nn.Softmax(1))).attribute(x, target=0, feature_mask=QUADRANTS)
    outermost = ADForward(nn.Sequential(ad.model, nn.Softmax(1)))
    assert FeatureAblation(outermost).attribute(x, target=0, feature_mask=QUADRANTS).abs().sum() > 0


@pytest.mark.parametrize("name", [name for name in CASES if name != "LimeBase"])
def test_an_adforward_inside_a_function_is_refused(name: str, ad: ADForward, x: Tensor) -> None:
    """Neither does it get a mask there, and nobody can see it from outside."""
    attributor, arguments = CASES[name]

    def softmax(x: Tensor) -> Tensor:
        return ad(x).softmax(1)

    with pytest.raises(ValueError, match=rf"{attributor.__name__} was given a function .*ADForward itself"):
        attributor(softmax).attribute(x[:1], target=0, **arguments)
    assert torch.equal(ad(x), ad.model(x))  # and nothing of that is left behind
    painted = attributor(softmax).attribute(x[:1], target=0, baselines=0, **arguments)  # said aloud
    plain = nn.Sequential(ad.model, nn.Softmax(1))
    if "Lime" not in name and "Sampling" not in name and "Shap" not in name:  # these draw at random
        assert torch.equal(painted, attributor(plain).attribute(x[:1], target=0, **arguments))


@pytest.mark.parametrize("call", [lambda x, ad: ad.trace(x).output, lambda x, ad: BaselineForward(ad.model, "avg")(x)])
def test_so_is_whatever_takes_masks(call: Callable[..., Tensor], ad: ADForward, x: Tensor) -> None:
    with pytest.raises(ValueError, match="was given a function that calls a"):
        FeatureAblation(lambda x: call(x, ad)).attribute(x, target=0, feature_mask=QUADRANTS)


def test_a_function_that_passes_masks_on_may_call_an_adforward(ad: ADForward, x: Tensor) -> None:
    hidden = torch.arange(8).expand(8, 8) < 2
    part = FeatureAblation(lambda x: ad(x, mask=~hidden)).attribute(x, target=0, feature_mask=QUADRANTS)
    assert part.abs().sum() > 0


def test_inputs_that_are_no_tensors_are_refused(ad: ADForward, x: Tensor) -> None:
    with pytest.raises(TypeError, match="got list"):
        FeatureAblation(ad).attribute([x], target=0)
