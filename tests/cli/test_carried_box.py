"""Where a box of a photograph lies in the model's input, and how much of it the transform leaves."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from captum_ad.cli.labels import carried_box
from captum_ad.cli.models import Classifier
from captum_ad.demo import imagenet_transform


def carried(transform, box, size):
    model = nn.Flatten()
    classifier = Classifier("mine", "mine", model, transform, (), torch.device("cpu"))
    return carried_box(box, Image.new("RGB", size, "red"), classifier, "photo.png")


DEMO = imagenet_transform((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


class TestCarriedBox:
    @pytest.mark.parametrize(
        ("box", "size", "expected"),
        [
            ((200, 50, 300, 150), (512, 256), (56, 34, 156, 134)),  # cropped by 144 and 16
            ((400, 100, 600, 300), (1024, 512), (56, 34, 156, 134)),  # halved, then the same
            ((50, 200, 150, 300), (256, 512), (34, 56, 134, 156)),
            ((100, 25, 150, 75), (256, 128), (56, 34, 156, 134)),  # doubled
            ((100, 50, 200, 150), (512, 256), (0, 34, 56, 134)),  # half of it cropped away
            ((0, 0, 512, 256), (512, 256), (0, 0, 224, 224)),
            ((144, 16, 145, 17), (512, 256), (0, 0, 1, 1)),
            ((367, 239, 368, 240), (512, 256), (223, 223, 224, 224)),
            ((368, 0, 512, 256), (512, 256), None),
            ((0, 0, 144, 256), (512, 256), None),
        ],
    )
    def test_resize_and_crop(self, box, size, expected):
        assert carried(DEMO, box, size).box == expected

    def test_squashed(self):
        squash = transforms.Compose([transforms.Resize((20, 40)), transforms.ToTensor()])
        assert carried(squash, (10, 20, 50, 80), (100, 100)).box == (4, 4, 20, 16)

    def test_mirrored_and_padded(self):
        steps = [transforms.RandomHorizontalFlip(1.0), transforms.Pad((3, 5)), transforms.ToTensor()]
        assert carried(transforms.Compose(steps), (2, 4, 6, 9), (20, 10)).box == (17, 9, 21, 14)

    def test_within_half_a_pixel_of_where_it_belongs(self):
        rng = np.random.default_rng(0)
        for _ in range(10):
            width, height = (int(side) for side in rng.integers(240, 500, 2))
            left, top = int(rng.integers(60, 100)), int(rng.integers(60, 100))
            right, bottom = left + int(rng.integers(30, 80)), top + int(rng.integers(30, 80))
            scale = 256 / min(width, height)
            wide, high = (int(side * scale) for side in (width, height))
            offset = round((wide - 224) / 2), round((high - 224) / 2)
            exact = [
                edge * (wide / width if i % 2 == 0 else high / height) - offset[i % 2]
                for i, edge in enumerate((left, top, right, bottom))
            ]
            found = carried(DEMO, (left, top, right, bottom), (width, height)).box
            expected = np.clip(exact, 0, 224)
            seen = expected[2:] - expected[:2] > 0.51
            assert (found is not None) == seen.all()
            if found is None:
                continue
            assert np.abs(np.array(found) - expected).max() <= 0.51

    @pytest.mark.parametrize(
        ("box", "size", "share"),
        [
            ((200, 50, 300, 150), (512, 256), 1.0),
            ((100, 50, 200, 150), (512, 256), 0.56),  # cropped by 144 to the left
            ((400, 100, 600, 300), (1024, 512), 1.0),
            ((0, 0, 512, 256), (512, 256), 224**2 / (512 * 256)),
            ((0, 0, 1024, 512), (1024, 512), 224**2 / (512 * 256)),
            ((0, 0, 150, 256), (512, 256), 6 * 224 / (150 * 256)),
            ((0, 0, 144, 256), (512, 256), 0.0),
        ],
    )
    def test_how_much_of_it_is_left(self, box, size, share):
        assert carried(DEMO, box, size).share == pytest.approx(share, rel=0.03)

    def test_how_much_is_left_of_what_is_turned_mirrored_squashed_or_padded(self):
        box = (10, 20, 60, 80)
        for steps in (
            [transforms.Resize((20, 40))],
            [transforms.RandomHorizontalFlip(1.0), transforms.Pad((3, 5))],
            [transforms.RandomRotation((90, 90), expand=True)],
            [transforms.Grayscale()],
        ):
            whole = transforms.Compose([*steps, transforms.ToTensor()])
            assert carried(whole, box, (100, 90)).share == pytest.approx(1, rel=0.05)
        half = transforms.Compose([lambda image: image.crop((35, 0, 100, 90)).rotate(90, expand=True), whole])
        assert carried(half, box, (100, 90)).share == pytest.approx(0.5, rel=0.05)

    def test_a_transform_that_shows_no_difference(self):
        with pytest.raises(Exception, match="maps black and white to the same values"):
            carried(lambda image: torch.zeros(3, 4, 4), (0, 0, 1, 1), (4, 4))
