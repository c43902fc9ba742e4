"""Attention against attribution: do a transformer's attention maps say what hiding the positions says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_ad._common.extras import needed

CORRELATIONS = ("pearson", "spearman")
"""How maps are compared."""


@dataclass(frozen=True)
class AttentionCorrelations:
    """How attention maps go together with an attribution.

    Attributes
    ----------
    layers : tuple of str
        The layers' paths.
    heads : Tensor
        Of each head by itself, float64, shape (layers, heads); NaN where a map is constant.
    by_layer : Tensor
        Of each layer's maps averaged over heads, float64, shape (layers,).
    averaged : float
        Of the average over all heads and layers.
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
    for half of the input's relevance. With a the weights that a query gives to the keys and φ the attribution of the
    keys' positions, ``corr(a, φ)``; aggregated, ``corr(mean of a, φ)``. Our reading, since of the source we know the
    abstract: Pearson's correlation; φ is signed, summed over channels and averaged over the pixels (or frames) of each
    key; what special tokens get is left out, and not shared among the others.

    Parameters
    ----------
    attentions : mapping of str to Tensor
        Of :func:`captum_ad.metrics.attention_maps`, or any others: shape (1, heads, queries, keys), of equally many
        heads and keys.
    attribution : Tensor
        Of the input, shape (1, C, *spatial): by an attributor on an ADForward, say, for which a hidden patch is a
        token that neither attends nor is attended to.
    query : int, optional
        Whose attention it is: 0 is a class token, −1 a decoder's last token. Default: the mean over all queries.
    grid : sequence of int, optional
        How the keys lie in the input's space, (rows, columns) of patches, or (frames,); the attribution's last
        ``len(grid)`` dimensions are averaged to it. By default the grid of the image's proportions with the fewest
        special tokens; of one dimension, all keys.
    special : int, optional
        How many keys, the first ones, are not positions: class tokens, registers. By default those that `grid` leaves.
    correlation : {"pearson", "spearman"}
        Spearman's needs scipy.

    Returns
    -------
    AttentionCorrelations
        NaN where a map, or the attribution, is constant: nothing goes together with it.

    Raises
    ------
    ValueError, TypeError
        If a shape or value does not fit, or layers differ in their heads or keys.

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
    """Ranks over the last dimension, ties sharing their mean."""
    stats = needed("scipy.stats", "scipy", "metrics")
    return torch.as_tensor(stats.rankdata(values.cpu().numpy(), axis=-1)).to(values)


def _pearson(maps: Tensor, values: Tensor) -> Tensor:
    """Over the last dimension."""
    a, b = (one - one.mean(-1, keepdim=True) for one in (maps, values))
    found: Tensor = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
    return found.clamp(-1, 1)


def _constant(values: Tensor) -> Tensor:
    """Over the last dimension, up to what means round."""
    return values.amax(-1) - values.amin(-1) <= 1e-12 * values.abs().amax(-1)


def _rows(attentions: Mapping[str, Tensor], query: int | None) -> list[Tensor]:
    """One query's weights of each layer, or the mean over queries, float64, shape (heads, keys)."""
    if not isinstance(attentions, Mapping) or not attentions:
        raise ValueError("expected attention maps by the names of layers, one at least: see attention_maps(model, x)")
    rows = []
    for name, weights in attentions.items():
        if not isinstance(weights, Tensor) or weights.dim() != 4 or len(weights) != 1:
            shape = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
            raise ValueError(
                f"the attention of layer {name!r} has shape {shape}, expected (1, heads, queries, keys): one sample at "
                "a time, and no windows"
            )
        found = weights.detach().double()[0]
        if not bool(found.isfinite().all()):
            raise ValueError(f"the attention of layer {name!r} holds NaN or Inf")
        if query is not None and not -found.shape[1] <= query < found.shape[1]:
            raise ValueError(f"query {query} is none of the {found.shape[1]} queries of layer {name!r}")
        rows.append(found.mean(1) if query is None else found[:, query])
        if rows[-1].shape != rows[0].shape:
            raise ValueError(
                f"layer {name!r} has {len(rows[-1])} heads and {rows[-1].shape[1]} keys, {next(iter(attentions))!r} "
                f"{len(rows[0])} and {rows[0].shape[1]}: measure layers that attend to the same positions, by layers="
            )
    return rows


def _of_keys(attribution: Tensor, keys: int, grid: Sequence[int] | None, special: int | None) -> Tensor:
    """The attribution of each key's positions, float64, shape (keys that are positions)."""
    if not isinstance(attribution, Tensor):
        raise TypeError(f"the attribution must be a Tensor, got {type(attribution).__name__}")
    if grid is not None and not (isinstance(grid, Sequence) and all(isinstance(n, int) and n > 0 for n in grid)):
        raise ValueError(f"grid must be positive numbers of rows and columns, or of frames, got {grid!r}")
    spatial = tuple(attribution.shape[2:] if grid is None else attribution.shape[attribution.dim() - len(grid) :])
    if attribution.dim() < 3 or len(attribution) != 1 or not 1 <= len(spatial) <= 3:
        raise ValueError(f"the attribution has shape {tuple(attribution.shape)}, expected (1, C, *spatial)")
    if special is not None and (isinstance(special, bool) or not isinstance(special, int) or not 0 <= special < keys):
        raise ValueError(f"special must be a number of keys, 0 to {keys - 1}, got {special!r}")
    shape = tuple(grid) if grid is not None else key_grid(keys, spatial, special)
    left = keys - math.prod(shape)
    if left < 0 or (special is not None and left != special):
        raise ValueError(
            f"a grid of {'×'.join(map(str, shape))} and {special or 0} special tokens do not make the {keys} keys: "
            "give grid= and special= as the network has them"
        )
    if any(n > side for n, side in zip(shape, spatial)):
        raise ValueError(
            f"an attribution of {'×'.join(map(str, spatial))} positions cannot tell a grid of "
            f"{'×'.join(map(str, shape))} keys apart: its last dimensions must be those that the keys lie in"
        )
    values = attribution.detach().double().reshape(-1, *spatial).sum(0)
    if not bool(values.isfinite().all()):
        raise ValueError("the attribution holds NaN or Inf, with which nothing correlates: see what the attributor got")
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[len(shape) - 1]
    pooled: Tensor = pool(values[None], shape)  # type: ignore[arg-type]
    return pooled.flatten()


def key_grid(keys: int, spatial: Sequence[int], special: int | None = None) -> tuple[int, ...]:
    """The grid of the space's proportions that leaves the fewest special tokens."""
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
        f"{keys} keys lie in no grid of the proportions of {tuple(spatial)}: give grid=, rows and columns of patches"
    )
