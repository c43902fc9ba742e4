"""A classifier of photographs and their masks: both go through the transform, and the forward gets both."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captum_ad import ADForward, BaselineForward, UnknownNameError
from captum_ad.adapters.classifier import MaskedClassifier

pytest.importorskip("torchvision")
from torchvision import transforms as v1
from torchvision.transforms import v2

from tests.pictures import thumbnail

NEAREST = v1.InterpolationMode.NEAREST  # which for PIL images is the exact one


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    ]
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def photograph():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


STEPS = [v1.Resize(12), v1.CenterCrop(10), v1.ToTensor(), v1.Normalize([0.5] * 3, [0.25] * 3)]


def some_masks(count, shape=(20, 30)):
    masks = np.random.default_rng(1).random((count, *shape)) < 0.6
    masks[0] = True
    return masks


@pytest.mark.parametrize("forward", [ADForward, lambda model: BaselineForward(model, "avg")], ids=["AD", "painted"])
def test_the_forward_gets_the_transformed_image_and_its_masks(model, photograph, forward):
    forward = forward(model)
    transform, masks = v1.Compose(STEPS), some_masks(3)
    found = MaskedClassifier(forward, transform)(np.stack([photograph] * 3), masks)
    x = transform(Image.fromarray(photograph))[None]
    as_image = [Image.fromarray(mask.astype(np.uint8)) for mask in masks]
    steps = v1.Compose([v1.Resize(12, NEAREST), v1.CenterCrop(10), v1.PILToTensor()])
    carried = torch.cat([steps(image) for image in as_image]).bool()
    with torch.no_grad():
        expected = forward(x.expand(3, -1, -1, -1), mask=carried).softmax(1)
    assert np.array_equal(found, expected.numpy())
    assert not np.array_equal(found[1], found[2])
    assert np.allclose(found[0], model(x).softmax(1).detach().numpy()[0], atol=1e-6)


def test_a_photograph_is_transformed_once_and_never_mistaken_for_another(model, photograph):
    calls = []

    def transform(image):
        calls.append(image)
        return v1.Compose(STEPS[2:])(image)

    classifier = MaskedClassifier(ADForward(model), transform, mask_transform=lambda labels: labels)
    other = photograph[::-1]
    masks = some_masks(4)
    one = classifier(np.broadcast_to(photograph, (4, 20, 30, 3)), masks)
    assert np.array_equal(one, classifier(np.stack([photograph] * 4), masks))
    assert len(calls) == 1
    assert isinstance(calls[0], Image.Image)
    mixed = classifier(np.stack([photograph, other, photograph, other]), masks)
    assert np.allclose(mixed[[0, 2]], one[[0, 2]], atol=1e-6)
    assert np.allclose(mixed[[1, 3]], classifier(np.stack([other] * 4), masks)[[1, 3]], atol=1e-6)
    assert not np.allclose(mixed[1], one[1], atol=1e-4)
    changed = photograph.copy()
    found = classifier(changed[None], masks[:1])
    changed[:] = 0  # what was seen last must not change with it
    assert not np.allclose(classifier(changed[None], masks[:1]), found, atol=1e-4)


def test_arrays_that_are_no_photographs_come_as_they_are(model):
    floats = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    classifier = MaskedClassifier(ADForward(model), v1.ToTensor())
    with torch.no_grad():
        expected = model(torch.from_numpy(floats).permute(2, 0, 1)[None]).softmax(1)
    found = classifier(floats[None], np.ones((1, 8, 8), dtype=bool))
    assert np.array_equal(found, expected.numpy())
    gray = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    digit = (floats[:, :, :1] * 255).astype(np.uint8)
    steps = v1.Compose([v1.Resize(8), v1.ToTensor()])
    assert MaskedClassifier(ADForward(gray), steps)(digit[None], np.ones((1, 8, 8), dtype=bool)).shape == (1, 2)


def test_tensors_of_torchvisions_own_kind(model, photograph):
    steps = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    masks = some_masks(2)
    images = np.stack([photograph] * 2)
    found = MaskedClassifier(ADForward(model), v2.Compose(steps))(images, masks)
    expected = MaskedClassifier(ADForward(model), v2.Compose([*steps, v2.ToPureTensor()]))(images, masks)
    assert np.array_equal(found, expected)


def test_to_confidence(model, photograph):
    masks = some_masks(2)
    images = np.stack([photograph] * 2)
    found = {
        name: MaskedClassifier(ADForward(model), v1.Compose(STEPS), to_confidence=given)(images, masks)
        for name, given in [("softmax", "softmax"), ("sigmoid", "sigmoid"), ("none", "none"), ("own", torch.tanh)]
    }
    logits = torch.from_numpy(found["none"])
    assert np.array_equal(found["softmax"], logits.softmax(1).numpy())
    assert np.array_equal(found["sigmoid"], logits.sigmoid().numpy())
    assert np.array_equal(found["own"], logits.tanh().numpy())
    half = MaskedClassifier(lambda x, mask: logits.bfloat16(), v1.Compose(STEPS))
    assert half(images, masks).dtype == np.float32


def test_forwards_that_take_no_mask_are_refused(model):
    transform = v1.ToTensor()
    inside = nn.Sequential(ADForward(model), nn.Softmax(1))
    for forward, name in [(model, "Sequential"), (inside, "Sequential"), (lambda x: x, "lambda"), (3, "int")]:
        with pytest.raises(TypeError, match=rf"{name}.* takes no mask=.*MaskedClassifier\(ADForward"):
            MaskedClassifier(forward, transform)
    MaskedClassifier(nn.DataParallel(ADForward(model)), transform)
    with pytest.raises(TypeError, match="transform must be a function, got NoneType"):
        MaskedClassifier(ADForward(model), None)
    with pytest.raises(TypeError, match="mask_transform must be a function, got int"):
        MaskedClassifier(ADForward(model), transform, mask_transform=1)
    with pytest.raises(UnknownNameError, match="softmax"):
        MaskedClassifier(ADForward(model), transform, to_confidence="softmx")


def test_inputs_that_do_not_fit_are_refused(model, photograph):
    classifier = MaskedClassifier(ADForward(model), v1.Compose(STEPS))
    masks = some_masks(2)
    for images, given in [
        (photograph, masks),
        (photograph[None], masks),
        (np.stack([photograph] * 2), masks[:, :-1]),
        (np.stack([photograph] * 2), masks.astype(float)),
    ]:
        with pytest.raises(ValueError, match=r"expected images \(n, H, W, C\) and masks \(n, H, W\) of bool"):
            classifier(images, given)


def test_transforms_that_do_not_fit_are_refused(model, photograph):
    image, mask = photograph[None], np.ones((1, 20, 30), dtype=bool)

    def refused(transform, error, message, picture=image, **options):
        with pytest.raises(error, match=message):
            MaskedClassifier(ADForward(model), transform, **options)(picture, mask)

    refused(thumbnail, ValueError, "thumbnail.*mask_transform=")
    refused(v1.Resize(8), TypeError, "the transform returned Image for Image")
    refused(v1.Compose(STEPS), TypeError, r"ndarray of shape \(20, 30, 3\), float64", picture=image / 255)
    cropped = {"mask_transform": lambda labels: labels[:4, :4]}
    refused(v1.ToTensor(), ValueError, r"\(3, 20, 30\).*but its mask into \(4, 4\).*mask_transform=", **cropped)


def test_outputs_that_are_no_confidences_are_refused(model, photograph):
    image, mask = photograph[None], np.ones((1, 20, 30), dtype=bool)

    def refused(output, message, **options):
        with pytest.raises(ValueError, match=message):
            MaskedClassifier(lambda x, mask: output, v1.ToTensor(), **options)(image, mask)

    refused(torch.ones(3), r"shape \(3,\) for 1 inputs")
    refused(torch.ones(2, 3), r"shape \(2, 3\) for 1 inputs")
    refused({"out": 1}, "returned dict")
    refused(torch.ones(1, 1), "to_confidence='sigmoid'")
    refused(torch.full((1, 3), torch.nan), "NaN")
    training = nn.Sequential(nn.Flatten(), nn.Linear(1800, 2)).train()
    with pytest.raises(ValueError, match=r"train mode.*eval\(\)"):
        MaskedClassifier(ADForward(training), v1.ToTensor())(image, mask)
