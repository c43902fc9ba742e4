"""How many perturbations share a forward if the caller does not say, and that it changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad._common.batches import perturbations_that_fit
from captum_ad.attr import CausalResponsibility, RegionOcclusion, Rise
from captum_ad.targets import Class
from tests.captum.registration.cases import CASES, network

ROI = torch.ones(8, 8, dtype=torch.bool)
OWN = {
    "Rise": lambda forward, x, **more: Rise(forward).attribute(x, n_samples=20, **more),
    "RegionOcclusion": lambda forward, x, **more: RegionOcclusion(forward).attribute(x, ROI, (3, 2, 2), 2, **more),
    "CausalResponsibility": lambda forward, x, **more: CausalResponsibility(forward).attribute(
        x, n_iterations=2, max_forwards=40, allow_other_target=True, **more
    ),
}


class Counted(ADForward):
    """Notes how many samples each forward of the model got."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.sizes: list[int] = []
        self.model.register_forward_pre_hook(lambda _, given: self.sizes.append(len(given[0])))


@pytest.mark.filterwarnings("ignore:You are providing multiple inputs")
@pytest.mark.parametrize("name", CASES)
def test_the_default_is_as_one_by_one_in_fewer_forwards(name: str, x: Tensor) -> None:
    attributor, arguments = CASES[name]
    counts, found = [], []
    for more in ({}, {"perturbations_per_eval": 1}):
        ad = Counted(network())
        torch.manual_seed(5)
        found.append(attributor(ad).attribute(x[:1], target=1, **arguments, **more))
        counts.append(ad.sizes)
    torch.testing.assert_close(*found)
    assert max(counts[0]) > 1
    assert max(counts[0]) <= 8
    assert max(counts[1]) == 1
    assert len(counts[0]) < len(counts[1])


@pytest.mark.parametrize("name", OWN)
def test_our_attributors_too(name: str, x: Tensor) -> None:
    counts, found = [], []
    for more in ({}, {"perturbations_per_eval": 1}):
        ad = Counted(network(), target=Class(1))
        found.append(OWN[name](ad, x[:1], **more))
        counts.append(ad.sizes)
    torch.testing.assert_close(*found)
    assert 1 < max(counts[0]) <= 8
    assert max(counts[1]) == 1


def test_samples_share_it(x: Tensor) -> None:
    ad = Counted(network())
    several = torch.cat([x, x[:1]])
    FeatureAblation(ad).attribute(several, target=1, feature_mask=torch.arange(64).reshape(1, 1, 8, 8))
    assert set(ad.sizes) - {1} == {3, 6}


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(1, 3, 224, 224)], 8),
        ([(1, 3, 8, 8)], 8),
        ([(2, 3, 224, 224)], 4),
        ([(9, 3, 8, 8)], 1),
        ([(0, 3, 8, 8)], 8),
        ([(1, 3, 448, 448)], 2),
        ([(1, 3, 224, 224), (1, 3, 224, 224)], 4),
        ([(1, 1, 256, 256, 256)], 1),
        ([(1, 10)], 8),
    ],
)
def test_as_many_as_fit(shapes: list[tuple[int, ...]], expected: int) -> None:
    assert perturbations_that_fit([torch.empty(shape, device="meta") for shape in shapes]) == expected


class Sum(nn.Module):
    """One value for the whole batch: perturbations cannot share a forward."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.shape = network(), shape

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[:, 1].sum().reshape(self.shape)


@pytest.mark.parametrize("masked", [lambda model: ADForward(model), lambda model: BaselineForward(model, 0.0)])
@pytest.mark.parametrize("kind", [FeatureAblation, Occlusion, Lime, KernelShap])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_one_value_for_all_is_explained_one_by_one(
    kind: type, shape: tuple[int, ...], masked: Callable[[nn.Module], nn.Module], x: Tensor
) -> None:
    if kind is Occlusion:
        arguments = {"sliding_window_shapes": (3, 4, 4), "strides": (3, 4, 4)}
    else:
        arguments = {"feature_mask": torch.arange(4).reshape(2, 2).repeat_interleave(4, 0).repeat_interleave(4, 1)}
    found = []
    for more in ({}, {"perturbations_per_eval": 1}):
        torch.manual_seed(3)
        found.append(kind(masked(Sum(shape).eval())).attribute(x[:1], **arguments, **more))
    torch.testing.assert_close(*found)
    assert found[0].any()


@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize("masked", [lambda model: ADForward(model), lambda model: BaselineForward(model, 0.0)])
def test_a_feature_mask_of_fewer_dimensions_is_that_of_all(
    masked: Callable[[nn.Module], nn.Module], number: int, x: Tensor
) -> None:
    """Captum mixes up features and channels if as many features as there are channels share a forward."""
    attributor, labels = FeatureAblation(masked(network())), torch.arange(64).reshape(8, 8)
    expected = attributor.attribute(x[:1], target=1, feature_mask=labels[None, None], perturbations_per_eval=1)
    found = attributor.attribute(x[:1], target=1, feature_mask=labels, perturbations_per_eval=number)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("number", [0, -1, 1.5, True])
def test_numbers_that_are_given_are_checked(number: object, x: Tensor) -> None:
    with pytest.raises(ValueError, match="perturbations_per_eval must be an integer of at least 1"):
        Rise(ADForward(network(), target=Class(1))).attribute(x, perturbations_per_eval=number)


@pytest.mark.parametrize("kind", [FeatureAblation, Occlusion])
def test_a_target_that_knows_each_sample_gets_these_samples(kind: type, x: Tensor) -> None:
    bound = Counted(network(), target=Class(1))
    arguments = {"feature_mask": torch.arange(64).reshape(1, 1, 8, 8)}
    if kind is Occlusion:
        arguments = {"sliding_window_shapes": (3, 4, 4), "strides": (3, 4, 4)}
    kind(bound).attribute(x, **arguments)
    assert set(bound.sizes) - {1} == {2}


def test_ours_run_one_sample_at_a_time_with_as_many_masks(x: Tensor) -> None:
    ad = Counted(network(), target=Class(1))
    Rise(ad).attribute(torch.cat([x, x]), n_samples=20)
    assert max(ad.sizes) == 8


def test_futures_are_made_one_by_one(x: Tensor) -> None:
    ad, arguments = Counted(network()), {"target": 1, "feature_mask": torch.arange(64).reshape(1, 1, 8, 8)}
    found = FeatureAblation(ad).attribute_future(x[:1], **arguments).wait()
    assert max(ad.sizes) == 1
    torch.testing.assert_close(found, FeatureAblation(ad).attribute(x[:1], **arguments))
