"""IDGI against a loop over steps and features, complete on every path, and what is refused."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from captum_ad import ADForward, UnknownNameError
from captum_ad.attr import IDGI
from captum_ad.attr.paths import PATHS
from captum_ad.targets import Contrast, Group
from tests.metrics.models import noise, small_net

MODEL = small_net(2)
X = noise(7, (2, 2, 6, 6))


def by_hand(model: nn.Module, points: list[Tensor], target: int) -> Tensor:
    """The formula, step by step and feature by feature."""
    found = torch.zeros(points[0].numel(), dtype=torch.float64)
    for here, there in itertools.pairwise(points):
        leaf = here.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf)[0, target], leaf)
        change = (model(there)[0, target] - model(here)[0, target]).item()
        squares = [float(g) ** 2 for g in gradient.flatten()]
        for i, square in enumerate(squares):
            found[i] += square * change / sum(squares)
    return found.reshape(points[0].shape)


class TestReference:
    @pytest.mark.parametrize("internal_batch_size", [1, 3, 50])
    def test_straight_path(self, internal_batch_size):
        x, low = X[:1], torch.full_like(X[:1], 0.3)
        points = [low + (x - low) * step / 5 for step in range(5)] + [x]
        found = IDGI(MODEL).attribute(x, 0.3, target=1, n_steps=5, internal_batch_size=internal_batch_size)
        assert torch.allclose(found, by_hand(MODEL, points, 1))

    @pytest.mark.parametrize("path", PATHS)
    def test_every_path(self, path):
        x, low = X[:1], torch.zeros_like(X[:1])

        def gradient(points):
            leaf = points[0].clone().requires_grad_()
            return torch.autograd.grad(MODEL(leaf)[:, 2].sum(), leaf)

        points = [one[0] for one in PATHS[path]((x,), (low,), 6, gradient)]
        assert len(points) == 7
        assert torch.equal(points[-1], x)
        found = IDGI(MODEL).attribute(x, target=2, n_steps=6, path=path)
        assert torch.allclose(found, by_hand(MODEL, points, 2))

    def test_of_a_linear_network_by_squared_weights(self):
        model = nn.Sequential(nn.Flatten(), nn.Linear(3, 1, bias=False)).double()
        with torch.no_grad():
            model[1].weight.copy_(torch.tensor([[2.0, 1, 0]]))
        x = torch.tensor([[[1.0, 3.0, 9.0]]], dtype=torch.float64)
        assert IDGI(model).attribute(x).flatten().tolist() == pytest.approx([4.0, 1.0, 0])  # 5, by 4 to 1


class TestCompleteness:
    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("n_steps", [1, 2, 17])
    def test_adds_up_to_the_change_of_the_output(self, path, n_steps):
        found, delta = IDGI(MODEL).attribute(
            X, target=[0, 2], n_steps=n_steps, path=path, return_convergence_delta=True
        )
        assert delta.abs().max() < 1e-9
        if path != "blur":
            with torch.no_grad():
                change = (MODEL(X) - MODEL(torch.zeros_like(X)))[torch.arange(2), torch.tensor([0, 2])]
            assert torch.allclose(found.sum((1, 2, 3)), change)

    def test_where_integrated_gradients_do_not(self):
        """A step function's gradient is zero nearly everywhere: features share what happens."""

        class Step(nn.Module):
            def forward(self, x):
                return (x.sum((1, 2), keepdim=True)[:, 0] > 1).to(x) + 0 * x.sum((1, 2))[:, None]

        x = torch.ones(1, 2, 2)
        assert IDGI(Step()).attribute(x).flatten().tolist() == pytest.approx([0.25] * 4)
        assert float(IntegratedGradients(Step()).attribute(x).sum()) == 0

    def test_tiny_gradients_do_not_underflow(self):
        tiny = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False))
        with torch.no_grad():
            tiny[1].weight.fill_(1e-25)
        found = IDGI(tiny).attribute(torch.ones(1, 1, 2))
        assert found.flatten().tolist() == pytest.approx([1e-25, 1e-25])


class TestPaths:
    def test_guided_comes_nearer_by_equal_steps_and_never_overshoots(self):
        x, low = X[:1], torch.zeros_like(X[:1])
        points = [one[0] for one in PATHS["guided"]((x,), (low,), 10, lambda at: (at[0].cos(),))]
        left = [float((x - one).abs().sum()) for one in points]
        assert left == pytest.approx([left[0] * (1 - i / 10) for i in range(11)], abs=1e-6)
        for one in points:
            assert bool((one.abs() <= x.abs() + 1e-12).all())
            assert bool((one * x >= -1e-12).all())

    def test_guided_moves_small_gradients_first(self):
        x, low = torch.ones(1, 1, 4, dtype=torch.float64), torch.zeros(1, 1, 4, dtype=torch.float64)
        slopes = torch.tensor([[[4.0, 1.0, 3.0, 2.0]]], dtype=torch.float64)
        second = [one[0] for one in PATHS["guided"]((x,), (low,), 10, lambda at: (slopes,))][1].flatten()
        assert second.tolist() == pytest.approx([0.08, 0.12, 0.08, 0.12])  # .1 on average, within .02 of it

    def test_blur_begins_with_a_blur_and_ends_with_the_image(self):
        x = noise(0, (1, 1, 40, 40))
        points = [one[0] for one in PATHS["blur"]((x,), (x,), 4, lambda at: at)]
        spread = [float(one.std()) for one in points]
        assert spread[1:] == sorted(spread[1:])
        assert spread[0] < 0.2 < 0.9 < spread[-1]

    def test_a_path_of_ones_own(self):
        def at_once(x, baseline, steps, gradient):
            yield baseline
            yield x

        x = X[:1]
        assert torch.allclose(
            IDGI(MODEL).attribute(x, target=1, path=at_once), IDGI(MODEL).attribute(x, target=1, n_steps=1)
        )
        with pytest.raises(ValueError, match="no points"):
            IDGI(MODEL).attribute(x, target=1, path=lambda *given: iter(()))


class TestInterface:
    def test_targets_of_this_package_and_ad_forwards(self):
        contrast = Contrast(1, Group([0, 2]))
        one = IDGI(ADForward(MODEL, target=contrast)).attribute(X, n_steps=4)
        other = IDGI(MODEL).attribute(X, target=contrast, n_steps=4)
        assert torch.allclose(one, other)
        with torch.no_grad():
            change = contrast.score(MODEL(X)) - contrast.score(MODEL(torch.zeros_like(X)))
        assert torch.allclose(one.sum((1, 2, 3)), change)

    def test_under_a_mask_what_is_not_there_gets_nothing(self):
        keep = torch.arange(6).expand(6, 6) < 3
        forward = functools.partial(ADForward(MODEL), mask=keep)
        found, delta = IDGI(forward).attribute(X, target=1, n_steps=4, return_convergence_delta=True)
        assert not found[..., 3:].any()
        assert found[..., :3].any()
        assert delta.abs().max() < 1e-9

    def test_several_inputs_and_more_arguments(self):
        class Two(nn.Module):
            def forward(self, a, b, weight):
                return ((a**2).flatten(1).sum(1) + weight * (b**3).flatten(1).sum(1))[:, None]

        a, b, weight = noise(0, (2, 1, 3)), noise(1, (2, 2, 2)), torch.tensor([1.0, 2.0], dtype=torch.float64)
        first, second = IDGI(Two()).attribute((a, b), additional_forward_args=(weight,), n_steps=3)
        assert torch.allclose(first.sum((1, 2)) + second.sum((1, 2)), Two()(a, b, weight)[:, 0])
        alone = IDGI(Two()).attribute((a[1:], b[1:]), additional_forward_args=(weight[1:],), n_steps=3)
        assert torch.allclose(second[1:], alone[1])

    @pytest.mark.parametrize(
        ("given", "error", "match"),
        [
            ({"path": "curved"}, UnknownNameError, "unknown path 'curved'"),
            ({"path": "blur", "baselines": 0}, ValueError, "starts from a blur"),
            ({"n_steps": 0}, ValueError, "n_steps must be an integer of at least 1"),
            ({"target": None}, TypeError, "returns 3 numbers per sample"),
            ({"target": 3}, ValueError, "target 3 is out of range"),
            ({"inputs": [X]}, TypeError, "equal batch sizes"),
            ({"baselines": float("nan")}, ValueError, "NaN or Inf on the path"),
        ],
    )
    def test_refusals(self, given, error, match):
        with pytest.raises(error, match=match):
            IDGI(MODEL).attribute(**{"inputs": X, "target": 1, **given})
