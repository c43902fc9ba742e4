"""Division by a norm, over any dimensions."""

from __future__ import annotations

import pytest
import torch.nn.functional as F

from captum_ad import UnsupportedOperationError
from tests.engine.rules.spelled import CHANNELS, HEIGHT, WIDTH, Pairs, assert_agree, every_preset, masks, run

PAIRS: Pairs = {
    "over channels and space": (
        lambda x: F.normalize(x, dim=(1, 2, 3)),
        lambda x: F.normalize(x.flatten(1), dim=1).unflatten(1, (CHANNELS, HEIGHT, WIDTH)),
    ),
    "over a tuple of one": (lambda x: F.normalize(x, dim=(1,)), lambda x: F.normalize(x)),
    "over space": (
        lambda x: F.normalize(x, 1.0, (-2, -1)),
        lambda x: F.normalize(x.flatten(2), 1.0, 2).unflatten(2, (HEIGHT, WIDTH)),
    ),
}


@every_preset
@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str, rule: str, tau: float) -> None:
    assert_agree(PAIRS[name], rule, tau)


def test_norms_of_negative_order_are_refused() -> None:
    with pytest.raises(UnsupportedOperationError, match="zeros would change"):
        run(lambda x: F.normalize(x, -1.0, 3), masks()["half"])
