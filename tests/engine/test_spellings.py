"""Other ways to write the same network give the same answer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
HALF = torch.ones(8, 8, dtype=torch.bool)
HALF[:, :4] = False

PAIRS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "numpy's names of arguments": (
        lambda x: x.mean(axis=(2, 3), keepdims=True),
        lambda x: x.mean((2, 3), keepdim=True),
    ),
    "cat along an axis": (lambda x: torch.cat([x, x], axis=1), lambda x: torch.cat([x, x], 1)),
    "zeros of the same shape": (lambda x: x + torch.zeros_like(x), lambda x: x + 0),
    "new zeros": (
        lambda x: torch.cat([x, x.new_zeros(2, 1, 8, 8)], 1),
        lambda x: nn.functional.pad(x, (0, 0, 0, 0, 0, 1)),
    ),
    "scaled sum": (lambda x: torch.add(x, x.relu(), alpha=2), lambda x: x + 2 * x.relu()),
    "reversed difference": (lambda x: 1 - x, lambda x: torch.rsub(x, 1)),
    "operands by name": (
        lambda x: torch.flatten(input=torch.add(input=x, other=x), start_dim=1),
        lambda x: (x + x).flatten(1),
    ),
    "mean over everything": (lambda x: x.mean(()), lambda x: x.mean()),
    "empty list item": (lambda x: torch.cat([torch.empty(0), x], 1), lambda x: x),
    "gate of the same shape": (
        lambda x: x * nn.functional.linear(x.mean((2, 3)), torch.ones(4, 4)).view(2, 4, 1, 1).expand_as(x),
        lambda x: x * nn.functional.linear(x.mean((2, 3)), torch.ones(4, 4))[:, :, None, None],
    ),
    "overwritten": (lambda x: x.clone().zero_() + x, lambda x: torch.zeros_like(x) + x),
    "constant in the shape of a map": (
        lambda x: x + torch.ones(1, 4, 1, 1).expand_as(x) + torch.ones(2 * 4 * 64).view_as(x),
        lambda x: x + 1 + 1,
    ),
    "constant of a whole map's shape": (
        lambda x: x + torch.ones_like(x.mean((2, 3), keepdim=True).expand(x.shape)),
        lambda x: x + 1,
    ),
    "constant of a map's dtype": (
        lambda x: x + torch.ones(1, dtype=torch.int32).type_as(x) + torch.ones(1).to(x),
        lambda x: x + 1 + 1,
    ),
    "dtype of another map": (lambda x: x.type_as(x.relu()).to(x.abs()), lambda x: x),
    "shape of another map": (lambda x: x.flatten(1).view_as(x.relu()).reshape_as(x), lambda x: x),
    "asked for what it is, not what it holds": (
        lambda x: x * torch.numel(x) if torch.is_floating_point(x) and not torch.is_complex(x) else x,
        lambda x: x * x.numel(),
    ),
    "a dtype that two have in common": (lambda x: x.to(torch.result_type(x, x.relu())), lambda x: x),
    "flattened from the end": (lambda x: x.flatten(-2), lambda x: x.reshape(*x.shape[:2], -1)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_spellings_agree(name: str) -> None:
    class Model(nn.Module):
        def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.function = nn.Conv2d(3, 4, 3, padding=1), function

        def forward(self, x: Tensor) -> Tensor:
            return self.function(self.conv(x))

    one, other = (ADForward(Model(function).eval())(X, mask=HALF) for function in PAIRS[name])
    torch.testing.assert_close(one, other)
    assert one.abs().sum() > 0
