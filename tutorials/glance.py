"""Draws tutorials/figures/glance.jpg: a photograph, and its explanations by Occlusion with gray paint and with AD.

python tutorials/glance.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import torch
from captum.attr import Occlusion, visualization
from matplotlib.figure import Figure
from PIL import Image
from skimage.data import coffee

from captum_ad import ADForward
from captum_ad.demo import efficientnet_lite0

FILE = Path(__file__).resolve().parent / "figures" / "glance.jpg"


def figure() -> Figure:
    """Draw the photograph and the two maps side by side."""
    model, transform = efficientnet_lite0()
    x = transform(Image.fromarray(coffee()))[None]
    seen = (x[0] * 128 / 255 + 127 / 255).clamp(0, 1).permute(1, 2, 0).numpy()
    given = {"sliding_window_shapes": (3, 48, 48), "strides": (3, 16, 16), "perturbations_per_eval": 8}
    drawn, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
    with torch.no_grad():
        target = int(model(x).argmax())
        maps = [Occlusion(forward).attribute(x, target=target, **given) for forward in (model, ADForward(model))]
    axes[0].imshow(seen)
    axes[0].axis("off")
    for axis, found in zip(axes[1:], maps):
        shown = found[0].permute(1, 2, 0).numpy()
        visualization.visualize_image_attr(
            shown, seen, "blended_heat_map", "positive", plt_fig_axis=(drawn, axis), alpha_overlay=0.6, use_pyplot=False
        )
    for axis, title in zip(axes, ("an espresso", "hidden by gray paint", "hidden by AD")):
        axis.set_title(title, fontsize=12)
    return drawn


if __name__ == "__main__":
    figure().savefig(FILE, dpi=110)
