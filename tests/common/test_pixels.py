"""Gray levels of more than eight bits keep their order and their number."""

import numpy as np
import pytest
import torch
from PIL import Image

from captum_ad._common.errors import InputError
from captum_ad._common.images import load_photographs
from captum_ad._common.pixels import unit_range
from captum_ad.segmentation import superpixels

RAMP = np.tile(np.arange(256, dtype=np.uint16), (32, 1))


@pytest.mark.parametrize(("bits", "factor"), [(8, 1), (10, 4), (12, 16), (14, 64), (16, 257)])
@pytest.mark.filterwarnings("ignore:the largest gray level")
def test_white_is_the_largest_number_of_as_few_bits_as_hold_all(bits: int, factor: int) -> None:
    found = unit_range(RAMP * np.uint16(factor))
    np.testing.assert_allclose(found, RAMP * factor / (2**bits - 1))


@pytest.mark.parametrize("factor", [257, 16])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.filterwarnings("ignore:the largest gray level")
def test_sixteen_bit_files(factor, suffix, tmp_path):
    path = tmp_path / f"scan.{suffix}"
    Image.fromarray(RAMP * np.uint16(factor)).save(path)
    seen = np.asarray(load_photographs([str(path)])[0].image)
    assert seen.shape == (32, 256, 3)
    assert np.abs(seen[..., 0].astype(int) - RAMP).max() <= 1


def test_a_scale_that_was_guessed_is_said(tmp_path):
    Image.fromarray(RAMP * np.uint16(16)).save(tmp_path / "ct.png")
    assert "4080: 4095 (12 bits)" in load_photographs([str(tmp_path / "ct.png")])[0].note


def test_floats_are_taken_from_0_to_1_and_else_refused_with_their_range(tmp_path):
    Image.fromarray((RAMP / 255).astype(np.float32)).save(tmp_path / "unit.tiff")
    seen = np.asarray(load_photographs([str(tmp_path / "unit.tiff")])[0].image)
    assert np.array_equal(seen[..., 0], RAMP)
    for name, values in (("hounsfield", RAMP.astype(np.float32) - 100), ("signed", RAMP.astype(np.int32) - 100)):
        Image.fromarray(values).save(tmp_path / f"{name}.tiff")
        with pytest.raises(InputError, match=r"from -100 to 155"):
            load_photographs([str(tmp_path / f"{name}.tiff")])


@pytest.mark.filterwarnings("ignore:the largest gray level")
def test_superpixels_see_them_too():
    image = np.random.default_rng(0).integers(0, 256, (40, 40)).astype(np.uint16)
    expected = superpixels(image.astype(np.uint8), n_segments=9)
    image[0, 0] = 255
    for deep in (image * np.uint16(257), Image.fromarray(image * np.uint16(257))):
        assert torch.equal(superpixels(deep, n_segments=9), superpixels(image.astype(np.uint8), n_segments=9))
    assert len(expected.unique()) > 2
