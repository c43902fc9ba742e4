"""Masks go through a transform the way the image goes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captum_ad._common.geometry import carry_masks, segment_labels, source_positions

pytest.importorskip("torchvision")
from torchvision import transforms as v1
from torchvision.models import EfficientNet_B0_Weights, ResNet18_Weights
from torchvision.transforms import v2
from torchvision.transforms._presets import SemanticSegmentation

from tests.pictures import thumbnail

EXACT = v1.InterpolationMode.NEAREST_EXACT
NEAREST = v1.InterpolationMode.NEAREST  # which for PIL images is the exact one
HEIGHT, WIDTH = 23, 41


def numbered():
    """A photograph whose red and green say where a pixel is, and whose blue says that it is one."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows, columns, np.ones_like(rows)], 2).astype(np.uint8)


def seen(x):
    """The positions that a transformed :func:`numbered` shows."""
    return torch.where(x[2] == 1, 1 + x[0].long() * WIDTH + x[1].long(), 0)


GEOMETRIES = {
    "shorter side": lambda t, mode: [t.Resize(17, mode)],
    "enlarged": lambda t, mode: [t.Resize((31, 60), mode)],
    "longest side": lambda t, mode: [t.Resize(17, mode, max_size=20)],
    "resize and crop": lambda t, mode: [t.Resize(15, mode), t.CenterCrop(10)],
    "crop beyond the border": lambda t, mode: [t.CenterCrop((30, 30))],
    "letterbox": lambda t, mode: [t.Resize((10, 18), mode), t.Pad((0, 4), fill=(9, 9, 9))],
    "uneven padding": lambda t, mode: [t.Pad((1, 2, 3, 4))],
    "reflection": lambda t, mode: [t.Pad((5, 3), padding_mode="reflect")],
    "edge": lambda t, mode: [t.Pad(2, padding_mode="edge"), t.Resize(12, mode)],
    "symmetric": lambda t, mode: [t.Pad(4, padding_mode="symmetric")],
    "flips": lambda t, mode: [t.RandomHorizontalFlip(p=1.0), t.Resize(9, mode), t.RandomVerticalFlip(p=1.0)],
    "no flip": lambda t, mode: [t.RandomHorizontalFlip(p=0.0), t.CenterCrop(8)],
    "nested": lambda t, mode: [t.Compose([t.Resize(15, mode)]), nn.Sequential(t.CenterCrop(11), t.Pad(1))],
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("kind", ["v1 of PIL", "v2 of PIL", "v2 of tensors"])
def test_every_position_shows_what_the_transformed_image_shows(geometry, kind):
    if kind == "v2 of tensors":
        transform = v2.Compose([v2.ToImage(), *geometry(v2, EXACT), v2.ToPureTensor()])
    elif kind == "v2 of PIL":
        transform = v2.Compose([*geometry(v2, NEAREST), v2.PILToTensor()])
    else:
        transform = v1.Compose([*geometry(v1, NEAREST), v1.PILToTensor()])
    x = transform(Image.fromarray(numbered()))
    assert torch.equal(source_positions((HEIGHT, WIDTH), transform), seen(x))


@pytest.mark.parametrize("size", [(9, 11), (57, 100)])
def test_smooth_interpolation_is_followed_by_the_centers_of_pixels(size):
    ramp = torch.arange(HEIGHT * WIDTH).reshape(1, HEIGHT, WIDTH).float() // WIDTH
    resize = v1.Resize(size)
    rows = (source_positions((HEIGHT, WIDTH), resize) - 1) // WIDTH
    assert resize.interpolation is v1.InterpolationMode.BILINEAR  # the image's own step stays as it is
    inside = slice(3, -3)  # at the border the window is cut off
    assert (rows - resize(ramp)[0])[inside].abs().max() <= 0.5 + 1e-4


@pytest.mark.parametrize("weights", [ResNet18_Weights.DEFAULT, EfficientNet_B0_Weights.DEFAULT])
def test_presets_of_weights(weights):
    preset = weights.transforms()
    steps = v1.Compose([v1.Resize(preset.resize_size), v1.CenterCrop(preset.crop_size)])
    sources = source_positions((300, 500), preset)
    assert torch.equal(sources, source_positions((300, 500), steps))
    assert sources.shape == preset(Image.new("RGB", (500, 300))).shape[1:]


def test_steps_that_change_only_values_are_skipped():
    class MaybeToTensor(v1.ToTensor):
        """As timm derives one."""

    steps = [
        v1.ToTensor(),
        MaybeToTensor(),
        v1.Normalize([0.5], [0.5]),
        v1.ConvertImageDtype(torch.float64),
        v1.Grayscale(3),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.RGB(),
        v2.Identity(),
        nn.Identity(),
    ]
    expected = torch.arange(1, 13).reshape(3, 4)
    assert torch.equal(source_positions((3, 4), v1.Compose(steps)), expected)


class CleverResize(v1.Resize):
    """Might do anything."""


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (v1.Lambda(thumbnail), "Lambda.*not known.*mask_transform="),
        (v1.GaussianBlur(3), "GaussianBlur.*not known"),
        (v1.RandomResizedCrop(8), "RandomResizedCrop.*random"),
        (v2.RandomHorizontalFlip(), "RandomHorizontalFlip.*random"),
        (v1.FiveCrop(8), "FiveCrop"),
        (SemanticSegmentation(resize_size=8), "SemanticSegmentation"),
        (CleverResize(8), "CleverResize.*not known"),
        (thumbnail, "thumbnail.*mask_transform="),
    ],
)
def test_steps_that_are_not_known_are_named(step, message):
    with pytest.raises(ValueError, match=message):
        source_positions((16, 16), v1.Compose([v1.ToTensor(), step]))


def test_a_mask_transform_takes_the_place_of_the_transform():
    def halved(labels):
        assert labels.shape == (4, 6)
        assert labels.dtype == torch.int64
        return labels[::2, ::2]

    assert source_positions((4, 6), thumbnail, halved).tolist() == [[1, 3, 5], [13, 15, 17]]
    assert source_positions((4, 6), thumbnail, lambda labels: labels[None, :1, :2].float()).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros((2, 2)), "ndarray, expected a tensor"),
        (torch.ones(2, 2, dtype=torch.bool), r"torch.bool.*threshold"),
        (torch.ones(4), r"shape \(4,\).*label map"),
        (torch.full((2, 2), 1.5), "nearest neighbor"),
        (torch.full((2, 2), 17), "not given"),
        (torch.full((2, 2), -1), "not given"),
    ],
)
def test_what_a_mask_transform_may_not_return(result, message):
    with pytest.raises(ValueError, match=message):
        source_positions((4, 4), thumbnail, lambda labels: result)


def test_masks_are_carried_and_padding_is_kept():
    masks = torch.rand(5, 4, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    steps = v1.Compose([v1.CenterCrop((2, 4)), v1.Pad((1, 0))])
    carried = carry_masks(masks, source_positions((4, 6), steps))
    assert torch.equal(carried[:, :, 1:-1], masks[:, 1:3, 1:5])
    assert carried[:, :, [0, -1]].all()


def test_segments_are_numbered_from_zero_without_gaps():
    labels = np.array([[7, 7, -3], [9, -3, 9]])
    expected = [[1, 1, 0], [2, 0, 2]]
    assert segment_labels(labels, (2, 3)).tolist() == expected
    assert segment_labels(torch.from_numpy(labels)[None, None], (2, 3)).tolist() == expected
    assert segment_labels(labels > 0, (2, 3)).tolist() == [[1, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((3, 2), dtype=int), r"\(3, 2\) but the image has \(2, 3\)"),
        (np.zeros((2, 2, 3), dtype=int), r"\(2, 2, 3\)"),
        (np.ones((2, 3)), "float64, expected integer"),
        (np.ones((2, 3), dtype=int), r"1 segment.*two"),
    ],
)
def test_segments_that_are_none(labels, message):
    with pytest.raises(ValueError, match=message):
        segment_labels(labels, (2, 3))
