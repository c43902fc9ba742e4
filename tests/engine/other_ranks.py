"""Small networks of series and volumes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tests.engine.graphs import (
    CHANNELS,
    move,
    relu,
)
from tests.engine.operations import Convolution, Norm, Pointwise, Pool
from tests.engine.resampling import GridSample, Resize
from tests.engine.selections import (
    Statistic,
    diff,
    glu,
)
from tests.engine.spatial_graphs import active, points, variance
from tests.oracle import Graph, Operation


def _norm(layer: nn.Module, sets: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Operation:
    for values in layer.parameters():
        nn.init.normal_(values)
    return Norm(layer, sets)


def _conv1d(**kwargs: int) -> Operation:
    return Convolution(nn.Conv1d(CHANNELS, CHANNELS, 3, **kwargs))


def _conv3d(**kwargs: int) -> Operation:
    return Convolution(nn.Conv3d(CHANNELS, CHANNELS, 2, **kwargs))


def _batch_norm(layer: nn.Module) -> Operation:
    for values in (layer.weight, layer.bias, layer.running_mean):
        nn.init.normal_(values)
    return Pointwise(layer)


VOLUME = (4, 4, 3)
OTHER_RANKS: dict[str, tuple[tuple[int, ...], Callable[[], Graph]]] = {
    "line, linear": (
        (9,),
        lambda: Graph(_conv1d(), Resize((12,), "linear"), Resize((5,), "linear", align_corners=True)),
    ),
    "line, area": ((9,), lambda: Graph(Resize((4,), "area"), Resize((7,), "nearest-exact"))),
    "line, lp pool": ((9,), lambda: Graph(relu(), Pool(nn.LPPool1d(2, 3, 2), False))),
    "line, norms": (
        (9,),
        lambda: Graph(
            _batch_norm(nn.BatchNorm1d(4)),
            _norm(nn.GroupNorm(2, 4), lambda i: (i[0], i[1] // 2)),
            _norm(nn.InstanceNorm1d(4, affine=True), lambda i: i[:2]),
        ),
    ),
    "line, deviation": (
        (9,),
        lambda: Graph(
            Statistic(lambda x: x.std(2, keepdim=True), (2,), True, lambda v: variance(v).sqrt(), skips=active)
        ),
    ),
    "line, glu": ((9,), lambda: Graph(glu(), diff(2))),
    "volume, trilinear": (VOLUME, lambda: Graph(Resize((3, 5, 4), "trilinear"), _conv3d())),
    "volume, corners aligned": (VOLUME, lambda: Graph(Resize((2, 5, 3), "trilinear", align_corners=True))),
    "volume, nearest": (VOLUME, lambda: Graph(Resize((3, 5, 4), "nearest"), Resize((2, 2, 2), "area"))),
    "volume, grid sample": (
        VOLUME, lambda: Graph(GridSample(points(2, 3, 2), "bilinear", "zeros", False), Pointwise(torch.exp))
    ),
    "volume, grid sample, nearest": (VOLUME, lambda: Graph(GridSample(points(2, 3, 2), "nearest", "border", True))),
    "volume, norms": (
        VOLUME,
        lambda: Graph(
            _batch_norm(nn.BatchNorm3d(4)),
            _norm(nn.GroupNorm(2, 4), lambda i: (i[0], i[1] // 2)),
            _norm(nn.InstanceNorm3d(4, affine=True), lambda i: i[:2]),
        ),
    ),
    "volume, lp pool": (VOLUME, lambda: Graph(relu(), Pool(nn.LPPool3d(2, 2, 1), False))),
    "volume, unfolded": (VOLUME, lambda: Graph(move(lambda x: x.unfold(4, 2, 1).flatten(4)), Pointwise(torch.exp))),
}  # fmt: skip
