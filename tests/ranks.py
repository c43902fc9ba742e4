"""Random networks of any rank: lines, images and volumes; convolutional, with attention, or both."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.networks import Apply, Branches, Residual

CHANNELS = 4
SHAPES = {1: (12,), 2: (6, 5), 3: (4, 4, 3)}


class Attention(nn.Module):
    """Self-attention of the positions of a map, spelled in one of several ways; heads of two channels."""

    SPELLINGS = ("fused", "eager", "einsum", "module", "tokens first", "over channels", "class token", "windows")

    def __init__(self, channels: int, spelling: str) -> None:
        super().__init__()
        self.heads, self.spelling = channels // 2, spelling
        self.norm = nn.LayerNorm(channels)
        self.project, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.module = nn.MultiheadAttention(channels, self.heads, batch_first=spelling == "module")
        self.token = nn.Parameter(torch.randn(1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        count = tokens.shape[1]
        if self.spelling == "class token":
            tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1)
        windows = self.spelling == "windows" and count % 2 == 0
        if windows:  # two per sample, as a part of the batch
            tokens = tokens.roll(1, dims=1).reshape(2 * len(x), count // 2, -1)
        tokens = tokens + self.attend(self.norm(tokens))
        if windows:
            tokens = tokens.reshape(len(x), count, -1).roll(-1, dims=1)
        return tokens[:, -count:].transpose(1, 2).reshape(x.shape)

    def attend(self, tokens: Tensor) -> Tensor:
        if self.spelling in ("module", "tokens first"):
            first = self.spelling == "tokens first"
            tokens = tokens.transpose(0, 1) if first else tokens
            found = self.module(tokens, tokens, tokens, need_weights=first)[0]
            return found.transpose(0, 1) if first else found
        q, k, v = self.project(tokens).unflatten(2, (3, self.heads, 2)).permute(2, 0, 3, 1, 4)
        if self.spelling == "eager":
            found = (q @ k.transpose(2, 3) * 2**-0.5).softmax(-1) @ v
        elif self.spelling == "einsum":
            found = torch.einsum("nhij,nhjd->nhid", torch.einsum("nhid,nhjd->nhij", q, k).softmax(3), v)
        elif self.spelling == "over channels":
            q, k = F.normalize(q, dim=2), F.normalize(k, dim=2)
            found = v @ (k.transpose(2, 3) @ q).softmax(-1)
        else:
            found = F.scaled_dot_product_attention(q, k, v)
        return self.out(found.transpose(1, 2).flatten(2))


def gate(x: Tensor, mix: nn.Module) -> Tensor:
    return x * torch.sigmoid(mix(x.mean(list(range(2, x.dim())), keepdim=True)))


@st.composite
def blocks(draw: st.DrawFn, channels: int, size: Sequence[int]) -> nn.Module:
    """One block for a map of that size."""
    rank = len(size)
    conv = getattr(nn, f"Conv{rank}d")
    kind = draw(
        st.sampled_from(["conv", "conv", "residual", "dense", "gated", "pool", "norm", "up", *["attention"] * 3])
    )
    if kind == "conv":
        kernel = [draw(st.integers(1, 3)) for _ in size]
        padding = [draw(st.integers(0, k - 1)) for k in kernel]
        options = {"stride": draw(st.integers(1, 2)), "groups": draw(st.sampled_from([1, 2])), "padding": padding}
        return nn.Sequential(conv(channels, CHANNELS, kernel, **options), getattr(nn, f"BatchNorm{rank}d")(CHANNELS))
    if kind == "residual":
        return Residual(conv(channels, channels, 3, padding=1), nn.Identity())
    if kind == "dense":
        return Branches(nn.Identity(), conv(channels, 2, 3, padding=1))
    if kind == "gated":
        return Apply(gate, conv(channels, channels, 1))
    if kind == "pool":
        average = draw(st.booleans())
        name = f"{'Avg' if average else 'Max'}Pool{rank}d"
        return getattr(nn, name)(draw(st.integers(2, 3)), draw(st.integers(1, 2)), draw(st.integers(0, 1)))
    if kind == "norm":
        return nn.Sequential(nn.GroupNorm(2, channels), nn.GELU())
    if kind == "up":
        return getattr(nn, f"ConvTranspose{rank}d")(channels, CHANNELS, 2, 2)
    return Attention(channels, draw(st.sampled_from(Attention.SPELLINGS)))


@st.composite
def networks(draw: st.DrawFn, rank: int) -> nn.Module:
    """A network in eval mode, double precision, for inputs of (N, CHANNELS, *SHAPES[rank])."""
    torch.manual_seed(draw(st.integers(0, 999)))
    layers: list[nn.Module] = []
    shape = torch.Size((2, CHANNELS, *SHAPES[rank]))
    for _ in range(draw(st.integers(1, 4))):
        layer = draw(blocks(shape[1], shape[2:])).double().eval()
        try:
            after = layer(torch.ones(shape, dtype=torch.double)).shape
        except RuntimeError:  # the map is too small for it
            continue
        if math.prod(after[2:]) <= 80:
            layers.append(layer)
            shape = after
    head = draw(st.sampled_from(["none", "flat", "pool", "token"]))
    if head == "flat":
        layers += [nn.Flatten(), nn.Linear(math.prod(shape[1:]), 3)]
    elif head == "pool":
        layers += [getattr(nn, f"AdaptiveAvgPool{rank}d")(1), nn.Flatten(), nn.Linear(shape[1], 3)]
    elif head == "token":
        layers += [Apply(lambda x: x.flatten(2)[..., 0]), nn.Linear(shape[1], 3)]
    model = nn.Sequential(*layers, nn.Identity()).double().eval()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.normal_(module.bias)
    return copy.deepcopy(model)


@st.composite
def masks(draw: st.DrawFn, rank: int, samples: int) -> Tensor:
    """Masks (samples, 1|C, *SHAPES[rank])."""
    torch.manual_seed(draw(st.integers(0, 999)))
    channels = draw(st.sampled_from([1, 1, CHANNELS]))
    shares = torch.tensor([draw(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0])) for _ in range(samples)])
    return torch.rand(samples, channels, *SHAPES[rank]) < shares.reshape(-1, *[1] * (rank + 1))
