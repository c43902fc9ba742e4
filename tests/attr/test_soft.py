"""Clipped gradients: where activations exceed the image's, and nowhere else, of all kinds of modules."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward
from captum_ad._scoring import Judge
from captum_ad.attr import FEI
from captum_ad.attr.soft import Clipped, SoftForward
from tests.attr.test_fei import QUICK, image, network

OFFSET = torch.zeros(1)


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

    @pytest.mark.parametrize("make", [ADForward, lambda model: model], ids=["ad", "paint"])
    def test_what_is_shown_is_not_clipped_for_its_rounding(self, make):
        class Noisy(nn.Module):
            """Rounds otherwise in batches of several, as kernels do."""

            def forward(self, x: Tensor) -> Tensor:
                return x * (1 + 1e-6 * (len(x) > 1))

        model = nn.Sequential(*network()[:4], Noisy(), *network()[4:]).eval()
        soft = SoftForward(make(model), image(), None, (), 0, 1, Judge(0), "straight-through")
        keep = torch.ones(2, 1, 8, 8, requires_grad=True)
        slopes = []
        for clip in (True, False):
            with Clipped(soft, None, clip) as clipped:
                clipped.begin()
                slopes += torch.autograd.grad(soft(keep)[:, 0].sum(), [keep])
        assert slopes[0].any()
        assert torch.equal(*slopes)

    def test_windows_that_are_part_of_the_batch(self):
        class Windows(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.relu = nn.ReLU()

            def forward(self, x: Tensor) -> Tensor:
                windows = self.relu(x.unfold(2, 4, 4).permute(0, 2, 1, 4, 3).flatten(0, 1))
                return windows.unflatten(0, (len(x), 2)).sum((1, 3, 4))

        keep = torch.full((3, 1, 8, 8), 0.5)
        keep[:, :, 4:] = 1
        keep.requires_grad_()
        soft = SoftForward(Windows().eval(), image().abs(), 9.0, (), 0, 1, Judge(0), "straight-through")
        with Clipped(soft, None, True) as clipped:
            clipped.begin()
            (found,) = torch.autograd.grad(soft(keep)[:, 0].sum(), [keep])
        assert not found[:, :, :4].any()  # the paint is brighter
        assert found[:, :, 4:].all()

    def test_no_activation_outlives_its_step(self):
        seen: list[Any] = []

        class Watched(nn.ReLU):
            def forward(self, x: Tensor) -> Tensor:
                found = super().forward(x)
                seen.append(weakref.ref(found))
                return found

        model = nn.Sequential(network()[0], Watched(), *network()[2:]).eval()
        for gradient in ("straight-through", "masked"):
            FEI(ADForward(model)).attribute(image(), target=0, gradient=gradient, n_steps=3, side=4)
        gc.collect()
        assert len(seen) >= 8
        assert not any(one() is not None for one in seen)

    def test_modules_that_run_twice_are_compared_run_by_run(self):
        class Twice(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.relu, self.first, self.second = nn.ReLU(), nn.Conv2d(1, 2, 1), nn.Conv2d(2, 3, 1)

            def forward(self, x: Tensor) -> Tensor:
                return self.relu(self.second(self.relu(self.first(x)))).mean((2, 3))

        class Cached(Twice):
            """Holds what no operation of its run has made, for which an ADForward begins again."""

            def forward(self, x: Tensor) -> Tensor:
                early = self.relu(self.first(x))
                return self.relu(self.second(early + OFFSET)).mean((2, 3))

        for kind in (Twice, Cached):
            found = FEI(ADForward(kind().eval())).attribute(image(2, (1, 1, 8, 8)), target=1, **QUICK)
            assert found.isfinite().all()
