"""How many perturbed copies of the inputs to run at once."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

_SAMPLES = 8
_VALUES = _SAMPLES * 3 * 224 * 224


def perturbations_that_fit(inputs: Sequence[Tensor]) -> int:
    """Perturbations per forward if the caller gives no number, at least 1.

    A masked forward has a fixed cost, which a batch shares; beyond 8 samples there is little left to share. Large
    inputs, such as volumes, get fewer, because memory grows with the batch: no more values than 8 images of 3×224×224.

    Parameters
    ----------
    inputs : sequence of Tensor
        The inputs that are perturbed, shape (N, …).

    Examples
    --------
    >>> import torch
    >>> [perturbations_that_fit([torch.empty(n, 3, 224, 224)]) for n in (1, 3)]
    [8, 2]
    >>> perturbations_that_fit([torch.empty(1, 1, 99, 99, 99)])
    1
    """
    samples = max((len(x) for x in inputs if x.dim()), default=1)
    values = sum(x.numel() for x in inputs)
    return max(1, min(_SAMPLES // max(samples, 1), _VALUES // max(values, 1)))
