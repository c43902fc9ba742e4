"""The figures of neighbors.md that use the inside of networks: attention, prototypes, learned masks."""

from __future__ import annotations

import torch
from captum.attr import FeatureAblation, Occlusion
from matplotlib.figure import Figure
from neighbors_drawing import as_drawn, heat, network, photograph, shown

from captum_ad import ADForward, BaselineForward
from captum_ad.attr import FEI
from captum_ad.benchmarks.neighbors.fei import LEARNING
from captum_ad.benchmarks.neighbors.own import scenes
from captum_ad.metrics import (
    attention_correlation,
    attention_maps,
    deletion_curve,
    insertion_curve,
)
from captum_ad.prototypes import Prototypes, patch_worth
from captum_ad.segmentation import superpixels


def attention() -> Figure:
    """A vision transformer's attention in two drawn scenes, the effect of hiding patches, and their correlation."""
    drawn = scenes(2, seed=0)
    figure = Figure(figsize=(10.5, 5.6), layout="constrained")
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
    """Patches to which the strongest channels respond, before and after rotation, in a drawn scene and in others."""
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
    """Masks learned under AD (with two gradients) and under paint, and Occlusion; each map is evaluated with blur."""
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
