"""Collages of images of different classes: what the grid pointing game is played on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad._scoring import Judge, ToConfidence, batch_of, in_eval_mode, one_input, share
from captum_ad.metrics.given import checked_seed
from captum_ad.metrics.places import Grid, cell_masks, checked_grid
from captum_ad.metrics.turns import Turns, sets_of


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
    explained : Tensor
        The cell to explain: the one whose class is the model's answer for the collage, int64, shape (N,).
    confidence : Tensor
        The model's in that class, shape (N,).
    grid : (rows, columns)
        The cells, counted in reading order.
    """

    x: Tensor
    targets: Tensor
    images: Tensor
    explained: Tensor
    confidence: Tensor
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
    """Collages of which a model sees what is in one cell, for :func:`grid_pointing_game`.

    As Rao et al. 2022 do it, of images that the model is confident about, but that the images are resized to the cells
    instead of the input enlarged. At that size and beside others a model is hardly confident in most of them, and what
    it does not see nothing can point at. So only collages count in which it is confident in one class: its answer.

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
        How many collages, no two of the same images. The first of them are those of a smaller `n`.
    min_confidence : float
        Only images go into a collage that the model gives their class, with at least this confidence, and only collages
        count for which its answer is one of their classes, with at least this confidence.
    seed : int
        Of the choice. Images take turns: those come next that came least often, as far as there are different classes
        and such collages. Which of them come together, and in which order, is drawn at random.
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
    >>> images = torch.diag(torch.tensor([9.0, 19, 29]))[:, :, None, None].expand(3, 3, 8, 8)  # red, green and blue
    >>> collages = make_collages(model, images, grid=(1, 2), n=2)
    >>> collages.x.shape, collages.targets.shape, collages.explained.shape
    (torch.Size([2, 3, 8, 8]), torch.Size([2, 2]), torch.Size([2]))
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
            Judge(0, to_confidence)(output)  # refuses what is not a classifier's output
            for i, row in enumerate(output.split(1), start):
                target = row.argmax() if targets is None else targets[i]
                if _confident(row, target, to_confidence, least) is not None:
                    classes.setdefault(int(target), []).append(i)
    count = sum(map(len, classes.values()))
    who = f"{count} of {len(stacked)} images, of {len(classes)} classes, with a confidence of at least {least:g}"
    if not classes:
        raise ValueError(
            f"the model is right about none of {len(stacked)} images with a confidence of at least {least:g}: are the "
            "targets indices of its classes, and the images prepared as for its training?"
        )
    if len(classes) < cells:
        raise ValueError(
            f"the model is right about {who}, and a grid {grid[0]} × {grid[1]} takes {cells} different classes: give "
            "images of more classes, lower min_confidence, or choose a smaller grid"
        )
    possible = sets_of([len(members) for members in classes.values()], cells)
    if n > possible:
        raise ValueError(
            f"the model is right about {who}, which makes {possible} collages of different images, and n is {n}: give "
            "more images, lower min_confidence, or ask for fewer collages"
        )
    of_image = {image: target for target, members in classes.items() for image in members}
    turns = Turns(classes, cells, checked_seed(seed))
    found: list[tuple[Tensor, list[int], list[int], int, float]] = []
    with tqdm(total=n, desc="Collages", disable=not show_progress) as bar:
        while len(found) < n:
            if turns.tried == min(possible, _PATIENCE * n):
                raise ValueError(
                    f"the model is right about {who}; of {turns.tried} collages of them it gives {len(found)} one of "
                    f"their classes with that confidence, and n is {n}: give more images, lower min_confidence, or ask "
                    "for fewer collages"
                )
            images_of = turns.drawn()
            x = collage(stacked[images_of], grid)
            with torch.no_grad():
                output = model(x)
            drawn = [of_image[image] for image in images_of]
            seen = {cell: _confident(output, target, to_confidence, least) for cell, target in enumerate(drawn)}
            for cell, confidence in seen.items():
                if confidence is not None:  # one at most: it is the answer
                    found.append((x, drawn, images_of, cell, confidence))
                    turns.taken(images_of)
                    bar.update()
    made, *columns = zip(*found)
    drawn_all, chosen, explained, sure = (torch.tensor(values, device=made[0].device) for values in columns)
    return Collages(torch.cat(made), drawn_all, chosen, explained, sure, (grid[0], grid[1]))


_PATIENCE = 100  # collages tried for each that is wanted


def _confident(row: Tensor, target: int | Tensor, to_confidence: ToConfidence, least: float) -> float | None:
    """The confidence in a class, if it is the answer and at least that much."""
    confidence, kept = Judge(target, to_confidence)(row)
    return float(confidence) if bool(kept) and float(confidence) >= least else None


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
