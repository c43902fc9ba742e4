"""Attention, as torch computes it and as the oracle does; and small networks that have it in every spelling."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.engine.graphs import CHANNELS, batch_norm, conv, move, norm
from tests.engine.operations import Combine, Linear, Norm, Reduce
from tests.oracle import Graph, Index, Knobs, Map, Operation, indices

HEIGHT, WIDTH = 4, 3
TOKENS = HEIGHT * WIDTH


class Product(Operation):
    """(..., i, k) times (..., k, j), spelled in one of several ways."""

    def __init__(self, spelling: Callable[[Tensor, Tensor], Tensor] = torch.matmul) -> None:
        super().__init__()
        self.spelling = spelling

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return self.spelling(x, other)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        x, other = maps
        values = torch.matmul(x.checkpoint(), other.checkpoint())
        kept, feature = set(), set()
        for index in indices(values.shape):
            *lead, i, j = index
            pairs = [((*lead, i, k), (*lead, k, j)) for k in range(x.values.shape[-1])]
            live = [(a, b) for a, b in pairs if a not in x.dead and b not in other.dead]
            if not live:
                feature.add(index)  # a sum of dead products
            elif any(a in x.kept or b in other.kept for a, b in live):
                feature.add(index)
                kept.add(index)
        return Map(values, frozenset(kept), frozenset(feature))


class Softmax(Operation):
    """Along one dimension, over what is not dead."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x, self.dim)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,), values = maps, torch.zeros_like(maps[0].values)
        rows: dict[Index, list[Index]] = {}
        for index in indices(values.shape):
            row = list(index)
            row[self.dim] = 0
            if index not in x.dead:
                rows.setdefault(tuple(row), []).append(index)
        for row in rows.values():
            powers = [math.exp(float(x.values[index])) for index in row]
            for index, power in zip(row, powers):
                values[index] = power / sum(powers)
        return Map(values, x.kept, x.feature)


class Attention(Operation):
    """Scaled dot product attention: queries, keys, values of (..., tokens, channels)."""

    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, **self.options)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        q, k, v = maps
        scores = Product().masked(knobs, q, move(lambda x: x.transpose(-2, -1)).masked(knobs, k))
        values = scores.values * q.values.shape[-1] ** -0.5
        if (bias := self.options.get("attn_mask")) is not None:
            values = values + bias
        weights = Softmax().masked(knobs, Map(values, scores.kept, scores.feature))
        return Product().masked(knobs, weights, v)


class SelfAttention(Operation):
    """nn.MultiheadAttention of tokens (samples, tokens, channels) with themselves."""

    def __init__(self, channels: int, heads: int, weights: bool) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(channels, heads, batch_first=True)
        nn.init.normal_(self.layer.in_proj_bias)
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x, x, need_weights=self.weights)[0]

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        layer, heads = self.layer, self.layer.num_heads
        projected = Linear(linear(layer.in_proj_weight, layer.in_proj_bias)).masked(knobs, maps[0])
        parts = [
            move(lambda x, i=i: x.chunk(3, -1)[i].unflatten(-1, (heads, -1)).transpose(1, 2)).masked(knobs, projected)
            for i in range(3)
        ]
        joined = move(lambda x: x.transpose(1, 2).flatten(2)).masked(knobs, Attention().masked(knobs, *parts))
        return Linear(layer.out_proj).masked(knobs, joined)


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0]).to(weight.dtype)
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer


def tokens() -> Operation:
    return move(lambda x: x.flatten(2).transpose(1, 2))


def transposed() -> Operation:
    return move(lambda x: x.transpose(-2, -1))


def layer_norm() -> Operation:
    return norm(nn.LayerNorm(CHANNELS), lambda index: index[:-1])


def with_class_token(x: Tensor) -> Tensor:
    return torch.cat([torch.full((len(x), 1, x.shape[2]), 0.5, dtype=x.dtype), x], 1)


def windows(x: Tensor) -> Tensor:
    """(N, C, 4, 3) to 2 windows of 6 tokens each per sample, merged into the batch."""
    return x.reshape(len(x), CHANNELS, 2, 2, 3).permute(0, 2, 3, 4, 1).reshape(-1, 6, CHANNELS)


def from_windows(x: Tensor) -> Tensor:
    return x.reshape(-1, 2, 2, 3, CHANNELS).permute(0, 4, 1, 2, 3).reshape(-1, CHANNELS, 4, 3)


SPELLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "matmul": torch.matmul,
    "@": lambda a, b: a @ b,
    "bmm": torch.bmm,
    "einsum": lambda a, b: torch.einsum("nik,nkj->nij", a, b),
    "einsum, by name": lambda a, b: torch.einsum("B i k, B j k -> B i j", a, b.transpose(1, 2)),
    "einsum, ellipsis": lambda a, b: torch.einsum("...ik, ...kj -> ...ij", a, b),
    "baddbmm": lambda a, b: torch.baddbmm(torch.zeros(1, dtype=a.dtype), a, b, beta=0),
}
BIAS = torch.randn(TOKENS, TOKENS, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def eager(spelling: str, *, bias: bool = False) -> Graph:
    """The third result is the queries, keys and values at once."""
    scores = (Product(SPELLINGS[spelling]), [2, 3])
    more = [(Plus(), [4])] if bias else []
    last = 4 + len(more)
    return Graph(
        (tokens(), [0]),
        (Linear(nn.Linear(CHANNELS, CHANNELS)), [1]),
        (transposed(), [2]),
        scores,
        *more,
        (Softmax(), [last]),
        (Product(SPELLINGS[spelling]), [last + 1, 2]),
        (Combine(torch.add), [1, last + 2]),
        (layer_norm(), [last + 3]),
        (Reduce((1,), True), [last + 4]),
    )


class Plus(Operation):
    """A bias of each pair of tokens, learned in Swin and T5."""

    def forward(self, x: Tensor) -> Tensor:
        return x + BIAS

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        return Map(x.values + BIAS, x.kept, x.feature)


GRAPHS: dict[str, Callable[[], Graph]] = {
    **{f"eager, {spelling}": lambda spelling=spelling: eager(spelling) for spelling in SPELLINGS},
    "eager, with a bias": lambda: eager("matmul", bias=True),
    "fused": lambda: Graph(batch_norm(), (tokens(), [1]), (Attention(), [2, 2, 2]), layer_norm()),
    "fused, with a bias": lambda: Graph((tokens(), [0]), (Attention(attn_mask=BIAS), [1, 1, 1]), Reduce((1,), True)),
    "fused, keys behind a convolution": lambda: Graph(
        (tokens(), [0]),
        (conv(2, stride=2), [0]),
        (tokens(), [2]),
        (Attention(), [1, 3, 3]),
        (Reduce((1,), True), [4]),
    ),
    "class token": lambda: Graph(
        batch_norm(),
        tokens(),
        move(with_class_token),
        (Attention(), [3, 3, 3]),
        (Combine(torch.add), [3, 4]),
        (layer_norm(), [5]),
        (SelfAttention(CHANNELS, 2, False), [6]),
        (Combine(torch.add), [5, 7]),
        (move(lambda x: x[:, 0]), [8]),
        Linear(nn.Linear(CHANNELS, 3)),
    ),
    "class token, mean of all": lambda: Graph(
        tokens(), move(with_class_token), (Attention(), [2, 2, 2]), Reduce((1,), True), move(lambda x: x.flatten(1))
    ),
    "multi-head": lambda: Graph(tokens(), SelfAttention(CHANNELS, 2, False), SelfAttention(CHANNELS, 4, False)),
    "multi-head, with weights": lambda: Graph(tokens(), SelfAttention(CHANNELS, 2, True), Reduce((1,), True)),
    "windows in the batch": lambda: Graph(
        conv(3, padding=1), move(windows), SelfAttention(CHANNELS, 2, False), move(from_windows), conv(3)
    ),
    "over channels": lambda: Graph(  # cross-covariance attention
        (tokens(), [0]), (transposed(), [1]), (Product(), [2, 1]), (Softmax(), [3]), (Product(), [4, 2]), transposed()
    ),
    "normalized queries": lambda: Graph(
        (tokens(), [0]), (Unit(), [1]), (transposed(), [2]), (Product(), [2, 3]), (Softmax(), [4]), (Product(), [5, 1])
    ),
    "tokens mixed": lambda: Graph(tokens(), transposed(), Linear(nn.Linear(TOKENS, 5), ends=True), Reduce((2,), True)),
    "all tokens in one dimension": lambda: Graph(
        tokens(),
        move(lambda x: x.reshape(-1, CHANNELS)),
        Linear(nn.Linear(CHANNELS, 2), ends=False),
        move(lambda x: x.reshape(-1, TOKENS, 2)),
        Reduce((1,), True),
    ),
    "tokens first": lambda: Graph(
        move(lambda x: x.flatten(2).permute(2, 0, 1)), Linear(nn.Linear(CHANNELS, 2)), move(lambda x: x.transpose(0, 1))
    ),
}


class Unit(Norm):
    """Divided by its length, per token."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), lambda index: index[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)

    def masked(self, knobs: Knobs, *maps: Map) -> Map:
        (x,) = maps
        clean = x.checkpoint()
        return Map(clean / clean.norm(dim=-1, keepdim=True).clamp(min=1e-12), x.kept, x.feature)
