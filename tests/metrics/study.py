"""A small comparison: a model, images, methods and backgrounds, and when two of its records are the same."""

import pandas as pd
import torch

from captum_ad.metrics import SolidColors, compare
from captum_ad.study.measuring import Measuring
from tests.metrics.models import noise, small_net

GAMMAS, SIZES = (0.2, 0.9), (0.25, 0.5)
MODEL = small_net(5, (3, 8, 8), classes=4)
IMAGES = {"cat": noise(1, (1, 3, 8, 8)), "dog": noise(2, (1, 3, 8, 8))}
DATASET = [(noise(100 + i, (3, 8, 8)), i % 4) for i in range(12)]
K1 = SolidColors(6, 1, mean=0.5, std=0.1)


def first_channel(forward, x, target):
    """A method of one's own: quick, and not symmetric."""
    return x[:, :1] + torch.linspace(0, 1, 8)


def second_channel(forward, x, target):
    return x[:, 1:2]


METHODS = {"first": first_channel, "second": second_channel}


def run(images=None, methods=None, maskings=("ad:no-growth", "avg"), model=MODEL, **changes):
    """A small comparison, with some of its settings changed."""
    settings = {
        "gammas": GAMMAS,
        "backgrounds": {"K1": K1},
        "sizes": SIZES,
        "n_samples": 12,
        "n_segments": 6,
        "window": 4,
    }
    settings |= {"step": 6, "show_progress": False}
    return compare(model, IMAGES if images is None else images, methods or METHODS, maskings, **(settings | changes))


def assert_same(records, expected, *, seconds=False):
    """Equal to the last bit, up to the time that it took."""
    drop = [] if seconds else ["seconds"]
    pd.testing.assert_frame_equal(
        records.drop(columns=drop), expected.drop(columns=drop), check_exact=True, check_dtype=False
    )


def cells(records):
    """The attributions that records are of, in order."""
    return list(dict.fromkeys(zip(records["image"], records["method"], records["masking"])))


class Counting:
    """Stands where every attribution begins, and notes what is explained how; with another digest nothing changes."""

    def __init__(self, monkeypatch):
        self.calls, self.fail_at, self.error, self.real = [], None, RuntimeError, Measuring.attributed
        monkeypatch.setattr(Measuring, "attributed", lambda *given: self(*given))

    def __call__(self, measuring, unit, image, *rest):
        self.calls.append((unit.image, unit.method, unit.masking))
        if len(self.calls) == self.fail_at:
            raise self.error("the power went out")
        return self.real(measuring, unit, image, *rest)
