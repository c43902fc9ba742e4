"""lime's explainer with masks: its own explanation where the forward paints, the right one where lime errs."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captum_ad import ADForward, BaselineForward
from captum_ad.segmentation import superpixels

pytest.importorskip("lime")
pytest.importorskip("torchvision")
from lime import lime_image
from sklearn.linear_model import LinearRegression
from torchvision import transforms

from captum_ad.adapters.lime import LimeImageExplainer, MaskedClassifier
from tests.adapters.lime.explaining import CELLS, POINTWISE, explain


def averaged(image, segments):
    """The image that lime paints from: every segment in its mean color."""
    fudged = image.copy()
    for label in np.unique(segments):
        fudged[segments == label] = image[segments == label].mean(0)
    return fudged


def painted(model):
    """lime's classifier: a function of images that are painted already."""

    def predict(images):
        with torch.no_grad():
            return model(torch.stack([POINTWISE(Image.fromarray(image)) for image in images])).softmax(1).numpy()

    return predict


def weights(explanation, label):
    """One weight per segment."""
    found = dict(explanation.local_exp[label])
    return np.array([found[segment] for segment in range(len(found))])


def reads(rows, columns):
    """A network of two logits; the first is the mean of a part of the image, times 20."""
    linear = nn.Linear(3 * 24 * 32, 2)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
        weight = torch.zeros(3, 24, 32)
        weight[:, rows, columns] = 1
        linear.weight[0] = 20 * weight.flatten() / weight.sum()
    return nn.Sequential(nn.Flatten(), linear).eval()


OPTIONS = {
    "defaults": {},
    "quickshift": {"segmentation_fn": None},
    "quickshift of a seed": {"segmentation_fn": None, "random_seed": 5},
    "labels": {"top_labels": None, "labels": (3, 0)},
    "few features": {"num_features": 3},
    "Euclidean": {"distance_metric": "euclidean"},
    "another regression": {"model_regressor": LinearRegression()},
    "one batch": {"batch_size": 100},
    "single samples": {"batch_size": 1, "num_samples": 12},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_with_a_forward_that_paints_it_is_limes_own_explanation(model, options):
    size = (80, 60) if "segmentation_fn" in options else (32, 24)  # quickshift finds one segment in a small image
    coarse = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    photograph = np.asarray(Image.fromarray(coarse).resize(size))
    expected = explain(lime_image.LimeImageExplainer, photograph, painted(model), **options)
    fudged = POINTWISE(Image.fromarray(averaged(photograph, expected.segments)))
    classifier = MaskedClassifier(BaselineForward(model, fudged), POINTWISE)
    found = explain(LimeImageExplainer, photograph, classifier, **options)
    assert type(found) is type(expected)
    assert found.local_exp.keys() == expected.local_exp.keys()
    assert found.local_exp == expected.local_exp
    assert found.intercept == expected.intercept
    assert found.score == expected.score
    assert np.array_equal(found.local_pred, expected.local_pred)
    assert getattr(found, "top_labels", None) == getattr(expected, "top_labels", None)
    assert np.array_equal(found.segments, expected.segments)
    assert found.segments.max() > 3
    assert all(any(weight for _, weight in pairs) for pairs in found.local_exp.values())


def test_samples_are_those_that_lime_draws(model, photograph):
    def drawn(kind, classifier):
        explainer = kind(random_state=11)
        first = explainer.data_labels(photograph, photograph, CELLS, classifier, 9)
        return [data for data, _ in (first, explainer.data_labels(photograph, photograph, CELLS, classifier, 5))]

    ours = drawn(LimeImageExplainer, MaskedClassifier(ADForward(model), POINTWISE))
    limes = drawn(lime_image.LimeImageExplainer, painted(model))
    assert all(np.array_equal(a, b) for a, b in zip(ours, limes))
    assert ours[0].shape == (9, 12)
    assert (ours[0][0] == 1).all()
    assert 0 < ours[0][1:].mean() < 1


def test_the_classifier_gets_the_unchanged_image_and_the_masks(photograph):
    seen = []

    def classifier(images, masks):
        assert images.shape == (len(masks), 24, 32, 3)
        assert (images == photograph).all()
        assert masks.dtype == np.bool_
        seen.append(masks)
        return np.full((len(masks), 2), 0.5)

    before = photograph.copy()
    explain(LimeImageExplainer, photograph, classifier, num_samples=23, batch_size=10)
    assert [len(masks) for masks in seen] == [10, 10, 3]
    masks = np.concatenate(seen)
    assert masks[0].all()
    assert not masks[1:].all((1, 2)).all()
    for cell in range(12):
        inside = masks[:, cell == CELLS]
        assert (inside == inside[:, :1]).all()
    assert np.array_equal(photograph, before)


def test_a_segment_that_decides_gets_the_weight(photograph):
    classifier = MaskedClassifier(ADForward(reads(slice(8, 16), slice(24, 32))), transforms.ToTensor())
    found = weights(explain(LimeImageExplainer, photograph, classifier, num_samples=100), 0)
    assert found.argmax() == CELLS[8, 24] == 7
    assert np.abs(np.delete(found, 7)).max() < found[7] / 10


@pytest.mark.parametrize("labels", [CELLS + 1, CELLS * 5 - 20], ids=["from one", "gaps"])
def test_lime_loses_segments_whose_labels_do_not_count_from_zero_and_this_does_not(photograph, labels):
    model = reads(slice(16, 24), slice(24, 32))  # the last segment
    options = {"segmentation_fn": lambda image: labels, "num_samples": 100}
    painted_ones = []

    def predict(images):
        painted_ones.extend((image != photograph).any(2) for image in images)
        return painted(model)(images)

    explain(lime_image.LimeImageExplainer, photograph, predict, **options)
    assert not np.any(painted_ones, 0)[16:, 24:].any()  # lime never hides it

    found = explain(LimeImageExplainer, photograph, MaskedClassifier(ADForward(model), POINTWISE), **options)
    assert np.abs(weights(found, 0)).argmax() == 11
    assert np.array_equal(found.segments, CELLS)
    _, mask = found.get_image_and_mask(0, positive_only=False, num_features=1)
    assert np.array_equal(mask != 0, CELLS == 11)


def test_the_mask_goes_through_the_transform(photograph):
    resized = transforms.Compose([transforms.Resize(12), transforms.CenterCrop((12, 8)), transforms.ToTensor()])
    linear = nn.Linear(3 * 12 * 8, 2)
    with torch.no_grad():
        linear.weight.zero_()
        linear.weight.view(2, 3, 12, 8)[0, :, 4:8, :4] = 0.3
    classifier = MaskedClassifier(ADForward(nn.Sequential(nn.Flatten(), linear).eval()), resized)
    found = weights(explain(LimeImageExplainer, photograph, classifier, num_samples=100), 0)
    assert found.argmax() == CELLS[8, 8]  # rows 8 to 16 and columns 8 to 16 before the resize by two
    assert np.abs(np.delete(found, CELLS[8, 8])).max() < found.max() / 10


def test_superpixels_are_a_segmentation(model, photograph):
    classifier = MaskedClassifier(ADForward(model), POINTWISE)
    segmentation = functools.partial(superpixels, method="grid", n_segments=6)
    found = explain(LimeImageExplainer, photograph, classifier, segmentation_fn=segmentation)
    assert np.array_equal(found.segments, segmentation(photograph)[0, 0].numpy())
    assert len(weights(found, found.top_labels[0])) == found.segments.max() + 1


def test_a_gray_photograph_becomes_three_channels(model, photograph):
    classifier = MaskedClassifier(ADForward(model), POINTWISE)
    found = explain(LimeImageExplainer, photograph[:, :, 0], classifier)
    expected = explain(LimeImageExplainer, np.stack([photograph[:, :, 0]] * 3, 2), classifier)
    assert found.local_exp == expected.local_exp
    assert found.image.shape == (24, 32, 3)


def test_progress_bar(model, photograph, capsys):
    classifier = MaskedClassifier(ADForward(model), POINTWISE)
    explain(LimeImageExplainer, photograph, classifier, num_samples=5, progress_bar=False)
    assert capsys.readouterr().err == ""
    explain(LimeImageExplainer, photograph, classifier, num_samples=5)
    assert "5/5" in capsys.readouterr().err


def test_a_photograph_and_a_trained_network():
    pytest.importorskip("efficientnet_lite_pytorch")
    from skimage.data import coffee

    from captum_ad.demo import efficientnet_lite0

    model, transform = efficientnet_lite0()
    classifier = MaskedClassifier(ADForward(model, "no-growth"), transform)
    explainer = LimeImageExplainer(random_state=0)
    found = explainer.explain_instance(
        coffee(), classifier, segmentation_fn=superpixels, num_samples=24, top_labels=1, progress_bar=False
    )
    espresso = 967
    assert found.top_labels == [espresso]
    assert found.segments.shape == (400, 600)
    heat = weights(found, espresso)[found.segments]
    cup = heat[20:240, 180:420].mean()
    assert cup > heat.mean() + heat.std() / 4


def test_a_classifier_may_use_one_buffer_again_and_again() -> None:
    columns = np.arange(40)[:, None] // 10 * 5 + np.arange(50)[None] // 10
    buffer = np.zeros((10, 2))

    def into_buffer(images: Any, masks: Any) -> Any:
        p = 0.4 + masks[:, :10, :10].mean((1, 2)) / 2
        buffer[: len(p)] = np.stack([p, 1 - p], 1)
        return buffer[: len(p)]

    def weights(classifier: Any) -> dict[int, float]:
        explanation = LimeImageExplainer(random_state=0).explain_instance(
            np.zeros((40, 50, 3), np.uint8),
            classifier,
            labels=(0,),
            top_labels=None,
            num_samples=60,
            segmentation_fn=lambda image: columns,
            progress_bar=False,
        )
        return dict(explanation.local_exp[0])

    assert weights(into_buffer) == weights(lambda images, masks: into_buffer(images, masks).copy())
