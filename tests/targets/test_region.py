"""A class in a region of a segmentation network's output."""

import pytest
import torch
from captum.attr import (
    FeatureAblation,
    IntegratedGradients,
    LayerIntegratedGradients,
    NoiseTunnel,
    Occlusion,
    Saliency,
    ShapleyValues,
)
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import Rise
from captum_ad.metrics import SolidColors, rho_robustness, sufficient_explanation
from captum_ad.targets import Region

LEFT = torch.arange(8).expand(8, 8) < 4
LABELS = (~LEFT).long()[None, None]


class Halves(nn.Module):
    """Class 1 where the image is bright, else class 0."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        bright = nn.functional.conv2d(x, torch.ones(1, 1, 1, 1)) * 4 - 2
        return {"out": torch.cat([-bright, bright], 1), "aux": bright}


@pytest.fixture
def x() -> Tensor:
    return LEFT.float()[None, None]


def test_the_region_is_what_the_network_gives_to_the_class(x: Tensor) -> None:
    ad = ADForward(Halves().eval(), target=Region(1))
    torch.testing.assert_close(ad(x), torch.tensor([2.0]))
    assert ad(x, mask=~LEFT) <= 0  # in the region of the whole, not of what is left of it
    total = ADForward(Halves().eval(), target=Region(1, reduction="sum"))
    torch.testing.assert_close(total(x), torch.tensor([64.0]))
    a = FeatureAblation(ad).attribute(x, feature_mask=LABELS)
    assert a.shape == x.shape
    assert (a[0, 0][LEFT] > 0).all()
    assert (a[0, 0][~LEFT] == 0).all()
    found = sufficient_explanation(ad, x, a, feature_mask=LABELS)
    assert torch.equal(found.mask, LEFT)
    rho = rho_robustness(Halves().eval(), x, found, Region(1), SolidColors(n=3))
    assert rho.rho == 1
    assert Rise(ad).attribute(x, n_samples=30, grid=2)[0, 0][LEFT].mean() > 0


def test_what_is_run(x: Tensor) -> None:
    calls = []

    class Counted(Halves):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            calls.append(len(x))
            return super().forward(x)

    FeatureAblation(ADForward(Counted().eval(), target=Region(1))).attribute(x, feature_mask=LABELS)
    assert calls == [1, 1, 1, 2]  # which positions are the class's, what it scores, the run to keep, both halves


def test_each_sample_of_a_batch_has_its_own_region(x: Tensor) -> None:
    batch = torch.cat([x, x.flip(-1)])
    for make in (ADForward, lambda model, target: BaselineForward(model, 0.0, target=target)):
        forward = make(Halves().eval(), target=Region(1))
        together = FeatureAblation(forward).attribute(batch, feature_mask=LABELS, perturbations_per_eval=2)
        for i in (0, 1):
            alone = FeatureAblation(forward).attribute(batch[i : i + 1], feature_mask=LABELS)
            torch.testing.assert_close(together[i : i + 1], alone)


@pytest.mark.parametrize(
    ("where", "expected"),
    [((0, 0, 2, 8), 2.0), ((2, 0, 6, 8), 0.0), ((3, 7), -2.0), ((3, 0), 2.0), (~LEFT, -2.0), (LEFT[None, None], 2.0)],
)
def test_regions_of_ones_own(where, expected: float, x: Tensor) -> None:
    assert not Region(1, where).needs_whole
    torch.testing.assert_close(ADForward(Halves().eval(), target=Region(1, where))(x), torch.tensor([expected]))


def test_where_all_is_missing_no_class_is_kept(x: Tensor) -> None:
    """Not even class 0, which the largest of equal outputs would be."""
    for index, where in ((0, ~LEFT), (1, LEFT)):
        ad = ADForward(Halves().eval(), "no-growth", target=Region(index, where))
        assert ad.target is not None
        assert ad.target.kept(ad.outputs(x)).tolist() == [True]
        assert ad.target.kept(ad.outputs(x, mask=torch.zeros_like(LEFT))).tolist() == [False]


def test_one_logit_a_position(x: Tensor) -> None:
    ad = ADForward(Halves().eval(), select="aux", target=Region(0))
    torch.testing.assert_close(ad(x), torch.tensor([2.0]))
    target = ad.bound(x).target
    assert target is not None
    assert target.kept(ad.outputs(x)).tolist() == [True]


def test_what_there_is_not(x: Tensor) -> None:
    ad = ADForward(Halves().eval(), target=Region(1))
    with pytest.raises(ValueError, match=r"predicts class 1 nowhere in sample 0.*Region\(1, mask, box or point\)"):
        ad(torch.zeros_like(x))
    for where in ((3, 8), (0, 0, 9, 9), torch.zeros(8, 8, dtype=torch.bool), torch.ones(3, 3, dtype=torch.bool)):
        with pytest.raises(ValueError, match=r"region|neither a box nor a point"):
            ADForward(Halves().eval(), target=Region(1, where))(x)
    with pytest.raises(ValueError, match="class maps"):
        ADForward(nn.Flatten().eval(), target=Region(1))(x)
    with pytest.raises(ValueError, match="classes 0 to 1"):
        ADForward(Halves().eval(), target=Region(2))(x)


def test_gradients_of_a_region(x: Tensor) -> None:
    ad = ADForward(Halves().eval(), target=Region(1))
    found = Saliency(ad.bound(x)).attribute(x.clone().requires_grad_())
    assert (found[0, 0][LEFT] > 0).all()
    assert (found[0, 0][~LEFT] == 0).all()


@pytest.mark.parametrize("kind", [IntegratedGradients, Saliency])
def test_gradients_want_to_know_which_input_is_the_whole_one(kind, x: Tensor) -> None:
    ad = ADForward(Halves().eval(), target=Region(1))
    with pytest.raises(ValueError, match=rf"depends on the answer to the whole.*{kind.__name__}\(ad.bound\(x\)"):
        kind(ad).attribute(x)
    assert kind(ad.bound(x)).attribute(x)[0, 0][LEFT].min() > 0


def test_a_layer_s_gradients_too(x: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1)).eval()
    ad = ADForward(model, target=Region(1))
    with pytest.raises(ValueError, match="depends on the answer to the whole"):
        LayerIntegratedGradients(ad, model[0]).attribute(x)


def test_a_region_that_is_bound_to_others_is_refused(x: Tensor) -> None:
    ad = ADForward(Halves().eval(), target=Region(1)).bound(torch.cat([x, x.flip(-1)]))
    with pytest.raises(ValueError, match="knows the answers to 2 inputs, but 3 are scored"):
        ad(torch.cat([x, x, x]))


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_masks_of_any_type(kind, x: Tensor) -> None:
    maps = Halves()(x)["out"]
    expected = Region(1, LEFT).score(maps)
    assert torch.equal(Region(1, LEFT.to(kind)).score(maps), expected)
    assert torch.equal(Region(1, LEFT.to(kind).numpy()).score(maps), expected)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (LEFT * 255, "from 0 to 255: compare a label map"),
        ((0.5, 1.5), "integer positions"),
        ((0, 0, 3.5, 4), "integer positions"),
    ],
)
def test_what_is_no_region_is_refused_at_once(where, message) -> None:
    with pytest.raises(ValueError, match=message):
        Region(1, where)
    with pytest.raises(TypeError, match="a mask, a box or a point"):
        Region(1, "left")


def test_two_bools_are_a_mask_and_no_point() -> None:
    assert Region(1, [True, False]).score(torch.tensor([[[0.0, 0.0], [1.0, 3.0]]])).tolist() == [1.0]


class Sigmoid(nn.Module):
    """A single map, in [0, 1]: bright or not; `flat`: without a dimension for classes."""

    def __init__(self, flat: bool = False, logits: bool = False) -> None:
        super().__init__()
        self.flat, self.logits = flat, logits

    def forward(self, x: Tensor) -> Tensor:
        maps = nn.functional.conv2d(x, torch.ones(1, 1, 1, 1)) * 8 - 4
        maps = maps if self.logits else maps.sigmoid()
        return maps[:, 0] if self.flat else maps


def test_a_network_that_ends_in_a_sigmoid_is_not_taken_for_logits(x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1.*Region\(0, to_confidence='none'\)"):
        ADForward(Sigmoid().eval(), target=Region(0)).bound(x)
    probabilities = ADForward(Sigmoid().eval(), target=Region(0, to_confidence="none")).bound(x)
    logits = ADForward(Sigmoid(logits=True).eval(), target=Region(0)).bound(x)
    assert torch.equal(probabilities.target.found, logits.target.found)
    for mask in (LEFT, ~LEFT):
        one, other = (ad.target.kept(ad.outputs(x, mask=mask)) for ad in (probabilities, logits))
        assert torch.equal(one, other)
    torch.testing.assert_close(
        probabilities.target.confidence(probabilities.outputs(x)), logits.target.confidence(logits.outputs(x))
    )


def test_a_map_without_a_dimension_for_classes_is_the_only_class(x: Tensor) -> None:
    flat, one = (ADForward(Sigmoid(flat, logits=True).eval(), target=Region(0)) for flat in (True, False))
    torch.testing.assert_close(flat(x), one(x))
    assert torch.equal(flat.bound(x).target.found[0], LEFT)


def test_noise_around_a_perturbing_attributor_is_no_whole_input(x: Tensor) -> None:
    ad = ADForward(Halves().eval(), target=Region(1))
    for together in (None, 1):
        with pytest.raises(ValueError, match="NoiseTunnel may run other inputs"):
            NoiseTunnel(FeatureAblation(ad)).attribute(
                x, nt_samples=2, nt_samples_batch_size=together, feature_mask=LABELS
            )
    NoiseTunnel(FeatureAblation(ad.bound(x))).attribute(x, nt_samples=2, feature_mask=LABELS)


@pytest.mark.parametrize("make", [ADForward, lambda model, target: BaselineForward(model, 0.0, target=target)])
@pytest.mark.parametrize("kind", [Occlusion, ShapleyValues, FeatureAblation])
def test_every_attributor_takes_a_batch(make, kind, x: Tensor) -> None:
    forward, batch = make(Halves().eval(), target=Region(1)), torch.cat([x, x.flip(-1)])
    how = {"sliding_window_shapes": (1, 8, 4), "strides": (1, 8, 4)} if kind is Occlusion else {"feature_mask": LABELS}
    together = kind(forward).attribute(batch, **how)
    for i in (0, 1):
        torch.testing.assert_close(together[i : i + 1], kind(forward).attribute(batch[i : i + 1], **how))


def test_arguments_by_name_keep_their_rows_where_one_image_is_asked_about_again_and_again(x: Tensor) -> None:
    class Shifted(Halves):
        def forward(self, x: Tensor, by: Tensor) -> dict[str, Tensor]:
            return super().forward(torch.cat([x, by.reshape(-1, 1, 1, 1).expand(-1, *x.shape[1:])], 1)[:, :1])

    ad = ADForward(Shifted().eval(), target=Region(1))
    found = ad(x.expand(3, -1, -1, -1), by=torch.zeros(3))
    torch.testing.assert_close(found, ad(x, by=torch.zeros(1)).expand(3))
