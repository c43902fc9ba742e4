"""FEI: its gradient against loops, networks of which one knows the answer, clipping, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad._scoring import Judge
from captum_ad.attr import FEI
from captum_ad.attr.fei import _Learning, kept
from captum_ad.attr.soft import Clipped, SoftForward

QUICK = {"n_steps": 30, "side": 4, "quantiles_per_step": 3}


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = (nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()


def image(seed: int = 1, size: tuple[int, ...] = (1, 2, 8, 8)) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


class Corner(nn.Module):
    """Speaks for class 0 by how bright the upper left quarter is, and for class 1 by the lower right one."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        sums = [x[:, 0, :4, :4].mean((1, 2)), x[:, 0, 4:, 4:].mean((1, 2))]
        return 6 * torch.stack([sums[0], 0.5 * sums[1]], 1)


def forwards(model: nn.Module) -> dict[str, nn.Module]:
    return {
        "ad": ADForward(model),
        "paper": ADForward(model, "paper"),
        **{name: BaselineForward(model, name) for name in ("zero", "avg", "blur", "linear")},
    }


def learning(forward: nn.Module, gradient: str = "straight-through") -> _Learning:
    """One of a mask of 3 × 3 cells for class 1, without clipping."""
    dtype = next(forward.parameters()).dtype
    soft = SoftForward(forward, image().to(dtype), None, (), 0, 1, Judge(1), gradient)
    mask = image(6, (3, 3)).to(dtype).requires_grad_()
    return _Learning(soft.judge, soft, Clipped(soft, None, False), mask, (0.5,), 0.3, 0)


class TestReference:
    def test_what_is_descended_is_what_insertion_and_deletion_lose(self):
        """By finite differences of the formula."""
        model, quantiles = network().double(), [0.3, 0.7]
        learn = learning(model)
        x = learn.soft.x
        found = learn.gradient(quantiles)

        def lost(mask: Tensor) -> float:
            large = nn.functional.interpolate(mask[None, None], (8, 8), mode="bilinear")
            total = 0.0
            for q in quantiles:
                keep = torch.sigmoid((large - large.quantile(q)) / 0.3)
                total -= float(
                    model(x * keep).softmax(1)[0, 1].log() + (1 - model(x - x * keep).softmax(1)[0, 1]).log()
                )
            return total / 2

        for i in range(3):
            for j in range(3):
                step = torch.zeros(3, 3, dtype=torch.float64)
                step[i, j] = 1e-6
                with torch.no_grad():
                    slope = (lost(learn.mask + step) - lost(learn.mask - step)) / 2e-6
                assert float(found[i, j]) == pytest.approx(slope, abs=1e-6)

    def test_masked_gradients_are_those_of_a_network_that_is_multiplied_by_the_mask(self):
        model = network()
        learn = learning(ADForward(model), "masked")
        with learn.clipped:
            first, again = learn.gradient([0.3, 0.6]), learn.gradient([0.3, 0.6])
        keep = kept(learn.enlarged(), [0.3, 0.6], 0.3)
        both = torch.cat([keep, 1 - keep])

        def multiplied(_: nn.Module, __: tuple[Tensor], out: Tensor) -> Tensor:
            pooled = nn.functional.adaptive_avg_pool2d(both, out.shape[2:])
            return out * (1 + pooled - pooled.detach())

        handles = [model[i].register_forward_hook(multiplied) for i in (1, 4)]
        p = learn.soft(both).softmax(1)[:, 1]
        for handle in handles:
            handle.remove()
        (expected,) = torch.autograd.grad(-(p[:2].log() + (1 - p[2:]).log()).mean(), [learn.mask])
        assert torch.allclose(first, expected, atol=1e-5)
        assert torch.equal(first, again)
        assert not torch.allclose(first, learning(ADForward(model)).gradient([0.3, 0.6]), atol=1e-3)

    @pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
    def test_what_is_kept(self, quantile):
        mask = image(3, (1, 1, 3, 4))
        ordered = sorted(mask.flatten().tolist())
        place = quantile * 11
        low = math.floor(place)
        threshold = ordered[low] + (place - low) * (ordered[min(11, low + 1)] - ordered[low])
        found = kept(mask, [quantile, 0.5], 0.3)
        assert found.shape == (2, 1, 3, 4)
        for i in range(3):
            for j in range(4):
                expected = 1 / (1 + math.exp(-(float(mask[0, 0, i, j]) - threshold) / 0.3))
                assert float(found[0, 0, i, j]) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("baseline", ["zero", "avg", "blur"])
    def test_soft_masks_blend_with_paint_pixel_by_pixel(self, baseline):
        model, x, keep = network(), image(), torch.rand(3, 1, 8, 8)
        forward = BaselineForward(model, baseline)
        soft = SoftForward(forward, x, None, (), 0, 1, Judge(0), "straight-through")
        paint = forward.painted(x, torch.zeros(8, 8, dtype=torch.bool))
        blended = torch.empty(3, 2, 8, 8)
        for b in range(3):
            for c in range(2):
                for i in range(8):
                    for j in range(8):
                        k = keep[b, 0, i, j]
                        blended[b, c, i, j] = k * x[0, c, i, j] + (1 - k) * paint[0, c, i, j]
        assert torch.allclose(soft(keep), model(blended), atol=1e-5)
        plain = SoftForward(model, x, paint, (), 0, 1, Judge(0), "straight-through")
        assert torch.allclose(plain(keep), soft(keep), atol=1e-5)

    @pytest.mark.parametrize("rule", ["no-growth-mean", "paper"])
    def test_under_ad_the_rounded_mask_decides(self, rule):
        model, x, keep = network(), image(), torch.rand(3, 1, 8, 8)
        ad = ADForward(model, rule)
        soft = SoftForward(ad, x, None, (), 0, 1, Judge(0), "straight-through")
        with torch.no_grad():
            expected = ad(x.expand(3, -1, -1, -1), mask=keep >= 0.5)
        assert torch.allclose(soft(keep), expected, atol=1e-5)

    def test_straight_through_is_input_times_gradient_where_something_is_kept(self):
        model, x, keep = network(), image(), torch.rand(1, 1, 8, 8).requires_grad_()
        soft = SoftForward(ADForward(model), x, None, (), 0, 1, Judge(0), "straight-through")
        (found,) = torch.autograd.grad(soft(keep)[0, 1], [keep])
        leaf = x.clone().requires_grad_()
        there = keep.detach() >= 0.5
        (slope,) = torch.autograd.grad(ADForward(model, skip_dead=False)(leaf, mask=there)[0, 1], [leaf])
        assert torch.allclose(found, (slope * x).sum(1, keepdim=True), atol=1e-6)
        assert not found[~there].any()

    def test_masked_gradients_are_those_of_a_factor_of_each_layer(self):
        """On a network without masking: Σ_c a · ∂L/∂a, by finite differences of a factor."""
        model, x, layers = network(), image(), ["1", "4"]
        soft = SoftForward(ADForward(model), x, None, (), 0, 1, Judge(0), "masked")
        keep = torch.ones(1, 1, 8, 8, requires_grad=True)
        with Clipped(soft, layers, clip=False) as clipped:
            clipped.begin()
            torch.autograd.grad(soft(keep)[0, 2], [keep], retain_graph=True)
            assert [tuple(slope.shape) for slope in clipped.slopes] == [(1, 1, 4, 4), (1, 1, 8, 8)]
            slopes = {"4": clipped.slopes[0], "1": clipped.slopes[1]}
            (added,) = torch.autograd.grad(clipped.masked(keep), [keep])
        expected = slopes["1"] + slopes["4"].repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
        assert torch.allclose(added, expected, atol=1e-6)
        with torch.no_grad():
            early = model[:2](x)
            late = model[2:5](early)
            for row, column in ((0, 0), (3, 2)):
                for a, rest, name in ((early, model[2:], "1"), (late, model[5:], "4")):
                    more, less = a.clone(), a.clone()
                    more[:, :, row, column] *= 1.001
                    less[:, :, row, column] *= 0.999
                    difference = (rest(more) - rest(less))[0, 2] / 0.002
                    assert float(slopes[name][0, 0, row, column]) == pytest.approx(float(difference), abs=2e-3)


class TestKnownNetwork:
    @pytest.mark.parametrize("name", ["ad", "paper", "zero", "avg", "blur", "linear"])
    def test_finds_the_quarter_that_speaks_for_the_class(self, name):
        x = torch.ones(1, 1, 8, 8) + 0.01 * image(5, (1, 1, 8, 8))
        if name in ("avg", "blur", "linear"):  # paint that is like the image needs an image with something to hide
            x = x * (torch.arange(8).reshape(8, 1) // 4 == torch.arange(8) // 4)
        found = FEI(forwards(Corner().eval())[name]).attribute(x, target=0, clip=False, **QUICK)[0, 0]
        quarters = {
            "upper left": found[:4, :4], "upper right": found[:4, 4:], "lower left": found[4:, :4],
            "lower right": found[4:, 4:],
        }  # fmt: skip
        means = {place: float(values.mean()) for place, values in quarters.items()}
        assert max(means, key=lambda place: means[place]) == "upper left"
        assert min(means, key=lambda place: means[place]) == "lower right"

    @pytest.mark.parametrize("gradient", ["straight-through", "masked"])
    def test_both_gradients_find_it(self, gradient):
        x = torch.ones(1, 1, 8, 8)
        found = FEI(ADForward(Corner().eval())).attribute(x, target=0, gradient=gradient, **QUICK)[0, 0]
        assert float(found[:4, :4].mean()) > float(found[4:, 4:].mean()) + 0.5

    def test_learns_where_the_class_is_all_but_ruled_out(self):
        """Confidences of e⁻³⁰ and less: logarithms have slopes there."""

        class Unlikely(Corner):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x) - torch.tensor([30.0, 0.0])

        found = FEI(ADForward(Unlikely().eval())).attribute(torch.ones(1, 1, 8, 8), target=0, **QUICK)[0, 0]
        assert float(found[:4, :4].mean()) > float(found[4:, 4:].mean()) + 0.5

    def test_masked_gradients_find_the_channels_of_a_map_where_they_are_last(self):
        class Last(nn.Module):
            def __init__(self, last: bool) -> None:
                super().__init__()
                self.stem, self.act, self.last = network()[0], nn.GELU(), last

            def forward(self, x: Tensor) -> Tensor:
                x = self.stem(x)
                x = self.act(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.last else self.act(x)
                return x.mean((2, 3))

        x = image(2, (1, 2, 8, 6))
        first, last = (
            FEI(ADForward(Last(last).eval())).attribute(x, target=0, gradient="masked", n_steps=5, side=4)
            for last in (False, True)
        )
        assert torch.allclose(first, last, atol=1e-4)
