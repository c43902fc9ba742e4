"""Named baselines: values, shapes, dtypes, and that Captum takes them."""

import pytest
import torch
from captum.attr import FeatureAblation

from captum_ad import UnknownNameError
from captum_ad.baselines import BASELINES, baseline


@pytest.fixture
def x():
    return torch.randn(3, 3, 20, 30, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "value"),
    [("zero", lambda s: 0.0), ("min", torch.min), ("max", torch.max), ("avg", torch.mean)],
)
def test_solid_baselines_fill_each_sample_with_its_own_value(x, name, value):
    painted = baseline(name, x)
    for sample, fill in zip(x, painted):
        torch.testing.assert_close(fill, torch.full_like(sample, float(value(sample))))


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_baselines_keep_shape_and_dtype_and_leave_the_input_alone(x, name, dtype):
    x = x.to(dtype)
    before = x.clone()
    painted = baseline(name, x)
    assert painted.shape == x.shape
    assert painted.dtype == dtype
    painted += 1  # owns its memory
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", BASELINES)
def test_samples_do_not_mix(x, name):
    alone = torch.cat([baseline(name, sample[None]) for sample in x])
    torch.testing.assert_close(baseline(name, x), alone)


def test_blur_keeps_constants_and_removes_contrast(x):
    constant = torch.full((1, 2, 9, 40), 3.5)
    torch.testing.assert_close(baseline("blur", constant), constant)
    assert baseline("blur", x).std() < 0.5 * x.std()


def test_blur_is_the_same_either_way_round(x):
    torch.testing.assert_close(baseline("blur", x.mT).mT, baseline("blur", x))


def test_blur_of_one_pixel():
    x = torch.tensor([[[[2.0]]]])
    torch.testing.assert_close(baseline("blur", x), x)


@pytest.mark.parametrize("name", BASELINES)
def test_captum_takes_them(x, name):
    def forward(images):
        return images.sum((1, 2, 3))

    mask = torch.zeros(1, 1, 20, 30, dtype=torch.long)
    found = FeatureAblation(forward).attribute(x, baselines=baseline(name, x), feature_mask=mask)
    expected = forward(x) - forward(baseline(name, x))
    torch.testing.assert_close(found[:, 0, 0, 0], expected, rtol=1e-4, atol=1e-3)


def test_unknown_name_suggests_near_ones(x):
    with pytest.raises(UnknownNameError, match=r"'zeros'.*'zero'"):
        baseline("zeros", x)


@pytest.mark.parametrize("shape", [(2, 30), (2, 3, 30), (2, 1, 6, 8, 10)])
@pytest.mark.parametrize("name", BASELINES)
def test_series_and_volumes_are_images_with_fewer_or_more_dimensions(name, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    painted = baseline(name, x)
    assert painted.shape == x.shape
    torch.testing.assert_close(painted, torch.cat([baseline(name, sample[None]) for sample in x]))
    if name == "blur":  # along one dimension as along one of an image that is constant along the other
        if len(shape) < 5:
            flat = x.reshape(2, -1, 1, 30).expand(-1, -1, 30, -1)
            torch.testing.assert_close(baseline("blur", flat)[:, :, 0].reshape(shape), painted)
        assert painted.std() < x.std()
    elif name == "avg":
        torch.testing.assert_close(painted[0].flatten()[0], x[0].mean())


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.zeros(1, 3, 4, 4, dtype=torch.long), torch.zeros(0, 3, 4, 4)])
def test_anything_but_a_batch_is_refused(bad):
    with pytest.raises(ValueError, match=r"\(N, C, \*spatial\)"):
        baseline("avg", bad)
