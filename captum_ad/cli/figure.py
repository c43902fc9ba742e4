"""The figure of a photograph: heat maps over it, one row per method, one column per masking."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from captum_ad._common.drawing import WHITENED
from captum_ad._methods import OVER_SUPERPIXELS
from captum_ad.cli.explanations import EQUAL_SIZE, Explanation

Image = npt.NDArray[np.float64]

# Inches.
PANEL = 2.1
GAP = 0.07
MARGIN = 0.4  # left, for the methods' names
BELOW = 0.8
NARROWEST = 4.6
CHARACTERS_PER_INCH = 10
SMALL_CHARACTERS_PER_INCH = 13
LINE = 0.16  # height of a small line
OUTLIERS = 2  # percent of the pixels that may lie beyond a panel's scale, as in Captum's visualization
COLORS = "RdBu_r"
NOTE = (
    "each panel has its own scale: ± the number in its corner; outlined, the rest faded: the part that alone keeps the "
    f"{{answer}}, its size and ρ; ρ at size {EQUAL_SIZE:g}: of the highest {EQUAL_SIZE:.0%}"
)
EMPTY = "; empty: the network gives the {answer} even if nothing is shown"

METHOD_TITLES = {
    "occlusion": "Occlusion",
    "feature_ablation": "Feature ablation",
    "kernel_shap": "KernelShap",
    "lime": "Lime",
    "responsibility": "Responsibility",
    "rise": "RISE",
}


def save_figure(
    path: Path,
    title: str,
    photograph: Image,
    superpixels: npt.NDArray[np.int64],
    methods: Sequence[str],
    columns: Sequence[str],
    attributions: Mapping[tuple[str, str], npt.NDArray[np.float32]],
    explanations: Mapping[tuple[str, str], Explanation],
    *,
    answer: str = "class",
) -> None:
    """Draw all attributions of one photograph.

    Parameters
    ----------
    path : Path
        A PNG file.
    title : str
        The title above the panels.
    photograph : array
        The model's input as an image, shape (H, W, 3), in [0, 1].
    superpixels : array
        Labels, shape (H, W); their outlines are drawn for methods that use them.
    methods, columns : sequence of str
        The rows, and the columns to the right of the photograph.
    attributions : mapping
        The attribution of each (method, column), shape (C, H, W). It is shown summed over channels; each
        panel has its own scale, symmetric about 0.
    explanations : mapping
        The sufficient explanation of each (method, column). It is outlined and the photograph around it is
        faded. In the corner: its size and ρ, and ρ at equal size.
    answer : str
        What is explained, for the legend: "class" or "target".
    """
    note = (NOTE + (EMPTY if any(one.empty for one in explanations.values()) else "")).format(answer=answer)
    aspect = photograph.shape[0] / photograph.shape[1]
    figure, panels, below = _layout(title, note, len(methods), len(columns) + 1, aspect)
    for method, row in zip(methods, panels, strict=True):
        row[0].set_ylabel(METHOD_TITLES.get(method, method), fontsize=11)
        _draw_photograph(row[0], photograph, superpixels if method in OVER_SUPERPIXELS else None)
        for column, panel in zip(columns, row[1:], strict=True):
            _draw_heat_map(panel, photograph, attributions[method, column], explanations[method, column])
            _draw_explanation(panel, explanations[method, column])
    for panel, name in zip(panels[0], ["photograph", *columns], strict=True):
        panel.set_title(column_title(name), fontsize=11)
    _draw_scale(figure, below, note, answer)
    figure.savefig(path, dpi=130)


def _layout(
    title: str, note: str, rows: int, columns: int, aspect: float
) -> tuple[Figure, npt.NDArray[np.object_], Axes]:
    """A figure with panels of one size, room for every line of the title, and an axis for the color scale below."""
    width = max(MARGIN + columns * (PANEL + GAP), NARROWEST)
    lines = textwrap.wrap(title, int(width * CHARACTERS_PER_INCH))
    above = 0.45 + 0.25 * len(lines)
    below = BELOW + LINE * (len(_note_lines(note, width)) - 1)
    height = above + rows * (PANEL * aspect + GAP) + below
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(0.5, 1 - 0.12 / height, "\n".join(lines), ha="center", va="top", fontsize=13)
    panels = np.empty((rows, columns), dtype=object)
    for row, column in np.ndindex(rows, columns):
        x = MARGIN + column * (PANEL + GAP)
        y = below + (rows - 1 - row) * (PANEL * aspect + GAP)
        panels[row, column] = figure.add_axes((x / width, y / height, PANEL / width, PANEL * aspect / height))
    bar = min(6.0, width - 2.0)
    return figure, panels, figure.add_axes(((width - bar) / 2 / width, 0.32 / height, bar / width, 0.12 / height))


def _draw_scale(figure: Figure, axis: Axes, note: str, answer: str) -> None:
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1, 1), COLORS), cax=axis, orientation="horizontal", ticks=[-1, 0, 1]
    )
    bar.ax.set_xticklabels([f"against the {answer}", "0", f"for the {answer}"])
    bar.ax.set_title("\n".join(_note_lines(note, figure.get_figwidth())), fontsize=9, color="0.3")


def _note_lines(note: str, width: float) -> list[str]:
    """The note above the color scale, wrapped to lines that fit into `width` inches."""
    return textwrap.wrap(note, int(width * SMALL_CHARACTERS_PER_INCH))


def column_title(name: str) -> str:
    """The title of a column."""
    if name == "photograph":
        return "Photograph"
    return f"AD: {name.removeprefix('ad:')}" if name.startswith("ad:") else f"baseline: {name}"


def _draw_photograph(panel: Axes, photograph: Image, superpixels: npt.NDArray[np.int64] | None) -> None:
    shown = photograph if superpixels is None else _outlined(photograph, superpixels)
    panel.imshow(shown, interpolation="nearest")
    _bare(panel)


def _draw_heat_map(
    panel: Axes, photograph: Image, attribution: npt.NDArray[np.float32], explanation: Explanation
) -> None:
    heat = attribution.sum(0, dtype=np.float64)
    scale = float(np.percentile(np.abs(heat), 100 - OUTLIERS)) or float(np.abs(heat).max())
    shown = heat / scale if scale > 0 else heat
    gray = 0.25 + 0.75 * photograph.mean(2)
    mask = explanation.mask.numpy()
    if mask.any():
        gray = np.where(mask, gray, WHITENED + (1 - WHITENED) * gray)
    panel.imshow(gray, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    alpha = 0.1 + 0.65 * np.sqrt(np.clip(np.abs(shown), 0, 1))
    panel.imshow(shown, cmap=COLORS, vmin=-1, vmax=1, alpha=alpha, interpolation="nearest")
    _note(panel, f"±{scale:.2g}", 0.97, 0.03)
    _bare(panel)


def _draw_explanation(panel: Axes, explanation: Explanation) -> None:
    mask = explanation.mask.numpy()
    if mask.any() and not mask.all():
        panel.contour(mask, levels=[0.5], colors="black", linewidths=0.9)
    alone = f"size {explanation.size:.2f}, ρ {explanation.rho:.2f}" if explanation.found else "not sufficient"
    if explanation.empty:
        alone = "empty"
    _note(panel, f"{alone}\nρ at size {EQUAL_SIZE:g}: {explanation.rho_at_equal_size:.2f}", 0.03, 0.97)


def _note(panel: Axes, words: str, x: float, y: float) -> None:
    """A few words in a corner, on one or several lines."""
    panel.text(
        x,
        y,
        words,
        transform=panel.transAxes,
        ha="right" if x > 0.5 else "left",
        va="top" if y > 0.5 else "bottom",
        fontsize=8,
        color="0.15",
        bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1.5},
    )


def _outlined(photograph: Image, superpixels: npt.NDArray[np.int64]) -> Image:
    """The photograph with a light line wherever two superpixels meet."""
    edge = np.zeros(superpixels.shape, dtype=bool)
    edge[:-1] |= superpixels[:-1] != superpixels[1:]
    edge[:, :-1] |= superpixels[:, :-1] != superpixels[:, 1:]
    outlined = photograph.copy()
    outlined[edge] = 0.3 * outlined[edge] + 0.7 * np.array([1.0, 0.95, 0.3])
    return outlined


def _bare(panel: Axes) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)
