"""Every decoder of segmentation_models_pytorch, and two kinds of encoders.

Opt-in: ``pip install ".[test-architectures]"``, then ``pytest tests/architectures/test_smp.py -m slow``.
``--table tutorials/networks.md`` puts the results into the table of networks; ``-k NAME`` runs one network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from torch import nn

from tests.architectures.checks import Network, check, each
from tests.architectures.table import Row

smp = pytest.importorskip("segmentation_models_pytorch")
pytestmark = pytest.mark.slow

ON_RESNET = "unet unetplusplus manet linknet fpn pspnet deeplabv3 deeplabv3plus upernet segformer".split()


def build(decoder: str, encoder: str, **options: Any) -> nn.Module:
    model: nn.Module = smp.create_model(decoder, encoder, encoder_weights=None, classes=3, **options)
    return model


def network(decoder: str, encoder: str = "resnet18", size: int = 64, exact: bool = True, **options: Any) -> Network:
    make = partial(build, decoder, encoder, **options)
    return Network(f"{decoder}, {encoder}", "segmentation_models_pytorch", make, (size, size), exact=exact, slow=True)


NETWORKS = [
    *(network(decoder) for decoder in ON_RESNET),
    network("pan", size=128),
    network("unet", "mobilenet_v2", decoder_attention_type="scse", decoder_interpolation="bilinear"),
    network("unet", "mit_b0", exact=False),
    network("segformer", "mit_b0", exact=False),
    network("dpt", "tu-vit_tiny_patch16_224", exact=False, dynamic_img_size=True),
]


@each(NETWORKS)
def test_network(network: Network, found: Callable[[str, str], Row]) -> None:
    check(network, found)
