"""Plots of explanations and of their robustness, with the conventions of Captum's visualization.

All of them raise ImportError if matplotlib is missing; those that take records also need pandas.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from captum_ad._common.drawing import AD_COLORS, COLUMNS, PANEL, WHITENED, Image, displayed, new_figure, show
from captum_ad.metrics.statistics import is_ad, summarize

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTLINE = "#e6007e"
_BASELINE_COLORS = ("#8c8c8c", "#b59a6d", "#7f9f94", "#a68bab", "#8fa3bf", "#b98c84", "#9aa05a")
_BASELINE_MARKERS = "s^vDPX<>"


def plot_rho_over_gamma(
    records: pd.DataFrame,
    method: str,
    backgrounds: str,
    *,
    plt_fig_axis: tuple[Figure, Axes] | None = None,
    use_pyplot: bool = True,
) -> tuple[Figure, Axes]:
    """Plot ρ-robustness at each confidence threshold, one line per masking.

    Parameters
    ----------
    records : DataFrame
        One row per explanation, see :mod:`captum_ad.metrics.statistics`. Rows with a gamma are shown.
    method, backgrounds : str
        Which rows to show, by names in the records, e.g. ``"occlusion"`` and ``"K1"``.
    plt_fig_axis : (Figure, Axes), optional
        Where to draw. Default: a new figure.
    use_pyplot : bool
        Whether to make the figure with pyplot and show it, as in Captum.

    Returns
    -------
    figure : Figure
    axis : Axes
        Means over the images that have an explanation, with their standard errors. Lines are solid for
        Activation-Deactivation and dashed for baselines. Larger explanations are more robust, so the legend shows
        each masking's mean size, averaged over thresholds.

    Raises
    ------
    ValueError
        If the records do not have the method or its backgrounds, no row has a gamma, or as in
        :func:`~captum_ad.metrics.statistics.summarize`.
    """
    return _plot_rho(records, method, backgrounds, True, plt_fig_axis, use_pyplot)


def plot_rho_over_size(
    records: pd.DataFrame,
    method: str,
    backgrounds: str,
    *,
    plt_fig_axis: tuple[Figure, Axes] | None = None,
    use_pyplot: bool = True,
) -> tuple[Figure, Axes]:
    """Plot ρ-robustness of explanations of equal size, one line per masking.

    Parameters
    ----------
    records : DataFrame
        One row per explanation, see :mod:`captum_ad.metrics.statistics`. Rows without a gamma are shown.
    method, backgrounds, plt_fig_axis, use_pyplot
        As in :func:`plot_rho_over_gamma`.

    Returns
    -------
    figure : Figure
    axis : Axes
        As in :func:`plot_rho_over_gamma`, with sizes on the axis instead of in the legend.

    Raises
    ------
    ValueError
        As in :func:`plot_rho_over_gamma`, or if all rows have a gamma.
    """
    return _plot_rho(records, method, backgrounds, False, plt_fig_axis, use_pyplot)


def plot_explanation(
    image: Any,
    mask: Any,
    *,
    title: str | None = None,
    plt_fig_axis: tuple[Figure, Axes] | None = None,
    use_pyplot: bool = True,
) -> tuple[Figure, Axes]:
    """Plot an explanation: its pixels are outlined in full color, all others are gray and faded.

    Parameters
    ----------
    image : array or Tensor
        The image before normalization: floating point in [0, 1], an array of shape
        (H, W, 3) or a tensor of shape (3, H, W) or (1, 3, H, W).
    mask : array or Tensor
        The explanation, bool, True = in the explanation, shape (H, W).
    title : str, optional
        Title of the plot.
    plt_fig_axis, use_pyplot
        As in :func:`plot_rho_over_gamma`.

    Returns
    -------
    figure : Figure
    axis : Axes

    Raises
    ------
    ValueError
        If `image` or `mask` has another shape, dtype or range.
    """
    pixels = displayed(image, "image")
    explains = _explaining(mask, pixels)
    faded = WHITENED + (1 - WHITENED) * pixels.mean(2, keepdims=True)
    height, width = explains.shape
    figure, axis = plt_fig_axis or new_figure(use_pyplot, (2 * PANEL, 2 * PANEL * height / width))
    axis.imshow(np.where(explains[..., None], pixels, faded), interpolation="nearest")
    if explains.any():
        # Pad with False, so that the outline is also closed at the image's edge.
        x, y, rimmed = np.arange(-1, width + 1), np.arange(-1, height + 1), np.pad(explains, 1).astype(float)
        axis.contour(x, y, rimmed, levels=[0.5], colors=[OUTLINE]).set_clip_on(False)
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    else:
        axis.text(0.5, 0.5, "nothing", transform=axis.transAxes, ha="center", va="center", color=OUTLINE)
    axis.axis("off")
    axis.set_title(title or "")
    show(use_pyplot)
    return figure, axis


def plot_planted(
    image: Any,
    mask: Any,
    backgrounds: Any,
    *,
    titles: Sequence[str] | None = None,
    plt_fig_axis: tuple[Figure, Sequence[Axes]] | None = None,
    use_pyplot: bool = True,
) -> tuple[Figure, npt.NDArray[np.object_]]:
    """Plot an explanation's pixels planted on backgrounds, one panel each.

    Parameters
    ----------
    image, mask
        As in :func:`plot_explanation`.
    backgrounds : sequence of array or Tensor
        n backgrounds, each of the format and size of `image`, e.g. a tensor of shape (n, 3, H, W).
    titles : sequence of str, optional
        One per panel, e.g. the predicted class.
    plt_fig_axis : (Figure, sequence of Axes), optional
        Where to draw, one axis per background. Default: a new figure.
    use_pyplot : bool
        As in :func:`plot_rho_over_gamma`.

    Returns
    -------
    figure : Figure
    axes : array of Axes
        Shape (n,).

    Raises
    ------
    ValueError
        If `image`, `mask` or a background has another shape, dtype or range, there are no backgrounds, or
        the number of titles or axes does not equal that of backgrounds.
    """
    pixels = displayed(image, "image")
    explains = _explaining(mask, pixels)
    behind = [displayed(background, f"background {index}") for index, background in enumerate(backgrounds)]
    if not behind:
        raise ValueError("expected at least one background, got none")
    sizes = {background.shape[:2] for background in behind}
    if sizes - {explains.shape}:
        raise ValueError(f"expected backgrounds of the image's size {explains.shape}, got {sorted(sizes)}: resize them")
    if titles is not None and (isinstance(titles, str) or len(titles) != len(behind)):
        raise ValueError(f"expected {len(behind)} titles, one per background, got {titles!r}")
    figure, given = plt_fig_axis or _new_panels(len(behind), pixels.shape[0] / pixels.shape[1], use_pyplot)
    axes = np.asarray(given, dtype=object).ravel()
    if len(axes) != len(behind):
        raise ValueError(f"plt_fig_axis: expected {len(behind)} axes, one per background, got {len(axes)}")
    for axis, background, title in zip(axes, behind, titles or [""] * len(behind), strict=True):
        axis.imshow(np.where(explains[..., None], pixels, background), interpolation="nearest")
        axis.axis("off")
        axis.set_title(title)
    show(use_pyplot)
    return figure, axes


def _plot_rho(
    records: pd.DataFrame,
    method: str,
    backgrounds: str,
    thresholds: bool,
    on: tuple[Figure, Axes] | None,
    use_pyplot: bool,
) -> tuple[Figure, Axes]:
    summary = _selected(summarize(records), method, backgrounds, thresholds)
    level = "gamma" if thresholds else "size_mean"
    styles = _styles(records["masking"].unique())  # from all records, so that every figure uses the same styles
    figure, axis = on or new_figure(use_pyplot, (7.0, 4.0))
    for masking in summary["masking"].unique():
        line = summary[summary["masking"] == masking].sort_values(level)
        label = f"{masking} (mean size {line['size_mean'].mean():.2f})" if thresholds else masking
        if line["empty"].any():
            label += f", {line['empty'].mean():.0%} empty"
        axis.errorbar(line[level], line["rho_mean"], yerr=line["rho_sem"], label=label, capsize=3, **styles[masking])
    axis.set_xlabel("confidence threshold γ" if thresholds else "size of the explanation (share of the pixels)")
    axis.set(ylabel="ρ-robustness (mean ± standard error)", ylim=(0, 1), title=f"{method}, {backgrounds}")
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
    show(use_pyplot)
    return figure, axis


def _selected(summary: pd.DataFrame, method: str, backgrounds: str, thresholds: bool) -> pd.DataFrame:
    """The rows of one method on one set of backgrounds, either with thresholds or with equal sizes."""
    for name, given, where in (("method", method, ""), ("backgrounds", backgrounds, f" of method {method!r}")):
        known = summary[name].unique()
        summary = summary[summary[name] == given]
        if summary.empty:
            raise ValueError(f"no {name} {given!r}{where} in records: expected one of {', '.join(map(repr, known))}")
    selected = summary[summary["gamma"].notna() == thresholds]
    if selected.empty:
        wanted, other = ("a gamma", "plot_rho_over_size") if thresholds else ("an equal size", "plot_rho_over_gamma")
        raise ValueError(f"{method!r}, {backgrounds!r}: expected rows at {wanted}, got none; {other} shows the others")
    return selected


def _styles(maskings: Iterable[str]) -> dict[str, dict[str, Any]]:
    styles: dict[str, dict[str, Any]] = {}
    for masking in maskings:
        ad = is_ad(masking)
        colors, markers, line = (AD_COLORS, "o", "-") if ad else (_BASELINE_COLORS, _BASELINE_MARKERS, "--")
        index = sum(is_ad(earlier) == ad for earlier in styles)
        marker = markers[index % len(markers)]
        styles[masking] = {"color": colors[index % len(colors)], "marker": marker, "linestyle": line}
    return styles


def _explaining(mask: Any, pixels: Image) -> npt.NDArray[np.bool_]:
    array = mask.detach().cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
    if array.dtype != np.bool_ or array.shape != pixels.shape[:2]:
        raise ValueError(f"mask: expected bool of the image's size {pixels.shape[:2]}, got {array.dtype} {array.shape}")
    return array


def _new_panels(n: int, aspect: float, use_pyplot: bool) -> tuple[Figure, Sequence[Axes]]:
    columns = min(n, COLUMNS)
    rows = -(-n // columns)
    figure, axes = new_figure(use_pyplot, (columns * PANEL, rows * (PANEL * aspect + 0.3)), rows, columns)
    for unused in np.ravel(axes)[n:]:
        unused.axis("off")
    return figure, np.ravel(axes)[:n].tolist()
