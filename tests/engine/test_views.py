"""What is written to a part of a tensor is written there, in whichever way the part was taken."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from captum_ad import ADForward
from captum_ad._common.errors import UnsupportedOperationError
from captum_ad._engine.mask_rule import PRESETS

Write = Callable[[Tensor, Tensor], object]


def assigned(z: Tensor, x: Tensor) -> None:
    z[:, :, 2:8, 3:9] = x


def by_sample(z: Tensor, x: Tensor) -> None:
    for room, image in zip(z, x):
        room[:, 2:8, 3:9].copy_(image)


def by_channel(z: Tensor, x: Tensor) -> None:
    for room, channel in zip(z.unbind(1), x.split(1, dim=1)):
        room[:, 2:8, 3:9].copy_(channel[:, 0])


def by_chunks(z: Tensor, x: Tensor) -> None:
    first, second = z.chunk(2, dim=1)
    first.narrow(2, 2, 6).narrow(3, 3, 6).copy_(x[:, :2])
    second[:, :, 2:8, 3:9].add_(x[:, 2:])


def by_select(z: Tensor, x: Tensor) -> None:
    for i in range(len(x)):
        z.select(0, i)[..., 2:8, 3:9].copy_(x[i])


def in_steps(z: Tensor, x: Tensor) -> None:
    part = z[:, :, 2:8, 3:9]
    part.copy_(x)
    part[:, :, 1].zero_()
    z[:, :, 3, 3:9] += x[:, :, 1]


WRITES: dict[str, Write] = {
    "copy_ to slices": lambda z, x: z[:, :, 2:8, 3:9].copy_(x),
    "to slices of slices": lambda z, x: z[:, :, 2:][..., :6, 3:][..., :6].copy_(x),
    "sample by sample": by_sample,
    "sample by sample, selected": by_select,
    "channel by channel": by_channel,
    "chunk by chunk": by_chunks,
    "part written twice": in_steps,
    "added": lambda z, x: z[:, :, 2:8, 3:9].add_(x),
}
SEVERAL = ("sample by sample", "channel by channel", "chunk by chunk")


class Padded(nn.Module):
    def __init__(self, write: Write) -> None:
        super().__init__()
        self.write = write
        torch.manual_seed(0)
        self.conv = nn.Conv2d(4, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = x.new_zeros(len(x), 4, 10, 12)
        self.write(z, x)
        return self.conv(z).relu().mean((2, 3))


@pytest.mark.parametrize("rule", PRESETS)
@pytest.mark.parametrize(
    ("name", "gradients"),
    [(name, gradients) for name in WRITES for gradients in (False, True) if not gradients or name not in SEVERAL],
)
def test_writes_to_views_are_assignments(name: str, rule: str, gradients: bool) -> None:
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    mask = torch.rand(2, 1, 6, 6) > 0.4
    found = []
    for write in (assigned, WRITES[name]):
        model = Padded(write).double().eval()
        given = x.clone().requires_grad_(gradients)
        with torch.set_grad_enabled(gradients):
            out = ADForward(model, rule)(given, mask=mask)
        found.append([out.detach(), *(torch.autograd.grad(out.sum(), given) if gradients else ())])
    for expected, actual in zip(*found):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", SEVERAL)
def test_what_torch_does_not_allow_stays_its_own_error(name: str) -> None:
    """To write to one of several views where gradients are needed."""
    model, x = Padded(WRITES[name]).eval(), torch.randn(2, 4, 6, 6, requires_grad=True)
    mask = torch.rand(6, 6) > 0.4
    for run in (model, lambda x: ADForward(model)(x, mask=mask)):
        with pytest.raises(RuntimeError, match="returns multiple views"):
            run(x)


def test_written_in_another_shape_is_refused() -> None:
    model = Padded(lambda z, x: z.transpose(2, 3)[:, :, 3:9, 2:8].copy_(x.transpose(2, 3))).eval()
    with pytest.raises(UnsupportedOperationError, match="through another view"):
        ADForward(model)(torch.randn(1, 4, 6, 6), mask=torch.rand(6, 6) > 0.5)


def test_a_view_from_before_another_was_written_to() -> None:
    def write(z: Tensor, x: Tensor) -> None:
        old = z[:, :, :5]
        z[:, :, 2:8, 3:9].copy_(x)
        old.mul_(2)

    def written(z: Tensor, x: Tensor) -> None:
        z[:, :, 2:8, 3:9] = torch.cat([x[:, :, :3] * 2, x[:, :, 3:]], dim=2)

    x, mask = torch.randn(1, 4, 6, 6), torch.rand(6, 6) > 0.5
    torch.testing.assert_close(*(ADForward(Padded(one).eval())(x, mask=mask) for one in (write, written)))
