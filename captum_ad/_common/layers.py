"""Modules of a network by their paths."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from captum_ad._common.errors import UnknownNameError


def modules_at(model: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    """The modules at these paths, as ``model.named_modules()`` spells them.

    Raises
    ------
    UnknownNameError
        If there is no module at a path inside the model; the message suggests similar paths.
    ValueError
        If `layers` is a single path, or empty.

    Examples
    --------
    >>> modules_at(nn.Sequential(nn.ReLU(), nn.Flatten()), ["1"])
    {'1': Flatten(start_dim=1, end_dim=-1)}
    """
    if isinstance(layers, str):
        raise ValueError(f"layers must be a sequence of paths, got {layers!r}: write [{layers!r}]")
    if not layers:
        raise ValueError("layers is empty: give the path of at least one module, as model.named_modules() spells it")
    known = {path: module for path, module in model.named_modules() if path}
    for name in layers:
        if name not in known:
            raise UnknownNameError("layer", name, known)
    return {name: known[name] for name in layers}
