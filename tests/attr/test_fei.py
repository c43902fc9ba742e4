"""FEI: its gradient against loops, networks of which one knows the answer, clipping, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward, UnknownNameError
from captum_ad.attr import FEI
from captum_ad.attr.fei import kept
from captum_ad.attr.soft import Clipped, SoftForward
from captum_ad.scoring import Judge
from captum_ad.targets import Binary
from tests.metrics.models import untouched

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


class TestReference:
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


class TestClipping:
    def test_nothing_flows_where_an_activation_exceeds_the_image_s(self):
        model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)).eval()
        with torch.no_grad():
            model[0].weight.fill_(1)
        x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
        soft = SoftForward(model, x, 10.0, (), 0, 1, Judge(0), "straight-through")
        keep = torch.full((1, 1, 2, 2), 0.5)
        keep[0, 0, 0, 0] = 1.0  # the paint is brighter than all, but here nothing is painted
        keep.requires_grad_()
        for clip in (True, False):
            with Clipped(soft, None, clip) as clipped:
                clipped.begin()
                (found,) = torch.autograd.grad(soft(keep)[0, 0], [keep])
            expected = (x - 10) * model[3].weight[0].reshape(1, 1, 2, 2)
            if clip:
                expected = expected * torch.tensor([[1.0, 0.0], [0.0, 0.0]])
            assert torch.allclose(found, expected)

    def test_modules_that_run_twice_are_compared_run_by_run(self):
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.relu, self.first, self.second = nn.ReLU(), nn.Conv2d(1, 2, 1), nn.Conv2d(2, 3, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.relu(self.second(self.relu(self.first(x)))).mean((2, 3))

        found = FEI(ADForward(Twice().eval())).attribute(image(2, (1, 1, 8, 8)), target=1, **QUICK)
        assert found.isfinite().all()


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


class TestInterface:
    def test_batches_are_images_one_by_one(self):
        model, x = network(), image(4, (2, 2, 8, 8))
        both = FEI(ADForward(model)).attribute(x, target=[0, 2], **QUICK)
        assert both.shape == x.shape
        assert torch.equal(both[:, 0], both[:, 1])
        for i, target in enumerate((0, 2)):
            assert torch.equal(both[i : i + 1], FEI(ADForward(model)).attribute(x[i : i + 1], target=target, **QUICK))

    def test_seeds_and_the_global_state(self):
        model, x = network(), image()
        torch.manual_seed(3)
        before = torch.random.get_rng_state()
        first, same, other = (FEI(ADForward(model)).attribute(x, target=0, seed=s, **QUICK) for s in (0, 0, 1))
        assert torch.equal(first, same)
        assert not torch.equal(first, other)
        assert torch.equal(before, torch.random.get_rng_state())

    def test_targets_of_the_forward_and_more_arguments(self):
        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = network()

            def forward(self, x: Tensor, scale: Tensor) -> Tensor:
                return (self.net(x) * scale)[:, :1]

        model, x = Scaled().eval(), image(1, (2, 2, 8, 8))
        ad = ADForward(model, target=Binary())
        found = FEI(ad).attribute(x, additional_forward_args=torch.tensor([[1.0], [2.0]]), **QUICK)
        assert found.isfinite().all()
        with pytest.raises(ValueError, match="leave one of them out"):
            FEI(ad).attribute(x, target=0)

    def test_nothing_of_the_model_changes(self):
        model, x = network(), image()
        with untouched(model, x):
            for forward in (ADForward(model), BaselineForward(model, "avg")):
                FEI(forward).attribute(x, target=0, n_steps=2, side=4)
            with pytest.raises(UnknownNameError):
                FEI(ADForward(model)).attribute(x, target=0, layers=["nowhere"])

    def test_every_quantile_is_drawn_before_any_comes_again(self, monkeypatch):
        drawn: list[float] = []

        def noted(mask, quantiles, temperature):
            drawn.extend(quantiles)
            return kept(mask, quantiles, temperature)

        monkeypatch.setattr("captum_ad.attr.fei.kept", noted)
        FEI(ADForward(network())).attribute(
            image(), target=0, n_steps=4, side=4, quantiles=[0.2, 0.4, 0.6, 0.8], quantiles_per_step=2
        )
        assert sorted(drawn[:4]) == sorted(drawn[4:]) == [0.2, 0.4, 0.6, 0.8]


class TestBadInput:
    @pytest.mark.parametrize(
        ("given", "error", "match"),
        [
            ({"layers": ["1x"]}, UnknownNameError, "unknown layer '1x': did you mean '1'"),
            ({"layers": "1"}, ValueError, r"write \['1'\]"),
            ({"gradient": "straight"}, UnknownNameError, "did you mean 'straight-through'"),
            ({"quantiles": []}, ValueError, "quantiles must lie between 0 and 1"),
            ({"quantiles": [0.5, 1.0]}, ValueError, "quantiles must lie between 0 and 1"),
            ({"temperature": 0}, ValueError, "temperature must be a positive number, got 0"),
            ({"learning_rate": math.inf}, ValueError, "learning_rate must be a positive number"),
            ({"n_steps": 0}, ValueError, "n_steps must be an integer of at least 1"),
            ({"side": 1}, ValueError, "side must be an integer of at least 2"),
            ({"baselines": 0.0}, ValueError, "baselines together with ADForward"),
        ],
    )
    def test_arguments(self, given, error, match):
        with pytest.raises(error, match=match):
            FEI(ADForward(network())).attribute(image(), target=0, **given)

    def test_inputs_and_models(self):
        with pytest.raises(ValueError, match=r"needs images, shape \(N, C, H, W\), got \(1, 8\)"):
            FEI(ADForward(network())).attribute(torch.rand(1, 8), target=0)
        with pytest.raises(ValueError, match="train mode"):
            FEI(ADForward(network().train())).attribute(image(), target=0)
        with pytest.raises(TypeError, match=r"needs a torch\.nn\.Module"):
            FEI(lambda x: x).attribute(image(), target=0)
        with pytest.raises(ValueError, match="is of an ADForward"):
            FEI(BaselineForward(network(), "avg")).attribute(image(), target=0, gradient="masked")

    def test_networks_without_the_layer(self):
        linear = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        with pytest.raises(ValueError, match="no ReLU module"):
            FEI(ADForward(linear)).attribute(image(), target=0)
        assert FEI(ADForward(linear)).attribute(image(), target=0, clip=False, n_steps=2, side=4).isfinite().all()

        class Unused(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net, self.idle = network(), nn.ReLU()

            def forward(self, x: Tensor) -> Tensor:
                found: Tensor = self.net(x)
                return found

        with pytest.raises(ValueError, match="'idle' did not run"):
            FEI(ADForward(Unused().eval())).attribute(image(), target=0, layers=["idle"])
