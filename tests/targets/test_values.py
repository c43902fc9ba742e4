"""Targets that are numbers: regressions, similarities, reconstructions."""

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import CausalResponsibility
from captum_ad.metrics import SolidColors, insertion_curve, rho_robustness, sufficient_explanation
from captum_ad.targets import Reconstruction, Regression, Similarity
from captum_ad.testing import check_model

QUARTERS = (torch.arange(8) // 4)[:, None] * 2 + torch.arange(8) // 4
LABELS = QUARTERS.expand(1, 1, 8, 8)


class Age(nn.Module):
    """45 years, and 10 more for each bright quarter."""

    def __init__(self) -> None:
        super().__init__()
        self.years = nn.Linear(4, 1)
        self.requires_grad_(False)
        self.years.weight.fill_(10)
        self.years.bias.fill_(45)

    def forward(self, x: Tensor) -> Tensor:
        return self.years(nn.functional.avg_pool2d(x.sum(1, keepdim=True), 4).flatten(1))


def test_regression_keeps_what_is_within_the_tolerance() -> None:
    x = torch.zeros(1, 1, 8, 8)
    x[..., :4, :4] = 1
    ad = ADForward(Age().eval(), target=Regression(tolerance=2.0))
    a = FeatureAblation(ad).attribute(x, feature_mask=LABELS)
    torch.testing.assert_close(a[0, 0], 10.0 * (QUARTERS == 0))
    found = sufficient_explanation(ad, x, a, feature_mask=QUARTERS)
    assert torch.equal(found.mask, QUARTERS == 0)
    assert (found.confidence, found.original_confidence) == (55.0, 55.0)
    rho = rho_robustness(Age().eval(), x, found, Regression(tolerance=40.0), SolidColors(n=3))
    assert rho.rho == 1
    assert rho_robustness(Age().eval(), x, found, Regression(tolerance=1e-3), SolidColors(n=3)).rho == 0
    assert insertion_curve(ad, x, a).values[[0, -1]].tolist() == [45, 55]


def test_regression_knows_the_value_of_each_input() -> None:
    """Nobody has to say what the whole is: each forward asks, of each sample of a batch."""
    x, ad = torch.rand(3, 1, 8, 8), ADForward(Age().eval(), target=Regression(tolerance=1.0))
    assert torch.equal(ad(x), ad.model(x)[:, 0])
    target = ad.bound(x).target
    assert target is not None
    assert target.kept(ad.model(x)).all()
    assert not target.kept(ad.model(x) + 1.5).any()
    with pytest.raises(ValueError, match="call bound"):
        Regression(tolerance=1.0).kept(ad.model(x))
    with pytest.raises(ValueError, match="tolerance must be"):
        Regression(tolerance=0)


def test_similarity_finds_what_both_images_have() -> None:
    """Embeddings are the means of the quarters, so that the quarter both share is what makes them match."""
    model = nn.Sequential(nn.AvgPool2d(4), nn.Flatten()).eval()
    here, there = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    here[..., :4, :] = 1  # quarters 0 and 1
    there[..., :, 4:] = 1  # quarters 1 and 3
    for image, other in ((here, there), (there, here)):
        ad = ADForward(model, target=Similarity.to(model, other))
        torch.testing.assert_close(ad(image), torch.tensor([0.5]))
        a = FeatureAblation(ad).attribute(image, feature_mask=LABELS)
        assert int(a.flatten().argmax()) == 4  # the first pixel of quarter 1
        torch.testing.assert_close(a[0, 0, 0, 4], torch.tensor(0.5))  # without it nothing is alike
    with pytest.raises(ValueError, match="must be the same model's embedding"):
        Similarity(torch.ones(3)).score(torch.ones(1, 4))
    with pytest.raises(ValueError, match="all zeros"):
        Similarity(torch.zeros(3))
    assert Similarity(torch.ones(2), threshold=0.9).kept(torch.tensor([[1.0, 1.0], [1.0, -1.0]])).tolist() == [
        True,
        False,
    ]


class Blind(nn.Module):
    """An autoencoder that gives back its input, but for the bottom right quarter, where it sees nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, torch.ones(1, 1, 1, 1)) * (QUARTERS != 3)


def test_both_images_of_a_match_can_be_hidden() -> None:
    """A network of two images: each has its own attribution, from the same forwards."""

    class Match(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return nn.functional.cosine_similarity(self.embed(a), self.embed(b))

    here, there = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    here[..., :4, :] = 1  # quarters 0 and 1
    there[..., :, 4:] = 1  # quarters 1 and 3
    ad = ADForward(Match().eval())
    torch.testing.assert_close(ad(here, there), torch.tensor([0.5]))
    found = FeatureAblation(ad).attribute((here, there), feature_mask=(LABELS, LABELS + 4))
    for a in found:
        assert a[0, 0][QUARTERS == 1].sub(0.5).abs().max() < 1e-6  # without it nothing matches
        assert a[0, 0][QUARTERS != 1].max() < 1e-6
    suffices = sufficient_explanation(
        ad, (here, there), found, Regression(tolerance=0.6), feature_mask=(LABELS, LABELS + 4)
    )
    assert len(suffices.mask) == 2


@pytest.mark.parametrize("make", [ADForward, lambda model, target: BaselineForward(model, 0.0, target=target)])
@pytest.mark.parametrize("loss", ["mse", "l1", lambda made, x: (made - x).abs()])
def test_reconstruction_finds_what_cannot_be_reproduced(make, loss) -> None:
    x = torch.ones(2, 1, 8, 8)
    forward = make(Blind().eval(), target=Reconstruction(loss))
    torch.testing.assert_close(forward(x), torch.full((2,), 0.25))
    for quarter, error in ((3, 0.0), (0, 1 / 3)):  # over what is there: 16 of 48 positions are wrong
        torch.testing.assert_close(forward(x, mask=quarter != QUARTERS), torch.full((2,), error))
    a = FeatureAblation(forward).attribute(x[:1], feature_mask=LABELS)
    assert (a[0, 0][QUARTERS == 3] > 0).all()
    assert (a[0, 0][QUARTERS != 3] < 0).all()
    assert torch.equal(sufficient_explanation(forward, x[:1], a, feature_mask=QUARTERS).mask, QUARTERS == 3)


def test_reconstruction_needs_the_inputs_shape() -> None:
    with pytest.raises(ValueError, match="expected the input's"):
        ADForward(nn.MaxPool2d(2).eval(), target=Reconstruction())(torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match="mse, l1"):
        Reconstruction("huber")


def test_lime_explains_numbers_too() -> None:
    pytest.importorskip("lime")
    from captum_ad.adapters.lime import LimeImageExplainer, MaskedClassifier

    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, :4] = 255

    def transform(photograph) -> Tensor:
        return torch.tensor(np.asarray(photograph) / 255).permute(2, 0, 1).float()

    weights = []
    for ad, how in (
        (ADForward(Age().eval()), "none"),
        (ADForward(Age().eval(), target=Regression(tolerance=1)), "softmax"),
    ):
        classifier = MaskedClassifier(ad, transform, to_confidence=how, mask_transform=lambda labels: labels)
        explanation = LimeImageExplainer(random_state=0).explain_instance(
            image,
            classifier,
            top_labels=1,
            num_samples=200,
            segmentation_fn=lambda _: QUARTERS.numpy(),
            progress_bar=False,
        )
        weights.append(dict(explanation.local_exp[0]))
        assert explanation.local_exp[0][0][0] == 0
        assert weights[-1][0] == pytest.approx(30, rel=0.05)  # three channels' sum of 10 each
    assert weights[0] == pytest.approx(weights[1])


def test_thresholds_are_checked() -> None:
    with pytest.raises(ValueError, match="threshold must be a number from -1 to 1, got 2"):
        Similarity(torch.ones(2), threshold=2)
    with pytest.raises(ValueError, match="threshold must be a number of 0 or more, got -1"):
        Reconstruction(threshold=-1)
    with pytest.raises(TypeError, match="class index"):
        Regression(1.5, tolerance=1)


def test_a_reference_of_a_model_in_train_mode_or_of_one_part_of_its_output() -> None:
    model = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Dropout())
    with pytest.raises(ValueError, match=r"Sequential is in train mode: call model.eval\(\)"):
        Similarity.to(model, torch.ones(1, 1, 8, 8))

    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.mean((2, 3)), x.flatten(1)

    x = torch.rand(1, 1, 8, 8)
    assert len(Similarity.to(Two().eval(), x, select=lambda output: output[1]).reference) == 64


@pytest.mark.parametrize("target", [Similarity(torch.ones(4)), Reconstruction()])
def test_robustness_needs_to_know_when_the_answer_is_the_same(target) -> None:
    model = (
        Blind().eval() if isinstance(target, Reconstruction) else nn.Sequential(nn.AvgPool2d(4), nn.Flatten()).eval()
    )
    x = torch.ones(1, 1, 8, 8)
    with pytest.raises(ValueError, match="does not define when it is kept: give it a threshold"):
        rho_robustness(model, x, torch.ones(8, 8, dtype=torch.bool), target, SolidColors(n=2, mean=(0.5,), std=(1.0,)))


def test_an_autoencoder_is_checked_with_its_target() -> None:
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    report = check_model(ADForward(Blind().eval(), target=Reconstruction()), x, verbose=False)
    assert report, str(report)


@pytest.mark.parametrize("target", [Similarity(torch.ones(4)), Reconstruction()])
def test_responsibility_too(target) -> None:
    model = (
        Blind().eval() if isinstance(target, Reconstruction) else nn.Sequential(nn.AvgPool2d(4), nn.Flatten()).eval()
    )
    with pytest.raises(ValueError, match=r"does not define when the answer is kept"):
        CausalResponsibility(ADForward(model, target=target)).attribute(torch.ones(1, 1, 8, 8))


def test_an_embedding_of_one_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected embeddings, \(N, K\)"):
        Similarity(torch.ones(2)).score(torch.ones(3))
    model = nn.Sequential(nn.AvgPool2d(4), nn.Flatten()).eval()
    with pytest.raises(TypeError, match="no such part"):
        Similarity.to(model, torch.ones(1, 1, 8, 8), select="embedding")
