"""Captum's attributors on an ADForward give AD attributions, or say why they cannot."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import captum.attr
import pytest
import torch
from captum.attr import (
    FeatureAblation,
    KernelShap,
    Lime,
    LimeBase,
    NoiseTunnel,
    Occlusion,
    Saliency,
    ShapleyValues,
    ShapleyValueSampling,
)
from torch import Tensor, nn

import captum_ad
from captum_ad import ADForward, BaselineForward

QUADRANTS = torch.tensor([[0, 1], [2, 3]]).repeat_interleave(4, 0).repeat_interleave(4, 1)[None, None]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(20, 4),
    ).eval()
    model[-1].weight.data *= 20  # outputs that Captum's Lasso (alpha 0.01) does not shrink to nothing
    return model


@pytest.fixture
def ad() -> ADForward:
    return ADForward(network())


@pytest.fixture
def x() -> Tensor:
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    x[:, :, 2:5, 1:6] = 0  # zeros are values like any other
    return x


def lime_base(forward: Callable[..., Tensor]) -> LimeBase:
    from captum._utils.models.linear_model import SkLearnLinearRegression

    def sample(original: Tensor, **kwargs: Any) -> Tensor:
        return torch.randint(0, 2, (1, 4))

    def painted(sample: Tensor, original: Tensor, **kwargs: Any) -> Tensor:
        return original * sample[0][QUADRANTS].to(original.dtype)

    return LimeBase(forward, SkLearnLinearRegression(), lambda *_, **__: 1.0, sample, True, painted, None)


CASES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Occlusion": (Occlusion, {"sliding_window_shapes": (3, 3, 3), "strides": (3, 2, 2)}),
    "Occlusion of one channel": (Occlusion, {"sliding_window_shapes": (1, 4, 4), "strides": (1, 4, 4)}),
    "FeatureAblation": (FeatureAblation, {"feature_mask": QUADRANTS}),
    "ShapleyValueSampling": (ShapleyValueSampling, {"feature_mask": QUADRANTS, "n_samples": 5}),
    "ShapleyValues": (ShapleyValues, {"feature_mask": QUADRANTS}),
    "KernelShap": (KernelShap, {"feature_mask": QUADRANTS, "n_samples": 20}),
    "Lime": (Lime, {"feature_mask": QUADRANTS, "n_samples": 20}),
    "LimeBase": (lime_base, {"n_samples": 20}),
}


@pytest.mark.filterwarnings("ignore:You are providing multiple inputs")
@pytest.mark.parametrize("perturbations_per_eval", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_attributor_on_the_masked_forward(
    name: str, perturbations_per_eval: int, ad: ADForward, x: Tensor
) -> None:
    """Stock attributor, no baselines: what Captum makes of `mask -> ad(x, mask=mask)`, image by image."""
    attributor, arguments = CASES[name]
    single = x[:1]
    arguments = arguments | {"target": 1, "perturbations_per_eval": perturbations_per_eval}
    torch.manual_seed(5)
    ours = attributor(ad).attribute(single, **arguments)

    def masked(mask: Tensor) -> Tensor:
        return ad(single.expand_as(mask), mask=mask)

    torch.manual_seed(5)
    expected = attributor(masked).attribute(torch.ones_like(single), **arguments)
    torch.testing.assert_close(ours, expected)
    assert ours.abs().sum() > 0
    if name != "LimeBase":
        assert ours.shape == single.shape


@pytest.mark.filterwarnings("ignore:You are providing multiple inputs")
@pytest.mark.parametrize("name", CASES)
def test_one_image_is_not_copied_for_each_perturbation(name: str, ad: ADForward, x: Tensor) -> None:
    attributor, arguments = CASES[name]
    batches, strides = [], set()

    def seen(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        batches.append(len(given[0]))
        strides.update(given[0].stride()[:1] if len(given[0]) > 1 else ())

    ad.register_forward_pre_hook(seen)
    attributor(ad).attribute(x[:1], target=1, perturbations_per_eval=3, **arguments)
    assert max(batches) == 3
    assert strides == {0}


@pytest.mark.parametrize("make", [ADForward, lambda model: BaselineForward(model, "avg")])
def test_a_model_may_write_into_its_input(make: Callable[[nn.Module], nn.Module], x: Tensor) -> None:
    """Also where a batch of perturbations leaves all features in: here a feature that is nowhere."""
    image = x[:1].clone()
    mask = torch.where(QUADRANTS == 3, 5, QUADRANTS)
    given = {"target": 1, "perturbations_per_eval": 2, "feature_mask": mask}
    found = FeatureAblation(make(nn.Sequential(nn.ReLU(inplace=True), network()))).attribute(image, **given)
    expected = FeatureAblation(make(nn.Sequential(nn.ReLU(), network()))).attribute(image, **given)
    assert torch.equal(image, x[:1])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", [Occlusion, FeatureAblation, ShapleyValues])
def test_batches_are_explained_sample_by_sample(kind: Any, ad: ADForward, x: Tensor) -> None:
    options = (
        {"sliding_window_shapes": (3, 4, 4), "strides": (3, 4, 4)} if kind is Occlusion else {"feature_mask": QUADRANTS}
    )
    together = kind(ad).attribute(x, target=[0, 3], perturbations_per_eval=2, **options)
    alone = [kind(ad).attribute(x[i : i + 1], target=t, **options) for i, t in enumerate((0, 3))]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:You are providing multiple inputs")
def test_lime_explains_each_sample_of_a_batch_with_its_own_image(ad: ADForward, x: Tensor) -> None:
    torch.manual_seed(0)
    sampled = KernelShap(ad).attribute(x, target=0, feature_mask=QUADRANTS, n_samples=300)
    exact = ShapleyValues(ad).attribute(x, target=0, feature_mask=QUADRANTS)
    error, spread = (sampled - exact).abs().amax((1, 2, 3)), exact.amax((1, 2, 3)) - exact.amin((1, 2, 3))
    assert (error < 0.15 * spread).all(), (error, spread)
    assert ((exact[0] - exact[1]).abs().amax() > 0.3 * spread).all()  # the images do have different answers


def test_occlusion_is_the_mean_drop_of_the_windows_that_cover_a_pixel(ad: ADForward, x: Tensor) -> None:
    with torch.no_grad():
        whole, drops, covered = ad(x)[:, 2], torch.zeros_like(x), torch.zeros(8, 8)
        for top, left in itertools.product((0, 2, 4), (0, 2, 4)):
            mask = torch.ones(8, 8, dtype=torch.bool)
            mask[top : top + 4, left : left + 4] = False
            drops += (whole - ad(x, mask=mask)[:, 2])[:, None, None, None] * ~mask
            covered += ~mask
    ours = Occlusion(ad).attribute(x, target=2, sliding_window_shapes=(3, 4, 4), strides=(3, 2, 2))
    torch.testing.assert_close(ours, drops / covered)


def test_shapley_values_are_the_mean_over_all_orders(ad: ADForward, x: Tensor) -> None:
    def worth(quadrants: tuple[int, ...]) -> float:
        return float(ad(x[:1], mask=torch.isin(QUADRANTS[0], torch.tensor(quadrants, dtype=torch.long)))[0, 1])

    expected = torch.zeros(4)
    with torch.no_grad():
        for order in itertools.permutations(range(4)):
            for place, feature in enumerate(order):
                expected[feature] += worth(order[: place + 1]) - worth(order[:place])
    ours = ShapleyValues(ad).attribute(x[:1], target=1, feature_mask=QUADRANTS)
    torch.testing.assert_close(ours[0, 0], (expected / math.factorial(4))[QUADRANTS[0, 0]])


def test_a_feature_without_effect_gets_nothing_though_its_values_are_wild(x: Tensor) -> None:
    """Only the left half matters to this network; painting the right half with anything is seen by none."""

    class Left(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, :, :4].mean((2, 3))

    x[:, :, :, 4:] = 1e20
    ours = FeatureAblation(ADForward(Left().eval())).attribute(x, target=0, feature_mask=QUADRANTS)
    assert torch.equal(ours[..., 4:], torch.zeros(2, 3, 8, 4))
    assert (ours[..., :4] != 0).any()


def test_tuples_of_inputs_and_additional_arguments(x: Tensor) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.table = network(), nn.Linear(5, 4)

        def forward(self, image: Tensor, table: Tensor, scale: float, shift: Tensor) -> Tensor:
            return scale * self.image(image) + self.table(table) + shift

    torch.manual_seed(0)
    model, table, shift = Two().eval(), torch.randn(2, 5), torch.randn(2, 4)
    ad = ADForward(model)
    masks = (QUADRANTS, torch.tensor([[4, 4, 5, 5, 5]]))
    image_map, table_map = FeatureAblation(ad).attribute(
        (x, table), target=0, additional_forward_args=(2.0, shift), feature_mask=masks, perturbations_per_eval=2
    )
    assert image_map.shape == x.shape
    assert table_map.shape == table.shape
    with torch.no_grad():
        kept = torch.tensor([0, 0, 1, 1, 1])
        drop = (model(x, table, 2.0, shift) - ad(x, table, 2.0, shift, mask=(None, kept, None, None)))[:, 0]
    torch.testing.assert_close(table_map[:, 0], drop)


def test_progress_is_shown_when_asked(ad: ADForward, x: Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    FeatureAblation(ad).attribute(x, target=0, feature_mask=QUADRANTS, show_progress=True)
    assert "Feature Ablation" in capsys.readouterr().err


def test_double_precision_and_data_parallel_and_bound_methods(ad: ADForward, x: Tensor) -> None:
    options: dict[str, Any] = {"target": 0, "feature_mask": QUADRANTS}
    expected = FeatureAblation(ad).attribute(x, **options)
    torch.testing.assert_close(FeatureAblation(nn.DataParallel(ad)).attribute(x, **options), expected)
    torch.testing.assert_close(FeatureAblation(ad.forward).attribute(x, **options), expected)
    double = FeatureAblation(ADForward(network().double())).attribute(x.double(), **options)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected, rtol=1e-4, atol=1e-5)


def test_noise_tunnel_reaches_the_masks_too(ad: ADForward, x: Tensor) -> None:
    """It calls the attributor past Captum's usage log, by `attribute.__wrapped__`."""
    tunnel = NoiseTunnel(FeatureAblation(ad))
    smooth = tunnel.attribute(x, nt_samples=1, stdevs=0.0, target=0, feature_mask=QUADRANTS)
    torch.testing.assert_close(smooth, FeatureAblation(ad).attribute(x, target=0, feature_mask=QUADRANTS))


def test_gradient_attributors_work_as_on_the_model(ad: ADForward, x: Tensor) -> None:
    assert torch.equal(Saliency(ad).attribute(x, target=0), Saliency(ad.model).attribute(x, target=0))


def test_plain_models_are_explained_as_ever(ad: ADForward, x: Tensor) -> None:
    options: dict[str, Any] = {"target": 0, "feature_mask": QUADRANTS, "baselines": 0.5}
    ours = FeatureAblation(ad.model).attribute(x, **options)
    captum_ad.unregister()
    try:
        assert torch.equal(FeatureAblation(ad.model).attribute(x, **options), ours)
    finally:
        captum_ad.register()


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
    with pytest.raises(ValueError, match="may only set features of it to 0"):
        attributor.attribute(x[:1], target=0, n_samples=2)


def test_partial_calls_are_masked(ad: ADForward, x: Tensor) -> None:
    options: dict[str, Any] = {"target": 0, "feature_mask": QUADRANTS}
    expected = FeatureAblation(ad).attribute(x, **options)
    assert torch.equal(FeatureAblation(functools.partial(ad)).attribute(x, **options), expected)


def test_an_adforward_inside_another_module_is_refused(ad: ADForward, x: Tensor) -> None:
    """It gets no mask there, so Captum would paint."""
    with pytest.raises(ValueError, match="Put it outermost"):
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


@pytest.fixture
def unregistered() -> Iterator[None]:
    captum_ad.unregister()
    yield
    captum_ad.register()


@pytest.mark.usefixtures("unregistered")
def test_unregister_gives_captum_its_methods_back() -> None:
    names = [*captum_ad.registration.MASKING, *captum_ad.registration.NOT_MASKING]
    before = {kind: vars(kind)["attribute"] for kind in names}
    captum_ad.register()
    captum_ad.register()
    assert all(vars(kind)["attribute"] is not before[kind] for kind in names)
    captum_ad.unregister()
    assert all(vars(kind)["attribute"] is before[kind] for kind in names)
