"""Places in an image: boxes, masks of objects, and the cells of a grid."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor

Box = Sequence[int]
"""(left, top, right, bottom) in pixels; right and bottom are exclusive."""

Grid = tuple[int, int]
"""(rows, columns) of cells."""


def cell_masks(height: int, width: int, grid: Grid = (2, 2)) -> Tensor:
    """The cells of a grid, in reading order.

    Parameters
    ----------
    height, width : int
        Size of the image, in pixels.
    grid : (rows, columns)
        Shape of the grid. Cells differ by one pixel in size if they do not divide the image evenly.

    Returns
    -------
    Tensor
        bool, shape (rows · columns, H, W). Every pixel is in exactly one cell.

    Raises
    ------
    ValueError, TypeError
        If the grid is not a pair of positive integers, or has more rows or columns than the image.

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
    """The mask of a box.

    Parameters
    ----------
    box : (left, top, right, bottom)
        In pixels of the image; right and bottom are exclusive.
    height, width : int
        Size of the image, in pixels.

    Returns
    -------
    Tensor
        bool, shape (H, W), True = in the box.

    Raises
    ------
    ValueError
        If the box is empty, not within the image, or not four integers.

    Examples
    --------
    >>> box_mask((1, 0, 3, 1), height=2, width=4).int()
    tensor([[0, 1, 1, 0],
            [0, 0, 0, 0]], dtype=torch.int32)
    """
    try:
        left, top, right, bottom = (operator.index(edge) for edge in box)
    except (TypeError, ValueError):
        raise ValueError(f"a box must be four integers (left, top, right, bottom), got {box!r}") from None
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f"box {(left, top, right, bottom)}: expected left < right within 0 to {width} and top < bottom within 0 to "
            f"{height}, right and bottom exclusive: check that it is in pixels of the model's input"
        )
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def object_mask(inside: Tensor | Box, image: Tensor) -> Tensor:
    """The mask of an object, bool, shape (H, W), on the device of an `image` of shape (..., H, W).

    Raises
    ------
    ValueError, TypeError
        If `inside` is neither a box within the image nor a mask of its size, or if it is empty.
    """
    height, width = image.shape[-2:]
    if not isinstance(inside, Tensor) or inside.shape == (4,):
        return box_mask(inside.tolist() if isinstance(inside, Tensor) else inside, height, width).to(image.device)
    if inside.dtype != torch.bool:
        raise TypeError(f"the object's mask is {inside.dtype}, expected booleans, True = object: use mask > 0.5")
    if tuple(inside.shape) != (height, width):
        raise ValueError(f"the object's mask has shape {tuple(inside.shape)}, expected the image's, {(height, width)}")
    if not bool(inside.any()):
        raise ValueError("the object's mask is empty: leave this image out")
    return inside.to(image.device)


def checked_grid(grid: Grid, height: int | None = None, width: int | None = None) -> Grid:
    """Check that a grid is (rows, columns), at least one each and, if the image size is known, at most one per pixel.

    Raises
    ------
    ValueError, TypeError
        If not.
    """
    if isinstance(grid, (str, Tensor)) or not isinstance(grid, Sequence) or len(grid) != 2:
        raise TypeError(f"a grid must be (rows, columns), got {grid!r}")
    rows, columns = (whole_number(number, "a grid's rows and columns") for number in grid)
    if rows < 1 or columns < 1:
        raise ValueError(f"a grid must have at least one row and one column, got {rows} × {columns}")
    if (height is not None and rows > height) or (width is not None and columns > width):
        raise ValueError(f"a {rows} × {columns} grid does not fit an image of {height} × {width} pixels")
    return rows, columns


def whole_number(value: int, name: str) -> int:
    """Convert any kind of integer to int.

    Raises
    ------
    TypeError
        If it is not an integer.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} must be integers, got {value!r}")
