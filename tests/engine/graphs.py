"""Small networks that between them hold every kind of operation, each with an odd setting or two."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from tests.engine.operations import (
    AdaptivePool,
    Combine,
    Concat,
    Convolution,
    Linear,
    Move,
    Norm,
    Pointwise,
    Pool,
    Reduce,
)
from tests.engine.resampling import Resize
from tests.oracle import Graph, Operation

CHANNELS, HEIGHT, WIDTH = 4, 6, 5


def conv(
    kernel: int | tuple[int, int] = 3,
    fan_in: int = CHANNELS,
    fan_out: int = CHANNELS,
    places: int = 1,
    **kwargs: object,
) -> Operation:
    return Convolution(nn.Conv2d(fan_in, fan_out, kernel, **kwargs), places)


def upconv(kernel: int, **kwargs: object) -> Operation:
    return Convolution(nn.ConvTranspose2d(CHANNELS, CHANNELS, kernel, **kwargs))


def batch_norm(channels: int = CHANNELS) -> Operation:
    layer = nn.BatchNorm2d(channels)
    for values in (layer.weight, layer.bias, layer.running_mean):
        nn.init.normal_(values)
    return Pointwise(layer)


def norm(layer: nn.Module, sets: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Operation:
    for values in layer.parameters():
        nn.init.normal_(values)
    return Norm(layer, sets)


def max_pool(*args: int, **kwargs: object) -> Operation:
    return Pool(nn.MaxPool2d(*args, **kwargs), average=False)


def avg_pool(*args: int, **kwargs: object) -> Operation:
    return Pool(nn.AvgPool2d(*args, **kwargs), average=True)


def move(function: Callable[[torch.Tensor], torch.Tensor]) -> Operation:
    return Move(function)


def pad(*around: int, mode: str = "constant", value: float = 0.0) -> Operation:
    return Move(lambda x: F.pad(x, around, mode, value if mode == "constant" else None))


def relu() -> Operation:
    return Pointwise(nn.ReLU())


def add() -> Operation:
    return Combine(torch.add)


def multiply() -> Operation:
    return Combine(torch.mul, product=True)


def last_to_first() -> Operation:
    return move(lambda x: x.permute(0, 3, 1, 2))


def channels_last() -> Operation:
    return move(lambda x: x.permute(0, 2, 3, 1))


def shuffle() -> Operation:
    return move(lambda x: x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2))


def with_constant(x: torch.Tensor) -> torch.Tensor:
    """A channel of zeros in front of the others."""
    return torch.cat([torch.zeros(x.shape[0], 1, *x.shape[2:], dtype=x.dtype), x], 1)


def into_zeros(x: torch.Tensor) -> torch.Tensor:
    """Every other row, written into zeros."""
    out = torch.zeros(x.shape, dtype=x.dtype)
    out[:, :, ::2] = x[:, :, ::2]
    return out


def flat_head(features: int) -> list[Operation]:
    return [move(lambda x: x.flatten(1)), Linear(nn.Linear(features, 3))]


def gate(reduction: Operation) -> list[Operation]:
    """Squeeze-excitation of the last result."""
    return [reduction, conv(1), relu(), conv(1), Pointwise(torch.sigmoid)]


def global_mean() -> Operation:
    return Reduce((2, 3), whole_map=True)


GRAPHS: dict[str, Callable[[], Graph]] = {
    "conv 3": lambda: Graph(conv(3), conv(3)),
    "conv 3, padded": lambda: Graph(conv(3, padding=1), batch_norm(), relu(), conv(3, padding=1)),
    "conv, stride 2": lambda: Graph(conv(3, stride=2, padding=1), relu(), conv(3, stride=2, padding=1)),
    "conv, stride over kernel": lambda: Graph(conv(2, stride=3, padding=1), conv(1, stride=2)),
    "conv, even kernel, same": lambda: Graph(conv((4, 2), padding="same"), conv(3, padding="same", dilation=2)),
    "conv, one-sided kernels": lambda: Graph(conv((1, 5), padding=(0, 2)), conv((3, 1), padding=(1, 0))),
    "conv, dilated": lambda: Graph(conv(3, dilation=2, padding=2), conv(3, dilation=2, stride=2)),
    "conv, in groups": lambda: Graph(conv(3, groups=2, padding=1), conv(3, groups=4, fan_out=8), conv(1, 8, 4)),
    "conv, more padding than reach": lambda: Graph(conv(1, padding=1), conv(3), conv(3, padding=2)),
    "conv, reflected": lambda: Graph(conv(3, padding=1, padding_mode="reflect"), conv(3)),
    "conv, circular": lambda: Graph(conv(5, padding=2, padding_mode="circular"), conv(3, stride=2)),
    "conv, replicated": lambda: Graph(conv(3, padding=1, padding_mode="replicate", stride=2), conv(3)),
    "transposed conv": lambda: Graph(upconv(3, stride=2, padding=1, output_padding=1), conv(3, stride=2)),
    "transposed conv, stride over kernel": lambda: Graph(upconv(2, stride=3), conv(3, stride=3)),
    "transposed conv, in groups": lambda: Graph(upconv(3, dilation=2, groups=2, padding=1), conv(3)),
    "transposed conv, wide": lambda: Graph(upconv(7, stride=2, padding=3), conv(3, stride=2)),
    "max pool": lambda: Graph(conv(3), max_pool(2), relu(), conv(1)),
    "max pool, padded": lambda: Graph(max_pool(3, 2, 1), conv(3, padding=1), max_pool(2, 1)),
    "max pool, ceil, dilated": lambda: Graph(conv(1), max_pool(2, 2, ceil_mode=True), max_pool(2, 1, 1, dilation=2)),
    "max pool, some rows unread": lambda: Graph(conv(1), max_pool(4, 4)),
    "max pool over the map": lambda: Graph(conv(1), Pool(nn.MaxPool2d((HEIGHT, WIDTH)), average=False)),
    "avg pool": lambda: Graph(conv(1), avg_pool(2), conv(1)),
    "avg pool, padded": lambda: Graph(conv(1), avg_pool(3, 2, 1), avg_pool(3, 1, 1, count_include_pad=False)),
    "avg pool, ceil": lambda: Graph(avg_pool(3, 2, ceil_mode=True), avg_pool(2, 2, 1, ceil_mode=True)),
    "avg pool, some rows unread": lambda: Graph(conv(1), avg_pool(4, 4)),
    "avg pool over the map": lambda: Graph(conv(3), Pool(nn.AvgPool2d((4, 3)), average=True), *flat_head(4)),
    "adaptive avg pool": lambda: Graph(conv(3), AdaptivePool(nn.AdaptiveAvgPool2d((2, 3)), True), conv(2)),
    "adaptive max pool": lambda: Graph(conv(1), AdaptivePool(nn.AdaptiveMaxPool2d((3, 4)), False), conv(2)),
    "global pools": lambda: Graph(
        (conv(3, padding=1), [0]),
        (AdaptivePool(nn.AdaptiveAvgPool2d(1), True), [1]),
        (AdaptivePool(nn.AdaptiveMaxPool2d(1), False), [1]),
        (Concat(), [2, 3]),
        *flat_head(8),
    ),
    "mean over space": lambda: Graph(batch_norm(), global_mean(), *flat_head(4)),
    "mean of raw channels": lambda: Graph(Pointwise(torch.sigmoid), global_mean()),
    "maximum over space": lambda: Graph(batch_norm(), Reduce((2, 3), True, torch.amax), conv(1)),
    "mean over rows, then columns": lambda: Graph(conv(3), Reduce((3,), False), Reduce((2,), True, torch.sum)),
    "mean over channels": lambda: Graph(batch_norm(), Reduce((1,), False), conv(3, 1, 4, padding=1)),
    "activations": lambda: Graph(
        Pointwise(nn.SiLU()), Pointwise(torch.sigmoid), conv(3), Pointwise(torch.exp), conv(2)
    ),
    "residual": lambda: Graph(conv(3, padding=1), batch_norm(), (add(), [0, 2]), relu(), conv(3)),
    "residual, strided": lambda: Graph(
        (conv(3, stride=2, padding=1), [0]), (conv(1, stride=2), [0]), (add(), [1, 2]), conv(3, padding=1)
    ),
    "difference, smaller": lambda: Graph(
        conv(3, padding=1), (Combine(torch.sub), [0, 1]), (Combine(torch.minimum), [1, 2]), conv(3)
    ),
    "squeeze-excitation": lambda: Graph(
        conv(3), *gate(AdaptivePool(nn.AdaptiveAvgPool2d(1), True)), (multiply(), [1, -1]), conv(3)
    ),
    "squeeze-excitation by mean": lambda: Graph(batch_norm(), *gate(global_mean()), (multiply(), [1, -1]), conv(3)),
    "context added": lambda: Graph(conv(3, groups=4), *gate(global_mean()), (add(), [1, -1]), conv(3)),
    "spatial gate": lambda: Graph(
        Reduce((1,), False, torch.amax),
        conv(3, 1, 1, padding=1),
        Pointwise(torch.sigmoid),
        (multiply(), [0, -1]),
        conv(3),
    ),
    "dense": lambda: Graph(
        (conv(3, padding=1), [0]),
        (Concat(), [0, 1]),
        (conv(3, 8, 4, groups=4, padding=1), [-1]),
        (Concat(), [0, 1, 3]),
        conv(3, 12, 2, groups=2),
    ),
    "option A shortcut": lambda: Graph(
        (conv(3, 4, 8, stride=2, padding=1), [0]),
        (move(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))), [0]),
        (add(), [1, 2]),
        relu(),
        conv(3, 8, 4, padding=1),
    ),
    "constant channel": lambda: Graph(
        move(with_constant), max_pool(2), conv(3, 5, 5, groups=5, padding=1), avg_pool(2, 1)
    ),
    "written into zeros": lambda: Graph(conv(2), move(into_zeros), conv(2, 4, 4), max_pool(2)),
    "zero pad": lambda: Graph(conv(3), pad(1, 2, 0, 1), conv(3), pad(2, 2, 2, 2), max_pool(3, 2)),
    "zero pad, averages": lambda: Graph(pad(1, 1, 1, 1), avg_pool(3, 2), global_mean()),
    "zero pad, summed": lambda: Graph((pad(0, 0, 1, 1), [0]), (pad(0, 0, 0, 2), [0]), (add(), [1, 2]), conv(3)),
    "zero pad, where zero becomes something": lambda: Graph(
        conv(3),
        pad(1, 0, 2, 1),
        batch_norm(),
        Pointwise(torch.sigmoid),
        conv(2),
        pad(1, 1, 1, 1),
        channels_last(),
        Linear(nn.Linear(4, 4)),
        last_to_first(),
        conv(2),
    ),
    "zero pad, twice": lambda: Graph(pad(1, 0, 0, 1), pad(0, 2, 1, 0), conv(3), pad(0, 1, 0, 1), avg_pool(2), relu()),
    "zero pad, joined": lambda: Graph(
        (pad(1, 1, 1, 1), [0]), (conv(3), [1]), (conv(3, padding=1), [0]), (Concat(1), [2, 3]), global_mean()
    ),
    "max pools of parts": lambda: Graph(
        max_pool(3, 1, 1), conv(1), max_pool(3, 2, 1, ceil_mode=True), batch_norm(), max_pool(2, 1, 1, dilation=1)
    ),
    "averages of parts": lambda: Graph(
        batch_norm(),
        avg_pool(3, 1, 1),
        conv(1),
        avg_pool(2, 1, 0),
        Pool(nn.AvgPool2d(2, 1, 0, divisor_override=3), True),
        *gate(AdaptivePool(nn.AdaptiveAvgPool2d(1), True)),
    ),
    "pad with ones": lambda: Graph(batch_norm(), pad(0, 1, 0, 1, value=1.0), conv(2, stride=2)),
    "reflect pad": lambda: Graph(pad(2, 1, 1, 2, mode="reflect"), conv(3), pad(1, 1, 1, 1, mode="replicate"), conv(3)),
    "crop": lambda: Graph(conv(2), pad(-1, 0, 0, -1), move(lambda x: x[:, 1:, :, 1:].flip(3)), conv(2, 3, 2)),
    "shuffled halves": lambda: Graph(
        (move(lambda x: x.chunk(2, 1)[0]), [0]),
        (move(lambda x: x.chunk(2, 1)[1]), [0]),
        (conv(3, 2, 2, padding=1), [1]),
        (Concat(), [2, 3]),
        shuffle(),
        conv(3, groups=2),
    ),
    "pixel shuffle": lambda: Graph(conv(3), move(lambda x: F.pixel_shuffle(x, 2)), conv(3, 1, 4, stride=2)),
    "flatten": lambda: Graph(batch_norm(), relu(), *flat_head(4 * HEIGHT * WIDTH)),
    "channels last": lambda: Graph(
        conv(3), channels_last(), norm(nn.LayerNorm(4), lambda i: i[:-1]), last_to_first(), conv(3)
    ),
    "channels last, linear": lambda: Graph(
        conv(3), channels_last(), Linear(nn.Linear(4, 6)), last_to_first(), conv(3, 6, 2)
    ),
    "channels last, mean": lambda: Graph(conv(2), channels_last(), Reduce((1, 2), True), move(lambda x: x.flatten(1))),
    "columns mixed": lambda: Graph(conv(3), Linear(nn.Linear(3, 5), positions=True), conv(3)),
    "nearest": lambda: Graph(Resize((9, 12), "nearest"), conv(3), Resize((4, 5), "nearest"), conv(2)),
    "bilinear": lambda: Graph(conv(3), Resize((10, 7), "bilinear"), conv(3), Resize((3, 4), "bilinear")),
    "channels last, raw": lambda: Graph(
        Pointwise(torch.sigmoid), channels_last(), norm(nn.LayerNorm(4), lambda i: i[:-1]), last_to_first(), conv(3)
    ),
    "layer norm over the map": lambda: Graph(
        Pointwise(torch.sigmoid), norm(nn.LayerNorm([4, 6, 5], elementwise_affine=False), lambda i: i[:1]), conv(3)
    ),
    "group norm": lambda: Graph(conv(3), norm(nn.GroupNorm(2, 4), lambda i: (i[0], i[1] // 2)), relu(), conv(3)),
    "instance norm": lambda: Graph(norm(nn.InstanceNorm2d(4, affine=True), lambda i: i[:2]), conv(3)),
    "group norm, padded": lambda: Graph(pad(1, 1, 0, 0), norm(nn.GroupNorm(1, 4), lambda i: i[:1]), conv(3)),
}
