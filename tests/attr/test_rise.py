"""Rise: against a transcription of the source, known answers, invariances, and bad input."""

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import FeatureAblation
from torch import nn

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import Rise
from captum_ad.targets import Class
from tests.attr.models import QUADRANTS, Quadrants, bright


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 8 * 7, 4), nn.Softmax(1)).eval()


@torch.no_grad()
def transcription(model, x, target, n, grid, p, seed, paint, soft):
    """Section 3 of the source, one mask at a time."""
    height, width = x.shape[2:]
    generator = np.random.default_rng(seed)
    saliency = np.zeros((height, width))
    for _ in range(n):
        coarse = (generator.random((grid, grid)) < p).astype(np.float32)
        cell_h, cell_w = -(-height // grid), -(-width // grid)
        top, left = int(generator.integers(cell_h)), int(generator.integers(cell_w))
        big = torch.from_numpy(coarse)[None, None]
        size = ((grid + 1) * cell_h, (grid + 1) * cell_w)
        big = F.interpolate(big, size, mode="bilinear", align_corners=False) if soft else F.interpolate(big, size)
        mask = big[0, 0, top : top + height, left : left + width]
        score = model(x * mask + paint * (1 - mask))[0, target]
        saliency += float(score) * mask.numpy().astype(np.float64)
    return saliency / (n * p)


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("paint", [0.0, 0.7])
@pytest.mark.parametrize("batch", [1, 6, 100])
def test_it_is_the_source(soft, paint, batch):
    model, x = network(), torch.rand(1, 2, 10, 9)
    expected = transcription(model, x, 2, 25, 4, 0.4, 3, paint, soft)
    found = Rise(model).attribute(
        x, paint, 2, n_samples=25, grid=4, probability=0.4, seed=3, soft=soft, perturbations_per_eval=batch
    )
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(found[0, 0], found[0, 1])


def test_hard_masks_by_painting_and_by_masking_are_the_same():
    model, x = network(), torch.rand(1, 2, 10, 9)
    settings = {"target": 1, "n_samples": 20, "grid": 3, "perturbations_per_eval": 4}
    painted = Rise(model).attribute(x, 0.3, soft=False, **settings)
    torch.testing.assert_close(Rise(BaselineForward(model, 0.3)).attribute(x, **settings), painted)


def test_an_adforward_gets_hard_masks():
    model, x = network(), torch.rand(1, 2, 10, 9)
    junk = x.clone()
    seen = []

    class Watched(ADForward):
        def outputs(self, *inputs, mask=None, **kwargs):
            seen.append(mask[0])
            return super().outputs(*inputs, mask=mask, **kwargs)

    ad = Watched(model)
    found = Rise(ad).attribute(x, target=0, n_samples=12, grid=3, perturbations_per_eval=5)
    masks = torch.cat(seen)[:, 0]
    assert masks.dtype == torch.bool
    assert len(masks) == 12
    expected = sum(float(ad(junk, mask=(mask,))[0, 0]) * mask for mask in masks) / (12 * 0.5)
    torch.testing.assert_close(found[0, 0], expected.to(found), rtol=1e-4, atol=1e-6)


def test_it_finds_the_quadrant_as_captum_does():
    model = Quadrants(lambda q: q[:, 2])
    found = Rise(model).attribute(bright(), target=1, n_samples=400, grid=2, perturbations_per_eval=50)[0, 0]
    means = [float(found[q == QUADRANTS].mean()) for q in range(4)]
    assert int(np.argmax(means)) == 2
    ablated = FeatureAblation(model).attribute(bright(), target=1, feature_mask=QUADRANTS[None, None])[0, 0]
    assert ablated[QUADRANTS == 2].unique() == 4  # the whole of the output


def test_a_constant_output_gives_a_flat_map():
    """E[output · mask] / p is the output itself, as the source normalizes it."""

    class Constant(nn.Module):
        def forward(self, x):
            return torch.full((len(x), 2), 3.0)

    found = Rise(Constant()).attribute(bright(), target=0, n_samples=3000, grid=4, perturbations_per_eval=500)
    assert found.mean() == pytest.approx(3.0, rel=0.02)


def test_memory_does_not_grow_with_the_samples():
    model = Quadrants(lambda q: q[:, 0])
    Rise(model).attribute(bright(), target=1, n_samples=103, grid=2, perturbations_per_eval=10)
    assert model.batches == [10] * 10 + [3]


def test_seeds():
    model, x = network(), torch.rand(1, 2, 10, 9)
    one, same, other = (Rise(model).attribute(x, target=0, n_samples=10, grid=3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_samples_of_a_batch_are_explained_alone():
    model, x = network(), torch.rand(3, 2, 10, 9)
    settings = {"n_samples": 15, "grid": 3, "perturbations_per_eval": 4}
    found = Rise(model).attribute(x, target=[0, 3, 1], **settings)
    for i, target in enumerate([0, 3, 1]):
        torch.testing.assert_close(found[i : i + 1], Rise(model).attribute(x[i : i + 1], target=target, **settings))


@pytest.mark.parametrize("shape", [(1, 2, 30), (1, 1, 6, 5, 4)])
def test_one_and_three_dimensions(shape):
    class Sum(nn.Module):
        def forward(self, x):
            return x.flatten(1).sum(1, keepdim=True).expand(-1, 2)

    found = Rise(Sum()).attribute(torch.ones(shape), target=0, n_samples=20, grid=3)
    assert found.shape == shape
    assert found.std() > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"grid": 11}, "more cells"),
        ({"grid": 0}, "grid must be"),
        ({"probability": 1.0}, "probability"),
        ({"n_samples": 0}, "n_samples"),
        ({"target": 9}, "out of range"),
        ({"target": None}, "give target="),
        ({"inputs": torch.ones(3)}, r"\(N, C, \*spatial\) or \(N, T\)"),
        ({"baselines": (0, 0)}, "2 baselines for 1"),
    ],
)
def test_bad_input(given, message):
    call = {"inputs": torch.rand(1, 2, 10, 9), "target": 0, "n_samples": 2, "grid": 3, **given}
    with pytest.raises((ValueError, TypeError), match=message):
        Rise(network()).attribute(**call)


def test_soft_masks_cannot_be_deactivated():
    with pytest.raises(ValueError, match="partly deactivated"):
        Rise(ADForward(network())).attribute(torch.rand(1, 2, 10, 9), target=0, soft=True)
    with pytest.raises(ValueError, match="leave them out"):
        Rise(ADForward(network())).attribute(torch.rand(1, 2, 10, 9), 0.0, target=0)


@pytest.mark.parametrize("kind", ["paint", "ad"])
def test_several_inputs_are_masked_together(kind):
    """By the definition, from the masks that the network has seen: ones where kept, as it gets ones."""

    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = []

        def forward(self, image, wave):
            self.seen.append((image[:, 0].clone(), wave.clone()))
            return (image.mean((1, 2, 3)) * wave[:, :4].mean(1))[:, None]

    model = Seen().eval()
    inputs, forward = (torch.ones(1, 3, 8, 8), torch.ones(1, 12)), ADForward(model) if kind == "ad" else model
    settings = {"n_samples": 7, "grid": 4, "perturbations_per_eval": 3, "soft": False}
    image, wave = Rise(forward).attribute(inputs, **settings)
    assert (image.shape, wave.shape) == ((1, 3, 8, 8), (1, 12))
    if kind == "paint":
        of_image, of_wave = (torch.cat(each) for each in zip(*model.seen))
        outputs = of_image.mean((1, 2)) * of_wave[:, :4].mean(1)
        for found, masks in ((image[0, 0], of_image), (wave[0], of_wave)):
            torch.testing.assert_close(found, torch.tensordot(outputs, masks, 1) / (7 * 0.5))


def test_the_mask_of_a_partial_call_counts_too():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    x, left = torch.rand(1, 1, 8, 8), torch.arange(8).expand(8, 8) < 4
    for target in (None, Class(1)):
        ad = ADForward(model, "paper", target=target)
        more = {"target": 1} if target is None else {}
        both = Rise(functools.partial(ad, mask=left)).attribute(x, n_samples=40, grid=4, **more)
        alone = Rise(functools.partial(ad, mask=left & False)).attribute(x, n_samples=40, grid=4, **more)
        whole = Rise(functools.partial(ad)).attribute(x, n_samples=40, grid=4, **more)
        assert torch.equal(whole, Rise(ad).attribute(x, n_samples=40, grid=4, **more))
        assert len({float(a.sum()) for a in (both, alone, whole)}) == 3
