"""Collages of images of different classes: what the grid pointing game is played on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad.metrics.places import Grid, cell_masks, checked_grid
from captum_ad.scoring import Judge, ToConfidence, batch_of, in_eval_mode, one_input, share


@dataclass(frozen=True)
class Collages:
    """Images in the cells of a grid, the classes of one collage all different.

    Attributes
    ----------
    x : Tensor
        The model's inputs, shape (N, C, H, W): the size of the images that they are made of.
    targets : Tensor
        The class in each cell, int64, shape (N, cells).
    images : Tensor
        Which of the given images that is, int64, shape (N, cells).
    grid : (rows, columns)
        The cells, counted in reading order.
    """

    x: Tensor
    targets: Tensor
    images: Tensor
    grid: Grid

    def __len__(self) -> int:
        return len(self.x)

    @property
    def masks(self) -> Tensor:
        """The cells, bool, shape (cells, H, W)."""
        return cell_masks(self.x.shape[2], self.x.shape[3], self.grid).to(self.x.device)


def collage(images: Tensor, grid: Grid = (2, 2)) -> Tensor:
    """One image that shows others in the cells of a grid.

    Every image is resized to its cell (bilinear, antialiased), so that the collage has the size of each of them: many
    networks want just that. In a grid with more columns than rows images get narrower.

    Parameters
    ----------
    images : Tensor
        One per cell, in reading order, floating point, shape (rows · columns, C, H, W).
    grid : (rows, columns)
        The cells.

    Returns
    -------
    Tensor
        Shape (1, C, H, W), of the dtype and on the device of `images`.

    Raises
    ------
    ValueError, TypeError
        If there is not one image per cell, or the grid does not fit.

    Examples
    --------
    >>> images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 4, 4)
    >>> collage(images)[0, 0]
    tensor([[0., 0., 1., 1.],
            [0., 0., 1., 1.],
            [2., 2., 3., 3.],
            [2., 2., 3., 3.]])
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"the images must be a Tensor, got {type(images).__name__}: torch.stack(images) makes one")
    if images.dim() != 4 or not images.is_floating_point():
        raise ValueError(f"expected floating-point images (cells, C, H, W), got {images.dtype} {tuple(images.shape)}")
    height, width = images.shape[2:]
    rows, columns = checked_grid(grid, height, width)
    if len(images) != rows * columns:
        raise ValueError(f"a grid {rows} × {columns} takes {rows * columns} images, got {len(images)}")
    made = torch.empty_like(images[:1])
    for image, mask in zip(images, cell_masks(height, width, grid)):
        (top, left), (bottom, right) = mask.nonzero()[0].tolist(), mask.nonzero()[-1].tolist()
        size = bottom + 1 - top, right + 1 - left
        exact = image[None] if image.dtype == torch.float64 else image[None].float()
        small = F.interpolate(exact, size, mode="bilinear", antialias=True, align_corners=False)
        made[..., top : bottom + 1, left : right + 1] = small
    return made


def make_collages(
    model: nn.Module,
    images: Sequence[Tensor] | Tensor,
    targets: Sequence[int] | Tensor | None = None,
    *,
    grid: Grid = (2, 2),
    n: int = 50,
    min_confidence: float = 0.5,
    seed: int = 0,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
    show_progress: bool = False,
) -> Collages:
    """Collages of images that a model is confident about, for :func:`grid_pointing_game`.

    As Rao et al. 2022 do it, but that the images are resized to the cells instead of the input enlarged. A model that
    is confident about an image may be less so about it at that size beside others: explain the class anyhow, or look
    at ``model(collages.x)``.

    Parameters
    ----------
    model : nn.Module
        The plain model, in eval mode.
    images : Tensor or sequence of Tensor
        The model's inputs, all of one shape, (C, H, W) or (1, C, H, W) each.
    targets : sequence of int, optional
        The class of each image. Default: the model's own answers.
    grid : (rows, columns)
        The cells of a collage.
    n : int
        How many collages, all different. The first of them are those of a smaller `n`.
    min_confidence : float
        Only images go into a collage that the model gives their class, with this confidence at least.
    seed : int
        Of the choice: different classes at random, an image of each at random, in random order.
    to_confidence : str or callable
        As for :func:`sufficient_explanation`.
    batch_size : int, optional
        Images per forward. Default: 4 on the CPU, else 32.
    show_progress : bool
        Show a progress bar.

    Returns
    -------
    Collages
        On the device of the images.

    Raises
    ------
    ValueError, TypeError
        If a shape or value does not fit, or there are not enough images that the model is confident about.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    >>> images = torch.eye(3)[:, :, None, None].expand(3, 3, 8, 8) * 9  # plain red, green and blue
    >>> collages = make_collages(model, images, grid=(1, 2), n=2, seed=1)
    >>> collages.x.shape, collages.targets.shape
    (torch.Size([2, 3, 8, 8]), torch.Size([2, 2]))
    """
    in_eval_mode(model)
    stacked = _stacked(images)
    if targets is not None and len(targets) != len(stacked):
        raise ValueError(f"expected one target per image, got {len(stacked)} images and {len(targets)} targets")
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n must be a positive number of collages, got {n!r}")
    least = share(min_confidence, "min_confidence")
    cells = math.prod(checked_grid(grid, *stacked.shape[2:]))
    classes: dict[int, list[int]] = {}
    size = batch_of(batch_size, stacked.device)
    with torch.no_grad():
        for start in tqdm(range(0, len(stacked), size), desc="Confidence", unit="batch", disable=not show_progress):
            output = model(stacked[start : start + size])
            Judge(0, to_confidence)(output)  # refuses what is no classifier's output
            for i in range(start, min(start + size, len(stacked))):
                row = output[i - start : i - start + 1]
                target = int(row.argmax() if targets is None else targets[i])
                confidence, kept = Judge(target, to_confidence)(row)
                if bool(kept) and float(confidence) >= least:
                    classes.setdefault(target, []).append(i)
    count = sum(map(len, classes.values()))
    who = f"{count} of {len(stacked)} images, of {len(classes)} classes, with a confidence of at least {least:g}"
    if len(classes) < cells:
        raise ValueError(
            f"the model is right about {who}, and a grid {grid[0]} × {grid[1]} takes {cells} different classes: give "
            "images of more classes, lower min_confidence, or choose a smaller grid"
        )
    possible = _arrangements([len(members) for members in classes.values()], cells)
    if n > possible:
        raise ValueError(
            f"the model is right about {who}, which makes {possible} different collages, and n is {n}: give more "
            "images, lower min_confidence, or ask for fewer collages"
        )
    chosen = torch.tensor(_chosen(classes, cells, n, seed))
    of_image = {image: target for target, members in classes.items() for image in members}
    drawn = torch.tensor([[of_image[int(image)] for image in row] for row in chosen])
    made = torch.cat([collage(stacked[row], grid) for row in chosen])
    return Collages(made, drawn.to(made.device), chosen.to(made.device), (grid[0], grid[1]))


def _stacked(images: Sequence[Tensor] | Tensor) -> Tensor:
    if len(images) == 0:
        raise ValueError("got 0 images: there is nothing to make collages of")
    each: list[Tensor] = []
    for image in images:
        x = image[None] if isinstance(image, Tensor) and image.dim() == 3 else image
        one_input(x)
        if x.dim() != 4 or (each and x.shape != each[0].shape):
            what = f"one of {tuple(x.shape)} beside {tuple(each[0].shape)}" if each else f"{tuple(x.shape)}"
            raise ValueError(f"expected images of one shape, (1, C, H, W) or (C, H, W) each, got {what}")
        each.append(x)
    return torch.cat(each)


def _arrangements(sizes: Sequence[int], cells: int) -> int:
    """How many collages classes of so many images make."""
    ways = [1] + [0] * cells  # of choosing 0, 1, 2 … classes and an image of each
    for size in sizes:
        for k in range(cells, 0, -1):
            ways[k] += ways[k - 1] * size
    return ways[cells] * math.factorial(cells)


def _chosen(classes: dict[int, list[int]], cells: int, n: int, seed: int) -> list[tuple[int, ...]]:
    """The images of each collage."""
    generator = np.random.default_rng(seed)
    known: list[Any] = sorted(classes)
    chosen: dict[tuple[int, ...], None] = {}
    while len(chosen) < n:
        targets = [known[i] for i in generator.choice(len(known), cells, replace=False)]
        chosen[tuple(classes[target][generator.integers(len(classes[target]))] for target in targets)] = None
    return list(chosen)
