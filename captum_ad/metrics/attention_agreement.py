"""Attention versus attribution: whether a transformer's attention maps agree with an attribution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._common.extras import needed

CORRELATIONS = ("pearson", "spearman")
"""Supported correlations."""


@dataclass(frozen=True)
class AttentionCorrelations:
    """Correlations of attention maps with an attribution.

    Attributes
    ----------
    layers : tuple of str
        The layers' paths.
    heads : Tensor
        Correlation of each head, float64, shape (layers, heads); NaN where a map is constant.
    by_layer : Tensor
        Correlation of each layer's maps averaged over heads, float64, shape (layers,).
    averaged : float
        Correlation of the maps averaged over all heads and layers.
    """

    layers: tuple[str, ...]
    heads: Tensor
    by_layer: Tensor
    averaged: float


def attention_correlation(
    attentions: Mapping[str, Tensor],
    attribution: Tensor,
    *,
    query: int | None = None,
    grid: Sequence[int] | None = None,
    special: int | None = None,
    correlation: str = "pearson",
) -> AttentionCorrelations:
    """Correlation of attention maps with an attribution over the same positions: per head, per layer, and averaged.

    *Cross-Attention is Half Explanation in Speech-to-Text Models* (2025) compares cross-attention with saliency maps
    of the input: the scores agree moderately to strongly, most so when aggregated over heads and layers, and account
    for half of the input's relevance. With a the weights that a query gives to the keys, and φ the attribution of the
    keys' positions, this measures ``corr(a, φ)``; aggregated, ``corr(mean of a, φ)``. We know only the source's
    abstract. Our reading: Pearson's correlation; φ is signed, summed over channels and averaged over the pixels (or
    frames) of each key; weights of special tokens are left out and not redistributed.

    Parameters
    ----------
    attentions : mapping of str to Tensor
        Attention weights by layer, shape (1, heads, queries, keys), from
        :func:`captum_ad.metrics.attention_maps` or any other source. All layers need the same number of heads and keys.
    attribution : Tensor
        Attribution of the input, shape (1, C, *spatial). For example from an attributor on an ADForward, for which a
        hidden patch is a token that neither attends nor is attended to.
    query : int, optional
        The query whose attention is used: 0 for a class token, −1 for a decoder's last token. Default: the mean over
        all queries.
    grid : sequence of int, optional
        Arrangement of the keys: (rows, columns) of patches, or (frames,). The attribution's last ``len(grid)``
        dimensions are average-pooled to it. Default: the grid with the image's aspect ratio and the fewest special
        tokens; in one dimension, all keys.
    special : int, optional
        How many of the first keys are not positions, such as class tokens and registers. Default: those not in `grid`.
    correlation : {"pearson", "spearman"}
        ``"spearman"`` needs scipy.

    Returns
    -------
    AttentionCorrelations
        NaN where a map or the attribution is constant, since the correlation is then undefined.

    Raises
    ------
    ValueError, TypeError
        If a shape or value is invalid, or layers differ in their number of heads or keys.

    Examples
    --------
    >>> weights = torch.tensor([0.2, 0.1, 0.3, 0.4, 0.0]).reshape(1, 1, 1, 5)  # a class token, and four patches
    >>> attribution = torch.tensor([[[[1.0, 3.0], [4.0, 0.0]]]])
    >>> round(attention_correlation({"layer": weights}, attribution, query=0).averaged, 6)
    1.0
    """
    if correlation not in CORRELATIONS:
        raise ValueError(f"correlation must be one of {', '.join(map(repr, CORRELATIONS))}, got {correlation!r}")
    rows = torch.stack(_rows(attentions, query))
    values = _of_keys(attribution, rows.shape[-1], grid, special)
    rows = rows[..., -len(values) :].to(values.device)

    def measured(maps: Tensor) -> Tensor:
        ranked = correlation == "spearman"
        found = _pearson(_ranks(maps), _ranks(values)) if ranked else _pearson(maps, values)
        return found.masked_fill(_constant(maps) | _constant(values), math.nan)

    return AttentionCorrelations(
        tuple(attentions), measured(rows), measured(rows.mean(1)), float(measured(rows.mean((0, 1))))
    )


def _ranks(values: Tensor) -> Tensor:
    """Ranks over the last dimension; ties get their mean rank."""
    stats = needed("scipy.stats", "scipy", "metrics")
    return torch.as_tensor(stats.rankdata(values.cpu().numpy(), axis=-1)).to(values)


def _pearson(maps: Tensor, values: Tensor) -> Tensor:
    """Pearson's correlation over the last dimension."""
    a, b = (one - one.mean(-1, keepdim=True) for one in (maps, values))
    found: Tensor = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    return found.clamp(-1, 1)


def _constant(values: Tensor) -> Tensor:
    """Whether values are constant over the last dimension, up to rounding of the mean."""
    return values.amax(-1) - values.amin(-1) <= 1e-12 * values.abs().amax(-1)


def _rows(attentions: Mapping[str, Tensor], query: int | None) -> list[Tensor]:
    """For each layer, one query's weights or the mean over queries, float64, shape (heads, keys)."""
    if not isinstance(attentions, Mapping) or not attentions:
        raise ValueError("expected a mapping of layer names to attention maps, at least one: see attention_maps")
    rows = []
    for name, weights in attentions.items():
        if not isinstance(weights, Tensor) or weights.dim() != 4 or len(weights) != 1:
            shape = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
            raise ValueError(
                f"the attention of layer {name!r} has shape {shape}, expected (1, heads, queries, keys): pass one "
                "sample at a time, and no windowed attention"
            )
        found = weights.detach().double()[0]
        if not bool(found.isfinite().all()):
            raise ValueError(f"the attention of layer {name!r} contains NaN or Inf")
        if query is not None and not -found.shape[1] <= query < found.shape[1]:
            raise ValueError(f"query {query} is out of range: layer {name!r} has {found.shape[1]} queries")
        rows.append(found.mean(1) if query is None else found[:, query])
        if rows[-1].shape != rows[0].shape:
            raise ValueError(
                f"layer {name!r} has {len(rows[-1])} heads and {rows[-1].shape[1]} keys, but layer "
                f"{next(iter(attentions))!r} has {len(rows[0])} and {rows[0].shape[1]}: choose layers that attend to "
                "the same positions, attention_maps(..., layers=)"
            )
    return rows


def _of_keys(attribution: Tensor, keys: int, grid: Sequence[int] | None, special: int | None) -> Tensor:
    """The attribution of each key's positions, float64, shape (keys that are positions)."""
    if not isinstance(attribution, Tensor):
        raise TypeError(f"the attribution must be a Tensor, got {type(attribution).__name__}")
    if grid is not None and not (isinstance(grid, Sequence) and all(isinstance(n, int) and n > 0 for n in grid)):
        raise ValueError(f"grid must be positive integers, (rows, columns) or (frames,), got {grid!r}")
    spatial = tuple(attribution.shape[2:] if grid is None else attribution.shape[attribution.dim() - len(grid) :])
    if attribution.dim() < 3 or len(attribution) != 1 or not 1 <= len(spatial) <= 3:
        raise ValueError(f"the attribution has shape {tuple(attribution.shape)}, expected (1, C, *spatial)")
    if special is not None and (isinstance(special, bool) or not isinstance(special, int) or not 0 <= special < keys):
        raise ValueError(f"special must be a number of keys from 0 to {keys - 1}, got {special!r}")
    shape = tuple(grid) if grid is not None else key_grid(keys, spatial, special)
    left = keys - math.prod(shape)
    if left < 0 or (special is not None and left != special):
        raise ValueError(
            f"a grid of {'×'.join(map(str, shape))} and {special or 0} special tokens do not add up to the {keys} "
            "keys: set grid= and special= to match the network"
        )
    if any(n > side for n, side in zip(shape, spatial)):
        raise ValueError(
            f"an attribution of {'×'.join(map(str, spatial))} positions is too coarse for a grid of "
            f"{'×'.join(map(str, shape))} keys: its last dimensions must be those that the grid divides"
        )
    values = attribution.detach().double().reshape(-1, *spatial).sum(0)
    if not bool(values.isfinite().all()):
        raise ValueError("the attribution contains NaN or Inf: check the attributor's input")
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(shape) - 1]
    pooled: Tensor = pool(values[None], shape)  # type: ignore[arg-type]
    return pooled.flatten()


def key_grid(keys: int, spatial: Sequence[int], special: int | None = None) -> tuple[int, ...]:
    """The grid with the aspect ratio of the space that leaves the fewest special tokens."""
    if len(spatial) == 1:
        return (keys - (special or 0),)
    for left in range(keys) if special is None else (special,):
        scale = ((keys - left) / math.prod(spatial)) ** (1 / len(spatial))
        sides = tuple(round(side * scale) for side in spatial)
        if math.prod(sides) == keys - left and all(
            abs(n - side * scale) < 1e-6 for n, side in zip(sides, spatial, strict=True)
        ):
            return tuple(sides)
    raise ValueError(
        f"{keys} keys fit no grid with the aspect ratio of {tuple(spatial)}: give grid=, rows and columns of patches"
    )
