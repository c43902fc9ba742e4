"""Writing in place: a mask that another view makes stale is refused, or it is right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_ad import ADForward, UnsupportedOperationError
from tests.engine.suspects import HALF, X, run


def write_row(x: Tensor) -> Tensor:
    view = x.view(x.shape)
    x[:, :, :, 3:] = 1.0  # these are no longer missing
    return view


def write_product(x: Tensor) -> Tensor:
    view = x.view(x.shape)
    x.mul_(F.avg_pool2d(x, 3, 1, 1).flip(3))
    return view


def write_by_out(x: Tensor) -> Tensor:
    buffer = torch.empty(x.shape)
    view = buffer.view(-1, 6)
    torch.add(x, x.flip(3), out=buffer)
    return view.view(x.shape)


def write_where_it_overlaps(x: Tensor) -> Tensor:
    windows = x.unfold(3, 3, 1)
    windows[..., 2] += x.flip(3)[..., :4]
    return windows


STALE = [
    write_where_it_overlaps,
    write_row,
    write_product,
    write_by_out,
]


@pytest.mark.parametrize("function", STALE)
def test_stale_masks_are_refused(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UnsupportedOperationError, match="through another view"):
        run(function)


def relu_of_a_view(x: Tensor) -> Tensor:
    x.view(-1).relu_()
    return x


def sigmoid_of_a_part(x: Tensor) -> Tensor:
    x[:, :, :3].sigmoid_()
    return x


def assembled(x: Tensor) -> Tensor:
    out = torch.zeros(x.shape)
    out[:, :, ::2] = x[:, :, ::2]
    out[:, :, 1::2] = x[:, :, 1::2]
    return out


def added_in_place(x: Tensor) -> Tensor:
    other = x.flip(3)
    x += other
    return x


def added_to_a_part(x: Tensor) -> Tensor:
    other = x.flip(3)
    x[:, :2, ..., 1:5] += other[:, 2:, ..., 1:5]
    return x


def part_added(x: Tensor) -> Tensor:
    middle = x[:, :2, ..., 1:5] + x.flip(3)[:, 2:, ..., 1:5]
    return torch.cat([torch.cat([x[:, :2, ..., :1], middle, x[:, :2, ..., 5:]], 3), x[:, 2:]], 1)


def sigmoid_of_a_clean_view(x: Tensor) -> Tensor:
    out = x + x.flip(2)  # zero where it is missing, until the next line
    out.view(-1).sigmoid_()
    return F.avg_pool2d(out, 3, 1, 1)


def flipped_half_added(x: Tensor) -> Tensor:
    return torch.cat([x[:, :2] + x[:, 2:].flip(3), x[:, 2:]], 1)


def write_through_a_view(x: Tensor) -> Tensor:
    left, right = x[:, :2], x[:, 2:]
    left += right.flip(3)
    return x


def write_features_into_zeros(x: Tensor) -> Tensor:
    buffer = torch.zeros(x.shape)
    view = buffer[:, :2]
    view += x[:, :2]
    return buffer


def write_more_than_is_assigned(x: Tensor) -> Tensor:
    half = x[:, :2]
    half += x[:, 2:].flip(3)
    x[:, :1] = half[:, :1]
    return x


def assign_another_part(x: Tensor) -> Tensor:
    half = x[:, :2]
    half += x[:, 2:].flip(3)
    x[:, 2:] = half
    return x


def write_twice_and_assign_once(x: Tensor) -> Tensor:
    other = x.flip(3)
    left, right = x[:, :2], x[:, 2:]
    left += other[:, 2:]
    right = x[:, 2:]
    x[:, 2:] = right
    return x


AS_IF_APART: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "relu of a view": (relu_of_a_view, F.relu),
    "sigmoid of a part": (sigmoid_of_a_part, lambda x: torch.cat([x[:, :, :3].sigmoid(), x[:, :, 3:]], 2)),
    "sigmoid of a clean view": (
        sigmoid_of_a_clean_view,
        lambda x: F.avg_pool2d((x + x.flip(2)).sigmoid(), 3, 1, 1),
    ),
    "assembled by rows": (assembled, lambda x: x * 1),
    "sum of a part in place": (added_to_a_part, part_added),
    "sum into a view": (write_through_a_view, flipped_half_added),
    "sum into a view of zeros": (
        write_features_into_zeros,
        lambda x: torch.cat([x[:, :2], torch.zeros(x[:, 2:].shape)], 1),
    ),
    "sum into a view, some of it assigned": (write_more_than_is_assigned, flipped_half_added),
    "sum into a view, assigned elsewhere": (
        assign_another_part,
        lambda x: torch.cat([x[:, :2] + x[:, 2:].flip(3)] * 2, 1),
    ),
    "sum into one of two views": (
        write_twice_and_assign_once,
        lambda x: torch.cat([x[:, :2] + x.flip(3)[:, 2:], x[:, 2:]], 1),
    ),
    "sum in place": (added_in_place, lambda x: x + x.flip(3)),
    "squeeze in place": (lambda x: (x * 1).unsqueeze_(1).squeeze_(1), lambda x: x * 1),
    "transpose in place": (lambda x: (x * 1).transpose_(2, 3), lambda x: (x * 1).transpose(2, 3)),
}


@pytest.mark.parametrize("name", AS_IF_APART)
def test_writing_in_place_gives_what_copies_give(name: str) -> None:
    written, apart = AS_IF_APART[name]
    expected = run(apart)
    assert torch.equal(run(written), expected)
    assert bool((expected == 0).any())
    assert not bool((expected == 0).all())


WRITES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "assigned": lambda cache, x: cache.__setitem__(slice(None), x),
    "row by row": lambda cache, x: [row.copy_(of_x) for row, of_x in zip(cache, x)],
    "added": lambda cache, x: cache.add_(x),
    "iadd": lambda cache, x: cache.__iadd__(x),
    "out": lambda cache, x: torch.mul(x, 2, out=cache),
    "averaged": lambda cache, x: cache[0].add_(x.mean(0)),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_belongs_to_others_takes_no_features(name: str) -> None:
    """Refused before anything is written: a buffer of the model, and what the caller holds."""
    held = torch.ones(X.shape)

    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("cache", torch.ones(X.shape))

        def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            WRITES[name](self.cache if y is None else y, x * 1)
            return x * 2

    model = Caching().eval()
    for more in ((), (held,)):
        with pytest.raises(UnsupportedOperationError, match="tensor of the model"):
            ADForward(model)(X, *more, mask=HALF)
    assert bool((model.cache == 1).all())
    assert bool((held == 1).all())
