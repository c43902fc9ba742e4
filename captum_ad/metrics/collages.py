"""Collages of images of different classes, for the grid pointing game."""

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
    """Images in the cells of a grid, with different classes within a collage.

    Attributes
    ----------
    x : Tensor
        Model inputs, shape (N, C, H, W), of the same size as the original images.
    targets : Tensor
        The class in each cell, int64, shape (N, cells).
    images : Tensor
        The index of the image in each cell, int64, shape (N, cells).
    explained : Tensor
        The cell to explain, whose class the model predicts for the collage, int64, shape (N,).
    confidence : Tensor
        The model's confidence in that class, shape (N,).
    grid : (rows, columns)
        Shape of the grid. Cells are numbered in reading order.
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
        """The masks of the cells, bool, True = inside, shape (cells, H, W)."""
        return cell_masks(self.x.shape[2], self.x.shape[3], self.grid).to(self.x.device)


def collage(images: Tensor, grid: Grid = (2, 2)) -> Tensor:
    """Arrange images in the cells of a grid, as one image.

    Every image is resized to its cell (bilinear, antialiased), so the collage has the size of one image, as many
    networks require. In a grid with more columns than rows, images get narrower.

    Parameters
    ----------
    images : Tensor
        One image per cell, in reading order, floating point, shape (rows · columns, C, H, W).
    grid : (rows, columns)
        Shape of the grid.

    Returns
    -------
    Tensor
        Shape (1, C, H, W), same dtype and device as `images`.

    Raises
    ------
    ValueError, TypeError
        If the number of images does not equal that of cells, or the grid does not fit.

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
        raise TypeError(f"the images must be a Tensor, got {type(images).__name__}: use torch.stack(images)")
    if images.dim() != 4 or not images.is_floating_point():
        raise ValueError(f"expected floating-point images (cells, C, H, W), got {images.dtype} {tuple(images.shape)}")
    height, width = images.shape[2:]
    rows, columns = checked_grid(grid, height, width)
    if len(images) != rows * columns:
        raise ValueError(f"a {rows} × {columns} grid needs {rows * columns} images, got {len(images)}")
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
    """Collages in which a model recognizes the class of one cell, for :func:`grid_pointing_game`.

    As in Rao et al. 2022, they consist of images that the model is confident about. But images are resized to the
    cells, instead of enlarging the input. At that size and beside others, the model has little confidence in most of
    them, and an attribution cannot point at what the model does not see. So only collages are used for which the model
    predicts one of the classes with confidence.

    Parameters
    ----------
    model : nn.Module
        The plain model, in eval mode.
    images : Tensor or sequence of Tensor
        Model inputs, all of the same shape, (C, H, W) or (1, C, H, W) each.
    targets : sequence of int, optional
        The class of each image. Default: the model's predictions.
    grid : (rows, columns)
        Shape of the grid.
    n : int
        Number of collages. No two consist of the same images, and a larger `n` starts with the same collages.
    min_confidence : float
        Images are used only if the model predicts their class with at least this confidence, and collages only if it
        predicts one of their classes with at least this confidence.
    seed : int
        Random seed. The images used least often come next, if their classes differ and the model recognizes the
        collage. Which of them are combined, and in which order, is random.
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
        If a shape or value is invalid, or the model is confident about too few images.

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
            Judge(0, to_confidence)(output)  # raises an error if it is not a classifier's output
            for i, row in enumerate(output.split(1), start):
                target = row.argmax() if targets is None else targets[i]
                if _confident(row, target, to_confidence, least) is not None:
                    classes.setdefault(int(target), []).append(i)
    count = sum(map(len, classes.values()))
    who = f"{count} of {len(stacked)} images, in {len(classes)} classes, with a confidence of at least {least:g}"
    if not classes:
        raise ValueError(
            f"the model is right about none of {len(stacked)} images with a confidence of at least {least:g}: check "
            "that targets are its class indices, and that images are preprocessed as in its training"
        )
    if len(classes) < cells:
        raise ValueError(
            f"the model is right about {who}, but a {grid[0]} × {grid[1]} grid needs {cells} different classes: give "
            "images of more classes, lower min_confidence, or use a smaller grid"
        )
    possible = sets_of([len(members) for members in classes.values()], cells)
    if n > possible:
        raise ValueError(
            f"the model is right about {who}, enough for {possible} different collages, but n is {n}: give "
            "more images, lower min_confidence, or lower n"
        )
    of_image = {image: target for target, members in classes.items() for image in members}
    turns = Turns(classes, cells, checked_seed(seed))
    found: list[tuple[Tensor, list[int], list[int], int, float]] = []
    with tqdm(total=n, desc="Collages", disable=not show_progress) as bar:
        while len(found) < n:
            if turns.tried == min(possible, _PATIENCE * n):
                raise ValueError(
                    f"the model is right about {who}, but of {turns.tried} collages of these, it recognizes a class "
                    f"with that confidence in {len(found)}, and n is {n}: give more images, lower min_confidence, or "
                    "lower n"
                )
            images_of = turns.drawn()
            x = collage(stacked[images_of], grid)
            with torch.no_grad():
                output = model(x)
            drawn = [of_image[image] for image in images_of]
            seen = {cell: _confident(output, target, to_confidence, least) for cell, target in enumerate(drawn)}
            for cell, confidence in seen.items():
                if confidence is not None:  # at most one cell, since it is the model's answer
                    found.append((x, drawn, images_of, cell, confidence))
                    turns.taken(images_of)
                    bar.update()
    made, *columns = zip(*found)
    drawn_all, chosen, explained, sure = (torch.tensor(values, device=made[0].device) for values in columns)
    return Collages(torch.cat(made), drawn_all, chosen, explained, sure, (grid[0], grid[1]))


_PATIENCE = 100  # collages to try per requested one


def _confident(row: Tensor, target: int | Tensor, to_confidence: ToConfidence, least: float) -> float | None:
    """The confidence in a class if the model predicts it with at least that confidence, else None."""
    confidence, kept = Judge(target, to_confidence)(row)
    return float(confidence) if bool(kept) and float(confidence) >= least else None


def _stacked(images: Sequence[Tensor] | Tensor) -> Tensor:
    if len(images) == 0:
        raise ValueError("got 0 images, expected at least one")
    each: list[Tensor] = []
    for image in images:
        x = image[None] if isinstance(image, Tensor) and image.dim() == 3 else image
        one_input(x)
        if x.dim() != 4 or (each and x.shape != each[0].shape):
            what = f"{tuple(x.shape)} and {tuple(each[0].shape)}" if each else f"{tuple(x.shape)}"
            raise ValueError(f"expected images of the same shape, (1, C, H, W) or (C, H, W), got {what}")
        each.append(x)
    return torch.cat(each)
