"""Plots of a :class:`captum_ad.Trace`, with the conventions of Captum's visualization. They need matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from captum_ad._common.drawing import COLUMNS, PANEL, displayed, new_figure, show
from captum_ad.trace.records import Checkpoint, Trace, percent, rule_name, sizes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = "cividis"  # from deactivated to active
NO_FEATURE = "#dddddd"
SHADE = (0.0, 0.13, 0.3)  # drawn over deactivated parts of an image: the dark end of cividis
LINES = (("#0072b2", "-"), ("#d55e00", "--"), ("#009e73", "-."), ("#cc79a7", ":"), ("#000000", (0, (5, 1, 1, 1))))
TICKS = 10
_LONGEST = 24  # characters of a module's path in a title


def plot_trace(
    trace: Trace,
    *,
    sample: int = 0,
    n: int = 6,
    modules: Sequence[str] | None = None,
    image: Any = None,
    plt_fig_axis: tuple[Figure, Sequence[Axes]] | None = None,
    use_pyplot: bool = True,
) -> tuple[Figure, npt.NDArray[np.object_]]:
    """Plot the mask at several depths of the network, one panel each.

    Parameters
    ----------
    trace : Trace
        From :meth:`captum_ad.ADForward.trace`.
    sample : int
        Index of the sample in the batch.
    n : int
        How many of the trace's checkpoints to show, evenly spaced from the first to the last.
    modules : sequence of str, optional
        Paths of modules whose output masks to show instead; see :meth:`captum_ad.Trace.at`.
    image : array or Tensor, optional
        An image of any size, in [0, 1], to draw the masks over, as in :func:`captum_ad.metrics.plot_explanation`.
    plt_fig_axis : (Figure, sequence of Axes), optional
        Where to draw, one axis per panel. Default: a new figure.
    use_pyplot : bool
        Whether to make the figure with pyplot and show it, as in Captum.

    Returns
    -------
    figure : Figure
    axes : array of Axes
        Bright positions are active, dark ones deactivated, colors in between mean some of the channels, and gray
        positions are not features (padding). Without an image, a 1-D mask is drawn as a strip, a 3-D mask as its
        middle slice.

    Raises
    ------
    ValueError
        If `sample`, `modules` or `n` is invalid, the number of axes does not equal that of panels, or a mask
        cannot be shown because its tensor has no batch dimension or more than three spatial dimensions.
    """
    if isinstance(modules, str):
        raise ValueError(f"modules must be a sequence of paths, got {modules!r}: write [{modules!r}]")
    chosen = _evenly(trace, n) if modules is None else [trace.at(module) for module in modules]
    names = [c.place for c in chosen] if modules is None else modules
    if not chosen:
        raise ValueError("expected at least one checkpoint to show, got an empty trace or no modules")
    pictures = [_picture(checkpoint, sample) for checkpoint in chosen]
    below = None if image is None else displayed(image, "image")
    if below is not None and any(c.mask.dim() != 4 for c in chosen if len(c.shape) > 2):
        raise ValueError("only masks with two spatial dimensions can be drawn over an image: leave out image=")
    figure, given = plt_fig_axis or _panels(len(chosen), pictures[0] if below is None else below, use_pyplot)
    axes = np.asarray(given, dtype=object).ravel()
    if len(axes) != len(chosen):
        raise ValueError(f"plt_fig_axis: expected {len(chosen)} axes, one per picture, got {len(axes)}")
    for axis, checkpoint, name, picture in zip(axes, chosen, names, pictures, strict=True):
        if below is None:
            _draw(axis, picture)
        else:
            _draw_over(axis, picture, below)
        share = percent(float(checkpoint.active[sample]))
        axis.set_title(f"{_shortened(name)}\n{sizes(_positions(checkpoint)) or '1'}, {share}", fontsize=9)
        axis.set(xticks=[], yticks=[])
    show(use_pyplot)
    return figure, axes


def plot_active_share(
    traces: Trace | Sequence[Trace] | Mapping[str, Trace],
    *,
    sample: int | None = None,
    plt_fig_axis: tuple[Figure, Axes] | None = None,
    use_pyplot: bool = True,
) -> tuple[Figure, Axes]:
    """Plot the active fraction over the depth of the network, one line per trace, to compare rules.

    Parameters
    ----------
    traces : Trace, or sequence or mapping of Trace
        Traces of one model. Lines are labeled by the keys of a mapping, or else by the rules.
    sample : int, optional
        Index of the sample in the batch. Default: the mean over the batch.
    plt_fig_axis, use_pyplot
        As in :func:`plot_trace`, with one axis.

    Returns
    -------
    figure : Figure
    axis : Axes
        The active fraction after each operation that changed a mask, constant until the next one. Parallel branches
        follow each other in the order in which they ran.

    Raises
    ------
    ValueError
        If there is no trace, `sample` is out of range, or two lines have the same name.
    """
    lines = _named(traces)
    figure, axis = plt_fig_axis or new_figure(use_pyplot, (7.5, 4.0))
    end = max(trace.operations[-1].number for trace in lines.values()) or 1
    for (name, trace), (color, style) in zip(lines.items(), LINES * len(lines)):
        if sample is not None:
            _check_sample(trace[0], sample)
        shares = [c.share if sample is None else float(c.active[sample]) for c in trace]
        numbers = [c.number for c in trace]
        axis.step([*numbers, end], [*shares, shares[-1]], where="post", label=name, color=color, linestyle=style)
    ticks = _evenly(max(lines.values(), key=len), TICKS)
    axis.set_xticks([c.number for c in ticks], [c.place for c in ticks], rotation=40, ha="right", fontsize=8)
    axis.set(xlim=(0, end), ylim=(0, 1.03), xlabel="depth (operations, in the order in which they ran)")
    axis.set_ylabel("share of the features that is active")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
    show(use_pyplot)
    return figure, axis


def _named(traces: Trace | Sequence[Trace] | Mapping[str, Trace]) -> dict[str, Trace]:
    if isinstance(traces, Mapping):
        named = dict(traces)
    else:
        several = [traces] if isinstance(traces, Trace) else list(traces)
        named = {rule_name(trace.rule, trace.tau): trace for trace in several}
        if len(named) < len(several):
            raise ValueError("two traces have the same rule: give a mapping, {name: trace}, to distinguish them")
    if not named or any(not len(trace) for trace in named.values()):
        raise ValueError("expected at least one trace, none of them empty")
    return named


def _evenly(trace: Trace, n: int) -> list[Checkpoint]:
    """At most n checkpoints, including the first and the last."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be an integer of at least 1, got {n!r}")
    last = len(trace) - 1
    return [trace[int(i)] for i in np.unique(np.linspace(0 if n > 1 else last, last, n).round())] if len(trace) else []


def _check_sample(checkpoint: Checkpoint, sample: int) -> None:
    if not 0 <= sample < len(checkpoint.active):
        raise ValueError(f"sample must be an index in the batch, 0 to {len(checkpoint.active) - 1}, got {sample!r}")


def _picture(checkpoint: Checkpoint, sample: int) -> npt.NDArray[np.float64]:
    """The fraction of active channels at each position of one sample, 2-D; NaN where there are no features."""
    _check_sample(checkpoint, sample)
    where = f"the mask of {checkpoint.place} ({checkpoint.operation}, shape {checkpoint.shape}) cannot be shown"
    if not checkpoint.shape or checkpoint.shape[0] != len(checkpoint.active):
        raise ValueError(f"{where}: its first dimension is not the batch. Choose other modules=")
    parts = [checkpoint.mask] if checkpoint.features is None else [checkpoint.mask, checkpoint.features]
    positions, last = _positions(checkpoint), _channels_are_last(checkpoint)
    if len(positions) > 3:
        raise ValueError(f"{where}: it has {len(positions)} dimensions, expected at most 3")
    counts = []
    for part in parts:
        one = part[min(sample, len(part) - 1)]
        one = one.movedim(-1, 0) if last else one
        counts.append(one.expand(one.shape[0] if one.dim() else 1, *positions).double().numpy())
    kept, there = counts[0].sum(0), counts[1].sum(0) if len(counts) > 1 else np.full(positions, len(counts[0]))
    share = np.full(positions, np.nan)
    np.divide(kept, there, out=share, where=there > 0)
    share = share[len(share) // 2] if len(positions) == 3 else share
    return np.atleast_2d(share)


def _positions(checkpoint: Checkpoint) -> tuple[int, ...]:
    return checkpoint.shape[1:-1] if _channels_are_last(checkpoint) else checkpoint.shape[2:]


def _channels_are_last(checkpoint: Checkpoint) -> bool:
    """Whether channels are last, as after a permute: the mask varies in the second dimension but not in the last."""
    mask, shape = checkpoint.mask.shape, checkpoint.shape
    return len(shape) > 2 and mask[1] > 1 and mask[-1] == 1 and shape[-1] > 1


def _panels(n: int, first: npt.NDArray[np.float64], use_pyplot: bool) -> tuple[Figure, Sequence[Axes]]:
    height = PANEL * min(first.shape[0] / first.shape[1], 2.0)
    columns = min(n, COLUMNS)
    rows = -(-n // columns)
    size = (columns * PANEL, rows * (max(height, 0.4) + 0.55))
    figure, axes = new_figure(use_pyplot, size, rows, columns)
    for unused in np.ravel(axes)[n:]:
        unused.axis("off")
    return figure, np.ravel(axes)[:n].tolist()


def _draw(axis: Axes, picture: npt.NDArray[np.float64]) -> None:
    axis.set_facecolor(NO_FEATURE)
    axis.imshow(np.ma.masked_invalid(picture), cmap=COLORS, vmin=0, vmax=1, interpolation="nearest")
    if len(picture) == 1 and picture.size > 1:
        axis.set_aspect("auto")  # a strip


def _draw_over(axis: Axes, picture: npt.NDArray[np.float64], image: npt.NDArray[np.float64]) -> None:
    height, width = image.shape[:2]
    axis.imshow(image, interpolation="nearest")
    dark = 0.85 * (1 - np.nan_to_num(picture, nan=0.5))[..., None]
    shade = np.concatenate([np.broadcast_to(SHADE, (*picture.shape, 3)), dark], 2)
    axis.imshow(shade, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")


def _shortened(path: str) -> str:
    return path if len(path) <= _LONGEST else f"…{path[1 - _LONGEST :]}"
