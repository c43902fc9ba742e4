"""FEI: batches, seeds, precisions, modes, and what is refused."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward, UnknownNameError
from captum_ad.attr import FEI
from captum_ad.attr.fei import kept
from captum_ad.targets import Binary, Regression
from tests.attr.test_fei import QUICK, Corner, forwards, image, network
from tests.metrics.models import untouched


class TestInterface:
    def test_batches_are_images_one_by_one(self):
        model, x = network(), image(4, (2, 2, 8, 8))
        both = FEI(ADForward(model)).attribute(x, target=[0, 2], **QUICK)
        assert both.shape == x.shape
        assert torch.equal(both[:, 0], both[:, 1])
        for i, target in enumerate((0, 2)):
            assert torch.equal(both[i : i + 1], FEI(ADForward(model)).attribute(x[i : i + 1], target=target, **QUICK))

    def test_paint_of_a_batch_is_each_image_s_own(self):
        model, x, paint = network(), image(4, (2, 2, 8, 8)), image(5, (2, 2, 8, 8))
        both = FEI(model).attribute(x, paint, target=0, **QUICK)
        for i in range(2):
            assert torch.equal(both[i : i + 1], FEI(model).attribute(x[i : i + 1], paint[i : i + 1], 0, **QUICK))

    def test_in_inference_mode_and_without_gradients(self):
        model, x = network(), image()
        expected = FEI(ADForward(model)).attribute(x, target=0, **QUICK)
        for mode in (torch.inference_mode(), torch.no_grad()):
            with mode:
                given = x.clone()
                found = FEI(ADForward(model)).attribute(given, target=0, **QUICK)
            assert torch.equal(found, expected)
            assert torch.equal(FEI(ADForward(model)).attribute(given, target=0, **QUICK), expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    @pytest.mark.parametrize("name", ["ad", "avg"])
    def test_other_precisions(self, dtype, name):
        x = torch.ones(1, 1, 8, 8) * (torch.arange(8).reshape(8, 1) // 4 == torch.arange(8) // 4)
        found = FEI(forwards(copy.deepcopy(Corner()).eval().to(dtype))[name]).attribute(x.to(dtype), target=0, **QUICK)
        assert found.dtype == dtype
        assert float(found[0, 0, :4, :4].mean()) > float(found[0, 0, 4:, 4:].mean())

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
            ({"quantiles": []}, ValueError, "quantiles must be one or more numbers between 0 and 1"),
            ({"quantiles": [0.5, 1.0]}, ValueError, "quantiles must be one or more numbers between 0 and 1"),
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
        with pytest.raises(ValueError, match="needs an ADForward"):
            FEI(BaselineForward(network(), "avg")).attribute(image(), target=0, gradient="masked")

    def test_images_that_are_none(self):
        with pytest.raises(ValueError, match="empty batch"):
            FEI(ADForward(network())).attribute(image()[:0], target=0)
        with pytest.raises(ValueError, match="contains NaN or Inf"):
            FEI(ADForward(network())).attribute(image() / 0, target=0)

    def test_answers_that_are_no_probability_or_have_no_gradient(self):
        ad = ADForward(nn.Sequential(network(), nn.Linear(3, 1)).eval(), target=Regression(tolerance=1.0))
        ad.model[1].bias.data.fill_(40)
        with pytest.raises(ValueError, match="confidence is a probability, but Regression"):
            FEI(ad).attribute(image())

        class Detached(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net = network()

            def forward(self, x: Tensor) -> Tensor:
                with torch.no_grad():
                    found: Tensor = self.net(x)
                return found

        with pytest.raises(ValueError, match="has no gradient"):
            FEI(ADForward(Detached().eval())).attribute(image(), target=0)

    def test_masked_gradients_of_no_map(self):
        tokens = nn.Sequential(nn.Conv2d(2, 4, 2, 2), nn.Flatten(2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
        with pytest.raises(ValueError, match="needs layers that return maps"):
            FEI(ADForward(tokens)).attribute(image(), target=0, gradient="masked")

    def test_networks_without_the_layer(self):
        linear = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        with pytest.raises(ValueError, match="no module of type ReLU"):
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
