"""Plot activation deviation over the depth of a network. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from captum_ad._common.drawing import new_figure, show
from captum_ad.metrics.pathways import PathwayDeviation
from captum_ad.metrics.statistics import is_ad

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = (("#0072b2", "o-"), ("#d55e00", "s--"), ("#009e73", "^-."), ("#cc79a7", "v:"), ("#8c8c8c", "D--"))


def plot_activation_deviation(
    deviations: Mapping[str, PathwayDeviation | Sequence[PathwayDeviation]],
    *,
    value: str = "relative",
    plt_fig_axis: tuple[Figure, Axes] | None = None,
    use_pyplot: bool = True,
) -> tuple[Figure, Axes]:
    """Plot how far activations are from those for the whole input, by layer, one line per masking.

    Parameters
    ----------
    deviations : mapping of str to PathwayDeviation, or to a sequence of them
        Deviations by name of the masking: of one input, or of several, for which the mean and its standard error are
        shown. All must have the same layers. Lines of names that begin with "ad:" are thick.
    value : {"relative", "cosine"}
        What to show.
    plt_fig_axis : (Figure, Axes), optional
        Where to draw. Default: a new figure.
    use_pyplot : bool
        Whether to make the figure with pyplot and show it, as in Captum.

    Returns
    -------
    figure : Figure
    axis : Axes

    Raises
    ------
    ValueError
        If there is nothing to draw, layers differ, or `value` is unknown.
    """
    if value not in ("relative", "cosine"):
        raise ValueError(f"value must be 'relative' or 'cosine', got {value!r}")
    several = {name: [one] if isinstance(one, PathwayDeviation) else list(one) for name, one in deviations.items()}
    if not several or not all(several.values()):
        raise ValueError("expected at least one deviation per masking, got none")
    layers = next(iter(several.values()))[0].layers
    if any(one.layers != layers for found in several.values() for one in found):
        raise ValueError("expected deviations of the same layers: measure all maskings with the same layers=")
    figure, axis = plt_fig_axis or new_figure(use_pyplot, (7.0, 3.6))
    places = range(len(layers))
    for (name, found), (color, style) in zip(several.items(), _LINES * len(several)):
        values = torch.stack([getattr(one, value) for one in found])
        mean = values.nanmean(0)
        error = (values - mean).square().nansum(0).div(max(1, len(found) - 1)).sqrt() / len(found) ** 0.5
        width = 2.2 if is_ad(name) else 1.2
        axis.plot(places, mean.numpy(), style, color=color, label=name, linewidth=width, markersize=4)
        if len(found) > 1:
            axis.fill_between(places, (mean - error).numpy(), (mean + error).numpy(), color=color, alpha=0.15)
    axis.set_xticks(list(places), layers, rotation=40, ha="right", fontsize=8)
    axis.set_ylabel("‖part − whole‖ / ‖whole‖" if value == "relative" else "cosine of part and whole")
    axis.set_xlabel("layer, in the order given")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
    show(use_pyplot)
    return figure, axis
