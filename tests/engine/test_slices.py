"""Slices that are put side by side count for τ as the windows that they spell out, in whole networks too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import swin_transformer

from captum_ad import PRESETS, ADForward
from captum_ad._engine.axes import Axes, Role, Slice, axis
from captum_ad._engine.slices import sliced, start_of_piece, with_windows

TAUS = [0, 0.3, 0.6]
CELLS = [(0, 0), (1, 0), (0, 1), (1, 1)]


def _masks(size: int) -> Tensor:
    mask = torch.rand(2, size, size, generator=torch.Generator().manual_seed(0)) > 0.4
    mask[0, :, : size // 4] = mask[1, size // 2 :] = False
    return mask


def _assert_same_traces(models: list[nn.Module], places: list[str], size: int, rule: str, tau: float) -> None:
    """The same masks behind these modules or operations, and the same output; of borders that differ masks alone."""
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)).double()
    first, other = (ADForward(model, rule, tau=tau).trace(x, mask=_masks(size)) for model in models)
    for name in places:
        ones, twos = (
            [c.mask for c in trace if c.operation == name or c.module.startswith(name)] for trace in (first, other)
        )
        assert torch.equal(*torch.broadcast_tensors(ones[0], twos[0])), name
        assert torch.equal(*torch.broadcast_tensors(ones[-1], twos[-1])), name
    if PRESETS[rule].border == "zero":
        torch.testing.assert_close(first.output, other.output)


class Reshaped(swin_transformer.PatchMerging):
    """Patches that are merged by a reshape."""

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        cells = x.reshape(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        found: Tensor = self.reduction(self.norm(cells))
        return found


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("rule", PRESETS)
@torch.no_grad()
def test_swin(rule: str, tau: float) -> None:
    """torchvision's patch merging is written with slices; a reshape is another way to write it."""

    def swin(merging: Callable[..., nn.Module]) -> nn.Module:
        torch.manual_seed(0)
        sizes = {"patch_size": [2, 2], "embed_dim": 8, "depths": [1, 1, 1], "num_heads": [1, 2, 2]}
        model = swin_transformer.SwinTransformer(
            **sizes, window_size=[4, 4], num_classes=5, downsample_layer=merging, stochastic_depth_prob=0.0
        )
        return model.double().eval()

    models = [swin(swin_transformer.PatchMerging), swin(Reshaped)]
    _assert_same_traces(models, ["features.3", "features.5"], 32, rule, tau)


class Detector(nn.Module):
    """The stem of a YOLO, and two convolutions."""

    def __init__(self, stem: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.kernel = stem, nn.Parameter(torch.randn(8, 3, 2, 2))
        self.act, self.conv, self.last = nn.SiLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 4, 1)
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.stem == "strided":
            h = F.conv2d(x, self.kernel, stride=2)
        else:
            cells = torch.cat([x[..., i::2, j::2] for i, j in CELLS], 1)
            h = F.conv2d(cells, torch.cat([self.kernel[:, :, i, j] for i, j in CELLS], 1)[..., None, None])
        found: Tensor = self.last(self.conv(self.act(h)).relu())
        return found


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("rule", PRESETS)
@torch.no_grad()
def test_focus(rule: str, tau: float) -> None:
    _assert_same_traces([Detector("strided"), Detector("focus")], ["conv2d"], 16, rule, tau)


CHANNELS, LENGTH = 4, 8
POSITIONS = axis(Role.POSITION, LENGTH)


def _of(*positions: tuple[int, int], channels: int = CHANNELS) -> Axes:
    """A line of positions that are slices of one another, each from a start in steps."""
    line = POSITIONS
    for start, step in positions:
        line = sliced(line, axis(Role.POSITION, len(range(start, line[0].size, step))), start, step)
    return Axes((axis(Role.SAMPLE, 2), axis(Role.CHANNEL, channels), line))


def test_slices_of_slices() -> None:
    (atom,) = _of((1, 2), (2, 1)).dims[2]
    assert atom == (Role.POSITION, 2, (Slice(5, 2, LENGTH),))
    assert _of((-3, 1)).dims[2][0].taken == (Slice(5, 1, LENGTH),)
    assert sliced(POSITIONS, POSITIONS, 0, 1) is POSITIONS
    assert sliced(axis(Role.CHANNEL, 4), axis(Role.CHANNEL, 2), 0, 2) == axis(Role.CHANNEL, 2)


@pytest.mark.parametrize(
    ("maps", "roles"),
    [
        ([_of((0, 2)), _of((1, 2))], "position channel"),
        ([_of((0, 2)), _of((1, 2)), _of((0, 2)), _of((1, 2))], "channel position channel"),
        ([_of((0, 2)), _of((0, 2)), _of((1, 2)), _of((1, 2))], "position channel"),
        ([_of((0, 2)), _of((1, 2)), _of((1, 2)), _of((0, 2))], "channel"),
        ([_of((0, 2)), _of((0, 2))], "channel"),
        ([_of((0, 2)), _of((1, 2), channels=3)], "channel"),
        ([_of((0, 2)), Axes((*_of().dims[:2], axis(Role.POSITION, 4)))], "channel"),  # as a pool's result
    ],
)
def test_what_slices_make_of_channels(maps: list[Axes], roles: str) -> None:
    size = sum(axes.shape[1] for axes in maps)
    together = Axes((maps[0].dims[0], axis(Role.CHANNEL, size), axis(Role.POSITION, 4)))
    found = with_windows(together, maps, 1)
    assert " ".join(atom.role.value for atom in found.dims[1]) == roles
    assert found.shape == together.shape


def test_where_pieces_start() -> None:
    for index, start in enumerate([0, 3, 6]):
        assert start_of_piece(lambda x: x.chunk(3, 1), (2, 8), 1, index) == start
    assert start_of_piece(lambda x: x.narrow(0, 5, 2), (8, 2), 0, 0) == 5
    assert start_of_piece(lambda x: x.tensor_split([0, 4]), (8,), 0, 0) == 0
