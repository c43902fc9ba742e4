"""ADForward's own business: masks of all shapes, several inputs, outputs, and what it says to bad input."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_ad import PRESETS, ADForward, MaskRule
from tests.forwards.ad_forward.networks import C, Classifier, H, N, Named, TwoInputs, W, half
from tests.networks import Apply


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32, torch.float16])
def test_mask_shapes_and_dtypes_agree(ad: ADForward, x: Tensor, dtype: torch.dtype) -> None:
    mask = half().to(dtype)
    shapes = [(H, W), (1, H, W), (N, H, W), (1, 1, H, W), (N, 1, H, W), (1, C, H, W), (N, C, H, W)]
    outputs = [ad(x, mask=mask.expand(shape)) for shape in shapes]
    for out in outputs[1:]:
        torch.testing.assert_close(out, outputs[0])
    assert not torch.allclose(outputs[0], ad(x))
    for i in range(N):  # and each sample is masked alike
        torch.testing.assert_close(outputs[0][i : i + 1], ad(x[i : i + 1], mask=mask))


def test_each_sample_has_its_own_mask(ad: ADForward, x: Tensor) -> None:
    x = x[:1].expand(N, -1, -1, -1)
    mask = torch.stack([half(), ~half(), torch.ones(H, W, dtype=torch.bool)])
    out = ad(x, mask=mask)
    torch.testing.assert_close(out[0], ad(x[:1], mask=half())[0])
    torch.testing.assert_close(out[1], ad(x[:1], mask=~half())[0])
    torch.testing.assert_close(out[2], ad.model(x)[2])
    assert not torch.allclose(out[0], out[1])


def test_a_pixel_without_some_channels_stays_active(x: Tensor) -> None:
    conv = nn.Conv2d(C, 1, 1, bias=False).eval()
    mask = torch.ones(1, C, H, W)
    mask[:, 0] = 0
    expected = nn.functional.conv2d(x[:, 1:], conv.weight[:, 1:])
    torch.testing.assert_close(ADForward(conv, tau=0.9)(x, mask=mask), expected)


def test_nan_is_a_mask(ad: ADForward, x: Tensor) -> None:
    missing = torch.where(half(), x, math.nan)
    assert torch.equal(ad(missing), ad(x, mask=half()))
    more = (torch.arange(H)[:, None] < 4).expand(H, W)
    assert torch.equal(ad(missing, mask=more), ad(x, mask=more & half()))
    assert bool(ad(torch.full_like(x, math.nan)).isfinite().all())


@pytest.mark.parametrize(
    "shape",
    [(), (W,), (W, H), (H, W + 1), (N - 1, H, W), (N - 1, 1, H, W), (N, C + 1, H, W), (1, 1, 1, H, W), (0, H, W)],
)  # fmt: skip
def test_shapes_that_do_not_fit(ad: ADForward, x: Tensor, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="does not fit the input") as error:
        ad(x, mask=torch.ones(shape, dtype=torch.bool))
    assert str(shape) in str(error.value)
    assert str((N, C, H, W)) in str(error.value)


@pytest.mark.parametrize("wrong", [2.0, 0.5, -1.0, 255.0, math.nan, math.inf])
def test_values_other_than_0_and_1(ad: ADForward, x: Tensor, wrong: float) -> None:
    mask = torch.ones(H, W)
    mask[0, 0] = wrong
    with pytest.raises(ValueError, match="other than 0 and 1"):
        ad(x, mask=mask)


@pytest.mark.parametrize("mask", [[[True] * W] * H, 1, "all", half().numpy()])
def test_masks_that_are_no_tensors(ad: ADForward, x: Tensor, mask: Any) -> None:
    with pytest.raises(TypeError, match="mask must be a Tensor"):
        ad(x, mask=mask)


def test_a_mask_by_position(ad: ADForward, x: Tensor) -> None:
    with pytest.raises(TypeError, match=r"positional arguments but .*by name: ad\(x, mask=mask\)"):
        ad(x, half())


def test_a_type_error_of_the_models_own_stays_what_it_is(x: Tensor) -> None:
    with pytest.raises(TypeError, match=r"^of its own$"):
        ADForward(Named().eval())(x, x, factor=1.0)


def test_integers_are_deactivated_as_floats(x: Tensor) -> None:
    ad = ADForward(Apply(lambda pixels: pixels.float().mean((2, 3))).eval())
    pixels = (x * 9).to(torch.uint8)
    assert torch.equal(ad(pixels), ad.model(pixels))
    assert torch.equal(ad(pixels, mask=torch.ones(H, W)), ad.model(pixels))
    assert torch.equal(ad(pixels, mask=half()), ad(pixels.float(), mask=half()))


@pytest.mark.parametrize("shape", [(C,), (1, C), (N, C)])
def test_vectors_are_masked_by_feature(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    linear, x = nn.Linear(C, 3).eval(), torch.randn(N, C)
    mask = torch.tensor([True, False]).expand(shape)
    torch.testing.assert_close(ADForward(linear)(x, mask=mask), linear(x * torch.tensor([1.0, 0.0])))


# Several inputs


def test_several_inputs(x: Tensor) -> None:
    ad, other, bias = ADForward(TwoInputs().eval()), torch.randn(N, 1, H, W), torch.randn(3)
    assert torch.equal(ad(x, other, bias, scale=2.0), ad.model(x, other, bias, scale=2.0))
    masked = ad(x, other, bias, mask=(half(), None, None), scale=2.0)
    assert torch.equal(masked, ad(x, other, bias, mask=half(), scale=2.0))
    assert torch.equal(masked, ad(torch.where(half(), x, 1e30), other, bias, mask=half(), scale=torch.tensor(2.0)))
    both = ad(x, other, mask=(half(), ~half()))
    assert torch.equal(both, ad(torch.where(half(), x, 7), torch.where(half(), 7, other), mask=(half(), ~half())))
    assert not torch.allclose(both, ad(x, other, mask=(half(), torch.ones(H, W))))
    second = ad(x, other, mask=(None, half()))
    assert torch.equal(second, ad(x, torch.where(half(), other, math.nan)))


@pytest.mark.parametrize("masks", [(), (half(),), (half(), None, None)])
def test_a_mask_for_each_input(x: Tensor, masks: tuple[Tensor | None, ...]) -> None:
    with pytest.raises(ValueError, match=f"tuple of {len(masks)} for 2 inputs"):
        ADForward(TwoInputs().eval())(x, x[:, :1], mask=masks)


def test_masks_of_what_is_no_image(x: Tensor) -> None:
    ad = ADForward(Apply(lambda x, scale: (x * scale).mean((2, 3))).eval())
    assert torch.equal(ad(x, 2, mask=(half(), None)), ad(2 * x, 1, mask=half()))
    with pytest.raises(TypeError, match="mask of input 1"):
        ad(x, 2, mask=(None, half()))
    with pytest.raises(ValueError, match="batch first"):
        ad(x, torch.ones(3), mask=(None, torch.ones(3)))


def test_inputs_by_name(x: Tensor) -> None:
    ad = ADForward(Apply(lambda scale, x, y: (x * scale + y).mean((2, 3))).eval())
    expected = ad(2, x, x, mask=(None, half(), None))
    assert torch.equal(ad(scale=2, x=x, y=x, mask=half()), expected)  # of the first tensor
    assert torch.equal(ad(scale=2, y=x, x=x, mask={"x": half()}), expected)
    both = ad(2, x, x, mask=(None, half(), half()))
    assert torch.equal(ad(scale=2, x=x, y=x, mask={"x": half(), "y": half()}), both)
    assert torch.equal(ad(scale=2, x=x, y=x), ad.model(2, x, x))
    with pytest.raises(ValueError, match="mask for 'z', but no input of that name"):
        ad(scale=2, x=x, y=x, mask={"z": half()})
    with pytest.raises(ValueError, match="or by its name"):
        ad(scale=2, mask=half())
    with pytest.raises(ValueError, match="tuple of masks"):
        ad(2, x=x, y=x, mask={"x": half()})


# Outputs


# Construction


# Life cycle


@pytest.mark.parametrize(
    ("kind", "pool", "shape"),
    [(nn.Conv1d, nn.AdaptiveAvgPool1d, (9,)), (nn.Conv3d, nn.AdaptiveAvgPool3d, (4, 5, 4))],
    ids=["1-D", "3-D"],
)
@pytest.mark.parametrize("rule", PRESETS)
def test_other_ranks(kind: type[nn.Module], pool: type[nn.Module], shape: tuple[int, ...], rule: str) -> None:
    torch.manual_seed(0)
    ad, x = ADForward(Classifier(kind, pool).eval(), rule), torch.randn(N, C, *shape)
    mask = torch.rand(N, *shape) < 0.5
    out = ad(x, mask=mask)
    assert torch.equal(ad(x), ad.model(x))
    assert torch.equal(ad(torch.where(mask[:, None], x, math.inf), mask=mask), out)
    torch.testing.assert_close(ad(x, mask=mask[:, None].expand(-1, C, *shape)), out)
    assert bool(ad(x, mask=torch.zeros(shape)).isfinite().all())
    assert not torch.allclose(out, ad(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes(ad: ADForward, x: Tensor, dtype: torch.dtype) -> None:
    low = ADForward(copy.deepcopy(ad.model).to(dtype))
    out = low(x.to(dtype), mask=half())
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), ad(x, mask=half()), rtol=0.1, atol=0.05)


def test_the_first_tensor_by_name_is_the_input() -> None:
    class Named(nn.Module):
        def forward(self, pixels: Tensor, scale: Tensor | None = None) -> Tensor:
            means = pixels.mean((2, 3))
            return means if scale is None else means * scale

    ad, x, half = ADForward(Named().eval()), torch.rand(1, 3, 4, 4), torch.arange(4).expand(4, 4) < 2
    expected = ad(x, mask=half)
    assert torch.equal(ad(pixels=x), ad(x))
    assert torch.equal(ad(pixels=x, mask=half), expected)
    assert torch.equal(ad(pixels=x.where(half, torch.nan)), expected)
    with pytest.raises(ValueError, match="pass features by position"):
        ad(pixels=x, scale=torch.full((1, 3), torch.nan))


def test_half_precision_stays_finite() -> None:
    """Counts beyond what float16 holds."""

    class Mean(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    x, mask = torch.full((1, 2, 300, 300), 3.0).half(), torch.zeros(300, 300, dtype=torch.bool)
    mask[0, 0] = True
    rule = MaskRule(average="active")
    assert (
        ADForward(nn.GroupNorm(1, 2).half().eval(), rule)(x + 100 * torch.eye(300).half(), mask=~mask).isfinite().all()
    )
    assert ADForward(Mean().eval(), rule)(x, mask=mask).isfinite().all()
