"""How many samples to run at once if the caller does not say."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_SAMPLES = 8
_VALUES = _SAMPLES * 3 * 224 * 224


def default_batch_size(device: torch.device) -> int:
    """4 on the CPU, because larger batches do not fit into its cache; else 32."""
    return 4 if device.type == "cpu" else 32


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
    >>> [perturbations_that_fit([torch.empty(n, 3, 224, 224)]) for n in (1, 3)]
    [8, 2]
    >>> perturbations_that_fit([torch.empty(1, 1, 99, 99, 99)])
    1
    """
    samples = max((len(x) for x in inputs if x.dim()), default=1)
    values = sum(x.numel() for x in inputs)
    return max(1, min(_SAMPLES // max(samples, 1), _VALUES // max(values, 1)))
