"""Networks of MONAI for volumes: segmentation, classification, transformers.

Opt-in: ``pip install ".[test-architectures]"``, then ``pytest tests/architectures/test_monai.py -m slow``.
``--table tutorials/networks.md`` puts the results into the table of networks; ``-k NAME`` runs one network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import Tensor, nn

from tests.architectures.checks import Network, check, each
from tests.architectures.table import Row

nets = pytest.importorskip("monai.networks.nets")
pytestmark = pytest.mark.slow

VOLUME = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
LEVELS = {"channels": (4, 8, 16), "strides": (2, 2)}
DYNAMIC = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "filters": [4, 8, 16]}
TOKENS = {"hidden_size": 24, "mlp_dim": 32, "num_heads": 2}
SWIN = {"feature_size": 12, "window_size": 2, "depths": (1, 1, 1, 1)}
LAYERS = [
    {"name": "conv_0", "n_features": 4, "kernel_size": 3},
    {"name": "res_1", "n_features": 4, "kernels": (3, 3), "repeat": 1},
    {"name": "res_2", "n_features": 8, "kernels": (3, 3), "repeat": 1},
    {"name": "res_3", "n_features": 8, "kernels": (3, 3), "repeat": 1},
    {"name": "conv_1", "n_features": 8, "kernel_size": 1},
    {"name": "conv_2", "kernel_size": 1},
]


def first(out: Any) -> Tensor:
    """Of the logits and what lies behind them."""
    return out if isinstance(out, Tensor) else out[0]


def network(name: str, build: Callable[[], nn.Module], exact: bool = True, depth: int = 32) -> Network:
    return Network(name, "monai", build, (depth, 32, 32), first, exact, slow=True, channels=1)


NETWORKS = [
    network("UNet", lambda: nets.UNet(**VOLUME, **LEVELS, num_res_units=2)),
    network("BasicUNet", lambda: nets.BasicUNet(**VOLUME, features=(4, 4, 8, 8, 16, 4))),
    network("BasicUNetPlusPlus", lambda: nets.BasicUNetPlusPlus(**VOLUME, features=(2, 4, 4, 8, 8, 4))),
    network("AttentionUnet", lambda: nets.AttentionUnet(**VOLUME, **LEVELS)),
    network("DynUNet", lambda: nets.DynUNet(**VOLUME, **DYNAMIC, res_block=True)),
    network("SegResNet", lambda: nets.SegResNet(**VOLUME, init_filters=8, blocks_down=(1, 1, 1), blocks_up=(1, 1))),
    network("VNet", lambda: nets.VNet(**VOLUME)),
    network("MedNeXt", lambda: nets.MedNeXt(**VOLUME, init_filters=4, kernel_size=3, blocks_down=(1,) * 4,
                                             blocks_up=(1,) * 4, global_resp_norm=True)),
    network("HighResNet", lambda: nets.HighResNet(**VOLUME, layer_params=LAYERS)),
    network("UNETR", lambda: nets.UNETR(1, 2, 32, feature_size=4, **TOKENS), exact=False),
    network("SwinUNETR", lambda: nets.SwinUNETR(1, 2, **SWIN), False, 64),
    network("SwinUNETR V2", lambda: nets.SwinUNETR(1, 2, **SWIN, use_v2=True), False, 64),
    network("ViT", lambda: nets.ViT(1, 32, 8, **TOKENS, num_layers=2, classification=True), exact=False),
    network("ViTAutoEnc", lambda: nets.ViTAutoEnc(1, 32, 4, **TOKENS, num_layers=2, out_channels=2), exact=False),
    network("DenseNet", lambda: nets.DenseNet(**VOLUME, init_features=8, growth_rate=4, block_config=(2, 2, 2))),
    network("ResNet", lambda: nets.ResNet("basic", [1, 1, 1, 1], [8, 8, 16, 16], n_input_channels=1, num_classes=2)),
    network("SEResNet50", lambda: nets.SEResNet50((1, 1, 1, 1), spatial_dims=3, in_channels=1, num_classes=2)),
]  # fmt: skip


@each(NETWORKS)
def test_network(network: Network, found: Callable[[str, str], Row]) -> None:
    check(network, found)
