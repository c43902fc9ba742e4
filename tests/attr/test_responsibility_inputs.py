"""CausalResponsibility on what people have: series and volumes, several inputs, more arguments, baselines."""

import pytest
import torch
from torch import nn

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import CausalResponsibility
from tests.attr.models import BY_QUADRANT, NEEDS, QUADRANTS, Quadrants, bright, of_quadrants


def test_superpixels_stay_whole_until_they_are_alone():
    stripes = (torch.arange(8) // 2).expand(8, 8)  # vertical, two wide
    model = Quadrants(NEEDS["everything"][0])
    found = CausalResponsibility(model).attribute(
        bright(), target=1, superpixels=stripes, n_iterations=5, max_forwards=75, min_region=16
    )[0, 0]
    for stripe in range(4):
        assert len(found[stripes == stripe].unique()) == 1


def test_one_and_three_dimensions():
    class Half(nn.Module):
        def forward(self, x):
            left = x.flatten(2)[:, 0, : x[0, 0].numel() // 2].mean(1)
            return torch.stack([torch.full((len(x),), 0.3), left], 1)

    for shape in ((1, 1, 32), (1, 2, 4, 4, 4)):
        x = torch.ones(shape)
        found = CausalResponsibility(Half().eval()).attribute(
            x, target=1, min_region=1, n_iterations=8, max_forwards=8 * 60
        )
        assert found.shape == x.shape
        flat = found.flatten(2)[0, 0]
        assert flat[: len(flat) // 2].mean() > 2 * flat[len(flat) // 2 :].mean()


def test_arguments_of_captum_travel_along():
    class Shifted(Quadrants):
        def forward(self, x, shift, name):
            assert name == "anything"
            assert shift.shape == (len(x), 1)
            return super().forward(x) + shift * 0

    x = bright().repeat(2, 1, 1, 1)
    found = CausalResponsibility(Shifted(NEEDS["A"][0])).attribute(
        (x,), 0, 1, (torch.zeros(2, 1), "anything"), perturbations_per_eval=3, **BY_QUADRANT
    )
    assert isinstance(found, tuple)
    assert of_quadrants(found[0][:1]) == [1, 0, 0, 0]


def test_the_baseline_is_what_hides():
    """A network that wants darkness in A: hiding by brightness takes that away, hiding by darkness never does."""
    model = Quadrants(lambda q: ~q[:, 0])
    dark = torch.zeros(1, 1, 8, 8)
    found = CausalResponsibility(model).attribute(dark, 1.0, 1, **BY_QUADRANT)
    assert of_quadrants(found) == [1, 0, 0, 0]
    with pytest.warns(UserWarning, match="everything is hidden"):
        CausalResponsibility(model).attribute(dark, 0.0, 1, **BY_QUADRANT)


def test_waveforms_and_integers():
    class Loud(nn.Module):
        """Class 1 by the first quarter of a series."""

        def forward(self, x):
            return torch.stack([torch.full((len(x),), 0.5), x[:, :8].mean(1)], 1)

    for forward in (Loud().eval(), ADForward(Loud().eval())):
        found = CausalResponsibility(forward).attribute(torch.ones(1, 32), target=1, min_region=8, seed=1)
        assert found.shape == (1, 32)
        assert found[0, :8].mean() > 2 * found[0, 8:].mean()
    whole = CausalResponsibility(Quadrants(NEEDS["A"][0])).attribute(bright(), target=1, **BY_QUADRANT)
    integers = CausalResponsibility(Quadrants(NEEDS["A"][0])).attribute(bright().byte(), target=1, **BY_QUADRANT)
    assert torch.equal(integers, whole)


class Pair(nn.Module):
    """Class 1 if the first image's quadrant A and the second's D are bright."""

    def forward(self, first, second):
        needs = (first[:, 0, :4, :4].mean((1, 2)) > 0.9) & (second[:, 0, 4:, 4:].mean((1, 2)) > 0.9)
        return torch.stack([~needs, needs], 1).float()


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: BaselineForward(m, 0.0)], ids=["plain", "masked"])
def test_each_of_several_inputs_is_searched_while_the_others_are_whole(wrap):
    settings = {**BY_QUADRANT, "feature_mask": (QUADRANTS, QUADRANTS)}
    first, second = CausalResponsibility(wrap(Pair())).attribute((bright(), bright()), target=1, **settings)
    assert of_quadrants(first) == [1, 0, 0, 0]
    assert of_quadrants(second) == [0, 0, 0, 1]
    with pytest.raises(ValueError, match="labels for 1 of 2 inputs: give a tuple"):
        CausalResponsibility(Pair()).attribute((bright(), bright()), target=1, **BY_QUADRANT)


def test_small_inputs_need_no_setting_of_their_own():
    found = CausalResponsibility(Quadrants(NEEDS["A"][0])).attribute(bright(), target=1)
    assert found[..., :4, :4].mean() > 2 * found[..., 4:, 4:].mean()
