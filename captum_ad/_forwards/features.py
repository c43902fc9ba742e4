"""Check the masks that users give, and turn them into position masks."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from captum_ad._common.errors import NaNWarning
from captum_ad._engine import PositionMask
from captum_ad._engine.masks import all_true


def kept_features(x: Any, mask: Tensor, what: str) -> Tensor:
    """A user's mask as booleans with as many dimensions as `x`, to which it broadcasts.

    Parameters
    ----------
    x : Tensor
        The input, shape (N, C, *spatial).
    mask : Tensor
        Boolean or 0/1, shape (*spatial), (1|N, *spatial) or (1|N, 1|C, *spatial).
    what : str
        The name of the mask in errors.

    Returns
    -------
    Tensor
        bool, on `x`'s device, shape (1|N, 1|C, *spatial).

    Raises
    ------
    ValueError, TypeError
        If the mask is not a tensor, its shape does not fit `x`, or its values are not booleans or 0/1.
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{what}: expected the input to be a Tensor of shape (N, C, *spatial), got "
            f"{type(x).__name__} (give None as the mask of an input that is not a tensor)"
        )
    if not isinstance(mask, Tensor):
        raise TypeError(
            f"{what} must be a Tensor, got {type(mask).__name__}; convert an array with torch.as_tensor(mask)"
        )
    if x.dim() < 2:
        raise ValueError(f"{what}: the input has shape {tuple(x.shape)}; expected (N, C, ...), batch first")
    spatial = x.shape[2:]
    shape = tuple(mask.shape)
    if len(shape) == x.dim() and x.dim() > 2:
        shaped = mask
    elif len(shape) == x.dim() - 1 and spatial:
        shaped = mask.unsqueeze(1)
    elif len(shape) == x.dim() - 2 and spatial:
        shaped = mask[None, None]
    elif not spatial and len(shape) <= 2:
        shaped = mask.reshape((1,) * (2 - len(shape)) + shape)
    else:
        shaped = None
    ranges = [(1, x.shape[0]), (1, x.shape[1]), *((n,) for n in spatial)]
    if not spatial:
        ranges[1] = (x.shape[1],)
    if shaped is None or any(n not in allowed for n, allowed in zip(shaped.shape, ranges)):
        n, c, s = x.shape[0], x.shape[1], ", ".join(map(str, spatial))
        one_or = {n: "1" if n == 1 else f"1 or {n}" for n in (n, c)}
        fits = (
            f"({s}), ({one_or[n]}, {s}) or ({one_or[n]}, {one_or[c]}, {s})"
            if spatial
            else f"({c}) or ({one_or[n]}, {c})"
        )
        hint = "; is the batch dimension missing? Use x[None]" if shape == tuple(x.shape[1:]) else ""
        raise ValueError(
            f"{what} has shape {shape}, which does not fit the input {tuple(x.shape)}: expected {fits}{hint}"
        )
    if mask.dtype == torch.bool:
        kept = shaped
    else:
        kept = shaped == 1
        if not bool((kept | (shaped == 0)).all()):
            raise ValueError(f"{what} is {mask.dtype} with values other than 0 and 1: give booleans, True = keep")
    return kept.to(x.device)


def feature_mask(x: Any, mask: Tensor | None, index: int) -> PositionMask | None:
    """The mask of one input: the given mask without features that are NaN; None if there are neither.

    Parameters
    ----------
    x : Any
        The input.
    mask : Tensor, optional
        See :func:`kept_features`.
    index : int
        The number of the input, for messages.

    Raises
    ------
    ValueError, TypeError
        If the mask does not fit.

    Warns
    -----
    UserWarning
        If NaN is probably an accident: a whole sample is NaN, or a feature that the mask keeps.
    """
    kept = None if mask is None else kept_features(x, mask, f"mask of input {index}")
    if isinstance(x, Tensor) and holds_nan(x):
        missing = x.isnan()
        _warn_of_nan(missing, kept, index)
        kept = ~missing if kept is None else kept & ~missing
    if kept is None:
        return None
    if len(x) == 0:  # an empty batch
        kept = kept[:0]
    if x.dim() > 2 and kept.shape[1] > 1 and all_true(kept[:, 1:] == kept[:, :1], wait=True):
        kept = kept[:, :1]  # a spatial mask that was repeated for each channel
    return PositionMask(kept)


def holds_nan(x: Tensor) -> bool:
    """Whether any value is NaN."""
    inexact = x.is_floating_point() or x.is_complex()
    # The sum is NaN if any value is (or for Inf - Inf), and is faster than checking each value.
    return inexact and bool(x.detach().sum().isnan()) and bool(x.isnan().any())


def _warn_of_nan(missing: Tensor, kept: Tensor | None, index: int) -> None:
    if kept is not None and bool((missing & kept).any()):
        what = "where its mask keeps features"
    elif kept is None and bool(missing.flatten(1).all(1).any()):
        what = "in a whole sample"
    else:
        return
    warnings.warn(
        f"input {index} has NaN {what}; NaN means a missing feature here. If it is an accident, for example from "
        "normalization by a standard deviation of 0, fix the input",
        NaNWarning,
        stacklevel=9,  # past torch's own calls
    )
