"""The figures of neighbors.md, on EfficientNet-Lite0: ``python tutorials/neighbors.py [NAME ...]``.

It needs ``pip install ".[test]"``. Some figures take a minute on a CPU. With NAMEs, only these figures are drawn.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import torch
from captum.attr import FeatureAblation, IntegratedGradients, LayerGradCam, Occlusion
from matplotlib.figure import Figure
from neighbors_drawing import heat, network, photograph, shown
from neighbors_inside import attention, fei, prototypes
from torch import nn

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import IDGI, MultiScale, log_odds, pyramid
from captum_ad.metrics import (
    SolidColors,
    activation_deviation,
    corrupted,
    describe,
    frame_curve,
    noise_study,
    plot_activation_deviation,
    plot_explanation,
    plot_noise_robustness,
    rho_robustness,
    sufficient_explanation,
)
from captum_ad.metrics.noise import Attribute
from captum_ad.metrics.ranking import ranked
from captum_ad.targets import Contrast, Group

FOLDER = Path(__file__).resolve().parent / "figures"
STAGES = ["_conv_stem", *(f"_blocks.{i}" for i in range(0, 16, 3)), "_conv_head", "_fc"]


def pathways() -> Figure:
    """The top 30 % of a photograph by Occlusion under each masking, and how much its activations deviate."""
    model, x = network()[0], photograph("coffee")
    target = int(model(x).argmax())
    forwards: dict[str, nn.Module] = {
        "ad:no-growth-mean": ADForward(model),
        "ad:paper": ADForward(model, "paper"),
        **{name: BaselineForward(model, name) for name in ("avg", "blur", "linear")},
    }
    figure = Figure(figsize=(10.5, 5.6), layout="constrained")
    grid = figure.add_gridspec(2, len(forwards), height_ratios=[1, 1.7])
    found = {}
    for i, (name, forward) in enumerate(forwards.items()):
        window = {"sliding_window_shapes": (3, 56, 56), "strides": (3, 28, 28), "perturbations_per_eval": 4}
        ranking = ranked(Occlusion(forward).attribute(x, target=target, **window), x)
        mask = ranking.prefixes(torch.tensor([round(0.3 * len(ranking))]))[0]
        found[name] = activation_deviation(forward, x, mask, STAGES)
        axis = figure.add_subplot(grid[0, i])
        plot_explanation(shown(x), mask, title=name, plt_fig_axis=(figure, axis), use_pyplot=False)
    plot_activation_deviation(found, plt_fig_axis=(figure, figure.add_subplot(grid[1, :])), use_pyplot=False)
    return figure


def noise() -> Figure:
    """Occlusion's maps of a photograph under two noises, and the consistency over the levels of four noises."""
    model, photographs = network()[0], {name: photograph(name) for name in ("coffee", "chelsea", "camera")}

    def occlusion(forward: nn.Module) -> Attribute:
        window = {"sliding_window_shapes": (3, 56, 56), "strides": (3, 28, 28), "perturbations_per_eval": 4}
        return lambda x, target: Occlusion(forward).attribute(x, target=target, **window)

    cam = LayerGradCam(model, model._conv_head)
    methods: dict[str, Attribute] = {
        "Occlusion, AD": occlusion(ADForward(model)),
        "Occlusion, avg": occlusion(BaselineForward(model, "avg")),
        "Grad-CAM": lambda x, target: cam.attribute(x, target, relu_attributions=True),
    }
    names = ["gaussian", "jpeg", "blur", "contrast"]
    normalization = {"mean": 127 / 255, "std": 128 / 255}
    records = noise_study(model, photographs, methods, names, (1, 3, 5), **normalization)  # type: ignore[arg-type]
    figure = Figure(figsize=(10.5, 5.2), layout="constrained")
    above, below = figure.subfigures(2, 1)
    x = photographs["chelsea"]
    noisy = {"clean": x}
    for name, level in (("gaussian", 3), ("blur", 3)):
        noisy[f"{name}, level {level}"] = (corrupted(shown(x), name, level)[None] - 127 / 255) / (128 / 255)
    axes = iter(above.subplots(1, 2 * len(noisy)))
    for name, one in noisy.items():
        answer = int(model(one).argmax())
        for method in ("Occlusion, AD", "Occlusion, avg"):
            heat(next(axes), one, methods[method](one, answer), f"{name}\n{method}")
    plot_noise_robustness(records, plt_fig_axis=(figure, below.subplots(1, 4, sharey=True)), use_pyplot=False)
    return figure


def idgi() -> Figure:
    """Integrated Gradients and IDGI on three paths, for two photographs; smoothed to make the maps visible."""
    model = network()[0]
    figure = Figure(figsize=(10.5, 5.6), layout="constrained")
    for axes, name in zip(figure.subplots(2, 4), ("coffee", "chelsea")):
        x = photograph(name)
        target = int(model(x).argmax())
        maps = {"Integrated Gradients": IntegratedGradients(model).attribute(x, target=target, internal_batch_size=4)}
        for path in ("straight", "blur", "guided"):
            maps[f"IDGI, {path} path"] = IDGI(model).attribute(x, target=target, path=path)
        for axis, (title, values) in zip(axes, maps.items()):
            heat(axis, x, torch.nn.functional.avg_pool2d(values, 9, 1, 4), title)
    return figure


def frames() -> Figure:
    """Occlusion's maps for a class, a contrast, and groups, and the drop of the answer when their tops are masked."""
    model, x = network()[0], photograph("chelsea")
    target, other = model(x).argsort(descending=True)[0, :2].tolist()
    cats = Group(range(281, 294))
    questions = {
        f"why class {target}?": Group([target]),
        f"why {target} and not {other}?": Contrast(target, other),
        "why any cat?": cats,
        "why a cat and not a dog?": Contrast(cats, Group(range(151, 269))),
    }
    window = {"sliding_window_shapes": (3, 56, 56), "strides": (3, 28, 28), "perturbations_per_eval": 4}
    figure = Figure(figsize=(10.5, 5.0), layout="constrained")
    for top, below, (title, question) in zip(*figure.subplots(2, 4, sharey="row"), questions.items()):
        for name, masked in (("AD", ADForward(model)), ("blur", BaselineForward(model, "blur"))):
            values = Occlusion(masked.with_target(question)).attribute(x, **window)
            curve = frame_curve(masked, x, values, question)
            below.plot(curve.sizes, curve.values, marker="o", markersize=3, label=f"{name}, area {curve.area:.2f}")
            if name == "AD":
                heat(top, x, values, f"{title}\nOcclusion, AD")
        below.axhline(0, color="0.7", linewidth=0.8)
        below.set(xlabel="share masked", xlim=(0, 1))
        below.legend(fontsize=7)
    figure.axes[4].set_ylabel("drop")
    return figure


def multiscale() -> Figure:
    """Evidence of superpixels on three scales and their mean, with AD and with the baseline boundary-normal."""
    model, x = network()[0], photograph("coffee")
    evidence = log_odds(int(model(x).argmax()), classes=1000)
    levels = pyramid(x)
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    axes = figure.subplots(2, 5)
    for masked, row, name in (
        (ADForward(model, target=evidence), axes[0], "AD"),
        (BaselineForward(model, "boundary-normal", target=evidence), axes[1], "boundary-normal"),
    ):
        attributor = MultiScale(FeatureAblation(masked))
        for axis, scales in zip(row, ([levels[0]], [levels[1]], [levels[2]], levels)):
            values = attributor.attribute(x, feature_masks=scales, perturbations_per_eval=4)
            regions = int(scales[0].max()) + 1
            heat(axis, x, values, f"{name}\n{f'{regions} regions' if len(scales) == 1 else 'all three'}")
    kept = torch.ones(224, 224, dtype=torch.bool)
    kept[40:150, 60:180] = False
    paint = BaselineForward(model, "boundary-normal").painted(x, kept)
    for axis, image, title in (
        (axes[0, 4], x, "photograph"),
        (axes[1, 4], paint, "a region excluded\nby boundary-normal"),
    ):
        axis.imshow(shown(image).permute(1, 2, 0))
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    return figure


def words() -> Figure:
    """Three photographs: the part that alone keeps the class (Occlusion, AD), and the sentences that describe it."""
    model = network()[0]
    window = {"sliding_window_shapes": (3, 56, 56), "strides": (3, 28, 28), "perturbations_per_eval": 4}
    names = {968: "cup", 967: "espresso", 282: "tiger cat", 281: "tabby", 285: "Egyptian cat", 872: "tripod"}
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    for (top, axis), name in zip(figure.subplots(2, 3, height_ratios=[2.2, 1]).T, ("coffee", "chelsea", "camera")):
        x = photograph(name)
        target = int(model(x).argmax())
        values = Occlusion(ADForward(model)).attribute(x, target=target, **window)
        explanation = sufficient_explanation(ADForward(model), x, values, target, gamma=0.5)
        colors = SolidColors(n=20, seed=0, mean=127 / 255, std=128 / 255)
        robustness = rho_robustness(model, x, explanation, target, colors)
        told = describe(values, explanation, robustness, target=target, names=names, backgrounds="solid colors")
        plot_explanation(shown(x), explanation.mask, plt_fig_axis=(figure, top), use_pyplot=False)
        axis.text(0.5, 1, textwrap.fill(str(told), 46), ha="center", va="top", fontsize=8, transform=axis.transAxes)
        axis.axis("off")
    return figure


PICTURES = {
    "pathways": pathways,
    "noise": noise,
    "idgi": idgi,
    "frames": frames,
    "multiscale": multiscale,
    "words": words,
    "attention": attention,
    "prototypes": prototypes,
    "fei": fei,
}


def main(names: list[str], folder: Path = FOLDER) -> None:
    """Draw the figures with these names, or all if `names` is empty, and save them to `folder`."""
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        raise SystemExit(f"there is no figure {unknown[0]!r}; choose from {', '.join(PICTURES)}")
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for name in names or PICTURES:
            path = folder / f"neighbors-{name}.jpg"
            PICTURES[name]().savefig(path, dpi=90, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main(sys.argv[1:])
