"""Random small networks of the usual blocks, and random masks and rules, for properties of all of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_ad import PRESETS, MaskRule

CHANNELS, HEIGHT, WIDTH = 3, 9, 8


def seed(value: int) -> None:
    """Seed the CPU only: without a GPU, ``torch.manual_seed`` formats the stack three times, which takes longer than
    many tests."""
    torch.default_generator.manual_seed(value)


class Apply(nn.Module):
    """A function with the modules that it uses."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *x: Any, **kwargs: Any) -> Any:
        return self.function(*x, *self.parts, **kwargs)


class Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


class Branches(nn.Module):
    """Several views of one map, side by side; the map itself is one of them in a dense block."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Gated(nn.Module):
    """Squeeze-excitation, its statistic taken in one of several ways."""

    def __init__(self, channels: int, pool: str) -> None:
        super().__init__()
        self.pool = pool
        self.gate = nn.Sequential(nn.Conv2d(channels, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(2, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1) if self.pool == "adaptive" else x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.gate(pooled))


def add_context(x: Tensor, mix: nn.Module) -> Tensor:
    """A statistic of the whole map, added to every position."""
    return x + mix(x.mean((2, 3), keepdim=True))


def shuffled_halves(x: Tensor, body: nn.Module) -> Tensor:
    """ShuffleNet's unit: half of the channels pass by, then all are shuffled."""
    left, right = x.chunk(2, dim=1)
    out = torch.cat((left, body(right)), dim=1)
    n, c, h, w = out.shape
    return out.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def option_a(x: Tensor, body: nn.Module) -> Tensor:
    """CifarResNet's shortcut without weights: every other position, zeros for the new channels."""
    out = body(x)
    new = out.shape[1] - x.shape[1]
    return F.relu(out + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, new // 2, new - new // 2)))


def channels_last(x: Tensor, norm: nn.Module, mix: nn.Module) -> Tensor:
    """ConvNeXt's norm and linear map over channels."""
    return mix(norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class Sampled(nn.Module):
    """A map at the points of a grid, some of them outside."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("grid", (torch.rand(1, 6, 5, 2) - 0.5) * 2.2)

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)  # there are no kernels for half precision
        grid = self.grid.to(wide).expand(len(x), -1, -1, -1)
        return F.grid_sample(x.to(wide), grid, align_corners=False).to(x.dtype)


def add_spread(x: Tensor, mix: nn.Module) -> Tensor:
    """A second-order statistic of the whole map, added to every position."""
    return x + mix(x.std((2, 3), correction=0, keepdim=True))


def folded(x: Tensor, mix: nn.Module) -> Tensor:
    """Windows side by side, mixed, and put back where they came from."""
    windows = mix(F.unfold(x, 3, padding=1).unsqueeze(3)).squeeze(3)
    return F.fold(windows, x.shape[2:], 3, padding=1)


def gated_linear(x: Tensor, widen: nn.Module) -> Tensor:
    return F.glu(widen(x), 1)


def decided(x: Tensor, other: nn.Module) -> Tensor:
    """Values of one map or another, by a comparison of both."""
    y = other(x)
    return torch.where(x > y, x, y.clamp(min=-1).masked_fill(y < -0.5, 0.25))


ACTIVATIONS = [nn.ReLU, nn.SiLU, nn.Sigmoid, nn.GELU, nn.Hardswish]


@st.composite
def blocks(draw: st.DrawFn, channels: int, size: tuple[int, int]) -> nn.Module:
    """One block for a map of the given shape."""
    kind = draw(st.sampled_from(BLOCKS))
    activation = draw(st.sampled_from(ACTIVATIONS))
    out = draw(st.sampled_from([2, 4, 6]))
    if kind == "conv":
        kernel = draw(st.sampled_from([1, 2, 3, 5]))
        padding, mode = draw(st.integers(0, 2)), draw(st.sampled_from(["zeros", "reflect"]))
        groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0 and out % g == 0] or [1]))
        stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        if mode == "reflect" and padding >= min(size):
            mode = "zeros"
        conv = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, padding_mode=mode)
        return nn.Sequential(conv, nn.BatchNorm2d(out), activation())
    if kind == "residual":
        stride = draw(st.integers(1, 2))
        out = channels if stride == 1 else out
        body = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1), nn.BatchNorm2d(out), activation(), nn.Conv2d(out, out, 3, padding=1)
        )
        return Residual(body, nn.Identity() if stride == 1 else nn.Conv2d(channels, out, 1, stride))
    if kind == "branches":
        pool = draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(3, 1, 1)
        return Branches(
            nn.Identity(), nn.Conv2d(channels, 2, 3, padding=1), nn.Sequential(pool, nn.Conv2d(channels, 2, 1))
        )
    if kind == "gated":
        return nn.Sequential(activation(), Gated(channels, draw(st.sampled_from(["adaptive", "mean"]))))
    if kind == "max pool":
        return nn.MaxPool2d(2, draw(st.integers(1, 2)), draw(st.integers(0, 1)), ceil_mode=draw(st.booleans()))
    if kind == "avg pool":
        counted, ceil = draw(st.booleans()), draw(st.booleans())
        return nn.AvgPool2d(draw(st.integers(2, 3)), draw(st.integers(1, 2)), 1, ceil, counted)
    if kind == "pad":
        around = [draw(st.integers(0, 1)) for _ in range(4)]
        pads = [nn.ZeroPad2d(around), nn.ReflectionPad2d(around if min(size) > 1 else 0), nn.ConstantPad2d(around, 0.5)]
        return draw(st.sampled_from(pads))
    if kind == "norm":
        norms = [nn.GroupNorm(1, channels), nn.BatchNorm2d(channels)]
        if size[0] * size[1] > 1:
            norms.append(nn.InstanceNorm2d(channels, affine=True))
        return nn.Sequential(draw(st.sampled_from(norms)), activation())
    if kind == "resize":
        sizes = tuple(draw(st.integers(2, 8)) for _ in size)
        modes = ["nearest", "nearest-exact", "bilinear", "bicubic", "area"]
        return nn.Upsample(sizes, mode=draw(st.sampled_from(modes)))
    if kind == "sampled":
        return Sampled()
    if kind == "spread":
        return Apply(add_spread, nn.Conv2d(channels, channels, 1))
    if kind == "folded":
        return Apply(folded, nn.Conv2d(9 * channels, 9 * channels, 1, groups=channels))
    if kind == "gated linear":
        return Apply(gated_linear, nn.Conv2d(channels, 2 * out, 1))
    if kind == "decided":
        return Apply(decided, nn.Conv2d(channels, channels, 3, padding=1))
    if kind == "context":
        return Apply(add_context, nn.Conv2d(channels, channels, 1))
    if kind == "transposed":
        return nn.ConvTranspose2d(channels, out, 3, draw(st.integers(1, 2)), 1)
    if kind == "shuffled" and channels % 2 == 0:
        return Apply(shuffled_halves, nn.Conv2d(channels // 2, channels // 2, 3, padding=1))
    if kind == "option a":
        return Apply(option_a, nn.Conv2d(channels, channels + 2, 3, 2, 1))
    return Apply(channels_last, nn.LayerNorm(channels), nn.Linear(channels, out))


BLOCKS = [
    "conv", "conv", "conv", "residual", "residual", "branches", "gated", "max pool", "avg pool", "pad", "norm",
    "resize", "context", "transposed", "shuffled", "option a", "channels last",
    "sampled", "spread", "folded", "gated linear", "decided",
]  # fmt: skip


@st.composite
def networks(draw: st.DrawFn, spatial: bool | None = None) -> nn.Module:
    """A network in eval mode for inputs of (N, CHANNELS, HEIGHT, WIDTH); `spatial`: whether its output is a map."""
    seed(draw(st.integers(0, 999)))
    layers: list[nn.Module] = []
    shape = torch.Size((1, CHANNELS, HEIGHT, WIDTH))
    for _ in range(draw(st.integers(1, 4))):
        layer = draw(blocks(shape[1], (shape[2], shape[3])))
        try:
            after = _initialized(layer)(torch.ones(shape)).shape
        except RuntimeError:  # the map is too small for it
            continue
        if max(after[2:]) <= 14:
            layers.append(layer)
            shape = after
    heads = {
        "adaptive": nn.AdaptiveAvgPool2d(1),
        "mean": Apply(lambda x: x.mean((2, 3))),
        "maximum": Apply(lambda x: x.amax((2, 3))),
        "avg pool": nn.AvgPool2d(tuple(shape[2:])),
        "none": nn.Identity(),
    }
    if not layers:
        layers.append(nn.ReLU())
    if spatial is None:
        spatial = draw(st.booleans())
    if not spatial:
        head = draw(st.sampled_from(sorted(heads)))
        features = shape[1] * (shape[2] * shape[3] if head == "none" else 1)
        layers += [heads[head], nn.Flatten(), _initialized(nn.Linear(features, 4))]
    return copy.deepcopy(nn.Sequential(*layers).eval())


def _initialized(layer: nn.Module) -> nn.Module:
    """Norms with statistics and affine maps that do something."""
    for module in layer.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)):
            for values in (module.weight, module.bias, getattr(module, "running_mean", None)):
                if values is not None:
                    nn.init.normal_(values)
    return layer.eval()


@st.composite
def masks(draw: st.DrawFn, samples: int = 2) -> Tensor:
    """Masks of a batch, (1|N, 1|C, H, W): from nothing to everything, in patches or single pixels, per channel too."""
    seed(draw(st.integers(0, 999)))
    channels = draw(st.sampled_from([1, 1, CHANNELS]))
    rows = []
    for _ in range(draw(st.sampled_from([1, samples]))):
        share, patch = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])), draw(st.sampled_from([1, 2, 3]))
        coarse = torch.rand(channels, -(-HEIGHT // patch), -(-WIDTH // patch)) < share
        fine = coarse.repeat_interleave(patch, 1).repeat_interleave(patch, 2)
        rows.append(fine[:, :HEIGHT, :WIDTH])
    return torch.stack(rows)


@st.composite
def inputs(draw: st.DrawFn, samples: int = 2) -> Tensor:
    seed(draw(st.integers(0, 999)))
    return torch.randn(samples, CHANNELS, HEIGHT, WIDTH)


def rules() -> st.SearchStrategy[MaskRule]:
    return st.sampled_from(list(PRESETS.values())) | st.builds(
        MaskRule,
        st.sampled_from(["window", "none"]),
        st.sampled_from(["union", "intersection"]),
        st.sampled_from(["all", "active"]),
        st.sampled_from(["zero", "mean"]),
    )


def taus() -> st.SearchStrategy[float]:
    return st.sampled_from([0.0, 0.0, 0.3, 0.5, 0.999999]) | st.floats(0, 1, exclude_max=True)
