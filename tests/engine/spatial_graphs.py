"""Small networks of further operations: sampling, choices, statistics, sums and products in all their spellings."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.engine.graphs import (
    HEIGHT,
    WIDTH,
    batch_norm,
    channels_last,
    conv,
    last_to_first,
    move,
    norm,
    relu,
)
from tests.engine.operations import AdaptivePool, Combine, Pointwise, Pool, Reduce
from tests.engine.resampling import GridSample, Resize
from tests.engine.selections import (
    Decide,
    Fold,
    Select,
    Statistic,
    Unfold,
    Zeroed,
    addcdiv,
    addcmul,
    diff,
    glu,
    lerp,
)
from tests.oracle import Graph, Knobs, Operation

Function = Callable[..., Tensor]


def two(function: Function, product: bool = False) -> Callable[[], Graph]:
    """Of two maps with different masks, and then a convolution."""
    return lambda: Graph(
        (conv(3, padding=1), [0]), (conv(3, padding=2, dilation=2, groups=4), [0]),
        (Combine(function, product), [1, 2]), (conv(3), [3]),
    )  # fmt: skip


def three(operation: Callable[[], Operation]) -> Callable[[], Graph]:
    return lambda: Graph(
        (conv(3, padding=1), [0]), (conv(3, padding=1, groups=4), [1]), (operation(), [0, 1, 2]), (conv(3), [3])
    )


def points(*shape: int, bounds: float = 1.25) -> Tensor:
    """Random points for each sample of a batch of three, of coordinates that doubles hold exactly."""
    steps = torch.randint(-int(16 * bounds), int(16 * bounds) + 1, (3, *shape, len(shape)))
    return steps.double() / 16


def sampled(mode: str, padding: str, align: bool) -> Callable[[], Graph]:
    return lambda: Graph(conv(3, padding=1), GridSample(points(5, 4, bounds=2), mode, padding, align), conv(2))


def resized(mode: str, *sizes: tuple[int, int], **kwargs: bool) -> Callable[[], Graph]:
    return lambda: Graph(conv(3, groups=4), *(Resize(size, mode, **kwargs) for size in sizes), conv(2))


def scaled(mode: str, factor: float, **kwargs: bool) -> Callable[[], Graph]:
    return lambda: Graph(Resize(None, mode, factor, **kwargs), conv(2))


def over_space(function: Function, of_values: Function, **kwargs: object) -> Callable[[], Graph]:
    return lambda: Graph(batch_norm(), Statistic(lambda x: function(x, (2, 3)), (2, 3), True, of_values, **kwargs))


def over_rows(function: Function, of_values: Function, **kwargs: object) -> Callable[[], Graph]:
    return lambda: Graph(
        (batch_norm(), [0]),
        (Statistic(lambda x: function(x, 3), (3,), False, of_values, **kwargs), [1]),
        (conv((2, 1)), [2]),
    )


def active(knobs: Knobs) -> bool:
    return knobs.rule.average == "active"


def variance(values: Tensor) -> Tensor:
    return (values - values.mean()).square().sum() / max(len(values) - 1, 1)


def quantile(q: float) -> Function:
    """Between the two values beside a place in the order, in proportion."""

    def of_values(values: Tensor) -> Tensor:
        order, place = sorted(values.tolist()), q * (len(values) - 1)
        low = math.floor(place)
        return torch.tensor(order[low] + (place - low) * (order[min(low + 1, len(order) - 1)] - order[low]))

    return of_values


def depth_to_space(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)


HOLDS = torch.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 3 > 0
PICKED = torch.tensor([3, 0, 0, 2])
ZEROED: dict[str, Function] = {
    "where": lambda x: torch.where(HOLDS, x, 0.0),
    "masked_fill": lambda x: x.masked_fill(~HOLDS, 0),
    "product": lambda x: x * HOLDS,
    "product in place": lambda x: x.clone().mul_(HOLDS.double()),
}


MOVES: dict[str, Function] = {
    "index_select": lambda x: x.index_select(1, PICKED),
    "advanced index": lambda x: x[:, PICKED],
    "advanced indices": lambda x: x[:, :, PICKED, PICKED][..., None],
    "gather": lambda x: x.gather(3, (torch.arange(WIDTH) * 2 % WIDTH).expand(x.shape)),
    "take_along_dim": lambda x: torch.take_along_dim(x, torch.tensor([0, 2, 2]).reshape(1, 1, 3, 1), 2),
    "roll and flip": lambda x: x.roll((1, -2), (2, 3)).flip(1, 2),
    "rot90": lambda x: torch.rot90(x, 1, (2, 3)).fliplr(),
    "where, else a number": lambda x: torch.where(HOLDS, x, 3.0),
    "where, a number": lambda x: torch.where(~HOLDS, -1.0, x),
    "masked_fill": lambda x: x.masked_fill(HOLDS, 2.0),
    "masked_fill_": lambda x: x.clone().masked_fill_(~HOLDS, 2.0),
    "Tensor.unfold": lambda x: x.unfold(2, 3, 2).unfold(3, 2, 1).flatten(4).flatten(3),
    "depth to space": depth_to_space,
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x[..., :4], 2)[:, :4],
}
SUMS: dict[str, Function] = {
    "maximum": torch.max,
    "minimum": torch.min,
    "fmax": torch.fmax,
    "reversed difference": torch.rsub,
    "in place": lambda x, y: x.clone().sub_(y),
    "hypot": torch.hypot,
    "greater": lambda x, y: (x > y).double(),
    "at most": lambda x, y: x.le(y).double(),
    "equal": lambda x, y: (x.round() == y.round()).double(),
    "either": lambda x, y: ((x > 0) | (y > 0)).double(),
    "one of both": lambda x, y: torch.logical_xor(x > 0, y > 0).double(),
    "logaddexp": torch.logaddexp,
    "clamped from below": lambda x, y: torch.clamp(x, min=y),
    "with alpha": lambda x, y: torch.add(x, y, alpha=-2),
}
PRODUCTS: dict[str, Function] = {
    "quotient": lambda x, y: x / (y.square() + 1),
    "power": lambda x, y: (x.square() + 1) ** y,
    "remainder": lambda x, y: torch.remainder(x, y.abs() + 1),
    "fmod": lambda x, y: x.fmod(y.abs() + 1),
    "atan2": torch.atan2,
    "copysign": torch.copysign,
    "heaviside": torch.heaviside,
    "both": lambda x, y: ((x > 0) & (y > 0)).double(),
}
SPATIAL_GRAPHS: dict[str, Callable[[], Graph]] = {
    "nearest, odd sizes": resized("nearest", (7, 11), (3, 5), (9, 2)),
    "nearest-exact": resized("nearest-exact", (7, 11), (3, 5), (4, 4)),
    "bilinear, corners aligned": resized("bilinear", (7, 5), (3, 9), align_corners=True),
    "bilinear, antialiased": resized("bilinear", (2, 5), (7, 3), antialias=True),
    "bicubic": resized("bicubic", (8, 6), (4, 3), (5, 5)),
    "bicubic, corners aligned": resized("bicubic", (7, 5), (4, 3), align_corners=True),
    "bicubic, antialiased": resized("bicubic", (3, 2), (6, 5), antialias=True),
    "area": resized("area", (3, 2), (5, 3)),
    "bilinear, by a factor": scaled("bilinear", 1.75),
    "bilinear, by a factor that is recomputed": scaled("bilinear", 1.75, recompute_scale_factor=True),
    "bicubic, by a factor": scaled("bicubic", 0.625),
    "nearest, by a factor": scaled("nearest", 1.5),
    **{
        f"grid sample, {mode}, {padding}, {align}": sampled(mode, padding, align)
        for mode in ("bilinear", "nearest")
        for padding in ("zeros", "border", "reflection")
        for align in (True, False)
    },
    **{
        f"zeros, {name}": lambda f=f: Graph(conv(3, padding=1), Zeroed(f, ~HOLDS), conv(2))
        for name, f in ZEROED.items()
    },
    "unfold": lambda: Graph(conv(2), Unfold((2, 3), 2, 1), move(lambda x: x[..., None]), conv(1, 24, places=6)),
    "fold": lambda: Graph(Unfold((3, 3), 2, 1), Fold((HEIGHT, WIDTH), 3, 2, 1), conv(3)),
    "fold, overlapping": lambda: Graph(conv(3, padding=1), Unfold((2, 2)), Fold((HEIGHT, WIDTH), 2, 1, 0), conv(3)),
    "GeM": lambda: Graph(
        Pointwise(lambda x: x.clamp(min=1e-6).pow(3)),
        AdaptivePool(nn.AdaptiveAvgPool2d(1), True),
        Pointwise(lambda x: x.pow(1 / 3)),
    ),
    "blur pool": lambda: Graph(
        move(lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect")), conv(3, groups=4, stride=2, bias=False), conv(2)
    ),
    "soft pool": lambda: Graph(
        (Pointwise(torch.exp), [0]),
        (Combine(torch.mul, product=True), [0, 1]),
        (Pool(nn.AvgPool2d(2), True), [2]),
        (Pool(nn.AvgPool2d(2), True), [1]),
        (Combine(torch.div, product=True), [3, 4]),
        (conv(2), [5]),
    ),
    "lp pool": lambda: Graph(relu(), Pool(nn.LPPool2d(3, 2), False), Pool(nn.LPPool2d(2, 2, 1), False)),
    "lp pool, ceil": lambda: Graph(conv(2, groups=2), Pool(nn.LPPool2d(2, 3, 2, ceil_mode=True), False), conv(1)),
    **{f"move, {name}": lambda f=f: Graph(move(f), Pointwise(torch.exp), move(f)) for name, f in MOVES.items()
       if name not in ("advanced indices", "Tensor.unfold", "depth to space", "pixel unshuffle", "gather", "rot90")},
    **{f"move, {name}": lambda f=f: Graph(conv(1, groups=4), move(f)) for name, f in MOVES.items()},
    **{f"sum, {name}": two(f) for name, f in SUMS.items()},
    **{f"product, {name}": two(f, product=True) for name, f in PRODUCTS.items()},
    "differences": lambda: Graph(conv(2), diff(2), diff(3), conv(2)),
    "lerp": lambda: Graph((conv(3, padding=1), [0]), (lerp(0.25), [0, 1]), (conv(3), [2])),
    "addcmul": three(lambda: addcmul(0.5)),
    "addcdiv": three(lambda: addcdiv(0.5)),
    "select": lambda: Graph((conv(3, padding=1), [0]), (Select(HOLDS), [0, 1]), (conv(3), [2])),
    "decide": three(Decide),
    "leaky by hand": lambda: Graph(conv(3), Pointwise(lambda x: torch.where(x > 0, x, 0.1 * x)), conv(2)),
    "filled by sign": lambda: Graph(conv(3), Pointwise(lambda x: x.masked_fill(x < 0, -1.0)), conv(2)),
    "clamped in place": lambda: Graph(conv(3), Pointwise(lambda x: x.clone().clamp_(0.1, 0.5)), conv(2)),
    "glu": lambda: Graph(glu(), conv(3, 2, 4, groups=2)),
    "softmin over channels": lambda: Graph(conv(3), Pointwise(lambda x: F.log_softmax(x, 1)), conv(2)),
    "maximum over a dimension": over_rows(lambda x, d: x.max(d, keepdim=True).values, torch.amax),
    "where the minimum is": over_rows(
        lambda x, d: x.min(d, keepdim=True)[1].double(), lambda values: values.argmin().double()
    ),
    "any": over_rows(lambda x, d: (x > 0).any(d, keepdim=True).double(), lambda v: (v > 0).any().double()),
    "all": over_rows(
        lambda x, d: (x > 0).all(d, keepdim=True).double(), lambda v: (v > 0).all().double(), skips=lambda knobs: True
    ),
    "prod": over_rows(lambda x, d: x.prod(d, keepdim=True), torch.prod, product=True),
    "logsumexp": over_rows(
        lambda x, d: x.logsumexp(d, True), lambda v: v.exp().sum().log(), skips=lambda knobs: True
    ),
    "logsumexp over space": over_space(
        lambda x, d: torch.logsumexp(x, d, True), lambda v: v.exp().sum().log(), skips=lambda knobs: True
    ),
    "norm": over_space(lambda x, d: x.norm(dim=d, keepdim=True), lambda v: v.square().sum().sqrt()),
    "vector norm": over_rows(
        lambda x, d: torch.linalg.vector_norm(x, 3, d, True), lambda v: (v.abs() ** 3).sum() ** (1 / 3)
    ),
    "linalg norm": over_rows(lambda x, d: torch.linalg.norm(x, 1, d, True), lambda v: v.abs().sum()),
    "quantile": over_rows(lambda x, d: x.quantile(0.3, d, True), quantile(0.3)),
    "quantile over space": over_space(
        lambda x, d: torch.quantile(x.flatten(2), 0.85, 2)[..., None, None], quantile(0.85)
    ),
    "nanquantile": over_rows(lambda x, d: torch.nanquantile(x, q=0.6, dim=d, keepdim=True), quantile(0.6)),
    "variance": over_space(lambda x, d: x.var(d, keepdim=True), variance, skips=active),
    "deviation": over_rows(lambda x, d: torch.std(x, d, keepdim=True), lambda v: variance(v).sqrt(), skips=active),
    "variance, biased": over_rows(
        lambda x, d: x.var(d, correction=0, keepdim=True), lambda v: v.var(correction=0), skips=active
    ),
    "deviation, with its mean": over_space(
        lambda x, d: torch.std_mean(x, d, keepdim=True)[0], lambda v: variance(v).sqrt(), skips=active
    ),
    "mean, with its variance": lambda: Graph(
        batch_norm(), Reduce((2, 3), True, lambda x, d, keepdim: torch.var_mean(x, d, keepdim=keepdim)[1], True)
    ),
    "rms norm": lambda: Graph(
        conv(3), channels_last(), norm(nn.RMSNorm(4), lambda i: i[:-1]), last_to_first(), conv(3)
    ),
    "rms norm over the map": lambda: Graph(conv(3, padding=1), norm(nn.RMSNorm([4, 6, 5], 1e-3), lambda i: i[:1])),
}  # fmt: skip
