"""Places in an image: boxes, masks of objects, and the cells of a grid."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor

Box = Sequence[int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""

Grid = tuple[int, int]
"""Rows and columns of cells."""


def cell_masks(height: int, width: int, grid: Grid = (2, 2)) -> Tensor:
    """The cells of a grid, in reading order.

    Parameters
    ----------
    height, width : int
        Of the image, in pixels.
    grid : (rows, columns)
        The cells; they differ by one pixel in size where they do not divide the image evenly.

    Returns
    -------
    Tensor
        bool, shape (rows · columns, H, W); every pixel is in one of them.

    Raises
    ------
    ValueError, TypeError
        If the grid is not a pair of positive integers, or finer than the pixels.

    Examples
    --------
    >>> cell_masks(1, 4, (1, 2)).int()
    tensor([[[1, 1, 0, 0]],
            [[0, 0, 1, 1]]], dtype=torch.int32)
    """
    rows, columns = checked_grid(grid, height, width)
    row = torch.arange(height) * rows // height
    column = torch.arange(width) * columns // width
    labels = row[:, None] * columns + column
    return labels == torch.arange(rows * columns)[:, None, None]


def box_mask(box: Box, height: int, width: int) -> Tensor:
    """The pixels of a box.

    Parameters
    ----------
    box : (left, top, right, bottom)
        In pixels of the image; right and bottom are exclusive.
    height, width : int
        Of the image, in pixels.

    Returns
    -------
    Tensor
        bool, shape (H, W), True = in the box.

    Raises
    ------
    ValueError
        If the box is empty, does not lie within the image, or is no four whole numbers.

    Examples
    --------
    >>> box_mask((1, 0, 3, 1), height=2, width=4).int()
    tensor([[0, 1, 1, 0],
            [0, 0, 0, 0]], dtype=torch.int32)
    """
    try:
        left, top, right, bottom = (operator.index(edge) for edge in box)
    except (TypeError, ValueError):
        raise ValueError(f"a box is four whole numbers, left, top, right, bottom, got {box!r}") from None
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f"box {(left, top, right, bottom)}: expected left < right within 0 to {width} and top < bottom within 0 to "
            f"{height}, right and bottom exclusive: is it in pixels of the model's input?"
        )
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def object_mask(inside: Tensor | Box, image: Tensor) -> Tensor:
    """Where the object is, bool, shape (H, W), on the device of an `image` of shape (..., H, W).

    Raises
    ------
    ValueError, TypeError
        If it is neither a box within the image nor a mask of its size, or empty.
    """
    height, width = image.shape[-2:]
    if not isinstance(inside, Tensor) or inside.shape == (4,):
        return box_mask(inside.tolist() if isinstance(inside, Tensor) else inside, height, width).to(image.device)
    if inside.dtype != torch.bool:
        raise TypeError(f"the object's mask is {inside.dtype}, expected booleans, True = object: mask > 0.5 makes them")
    if tuple(inside.shape) != (height, width):
        raise ValueError(f"the object's mask has shape {tuple(inside.shape)}, expected the image's, {(height, width)}")
    if not bool(inside.any()):
        raise ValueError("the object's mask is empty: there is nothing to find, leave this image out")
    return inside.to(image.device)


def checked_grid(grid: Grid, height: int | None = None, width: int | None = None) -> Grid:
    """Rows and columns, if an image (of that size, if it is known) has a pixel for every cell.

    Raises
    ------
    ValueError, TypeError
        If not.
    """
    if isinstance(grid, (str, Tensor)) or not isinstance(grid, Sequence) or len(grid) != 2:
        raise TypeError(f"a grid is (rows, columns), got {grid!r}")
    rows, columns = (whole_number(number, "a grid's rows and columns") for number in grid)
    if rows < 1 or columns < 1:
        raise ValueError(f"a grid has one row and one column at least, got {rows} × {columns}")
    if (height is not None and rows > height) or (width is not None and columns > width):
        raise ValueError(f"a grid {rows} × {columns} does not fit an image of {height} × {width} pixels")
    return rows, columns


def whole_number(value: int, name: str) -> int:
    """An integer of any sort.

    Raises
    ------
    TypeError
        If it is none.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} must be whole numbers, got {value!r}")
