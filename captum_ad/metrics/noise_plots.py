"""Plot the robustness of attributions to noise. Needs matplotlib and pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from captum_ad._common.drawing import new_figure, show
from captum_ad._common.errors import UnknownNameError
from captum_ad.metrics.noise_statistics import noise_robustness

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_VALUES = ("consistency", "responsiveness", "robustness")
_LINES = (("#0072b2", "o-"), ("#d55e00", "s--"), ("#009e73", "^-."), ("#cc79a7", "v:"), ("#8c8c8c", "D--"))


def plot_noise_robustness(
    records: pd.DataFrame,
    value: str = "consistency",
    *,
    plt_fig_axis: tuple[Figure, Sequence[Axes]] | None = None,
    use_pyplot: bool = True,
) -> tuple[Figure, npt.NDArray[np.object_]]:
    """Plot the robustness of attributions over the noise level: a panel per noise, a line per method.

    Parameters
    ----------
    records : DataFrame
        Records from :func:`noise_study`.
    value : {"consistency", "responsiveness", "robustness"}
        What to show, see :func:`noise_robustness`. NaN values are left out.
    plt_fig_axis : (Figure, sequence of Axes), optional
        Where to draw, one axis per noise. Default: a new figure.
    use_pyplot : bool
        Whether to make the figure with pyplot and show it, as in Captum.

    Returns
    -------
    figure : Figure
    axes : array of Axes
        One axis per noise. Gray dots are the fraction of samples whose class the noise did not change.

    Raises
    ------
    UnknownNameError, ValueError
        If `value` is unknown, the number of axes does not equal that of noises, or as in :func:`noise_robustness`.
    """
    if value not in _VALUES:
        raise UnknownNameError("value of noise", value, _VALUES)
    table = noise_robustness(records)
    noises, methods = (list(dict.fromkeys(table[name])) for name in ("noise", "method"))
    rows = -(-len(noises) // 4)
    figure, given = plt_fig_axis or new_figure(
        use_pyplot, (2.5 * min(4, len(noises)) + 1.9, 2.3 * rows), rows, min(4, len(noises))
    )
    axes: Any = np.asarray(given, dtype=object).ravel()
    if len(axes) < len(noises):
        raise ValueError(f"plt_fig_axis: expected {len(noises)} axes, one per noise, got {len(axes)}")
    for unused in axes[len(noises) :]:
        unused.axis("off")
    for axis, noise in zip(axes, noises):
        for method, (color, style) in zip(methods, _LINES * len(methods)):
            line = table[(table["noise"] == noise) & (table["method"] == method)].sort_values("level")
            axis.plot(line["level"], line[value], style, color=color, label=method, markersize=4)
        share = records[records["noise"] == noise].groupby("level")["class_kept"].mean()
        axis.plot(share.index, share.to_numpy(), ":", color="0.7", marker=".", label="class kept")
        axis.set_title(str(noise).replace("_", " "), fontsize=9)
        axis.set(ylim=(-0.03, 1.03), xticks=sorted(set(table["level"])))
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel(value)
    axes[min(len(noises), axes.size) - 1].legend(
        loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, fontsize=8
    )
    show(use_pyplot)
    return figure, axes[: len(noises)]
