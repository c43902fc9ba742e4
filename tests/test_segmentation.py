"""Superpixels: labels that are contiguous, cover the image and follow its contours."""

import sys

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation
from PIL import Image

from captum_ad import ADForward, BaselineForward, UnknownNameError
from captum_ad.segmentation import superpixels

METHODS = ["slic", "quickshift", "felzenszwalb", "grid"]


@pytest.fixture(scope="module")
def picture():
    """Four colored quadrants with a little noise, 40 × 60."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 0.05, (40, 60, 3))
    image[:20, :30, 0] += 0.9
    image[:20, 30:, 1] += 0.9
    image[20:, :30, 2] += 0.9
    return image


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_contiguous_and_have_the_shape_of_a_feature_mask(picture, method):
    labels = superpixels(picture, method, n_segments=12)
    assert labels.shape == (1, 1, 40, 60)
    assert labels.dtype == torch.int64
    assert labels.unique().tolist() == list(range(int(labels.max()) + 1))
    assert int(labels.max()) >= 1


@pytest.mark.parametrize("method", ["slic", "quickshift", "felzenszwalb"])
def test_segments_follow_contours(picture, method):
    labels = superpixels(picture, method, n_segments=24)[0, 0]
    quadrant = torch.arange(40)[:, None] // 20 * 2 + torch.arange(60)[None] // 30
    pure = sum(int((quadrant[labels == label]).bincount().max()) for label in labels.unique())
    assert pure / labels.numel() > 0.95


@pytest.mark.parametrize(("n", "shape"), [(1, (40, 60)), (6, (40, 60)), (50, (224, 224)), (1000, (5, 3)), (7, (1, 9))])
def test_grid_has_about_as_many_cells_as_asked_for(n, shape):
    labels = superpixels(np.zeros((*shape, 3)), "grid", n_segments=n)
    wanted = min(n, shape[0] * shape[1])
    assert 0.6 * wanted <= int(labels.max()) + 1 <= 1.4 * wanted
    sizes = labels.flatten().bincount()
    assert sizes.max() <= 4 * sizes.min()


@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_image_gives_the_same_labels(picture, method):
    array = (picture * 255).astype(np.uint8)
    of_array = superpixels(array, method)
    assert torch.equal(superpixels(Image.fromarray(array), method), of_array)
    assert torch.equal(superpixels(torch.from_numpy(array).permute(2, 0, 1), method), of_array)
    assert torch.equal(superpixels(array / 255.0, method), of_array)


def test_a_normalized_tensor_is_rescaled(picture):
    x = torch.from_numpy(picture).permute(2, 0, 1)
    low, high = x.min(), x.max()
    expected = superpixels((x - low) / (high - low))
    assert torch.equal(superpixels((x - 0.5) / 0.1), expected)


def test_images_of_any_mode(picture):
    image = Image.fromarray((picture * 255).astype(np.uint8))
    for mode in ("L", "RGBA", "P", "CMYK", "1"):
        assert superpixels(image.convert(mode), "grid").shape == (1, 1, 40, 60)


def test_options_reach_scikit_image(picture):
    coarse = superpixels(picture, "felzenszwalb", min_size=800)
    assert int(coarse.max()) < int(superpixels(picture, "felzenszwalb", min_size=5, scale=1).max())
    with pytest.raises(TypeError, match="compactnes"):
        superpixels(picture, compactnes=3)
    with pytest.raises(TypeError, match="compactness"):
        superpixels(picture, "grid", compactness=3)


def test_unknown_method_suggests_near_ones(picture):
    with pytest.raises(UnknownNameError, match=r"'quick'.*'quickshift'"):
        superpixels(picture, "quick")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros(4), r"\(H, W, 1\|3\|4\), got \(4,\)"),
        (np.zeros((3, 4, 5)), r"\(H, W, 1\|3\|4\), got \(3, 4, 5\)"),
        (np.zeros((0, 4, 3)), r"\(H, W, 1\|3\|4\)"),
        (torch.zeros(5, 4, 3), r"an image \(1\|3\|4, H, W\), .*got \(5, 4, 3\)"),
        (torch.zeros(1, 2, 1, 3, 4, 4), r"got \(1, 2, 1, 3, 4, 4\)"),
        (np.full((4, 4, 3), np.nan), "NaN"),
        (np.full((4, 4, 3), "a"), "integers or floats"),
    ],
)
def test_images_that_are_none_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        superpixels(image)


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "7"])
def test_number_of_segments_must_be_a_positive_integer(picture, n):
    with pytest.raises(ValueError, match="n_segments"):
        superpixels(picture, "grid", n_segments=n)


def test_without_scikit_image_the_error_says_what_to_install(picture, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match=r'pip install .*"\.\[superpixels\]"'):
        superpixels(picture)
    assert superpixels(picture, "grid").shape == (1, 1, 40, 60)


COLORS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
PHOTOGRAPH = COLORS.repeat(8, 0).repeat(8, 1)


@pytest.mark.parametrize("method", ["slic", "felzenszwalb", "grid"])
def test_what_people_hold_is_segmented_like_the_same_image_in_rgb(method):
    gray = PHOTOGRAPH[..., 0]
    expected = superpixels(np.dstack([gray] * 3), method, 12)
    x = torch.from_numpy(gray / 255)
    for same in (gray, gray[..., None], x, x[None, None], Image.fromarray(gray)):
        assert torch.equal(superpixels(same, method, 12), expected)
    assert torch.equal(superpixels(x[None], method, 12), expected)
    opaque = np.dstack([PHOTOGRAPH, np.random.default_rng(1).integers(0, 256, gray.shape, dtype=np.uint8)])
    assert torch.equal(superpixels(opaque, method, 12), superpixels(PHOTOGRAPH, method, 12))


def test_each_sample_of_a_batch_has_labels_of_its_own():
    batch = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = superpixels(batch, n_segments=6)
    assert found.shape == (3, 1, 16, 16)
    for one, labels in zip(batch, found):
        assert torch.equal(superpixels(one, n_segments=6)[0], labels)
    assert not torch.equal(found[0], found[1])


def test_volumes_get_supervoxels_that_are_connected_in_depth():
    volume = torch.zeros(1, 8, 8, 8)
    volume[0, 4:] = 1
    for given in (volume, volume[None]):
        labels = superpixels(given, n_segments=8, spatial_dims=3, compactness=0.01, sigma=0)[0, 0]
        assert labels.shape == (8, 8, 8)
        assert set(labels[:4].unique().tolist()).isdisjoint(labels[4:].unique().tolist())
    assert torch.equal(superpixels(volume[None], n_segments=8), superpixels(volume, n_segments=8, spatial_dims=3))
    assert superpixels(volume[None], "grid", 8)[0, 0].unique(return_counts=True)[1].tolist() == [64] * 8
    with pytest.raises(ValueError, match="only takes images, got 3 spatial"):
        superpixels(volume[None], "quickshift")


def test_series_get_equal_pieces():
    found = superpixels(torch.rand(2, 3, 12), n_segments=4, spatial_dims=1)
    assert found.tolist() == [[[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]]] * 2
    assert superpixels(torch.rand(2, 6), n_segments=3, spatial_dims=1).tolist() == [[0, 0, 1, 1, 2, 2]] * 2


def test_what_is_no_image_is_asked_for_its_dimensions():
    with pytest.raises(ValueError, match=r"spatial_dims=1 for series \(N, C, T\)"):
        superpixels(torch.rand(2, 5, 12))


def test_integers_below_zero_are_segmented_as_the_same_floats():
    scan = torch.full((1, 1, 32, 32), -1000, dtype=torch.int16)  # in Hounsfield units: air, lung and fat
    scan[..., 8:24, 8:24], scan[..., 12:20, 12:20] = -700, -100
    for method in ("slic", "felzenszwalb"):
        expected = superpixels(scan.float(), method, 8)
        assert torch.equal(superpixels(scan, method, 8), expected)
        assert len(expected.unique()) > 1


def test_an_image_of_many_channels_is_no_volume():
    assert superpixels(torch.rand(1, 5, 16, 16), n_segments=4).shape == (1, 1, 16, 16)
    with pytest.raises(ValueError, match="check spatial_dims"):
        superpixels(torch.rand(2, 3, 16, 16), spatial_dims=1)


def test_waveforms_have_labels_that_an_attributor_takes():
    wave = torch.rand(1, 32, generator=torch.Generator().manual_seed(0))
    labels = superpixels(wave, n_segments=4, spatial_dims=1)
    model = torch.nn.Linear(32, 2).eval()
    found = FeatureAblation(BaselineForward(model, 0.0)).attribute(wave, target=0, feature_mask=labels)
    expected = FeatureAblation(model).attribute(wave, target=0, feature_mask=labels)
    assert torch.allclose(found, expected, atol=1e-6)  # a difference of outputs, and batches of another size


def test_labels_of_more_dimensions_than_the_input_are_refused():
    ad = ADForward(torch.nn.Conv1d(2, 2, 3).eval())
    with pytest.raises(ValueError, match="feature mask has shape"):
        FeatureAblation(ad).attribute(torch.rand(1, 2, 8), target=(0, 0), feature_mask=torch.zeros(1, 1, 2, 8).long())
