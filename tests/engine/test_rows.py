"""Rows that are dead are not computed, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from captum_ad import PRESETS, ADForward

TOKENS, WIDTH = 16, 12


class Block(nn.Module):
    """A transformer's block, written out; `whole`: by torch's own attention layer."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 3, batch_first=True) if whole else None
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Dropout(), nn.Linear(4 * WIDTH, WIDTH))
        self.scale = nn.Parameter(torch.rand(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if self.attention is not None:
            x = x + self.attention(y, y, y, need_weights=False)[0]
        else:
            q, k, v = self.qkv(y).unflatten(-1, (3, 3, WIDTH // 3)).permute(2, 0, 3, 1, 4)
            x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.scale * self.mlp(self.second(x))


class Tokens(nn.Module):
    def __init__(self, whole: bool, inplace: bool = False) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, WIDTH, 4, 4), nn.Parameter(torch.randn(1, 1, WIDTH))
        self.places = nn.Parameter(torch.randn(1, TOKENS + 1, WIDTH))
        self.blocks = nn.Sequential(Block(whole), nn.ReLU(inplace), Block(whole))
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.blocks(x)[:, 0])


class Channels(nn.Module):
    """ConvNeXt's way: rows of (N, H, W, C), the same numbers for a residual and for what is written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.linear = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Linear(WIDTH, WIDTH)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 5)
        self.places = nn.Parameter(torch.randn(1, 16, 16, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        y = self.norm(x)
        z = self.linear(y) * self.places  # numbers that differ from row to row
        z = self.linear(z) + x * x.roll(1, 1)  # a map that is dead at more places, and not zero at them
        z = (z * 2).add_(self.linear(z) + y)
        z = torch.cat([z[..., :5], F.gelu(z)[..., 5:]], -1) + z.mean(-1, keepdim=True)
        return self.head(z.permute(0, 3, 1, 2).mean((2, 3)))


NETWORKS = {
    "attention written out": lambda: Tokens(False),
    "attention of torch": lambda: Tokens(True),
    "in place": lambda: Tokens(False, inplace=True),
    "channels last": Channels,
}


def masks() -> list[Tensor]:
    random = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = [random < 0.5, random < 0.1, torch.stack([random[0] < 0, random[1] < 2, random[2] < 0.5])]
    return [mask.repeat_interleave(4, 1).repeat_interleave(4, 2) for mask in found]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("network", NETWORKS)
@torch.no_grad()
def test_the_same_as_everywhere(network: str, preset: str) -> None:
    torch.manual_seed(0)
    model, x = NETWORKS[network]().double().eval(), torch.randn(3, 3, 16, 16, dtype=torch.double)
    for mask in masks():
        for tau in (0.0, 0.3):
            whole = ADForward(model, preset, tau=tau, skip_dead=False)
            rows = ADForward(model, preset, tau=tau)
            torch.testing.assert_close(rows(x, mask=mask), whole(x, mask=mask))
            junk = torch.where(mask[:, None], x, torch.nan)
            assert torch.equal(rows(junk, mask=mask), rows(x, mask=mask))
            one, other = (ad.trace(x, mask=mask).operations for ad in (rows, whole))
            assert [place.share for place in one] == [place.share for place in other]


class Multiplied(TorchDispatchMode):
    """How many rows matrices have been multiplied with."""

    rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket is torch.ops.aten.addmm:
            self.rows += args[1].shape[0]
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def test_rows_that_are_dead_are_not_computed() -> None:
    torch.manual_seed(0)
    model, x = Tokens(whole=False).eval(), torch.randn(3, 3, 16, 16)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:4] = mask[12:] = True  # half of the tokens, the first and the last of them
    counted = []
    for skip in (True, False):
        with Multiplied() as multiplied:
            ADForward(model, skip_dead=skip)(x, mask=mask)
        counted.append(multiplied.rows)
    share = (TOKENS / 2 + 1) / (TOKENS + 1)  # and the class token
    assert counted[0] <= share * counted[1] + 3  # the head sees the class tokens alone
