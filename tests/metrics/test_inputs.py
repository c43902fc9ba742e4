"""Several inputs, more arguments, and series without channels: as the same question written as one input."""

import pytest
import torch
from captum.attr import FeatureAblation
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad.metrics import (
    DrawnBackgrounds,
    OtherClassImages,
    SolidColors,
    confidence_drop_off,
    confidence_kept,
    deletion_curve,
    explanation_size,
    insertion_curve,
    rho_curve,
    rho_robustness,
    sufficient_explanation,
)
from captum_ad.metrics.modular import ConfidenceKept, Insertion, RhoRobustness
from captum_ad.targets import Class


class Mixed(nn.Module):
    """Class 1 by the sum of an image's first column and a table's last value."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(8, 2).requires_grad_(False)
        self.last.weight.copy_(torch.tensor([[0.0] * 8, [1 / 3] * 3 + [0.0] * 4 + [1.0]]))
        self.last.bias.copy_(torch.tensor([1.5, 0.0]))

    def forward(self, image: Tensor, table: Tensor, scale: float = 1.0) -> Tensor:
        return self.last(torch.cat([image[..., :1].mean((2, 3)), table], 1) * scale)


IMAGE, TABLE = torch.ones(1, 3, 4, 4), torch.ones(1, 5)
GROUPS = (torch.arange(4).expand(1, 1, 4, 4), torch.arange(5)[None] + 4)  # columns, and values


@pytest.mark.parametrize("make", [ADForward, lambda model, **kw: BaselineForward(model, "zero", **kw)])
@pytest.mark.parametrize("search", ["scan", "bisection"])
def test_what_suffices_spans_both_inputs(make, search: str) -> None:
    forward = make(Mixed().eval())
    a = FeatureAblation(forward).attribute((IMAGE, TABLE), target=1, feature_mask=GROUPS)
    found = sufficient_explanation(
        forward, (IMAGE, TABLE), a, 1, gamma=1.0, feature_mask=GROUPS, search=search, minimize=True
    )
    image, table = found.mask
    assert torch.equal(image, (torch.arange(4) == 0).expand(4, 4))
    assert table.tolist() == [False] * 4 + [True]
    assert found.size == pytest.approx(5 / 21)
    assert explanation_size((IMAGE, TABLE), found) == pytest.approx(5 / 21)
    assert confidence_kept(forward, (IMAGE, TABLE), found, 1) == pytest.approx(found.confidence)
    assert confidence_drop_off(forward, (IMAGE, TABLE), found, 1) == pytest.approx(0)
    curve = insertion_curve(forward, (IMAGE, TABLE), a, 1, feature_mask=GROUPS)
    left = deletion_curve(make(Mixed().eval(), target=Class(1)), (IMAGE, TABLE), a, feature_mask=GROUPS)
    assert float(curve.values[-1]) == float(left.values[0]) == pytest.approx(found.original_confidence)
    assert float(curve.values[0]) == float(left.values[-1]) < 0.2


def test_more_arguments_are_the_same_as_constants_of_the_model() -> None:
    class OfImage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixed = Mixed()

        def forward(self, image: Tensor) -> Tensor:
            return self.mixed(image, TABLE.expand(len(image), -1), 0.9)

    a, colors = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)), SolidColors(n=6, seed=1)
    for forward, alone in (
        (ADForward(Mixed().eval()), ADForward(OfImage().eval())),
        (BaselineForward(Mixed().eval(), "zero"), BaselineForward(OfImage().eval(), "zero")),
    ):
        more = {"additional_forward_args": (TABLE, 0.9)}
        expected = sufficient_explanation(alone, IMAGE, a, 1)
        found = sufficient_explanation(forward, IMAGE, a, 1, **more)
        assert torch.equal(found.mask, expected.mask)
        assert found.confidence == expected.confidence
        assert insertion_curve(forward, IMAGE, a, 1, **more).area == insertion_curve(alone, IMAGE, a, 1).area
        assert confidence_kept(forward, IMAGE, found, 1, **more) == confidence_kept(alone, IMAGE, found, 1)
        rho = rho_robustness(forward, IMAGE, found, 1, colors, **more)
        assert rho.confidence == rho_robustness(alone, IMAGE, found, 1, colors).confidence
        sizes = rho_curve(forward, IMAGE, a, 1, colors, sizes=(0.5,), **more)
        assert torch.equal(sizes.values, rho_curve(alone, IMAGE, a, 1, colors, sizes=(0.5,)).values)
        for metric, given in (
            (ConfidenceKept(), (found.mask, 1)),
            (Insertion(), (a, 1)),
            (RhoRobustness(colors), (found, 1)),
        ):
            metric.update(forward, IMAGE, *given, **more)
            assert metric.compute().isfinite()
        assert "more" not in forward.model.__dict__  # the forward is as it was


class Wave(nn.Module):
    """Class 1 by the mean of the first quarter of a series."""

    def forward(self, x: Tensor) -> Tensor:
        level = nn.functional.avg_pool1d(x[:, None], 4)[:, 0, :1]
        return nn.functional.linear(level, torch.tensor([[0.0], [1.0]]), torch.tensor([0.5, 0.0]))


@pytest.mark.parametrize("make", [ADForward, lambda model: BaselineForward(model, "avg")])
def test_a_waveform_has_positions(make) -> None:
    forward, x = make(Wave().eval()), torch.cat([torch.ones(1, 4), torch.zeros(1, 12)], 1)
    groups = (torch.arange(16) // 4)[None]
    a = FeatureAblation(forward).attribute(x, target=1, feature_mask=groups)
    found = sufficient_explanation(forward, x, a, 1, feature_mask=groups)
    assert found.mask.tolist() == [True] * 4 + [False] * 12
    assert rho_robustness(forward, x, found, 1, SolidColors(n=4)).rho == 1
    assert rho_curve(forward, x, a, 1, SolidColors(n=4), sizes=(0.25,)).at(0.25) == 1
    assert confidence_kept(forward, x, found, 1) == pytest.approx(found.confidence)


def test_explanations_of_several_inputs_are_planted_together() -> None:
    image, table = (torch.arange(4) < 2).expand(4, 4), torch.arange(5) > 3
    grounds = SolidColors(n=8, seed=3), SolidColors(n=8, seed=4)
    model, pair = Mixed().eval(), (IMAGE, TABLE)
    found = rho_robustness(model, pair, (image, table), 1, grounds, batch_size=3)
    drawn = grounds[0].draw(model, IMAGE, 1).batch(0, 8), grounds[1].draw(model, TABLE[:, None], 1).batch(0, 8)[:, 0]
    by_hand = model(torch.where(image, IMAGE, drawn[0]), torch.where(table, TABLE, drawn[1]))
    assert found.class_kept.tolist() == by_hand.argmax(1).eq(1).tolist()
    assert found.confidence == pytest.approx(float(by_hand.softmax(1)[:, 1].mean()))
    fewer = rho_robustness(model, pair, (image & False, table), 1, grounds)
    assert 0 < fewer.rho < found.rho == 1
    forward = ADForward(model, target=Class(1))
    ranks = tuple(torch.where(mask, 1.0, 0.0)[None] for mask in (image, table))
    curve = rho_curve(forward, pair, (ranks[0][None], ranks[1]), None, grounds, sizes=(0.0, 9 / 21, 1.0))
    assert curve.at(9 / 21) == curve.at(1.0) == 1 > curve.at(0.0)


@pytest.mark.parametrize(
    ("grounds", "message"),
    [
        ((SolidColors(n=2),), "1 backgrounds for 2 inputs"),
        ((SolidColors(n=2), SolidColors(n=3)), r"have \[2, 3\] backgrounds, expected the same number"),
        (OtherClassImages([(IMAGE[0], 0)]), "supports one input only"),
    ],
)
def test_backgrounds_that_several_inputs_do_not_have(grounds, message: str) -> None:
    masks = torch.ones(4, 4, dtype=torch.bool), torch.ones(5, dtype=torch.bool)
    with pytest.raises(ValueError, match=message):
        rho_robustness(Mixed().eval(), (IMAGE, TABLE), masks, 1, grounds)
    with pytest.raises(ValueError, match="2 backgrounds for one input"):
        rho_robustness(Wave().eval(), torch.ones(1, 16), torch.ones(16, dtype=torch.bool), 1, (SolidColors(),) * 2)


def test_integers_beside_floats_are_planted_exactly() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor, number: Tensor) -> Tensor:
            odd = (number[:, 0] % 2).to(x) + 0 * x.mean((1, 2, 3))
            return torch.stack([1 - odd, odd], 1)

    pair = torch.rand(1, 1, 2, 2), torch.tensor([[2**24 + 1]])
    everything = torch.ones(2, 2, dtype=torch.bool), torch.ones(1, dtype=torch.bool)
    grounds = (
        DrawnBackgrounds(lambda a, b: torch.zeros(b - a, 1, 2, 2), 2),
        DrawnBackgrounds(lambda a, b: torch.zeros(b - a, 1, 1), 2),
    )
    assert rho_robustness(Odd().eval(), pair, everything, 1, grounds).rho == 1


def test_refusals() -> None:
    ad, pair = ADForward(Mixed().eval()), (IMAGE, TABLE)
    with pytest.raises(ValueError, match="tuple of 2, one attribution per input, got a tensor"):
        sufficient_explanation(ad, pair, torch.ones(1, 1, 4, 4), 1)
    with pytest.raises(ValueError, match="additional_forward_args"):
        insertion_curve(ad, (IMAGE, 0.9), pair, 1)
    with pytest.raises(ValueError, match=r"bool mask of shape \(5,\)"):
        explanation_size(pair, (torch.ones(4, 4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)))
