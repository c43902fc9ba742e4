"""Networks of which it is known what they look at: an 8 × 8 image in four quadrants, dark where nothing is."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

QUADRANTS = torch.arange(2).repeat_interleave(4)[:, None] * 2 + torch.arange(2).repeat_interleave(4)


class Quadrants(nn.Module):
    """Class 1 if a condition on what is bright in the quadrants (bool, shape (N, 4)) holds, else class 0."""

    def __init__(self, condition: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.condition = condition
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        bright = torch.stack([(x[:, 0] * (q == QUADRANTS)).sum((1, 2)) > 8 for q in range(4)], 1)
        held = self.condition(bright).to(x.dtype)
        return torch.stack([1 - held, held], 1) * 4


NEEDS = {
    "A": (lambda q: q[:, 0], [1, 0, 0, 0]),
    "A and B": (lambda q: q[:, 0] & q[:, 1], [1 / 2, 1 / 2, 0, 0]),
    "A or B": (lambda q: q[:, 0] | q[:, 1], [1, 1, 0, 0]),
    "A and B, or C": (lambda q: (q[:, 0] & q[:, 1]) | q[:, 2], [1 / 2, 1 / 2, 1, 0]),
    "two of A, B and C": (lambda q: q[:, :3].sum(1) >= 2, [1 / 2, 1 / 2, 1 / 2, 0]),
    "A and B and C": (lambda q: q[:, :3].all(1), [1 / 3, 1 / 3, 1 / 3, 0]),
    "everything": (lambda q: q.all(1), [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
    "A without B, or everything": (lambda q: (q[:, 0] & ~q[:, 1]) | q.all(1), [1, 0, 0, 0]),
}
"""What a network needs, and the responsibility of each quadrant, by hand."""


def bright(**kwargs: object) -> Tensor:
    return torch.ones(1, 1, 8, 8, **kwargs)


BY_QUADRANT = {"feature_mask": QUADRANTS, "n_iterations": 3, "max_forwards": 300, "min_region": 1}


def of_quadrants(attribution):
    """One value per quadrant, which is the same all over it."""
    values = [attribution[0, 0][q == QUADRANTS] for q in range(4)]
    assert all(len(v.unique()) == 1 for v in values)
    return [float(v[0]) for v in values]
