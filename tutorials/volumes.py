"""Runs the code of tutorials/volumes.md and draws its figure, tutorials/figures/volumes.png.

python tutorials/volumes.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from page_code import HERE, names_of


def main() -> None:
    """Run the code blocks of the page, and draw two slices of their results."""
    names = names_of("volumes.md")
    figure, axes = plt.subplots(2, 3, figsize=(7.5, 5), layout="constrained")
    top = float(names["attr"].abs().max())
    for row, depth in zip(axes, (8, 16)):
        row[0].imshow(names["volume"][0, 0, depth], cmap="gray", vmin=0, vmax=1)
        row[0].set_ylabel(f"slice {depth}")
        for axis, name in zip(row[1:], ("attr", "focused")):
            share = names[name][0, 0, depth] / top
            axis.imshow(share.sign() * share.abs().sqrt(), cmap="RdBu_r", vmin=-1, vmax=1)  # the root shows faint ones
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
    row[2].axhline(11.5, color="gray", linewidth=1)
    axes[0][2].axhline(11.5, color="gray", linewidth=1)
    for axis, title in zip(axes[0], ("volume", "occlusion", "occlusion in the upper half")):
        axis.set_title(title)
    figure.savefig(HERE / "figures" / "volumes.png", dpi=90)


if __name__ == "__main__":
    main()
