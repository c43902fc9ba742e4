"""The image as ReX gets it, and the mutants that it makes of it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("rex_xai")

from rex_xai.mutants.mutant import _apply_to_data

from captum_ad import ADForward, BaselineForward
from captum_ad.adapters.rex import Script, preprocess, script
from tests.adapters.rex.models import SIDE, to_tensor
from tests.adapters.rex.runs import explained

BASELINES = ["zero", "min", "max", "avg", "blur", 0.3]


def test_data_is_the_transformed_image_and_the_view_of_it(network, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "image.png")

    def cropped(image):
        return to_tensor(image.crop((5, 2, 19, 12)))

    load, _, model_shape = made = script(ADForward(network), cropped)
    assert isinstance(made, Script)
    assert model_shape == ["N", 3, "H", "W"]
    for given in (image, tmp_path / "image.png", str(tmp_path / "image.png")):
        data = load(given, model_shape, torch.device("cuda"))  # what ReX says where there is none
        assert torch.equal(data.data, cropped(image)[None])
        assert np.array_equal(np.array(data.input), pixels[2:12, 5:19])
        assert (data.model_height, data.model_width, data.model_channels, data.model_order) == (10, 14, 3, "first")
        assert (data.mode, data.model_shape, data.device) == ("RGB", ["N", 3, 10, 14], torch.device("cpu"))
        data.set_mask_value("none")
        assert np.isnan(data.mask_value)


def test_data_turns_photographs_upright_and_grayscale_to_rgb(network, tmp_path):
    image = Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    data = preprocess(ADForward(network), to_tensor)(tmp_path / "turned.png")
    assert data.data.shape == (1, 3, 20, 10)
    assert np.array_equal(np.array(data.input)[..., 0], np.rot90(np.array(image), -1))


def test_a_network_of_grayscale_images():
    load, _, model_shape = script(ADForward(nn.Flatten().eval()), lambda image: to_tensor(image)[:1])
    data = load(Image.new("L", (4, 6), 128))
    assert model_shape == ["N", 1, "H", "W"]
    assert data.data.shape == (1, 1, 6, 4)
    assert data.input.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("transform", [lambda image: to_tensor(image)[None], np.array, lambda image: torch.ones(4, 4)])
def test_transforms_that_give_no_image_are_refused(network, transform):
    with pytest.raises(ValueError, match=r"the transform returned .* expected a tensor of shape \(1\|3, H, W\)"):
        script(ADForward(network), transform)


@pytest.mark.parametrize("mask_value", [0, 0.0, "min", "mean", "random", "linear", "context", "spectral"])
def test_paint_is_refused(patch_network, picture, mask_value):
    for forward in (ADForward(patch_network), BaselineForward(patch_network, "zero")):
        with pytest.raises(ValueError, match=r'mask_value = "none" under \[rex\] in rex.toml'):
            explained(picture, forward, mask_value=mask_value)


@pytest.mark.parametrize("baseline", BASELINES)
def test_mutants_of_a_baseline_are_painted_with_that_of_the_whole_image(network, picture, baseline):
    forward = BaselineForward(network, baseline)
    data = preprocess(forward, to_tensor)(picture)
    data.set_mask_value("none")
    masks = (torch.rand(5, 1, SIDE, SIDE) > 0.5).expand(-1, 3, -1, -1)
    for mask in (masks[0], masks):  # as ReX has them when it searches and when it extracts
        one_each = mask.reshape(-1, 3, SIDE, SIDE)
        expected = forward.painted(data.data.expand(len(one_each), -1, -1, -1), one_each)
        assert torch.equal(_apply_to_data(mask, data), expected)
