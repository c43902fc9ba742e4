"""The figures of neighbours.md, on EfficientNet-Lite0: ``python tutorials/neighbours.py [NAME ...]``.

Needs ``pip install ".[test]"``. Some take a minute on a CPU; NAME draws some of them only.
"""

from __future__ import annotations

import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import skimage.data
import torch
from captum.attr import FeatureAblation, IntegratedGradients, LayerGradCam, Occlusion
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import FEI, IDGI, MultiScale, log_odds, pyramid
from captum_ad.benchmarks.neighbours.fei import LEARNING
from captum_ad.benchmarks.neighbours.own import scenes
from captum_ad.benchmarks.scenes.drawing import MEAN, STD
from captum_ad.demo import efficientnet_lite0
from captum_ad.describe import describe
from captum_ad.metrics import (
    SolidColors,
    activation_deviation,
    attention_correlation,
    attention_maps,
    corrupted,
    deletion_curve,
    frame_curve,
    insertion_curve,
    noise_study,
    plot_activation_deviation,
    plot_explanation,
    plot_noise_robustness,
    rho_robustness,
    sufficient_explanation,
)
from captum_ad.metrics.noise import Attribute
from captum_ad.metrics.ranking import ranked
from captum_ad.prototypes import Prototypes, patch_worth
from captum_ad.segmentation import superpixels
from captum_ad.targets import Contrast, Group

FOLDER = Path(__file__).resolve().parent / "figures"
STAGES = ["_conv_stem", *(f"_blocks.{i}" for i in range(0, 16, 3)), "_conv_head", "_fc"]


@cache
def network() -> tuple[nn.Module, Any]:
    """The demo network and its transform."""
    return efficientnet_lite0()


def photograph(name: str) -> Tensor:
    """One of scikit-image's photographs as the network's input."""
    transform = network()[1]
    x: Tensor = transform(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"))[None]
    return x


def shown(x: Tensor) -> Tensor:
    """An input as it is displayed, shape (3, H, W), values in [0, 1]."""
    return (x[0] * (128 / 255) + 127 / 255).clamp(0, 1)


def as_drawn(x: Tensor) -> Tensor:
    """A scene as it is displayed, shape (3, H, W), values in [0, 1]."""
    return (x[0] * STD + MEAN).clamp(0, 1)


def heat(axis: Axes, x: Tensor, values: Tensor, title: str) -> None:
    """An attribution over the grey photograph: red speaks for, blue against."""
    total = values.detach().reshape(-1, *values.shape[-2:]).sum(0)
    scale = float(total.abs().flatten().kthvalue(int(0.99 * total.numel())).values) or 1.0
    axis.imshow(shown(x).mean(0), cmap="gray", vmin=0, vmax=1)
    axis.imshow(total, cmap="RdBu_r", vmin=-scale, vmax=scale, alpha=0.6)
    axis.set_title(title, fontsize=9)
    axis.axis("off")


def pathways() -> Figure:
    """30 % of a photograph by Occlusion under each masking, and how far it leads the activations astray."""
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
    """What two noises do to Occlusion's map of a photograph, and its consistency over levels of four."""
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
    normalisation = {"mean": 127 / 255, "std": 128 / 255}
    records = noise_study(model, photographs, methods, names, (1, 3, 5), **normalisation)  # type: ignore[arg-type]
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
    """Integrated Gradients and IDGI on three paths, for two photographs; the maps are smoothed to be seen."""
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
    """Occlusion's map of a class, of the class against another, and of its group, and what masking their tops takes."""
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
    """A photograph's superpixels on three scales, each one's evidence and their mean; two paints beside it."""
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
    """Three photographs, what alone keeps their class by Occlusion under AD, and the sentences about it."""
    model = network()[0]
    window = {"sliding_window_shapes": (3, 56, 56), "strides": (3, 28, 28), "perturbations_per_eval": 4}
    names = {968: "cup", 967: "espresso", 282: "tiger cat", 281: "tabby", 285: "Egyptian cat", 872: "tripod"}
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    for (top, axis), name in zip(figure.subplots(2, 3, height_ratios=[2.2, 1]).T, ("coffee", "chelsea", "camera")):
        x = photograph(name)
        target = int(model(x).argmax())
        values = Occlusion(ADForward(model)).attribute(x, target=target, **window)
        explanation = sufficient_explanation(ADForward(model), x, values, target, gamma=0.5)
        colours = SolidColors(n=20, seed=0, mean=127 / 255, std=128 / 255)
        robustness = rho_robustness(model, x, explanation, target, colours)
        told = describe(values, explanation, robustness, target=target, names=names, backgrounds="solid colours")
        plot_explanation(shown(x), explanation.mask, plt_fig_axis=(figure, top), use_pyplot=False)
        axis.text(0.5, 1, textwrap.fill(str(told), 46), ha="center", va="top", fontsize=8, transform=axis.transAxes)
        axis.axis("off")
    return figure


def attention() -> Figure:
    """What a vision transformer attends to in two drawn scenes, what hiding patches takes away, and how both agree."""
    drawn = scenes(2, seed=0)
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    axes = figure.subplots(2, 5, width_ratios=[1, 1, 1, 1, 1.5])
    for row, (name, x) in zip(axes, drawn.images.items()):
        patches, target = superpixels(x, "grid", 64), drawn.targets[name]
        attentions = attention_maps(drawn.model, x)
        maps = {
            name: FeatureAblation(forward).attribute(x, target=target, feature_mask=patches)
            for name, forward in (("AD", ADForward(drawn.model)), ("avg", BaselineForward(drawn.model, "avg")))
        }
        row[0].imshow(as_drawn(x).permute(1, 2, 0))
        row[0].set_title("scene", fontsize=9)
        for axis, (name, values) in zip(row[1:], maps.items()):
            found = attention_correlation(attentions, values, query=0)
            heat(axis, x, values, f"FeatureAblation, {name}\ncorrelation {found.averaged:.2f}")
        weights = torch.stack(list(attentions.values()))[:, 0, :, 0, 1:].mean((0, 1)).reshape(1, 1, 8, 8)
        heat(row[3], x, torch.nn.functional.interpolate(weights, scale_factor=8), "attention,\nall heads and layers")
        for axis in row[:4]:
            axis.axis("off")
        found = attention_correlation(attentions, maps["AD"], query=0)
        table = torch.cat([found.heads, found.by_layer[:, None]], 1)
        picture = row[4].imshow(table, cmap="RdBu_r", vmin=-1, vmax=1)
        row[4].set_xticks(range(5), ["1", "2", "3", "4", "mean"], fontsize=8)
        row[4].set_yticks(range(4), ["1", "2", "3", "4"], fontsize=8)
        row[4].set(xlabel="head", ylabel="layer")
        row[4].set_title("correlation with AD's", fontsize=9)
        figure.colorbar(picture, ax=row[4], shrink=0.8)
    return figure


def prototypes() -> Figure:
    """Where the strongest channels respond in a drawn scene, as they are and turned, and their prototypes in others."""
    drawn = scenes(120, seed=0, network="residual")
    plain = Prototypes(drawn.model, drawn.images, "7")
    purer = plain.disentangled(steps=200)
    name = "scene 0"
    x, target = drawn.images[name], drawn.targets[name]
    figure = Figure(figsize=(10.5, 4.5), layout="constrained")
    for half, (title, found) in zip(figure.subfigures(1, 2), {"channels": plain, "turned channels": purer}.items()):
        half.suptitle(f"{title}, mean purity {float(found.purity().mean()):.2f}", fontsize=10)
        for row, channel in zip(half.subplots(3, 5), found.strongest(x, target, 3)):
            here = found.within(x, channel)
            worth = float(patch_worth(ADForward(drawn.model), x, here, target))
            for axis, patch in zip(row, (here, *found.of(channel, 4))):
                image = as_drawn(drawn.images[patch.image or name])
                axis.imshow(torch.where(patch.mask, 0.35 * image + 0.6, image).permute(1, 2, 0))
                axis.set_title(f"purity {patch.purity:.2f}", fontsize=8)
                axis.axis("off")
            row[0].set_title(f"the scene: {here.purity:.2f}\nworth {worth:.2f}", fontsize=8)
    return figure


def fei() -> Figure:
    """Masks learnt under AD, by two gradients, and under paint, beside Occlusion; every map judged by blur."""
    model = network()[0]
    figure = Figure(figsize=(10.5, 4.9), layout="constrained")
    for row, name in zip(figure.subplots(2, 5), ("coffee", "chelsea")):
        x = torch.nn.functional.interpolate(photograph(name), size=(128, 128), mode="bilinear", antialias=True)
        target = int(model(x).argmax())
        ad, paint, judge = ADForward(model), BaselineForward(model, "avg"), BaselineForward(model, "blur")
        maps = {
            "Occlusion, AD": Occlusion(ad).attribute(
                x, target=target, sliding_window_shapes=(3, 32, 32), strides=(3, 16, 16), perturbations_per_eval=4
            ),
            "FEI, AD": FEI(ad).attribute(x, target=target, **LEARNING),
            "FEI, AD, masked gradients": FEI(ad).attribute(x, target=target, gradient="masked", **LEARNING),
            "FEI, avg": FEI(paint).attribute(x, target=target, **LEARNING),
        }
        row[0].imshow(shown(x).permute(1, 2, 0))
        row[0].axis("off")
        for axis, (title, values) in zip(row[1:], maps.items()):
            inserted = insertion_curve(judge, x, values, target, step=1024).area
            deleted = deletion_curve(judge, x, values, target, step=1024).area
            heat(axis, x, values - values.mean(), f"{title}\ninsertion {inserted:.2f}, deletion {deleted:.2f}")
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
    """Write the figures of these names, or all."""
    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        raise SystemExit(f"no figure {unknown[0]!r}: expected some of {', '.join(PICTURES)}")
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for name in names or PICTURES:
            path = folder / f"neighbours-{name}.jpg"
            PICTURES[name]().savefig(path, dpi=90, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main(sys.argv[1:])
