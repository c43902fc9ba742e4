"""Pictures of what the knobs of a MaskRule and τ do, for knobs.md: ``python tutorials/knobs.py [FOLDER]``.

It needs matplotlib and torchvision. Masks do not depend on weights, so nothing is downloaded. It takes a few seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_ad import ADForward, MaskRule, Trace
from captum_ad.trace.plots import plot_active_share, plot_trace

FOLDER = Path(__file__).resolve().parent / "knobs"
STAGES = ["input", "conv1", "layer1", "layer2", "layer3", "layer4"]
SIZE = 224
PANEL = 1.55  # inches
VALUES = "viridis"
DEAD = {"facecolor": "white", "edgecolor": "0.75", "hatch": "////"}


def disc(size: int, radius: float, across: float = 0.5, down: float = 0.5) -> Tensor:
    """A mask of shape (size, size): True inside of a disc. `across` and `down` are its center, as shares of `size`."""
    line = torch.arange(size) + 0.5
    return (line[:, None] - down * size) ** 2 + (line - across * size) ** 2 < radius**2


def growth() -> Figure:
    """The mask of a disc at the stages of a ResNet, with and without growth."""
    return _stages({f'growth="{value}"': _resnet_trace(MaskRule(growth=value)) for value in ("window", "none")})


def sums() -> Figure:
    """The same for union and intersection at the sum that ends each block."""
    return _stages({f'sum="{value}"': _resnet_trace(MaskRule(sum=value)) for value in ("union", "intersection")})


def tau() -> Figure:
    """The same for several thresholds τ."""
    return _stages({f"τ = {value:g}": _resnet_trace(MaskRule(), value) for value in (0, 0.2, 0.4, 0.6)})


def depth() -> Figure:
    """The share of active positions over depth: with growth, for several thresholds, and without growth."""
    traces = {
        'growth="window", τ = 0': _resnet_trace(MaskRule()),
        "the same, τ = 0.2": _resnet_trace(MaskRule(), 0.2),
        "the same, τ = 0.4": _resnet_trace(MaskRule(), 0.4),
        'growth="none", τ = 0': _resnet_trace(MaskRule(growth="none")),
    }
    figure = Figure(figsize=(8.6, 3.8), layout="constrained")
    plot_active_share(traces, plt_fig_axis=(figure, figure.subplots()), use_pyplot=False)
    return figure


def average() -> Figure:
    """The spatial average of a map, as more and more of the map is kept."""
    values = _hill(24)
    radii = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13.5, 15, 17]
    masks = torch.stack([disc(24, radius) for radius in radii])
    shares = masks.double().mean((1, 2))
    figure = Figure(figsize=(7.6, 2.9), layout="constrained")
    map_axis, axis = figure.subplots(1, 2, width_ratios=[1, 1.9])
    kept = disc(24, 7)
    _draw_values(map_axis, values[0, 0], kept, f"a map of which {100 * kept.double().mean():.0f} % is kept")
    batch = values.expand(len(radii), -1, -1, -1)
    for value, color, style in (("all", "#0072b2", "o-"), ("active", "#d55e00", "s--")):
        pooled = ADForward(nn.AdaptiveAvgPool2d(1).eval(), MaskRule(average=value))(batch, mask=masks)
        axis.plot(
            shares.numpy(), pooled.flatten().numpy(), style, color=color, label=f'average="{value}"', markersize=5
        )
    axis.axhline(values.mean().item(), color="0.4", linewidth=1, linestyle=":", label="of the whole map")
    axis.set(xlabel="share of the map that is kept", ylabel="its average", xlim=(0, 1.02), ylim=(0, 1.1))
    axis.legend(loc="lower right")
    _color_bar(figure, map_axis)
    return figure


def border() -> Figure:
    """What windows read at deactivated positions beside a disc, and what a 3×3 average makes of it."""
    values, kept = _hill(24, slope=0.6), disc(24, 7)
    blur = nn.Conv2d(1, 1, 3, padding=1, padding_mode="replicate", bias=False)
    look = nn.Conv2d(1, 1, 5, padding=2, bias=False)
    with torch.no_grad():
        blur.weight.fill_(1 / 9)
        look.weight.zero_()[0, 0, 2, 2] = 1  # copies the value at the center of its window
    figure = Figure(figsize=(7.4, 4.9), layout="constrained")
    axes = figure.subplots(2, 3)
    everywhere = torch.ones_like(kept)
    _draw_values(axes[0, 0], values[0, 0], kept, "the map: a disc is kept")
    _draw_values(axes[1, 0], blur(values)[0, 0], everywhere, "3×3 average, nothing masked")
    for column, value in enumerate(("zero", "mean"), start=1):
        for row, (layer, what) in enumerate(((look, "what a 5×5 window reads"), (blur, "3×3 average"))):
            trace = ADForward(layer.eval(), MaskRule(border=value)).trace(values, mask=kept)
            _draw_values(axes[row, column], trace.output[0, 0], trace[-1].mask[0, 0], f'{what}\nborder="{value}"')
    _color_bar(figure, axes)
    return figure


PICTURES = {"growth": growth, "sum": sums, "average": average, "border": border, "tau": tau, "depth": depth}


def main(folder: Path = FOLDER) -> None:
    """Write all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for name, draw in PICTURES.items():
            draw().savefig(folder / f"{name}.png", dpi=90)


def _resnet_trace(rule: MaskRule, tau: float = 0.0) -> Trace:
    torch.manual_seed(0)
    ad = ADForward(torchvision.models.resnet18(weights=None).eval(), rule, tau=tau)
    return ad.trace(torch.randn(1, 3, SIZE, SIZE), mask=disc(SIZE, 52, across=0.42, down=0.45))


def _stages(traces: Mapping[str, Trace]) -> Figure:
    """One row per trace."""
    columns = len(STAGES)
    figure = Figure(figsize=(columns * PANEL + 0.3, len(traces) * (PANEL + 0.35)), layout="constrained")
    for axes, (name, trace) in zip(figure.subplots(len(traces), columns, squeeze=False), traces.items()):
        plot_trace(trace, modules=STAGES, plt_fig_axis=(figure, axes), use_pyplot=False)
        axes[0].set_ylabel(name, fontsize=10)
    return figure


def _hill(size: int, slope: float = 0.0) -> Tensor:
    """A smooth map of values around 0.75, shape (1, 1, size, size)."""
    torch.manual_seed(1)
    noise = torch.nn.functional.interpolate(torch.rand(1, 1, 7, 7), (size, size), mode="bicubic", align_corners=True)
    tilt = torch.linspace(-0.5, 0.5, size)[None, None, None] * slope
    return (0.5 + 0.5 * noise + tilt).clamp(0, 1)


def _draw_values(axis: Axes, values: Tensor, active: Tensor, title: str) -> None:
    """Draw values as colors, and deactivated positions as hatched."""
    axis.patch.set(**DEAD)
    shown = values.where(active, float("nan")).detach().numpy()
    axis.imshow(shown, cmap=VALUES, vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.set(xticks=[], yticks=[])


def _color_bar(figure: Figure, axes: object) -> None:
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), VALUES), ax=axes, shrink=0.85, ticks=[0, 0.5, 1])
    bar.set_label("value (hatched: deactivated)", fontsize=9)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
