"""Captum's attributors on an ADForward give AD attributions, or say why they cannot."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from captum.attr import (
    FeatureAblation,
    KernelShap,
    NoiseTunnel,
    Occlusion,
    Saliency,
    ShapleyValues,
)
from torch import Tensor, nn

import captum_ad
from captum_ad import ADForward, BaselineForward
from tests.captum.registration.cases import CASES, QUADRANTS, network


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
    captum_ad.unregister_captum()
    try:
        assert torch.equal(FeatureAblation(ad.model).attribute(x, **options), ours)
    finally:
        captum_ad.register_captum()


def test_partial_calls_are_masked(ad: ADForward, x: Tensor) -> None:
    options: dict[str, Any] = {"target": 0, "feature_mask": QUADRANTS}
    expected = FeatureAblation(ad).attribute(x, **options)
    assert torch.equal(FeatureAblation(functools.partial(ad)).attribute(x, **options), expected)


@pytest.fixture
def unregistered() -> Iterator[None]:
    captum_ad.unregister_captum()
    yield
    captum_ad.register_captum()


@pytest.mark.usefixtures("unregistered")
def test_unregister_gives_captum_its_methods_back() -> None:
    names = [*captum_ad._captum.registration.MASKING, *captum_ad._captum.registration.NOT_MASKING]
    before = {kind: vars(kind)["attribute"] for kind in names}
    captum_ad.register_captum()
    captum_ad.register_captum()
    assert all(vars(kind)["attribute"] is not before[kind] for kind in names)
    captum_ad.unregister_captum()
    assert all(vars(kind)["attribute"] is before[kind] for kind in names)
