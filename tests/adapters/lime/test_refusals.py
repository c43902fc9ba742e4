"""What lime cannot explain with masks is refused, and the message says what to do."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from captum_ad import ADForward, BaselineForward

pytest.importorskip("lime")
pytest.importorskip("torchvision")

from captum_ad.adapters.lime import LimeImageExplainer, MaskedClassifier
from tests.adapters.lime.explaining import CELLS, POINTWISE, explain


def test_a_hide_color_is_refused(model, photograph):
    with pytest.raises(ValueError, match=r"got hide_color=0, but hidden superpixels are missing.*BaselineForward"):
        explain(LimeImageExplainer, photograph, MaskedClassifier(ADForward(model), POINTWISE), hide_color=0)


def test_classifiers_that_take_no_masks_are_refused(model, photograph):
    def of_images(images):
        raise AssertionError

    def with_an_option(images, device="cpu"):
        raise AssertionError

    cases = [
        (ADForward(model), "ADForward, which takes the model's input, not a photograph"),
        (BaselineForward(model, 0), "BaselineForward, which takes the model's input, not a photograph"),
        (model, "Sequential, which takes no masks"),
        (of_images, "of_images, which takes no masks"),
        (with_an_option, "with_an_option, which takes no masks"),
        (None, "NoneType, which takes no masks"),
    ]
    for classifier, message in cases:
        with pytest.raises(TypeError, match=rf"classifier_fn is .*{message}.*MaskedClassifier\("):
            explain(LimeImageExplainer, photograph, classifier)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda n: np.full((n, 2, 2), 0.5), r"shape \(10, 2, 2\) for 10 samples, expected \(10, classes\)"),
        (lambda n: np.full((n + 1, 2), 0.5), r"shape \(11, 2\) for 10 samples"),
        (lambda n: np.full((n, 2), np.nan), "NaN"),
        (lambda n: np.array([[-3.0, 7.0]] * n), r"from -3 to 7, expected probabilities.*softmax"),
    ],
)
def test_outputs_that_are_no_probabilities_are_refused(photograph, output, message):
    with pytest.raises(ValueError, match=message):
        explain(LimeImageExplainer, photograph, lambda images, masks: output(len(masks)), num_samples=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"batch_size": 2.5}, r"batch_size must be a positive integer, got 2\.5"),
        ({"num_samples": 0}, "num_samples must be a positive integer, got 0"),
        ({"segmentation_fn": lambda image: CELLS.T}, r"shape \(32, 24\) but the image has \(24, 32\)"),
        ({"segmentation_fn": lambda image: CELLS * 0}, r"1 segment.*superpixels"),
        ({"segmentation_fn": lambda image: CELLS / 2}, "float64, expected integer labels"),
        ({"segmentation_fn": lambda image: np.zeros((0, 0), dtype=int)}, r"shape \(0, 0\)"),
    ],
)
def test_settings_that_cannot_work_are_refused(model, photograph, options, message):
    with pytest.raises(ValueError, match=message):
        explain(LimeImageExplainer, photograph, MaskedClassifier(ADForward(model), POINTWISE), **options)


def test_an_image_in_which_limes_own_segmentation_finds_nothing_is_refused(model, photograph):
    with pytest.raises(ValueError, match=r"1 segment.*superpixels"):
        explain(LimeImageExplainer, photograph, MaskedClassifier(ADForward(model), POINTWISE), segmentation_fn=None)


@pytest.mark.parametrize("image", [Image.new("RGB", (8, 8)), np.zeros((1, 8, 8, 3)), np.zeros((0, 8, 3)), None])
def test_images_that_are_no_arrays_are_refused(model, image):
    with pytest.raises(TypeError, match=r"the image must be an array \(H, W, 3\)"):
        explain(LimeImageExplainer, image, MaskedClassifier(ADForward(model), POINTWISE))


def test_without_lime_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "captum_ad.adapters.lime")
    monkeypatch.setitem(sys.modules, "lime.lime_image", None)
    with pytest.raises(ImportError, match=r'needs lime: pip install .*"\.\[lime\]"'):
        import captum_ad.adapters.lime  # noqa: F401
