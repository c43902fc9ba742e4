"""What attributors of other people's make do with an ADForward: mask, or say why not; and what is said once."""

import functools
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from captum.attr import (
    FeatureAblation,
    KernelShap,
    Lime,
    Occlusion,
    PerturbationAttribution,
    ShapleyValues,
    ShapleyValueSampling,
)
from torch import Tensor, nn

import captum_ad
from captum_ad import ADForward, BaselineForward
from captum_ad.attr import Rise

HALVES = (torch.arange(8) // 4).expand(1, 1, 8, 8)


@pytest.fixture
def ad() -> ADForward:
    torch.manual_seed(0)
    return ADForward(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval())


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Halves(PerturbationAttribution):  # type: ignore[misc]
    """Somebody's own: it paints zeros over half of the image."""

    def attribute(self, inputs: Tensor, target: int, additional_forward_args: Any = None) -> Tensor:
        more = () if additional_forward_args is None else additional_forward_args
        painted = inputs * (HALVES == 0)
        drop = self.forward_func(inputs, *more) - self.forward_func(painted, *more)
        return drop[:, target]


class Scaled(FeatureAblation):  # type: ignore[misc]
    """Somebody's own, which leaves the painting to Captum and looks at the image."""

    def attribute(self, inputs: Tensor, **kwargs: Any) -> Tensor:
        found: Tensor = super().attribute(inputs, **kwargs) * inputs
        return found


class Noise(FeatureAblation):  # type: ignore[misc]
    """Somebody's own, which paints noise inside of Captum's method."""

    def _construct_ablated_input_across_tensors(self, *args: Any, **kwargs: Any) -> Any:  # Captum 0.9
        made, mask = super()._construct_ablated_input_across_tensors(*args, **kwargs)
        return tuple(one * 0.5 for one in made), mask

    def _construct_ablated_input(self, *args: Any, **kwargs: Any) -> Any:  # Captum 0.8
        made, mask = super()._construct_ablated_input(*args, **kwargs)
        return made * 0.5, mask


@pytest.fixture
def forgotten() -> Iterator[None]:
    """What a test registers is gone afterwards."""
    yield
    captum_ad.unregister_captum()
    captum_ad._captum.registration._own.clear()
    captum_ad.register_captum()


@pytest.mark.parametrize("make", [lambda ad: ad, lambda ad: BaselineForward(ad.model, "avg"), lambda ad: ad.forward])
def test_an_attributor_that_nobody_knows_is_refused(make: Any, ad: ADForward, x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"Halves is not registered .*captum_ad.register_captum\(Halves\)"):
        Halves(make(ad)).attribute(x, target=1)
    with pytest.raises(ValueError, match="Halves is not registered"):
        Halves(lambda x: make(ad)(x).softmax(1)).attribute(x, target=1)
    assert Halves(ad.model).attribute(x, target=1).abs().sum() > 0


@pytest.mark.usefixtures("forgotten")
def test_registered_it_masks(ad: ADForward, x: Tensor) -> None:
    captum_ad.register_captum(Halves)
    expected = (ad(x) - ad(x, mask=HALVES[0] == 0))[:, 1]
    torch.testing.assert_close(Halves(ad).attribute(x, target=1), expected)
    captum_ad.unregister_captum()
    assert Halves(ad.model).attribute(x, target=1).abs().sum() > 0


def test_only_what_can_mask_can_be_registered() -> None:
    class Few(PerturbationAttribution):  # type: ignore[misc]
        def attribute(self, inputs: Tensor) -> Tensor:
            return inputs

    with pytest.raises(TypeError, match="no additional_forward_args"):
        captum_ad.register_captum(Few)
    with pytest.raises(TypeError, match="subclass of captum"):
        captum_ad.register_captum(nn.Linear)  # type: ignore[arg-type]


def test_one_that_hands_on_to_captum_works_and_sees_the_image(ad: ADForward, x: Tensor) -> None:
    found = Scaled(ad).attribute(x, target=1, feature_mask=HALVES)
    torch.testing.assert_close(found, x * FeatureAblation(ad).attribute(x, target=1, feature_mask=HALVES))


def test_one_that_paints_inside_of_captums_method_is_refused(ad: ADForward, x: Tensor) -> None:
    with pytest.raises(ValueError, match="it wrote other values"):
        Noise(ad).attribute(x, target=1, feature_mask=HALVES)


def test_rise_of_a_function_around_an_adforward_is_refused(ad: ADForward, x: Tensor) -> None:
    with pytest.raises(ValueError, match="without a mask"):
        Rise(lambda x: ad(x)).attribute(x, target=0, n_samples=2, grid=2)


def test_after_unregister_an_adforward_in_captum_raises(ad: ADForward, x: Tensor) -> None:
    captum_ad.unregister_captum()
    try:
        for kind, options in (
            (Occlusion, {"sliding_window_shapes": (3, 4, 4)}),
            (FeatureAblation, {"feature_mask": HALVES}),
            (KernelShap, {"feature_mask": HALVES, "n_samples": 2}),
        ):
            with pytest.raises(ValueError, match=r"Call captum_ad.register_captum\(\)"):
                kind(ad).attribute(x[:1], target=1, **options)
        assert torch.equal(ad(x), ad.model(x))
    finally:
        captum_ad.register_captum()


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("samples", [1, 2])
def test_the_mask_of_a_partial_call_counts_too(rows: int, samples: int, ad: ADForward, x: Tensor) -> None:
    own = torch.rand(min(rows, samples), 8, 8, generator=torch.Generator().manual_seed(2)) > 0.3
    x = x[:samples]
    found = FeatureAblation(functools.partial(ad, mask=own)).attribute(
        x, target=1, feature_mask=HALVES, perturbations_per_eval=2
    )
    for half in (0, 1):
        drop = ad(x, mask=own) - ad(x, mask=own & (HALVES[0] != half))
        torch.testing.assert_close(found[:, 0, 0, 4 * half], drop[:, 1])
    with pytest.raises(ValueError, match="does not fit the input"):
        FeatureAblation(functools.partial(ad, mask=own[:, :4])).attribute(x, target=1, feature_mask=HALVES)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table = nn.Conv2d(3, 4, 3), nn.Linear(5, 4)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.conv(image).relu().mean((2, 3)) + self.table(table)


def test_a_feature_mask_of_another_size_is_refused_with_what_to_do(ad: ADForward, x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 20, 30\) but the input .*superpixels\(x\)"):
        FeatureAblation(ad).attribute(x, target=1, feature_mask=torch.zeros(1, 1, 20, 30, dtype=torch.long))


@pytest.mark.parametrize("kind", [FeatureAblation, KernelShap, Lime, ShapleyValueSampling, ShapleyValues])
@pytest.mark.parametrize(
    ("given", "what"), [(HALVES.float(), "a tensor of torch.float32"), (HALVES.numpy(), "ndarray")]
)
def test_a_feature_mask_that_is_no_tensor_of_integers_is_refused(
    kind: Any, given: Any, what: str, ad: ADForward, x: Tensor
) -> None:
    for forward in (ad, BaselineForward(ad.model, "avg")):
        with pytest.raises(TypeError, match=rf"{kind.__name__}: feature_mask is {what}, expected a tensor of integers"):
            kind(forward).attribute(x[:1], target=1, feature_mask=given)


@pytest.mark.parametrize("kind", [FeatureAblation, KernelShap, Lime, ShapleyValueSampling])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.bool])
def test_a_feature_mask_of_any_integers_works_everywhere(
    kind: Any, dtype: torch.dtype, ad: ADForward, x: Tensor
) -> None:
    options = {} if kind is FeatureAblation else {"n_samples": 5}
    found = []
    for labels in (HALVES, HALVES.to(dtype)):
        torch.manual_seed(0)
        found.append(kind(ad).attribute(x[:1], target=1, feature_mask=labels, **options))
    assert torch.equal(*found)


def test_masks_of_several_inputs_are_as_many_as_the_inputs(x: Tensor) -> None:
    torch.manual_seed(0)
    ad, table, own = ADForward(Two().eval()), torch.rand(2, 5), torch.rand(8, 8) > 0.3
    columns = torch.tensor([[2, 2, 3, 3, 3]])
    with pytest.raises(ValueError, match=r"1 feature mask\(s\) for 2 input\(s\)"):
        FeatureAblation(ad).attribute((x, table), target=0, feature_mask=(HALVES,))
    with pytest.raises(ValueError, match="1 masks for 2 inputs"):
        FeatureAblation(functools.partial(ad, mask=(own,))).attribute(
            (x, table), target=0, feature_mask=(HALVES, columns)
        )
    found = FeatureAblation(functools.partial(ad, mask=own)).attribute(
        (x, table), target=0, feature_mask=(HALVES, columns)
    )
    drop = ad(x, table, mask=(own, None)) - ad(x, table, mask=(own, torch.tensor([0, 0, 1, 1, 1])))
    torch.testing.assert_close(found[1][:, 0], drop[:, 0])


@pytest.mark.parametrize("kind", [FeatureAblation, ShapleyValueSampling])
def test_attribute_future_gives_what_attribute_gives(kind: Any, ad: ADForward, x: Tensor) -> None:
    options = {"target": 1, "feature_mask": HALVES.contiguous(), "perturbations_per_eval": 2}
    torch.manual_seed(3)
    expected = kind(ad).attribute(x, **options)
    torch.manual_seed(3)
    future = kind(ad).attribute_future(x, **options)
    assert hasattr(future, "wait")
    torch.testing.assert_close(future.wait(), expected)


@pytest.mark.parametrize("target", [1, None, [1, 2]])
def test_a_class_of_a_map_of_outputs_is_refused(target: Any, x: Tensor) -> None:
    ad = ADForward(nn.Conv2d(3, 5, 3, padding=1).eval())
    with pytest.raises(ValueError, match=r"targets.Region\("):
        FeatureAblation(ad).attribute(x, target=target, feature_mask=HALVES)
    assert FeatureAblation(ad).attribute(x, target=(1, 2, 3), feature_mask=HALVES).shape == x.shape


class TestLoneValues:
    def test_features_of_single_channels_are_mentioned_with_what_was_meant(self, ad: ADForward, x: Tensor) -> None:
        with pytest.warns(UserWarning, match=r"torch.arange\(64\).reshape\(1, 1, 8, 8\)"):
            FeatureAblation(ad).attribute(x[:1], target=0, perturbations_per_eval=64)
        with pytest.warns(UserWarning, match=r"sliding_window_shapes=\(3, …\)") as seen:
            Occlusion(ad).attribute(x, target=0, sliding_window_shapes=(1, 4, 4), strides=(1, 4, 4))
        assert len(seen) == 1
        assert seen[0].filename == __file__
        with pytest.warns(UserWarning, match="no positions"):
            FeatureAblation(ADForward(nn.Linear(5, 2).eval())).attribute(torch.rand(2, 5), target=0)

    @pytest.mark.filterwarnings("ignore:Feature mask is missing")
    @pytest.mark.parametrize("kind", [FeatureAblation, KernelShap, Lime, ShapleyValueSampling])
    def test_each_attributor_that_takes_a_feature_mask_mentions_it_once(
        self, kind: Any, ad: ADForward, x: Tensor
    ) -> None:
        options = {} if kind is FeatureAblation else {"n_samples": 2}
        with pytest.warns(UserWarning, match=rf"^{kind.__name__} hides single channels") as seen:
            kind(ad).attribute(x[:1], target=0, **options)
        assert len([one for one in seen if "single channels" in str(one.message)]) == 1
        assert seen[0].filename == __file__

    @pytest.mark.filterwarnings("error")
    def test_a_waveform_has_positions_and_a_table_none(self) -> None:
        class Wave(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.convolution = nn.Conv1d(1, 2, 3)

            def forward(self, x: Tensor) -> Tensor:
                return self.convolution(x[:, None]).relu().mean(2)

        windows = {"target": 1, "sliding_window_shapes": (4,), "strides": (4,)}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Occlusion(ADForward(Wave().eval())).attribute(torch.rand(1, 12), **windows)
        with pytest.warns(UserWarning, match="have no positions"):
            Occlusion(ADForward(nn.Linear(12, 2).eval())).attribute(torch.rand(1, 12), **windows)

    def test_nothing_is_said_of_features_that_are_positions(self, ad: ADForward, x: Tensor) -> None:
        FeatureAblation(ad).attribute(x, target=0, feature_mask=HALVES)
        Occlusion(ad).attribute(x, target=0, sliding_window_shapes=(3, 4, 4), strides=4)
        FeatureAblation(BaselineForward(ad.model, 0.0)).attribute(x[:1], target=0, perturbations_per_eval=64)
        gray = ADForward(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()).eval())
        FeatureAblation(gray).attribute(x[:1, :1], target=0)
        Occlusion(gray).attribute(x[:1, :1], target=0, sliding_window_shapes=(1, 4, 4))
