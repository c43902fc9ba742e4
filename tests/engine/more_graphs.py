"""Small networks of running totals, orders, scattered values, spectra and unpooling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tests.engine.graphs import batch_norm, conv, move
from tests.engine.operations import Linear
from tests.engine.scans import Mixed, Running
from tests.engine.unpooling import PoolAndBack
from tests.oracle import Graph

SHARES = torch.tensor([0.1, 0.5, 0.8]).double()
MORE_GRAPHS: dict[str, Callable[[], Graph]] = {
    "running sums": lambda: Graph(
        conv(3, padding=1), Running(lambda x: x.cumsum(3), 3), batch_norm(), Running(lambda x: torch.cumsum(x, -2), 2)
    ),
    "running sum of channels": lambda: Graph(batch_norm(), Running(lambda x: x.cumsum(1), 1), conv(2)),
    "running products": lambda: Graph(batch_norm(), Running(lambda x: x.cumprod(2), 2, product=True), conv(2)),
    "running extremes": lambda: Graph(
        batch_norm(), Running(lambda x: x.cummax(2)[0], 2), conv(2), Running(lambda x: x.cummin(3).values, 3)
    ),
    "running logarithm of a sum": lambda: Graph(
        batch_norm(), Running(lambda x: x.logcumsumexp(3), 3, absent=-1e9), conv(2)
    ),
    "running sum in place": lambda: Graph(batch_norm(), Running(lambda x: x.clone().cumsum_(2), 2), conv(2)),
    "running sum of a vector": lambda: Graph(
        conv((6, 5), groups=4), move(lambda x: x.flatten(1)), Running(lambda x: x.cumsum(1), 1, vector=True),
        Linear(nn.Linear(4, 3))
    ),
    "sorted rows": lambda: Graph(batch_norm(), Mixed(lambda x: x.sort(3).values, 3), conv(2)),
    "sorted channels": lambda: Graph(
        conv(3, groups=4), Mixed(lambda x: torch.sort(x, 1, descending=True)[0], 1), conv(2)
    ),
    "the largest of tokens": lambda: Graph(
        batch_norm(), move(lambda x: x.flatten(2)), Mixed(lambda x: x.topk(3, 2)[0], 2, whole_map=True)
    ),
    "places of rows": lambda: Graph(batch_norm(), Mixed(lambda x: x.argsort(2).double(), 2), conv(2)),
    "medians of rows": lambda: Graph(
        batch_norm(), Mixed(lambda x: x.median(3, keepdim=True)[0], 3), conv((2, 1)),
        Mixed(lambda x: x.kthvalue(2, 2, True).values, 2, whole_map=True),
    ),
    "quantiles of rows": lambda: Graph(batch_norm(), Mixed(lambda x: x.quantile(SHARES, 3).movedim(0, 3), 3), conv(2)),
    "pooled and back": lambda: Graph(conv(3, padding=1), PoolAndBack(2, 2), conv(2)),
    "pooled and back, overlapping": lambda: Graph(batch_norm(), PoolAndBack(3, 2, 1), batch_norm(), conv(3)),
    "pooled and back, apart": lambda: Graph(conv(3, groups=4), PoolAndBack(2, 3), conv(2)),
    "spectra of rows": lambda: Graph(batch_norm(), Mixed(lambda x: torch.fft.fft(x).abs(), 3), conv(2)),
    "spectrum of channels": lambda: Graph(
        conv(3, groups=4), Mixed(lambda x: torch.fft.rfft(x, 6, dim=1).real, 1), conv(2)
    ),
    "spectrum of the map": lambda: Graph(
        batch_norm(), Mixed(lambda x: torch.view_as_real(torch.fft.rfft2(x))[..., 1], 2, 3, whole_map=True), conv(2)
    ),
    "there and back": lambda: Graph(
        batch_norm(), Mixed(lambda x: torch.fft.irfft(torch.fft.rfft(x, dim=2), 6, 2), 2), conv(2)
    ),
}  # fmt: skip
