"""Runs the code of tutorials/detector.md and draws its figure, tutorials/figures/detector.png.

python tutorials/detector.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from page_code import HERE, names_of


def main() -> None:
    """Run the code blocks of the page, and draw the photograph with the box, and the maps over it."""
    names = names_of("detector.md")
    left, top, right, bottom = names["box"].tolist()
    figure, axes = plt.subplots(1, 5, figsize=(12.5, 2.9), layout="constrained")
    axes[0].imshow(names["image"][0].permute(1, 2, 0))
    axes[0].set_title("photograph")
    for axis, (name, title) in zip(
        axes[1:], {"AD": "AD", "zero": "black", "avg": "average color", "max": "white"}.items()
    ):
        attribution = names["maps"][name][0].mean(0)
        axis.imshow(names["image"][0].mean(0), cmap="gray", alpha=0.5)
        top_value = float(attribution.abs().max())
        axis.imshow(attribution, cmap="RdBu_r", vmin=-top_value, vmax=top_value, alpha=0.7)
        axis.set_title(title)
    for axis in axes:
        axis.add_patch(plt.Rectangle((left, top), right - left, bottom - top, fill=False, color="black"))
        axis.set_xticks([])
        axis.set_yticks([])
    figure.savefig(HERE / "figures" / "detector.png", dpi=90)
    for name in names["forwards"]:
        print(name, *(f"{score:.2f}" for score in names["scores"][name]), f"{names['enough'][name]:.3f}")


if __name__ == "__main__":
    main()
