"""Classes and boxes of photographs, from a CSV file, and boxes carried into the model's input."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from captum_ad._common.errors import InputError
from captum_ad.cli.models import Classifier

EDGES = ("left", "top", "right", "bottom")

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""


@dataclass(frozen=True)
class Label:
    """The label of a photograph.

    Attributes
    ----------
    file : str
        The path in the CSV file, relative to the folder of the CSV file.
    index : int
        The class.
    box : Box, optional
        Where the object is, in pixels of the photograph.
    """

    file: str
    index: int
    box: Box | None


def read_labels(path: Path, *, boxed: bool) -> list[Label]:
    """Read the rows of a CSV file with the columns file, index and, if `boxed`, left, top, right, bottom.

    Raises
    ------
    InputError
        If there is no such file, a column is missing, a value is not a whole number, or a file has two rows.
    """
    wanted = ["file", "index", *(EDGES if boxed else ())]
    try:
        with open(path, newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = [name for name in wanted if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{str(path)!r} lacks {', '.join(missing)}: expected the columns {', '.join(wanted)}")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from None
    labels: dict[str, Label] = {}
    for line, row in enumerate(rows, 2):
        try:
            index, *edges = (int(row[name]) for name in wanted[1:])
        except (TypeError, ValueError):
            given = ", ".join(f"{name}={row[name]!r}" for name in wanted[1:])
            raise InputError(f"{str(path)!r}, row {line}: expected whole numbers, got {given}") from None
        name = str(Path(row["file"]))
        if name in labels:
            raise InputError(f"{str(path)!r}, row {line}: {name!r} already has a row")
        labels[name] = Label(row["file"], index, (edges[0], edges[1], edges[2], edges[3]) if boxed else None)
    if not labels:
        raise InputError(f"{str(path)!r} has no rows")
    return list(labels.values())


def labels_of(sources: Sequence[str], known: Sequence[Label], path: Path) -> list[Label]:
    """The label of each photograph: from the row with its path, or else from the row with its file name.

    Raises
    ------
    InputError
        If a photograph has no row, or the file name alone is ambiguous.
    """
    rows = {(path.parent / label.file).resolve(): label for label in known}
    places = {source: Path(source).resolve() for source in sources}
    by_path = {source: rows[place] for source, place in places.items() if place in rows}
    rows = {place: label for place, label in rows.items() if place not in places.values()}
    left = [source for source in sources if source not in by_path]
    by_name: dict[str, Label] = {}
    for source in left:
        name = Path(source).name
        alike = [label for label in rows.values() if Path(label.file).name == name]
        if not alike:
            unnamed = [one for one in left if not any(Path(row.file).name == Path(one).name for row in rows.values())]
            raise InputError(f"{str(path)!r} has no row for {', '.join(map(repr, unnamed[:3]))}: add it")
        namesakes = [other for other in left if Path(other).name == name]
        if len(alike) > 1 or len(namesakes) > 1:
            those = ", ".join(map(repr, namesakes if len(namesakes) > 1 else [label.file for label in alike]))
            raise InputError(
                f"{str(path)!r} has a row for {source!r} only by its file name, which {those} have too: in the column "
                "file, write paths relative to the folder of the CSV file"
            )
        by_name[source] = alike[0]
    return [by_path.get(source) or by_name[source] for source in sources]


@dataclass(frozen=True)
class Carried:
    """A box in the model's input.

    Attributes
    ----------
    box : Box or None
        The smallest box around what is left of it, in pixels of the input; None if nothing is left.
    share : float
        The approximate share of its area that the transform does not crop away, 0 to 1.
    """

    box: Box | None
    share: float


def carried_box(box: Box, image: Image.Image, classifier: Classifier, source: str) -> Carried:
    """Carry a box of the photograph into the model's input.

    This works for any transform: it is applied to an image of a white box on black, to an all-black and to an all-white
    image. A pixel is in the box if it is closer to white than to black, that is, if at least half of it is covered. How
    much of the photograph a pixel shows is read from two ramps from black to white, one per dimension.

    Parameters
    ----------
    box : Box
        In pixels of `image`.
    image : PIL.Image.Image
        The photograph; only its size matters.
    classifier : Classifier
        Its transform must treat all images of one size alike.
    source : str
        The photograph's name for messages.

    Returns
    -------
    Carried
        The box, and the share of it that is left.

    Raises
    ------
    InputError
        If the box does not lie within the image, or the transform shows no difference between black and white.
    """
    left, top, right, bottom = box
    width, height = image.size
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise InputError(
            f"the box {box} of {source!r} is empty or not within its {width} × {height} pixels: expected left, top, "
            "right, bottom, the last two exclusive"
        )
    black, white = (Image.new("RGB", image.size, color) for color in ("black", "white"))
    boxed = black.copy()
    boxed.paste(white.crop(box), box)
    low, high = (classifier.prepare(one)[0].double().cpu().mean(0) for one in (black, white))
    if torch.equal(low, high):
        raise InputError(
            f"the transform of {classifier.name!r} maps black and white to the same values, so it cannot carry a box"
        )

    def shown(one: Image.Image) -> Tensor:
        """From 0 for black to 1 for white; NaN in padding."""
        return (classifier.prepare(one)[0].double().cpu().mean(0) - low) / (high - low)

    inside = (shown(boxed) >= 0.5).nonzero()
    if not len(inside):
        return Carried(None, 0.0)
    (first_row, first_column), (last_row, last_column) = inside.amin(0).tolist(), inside.amax(0).tolist()
    across = Image.linear_gradient("L").resize(image.size).convert("RGB")  # from top to bottom
    along = Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90).resize(image.size).convert("RGB")
    (down_y, right_y), (down_x, right_x) = (_slopes(shown(ramp)) for ramp in (across, along))
    pixels = abs(down_y * right_x - down_x * right_y) * width * height  # photograph pixels per input pixel
    share = min(1.0, len(inside) * pixels / ((right - left) * (bottom - top)))
    return Carried((first_column, first_row, last_column + 1, last_row + 1), share)


def _slopes(ramp: Tensor) -> tuple[float, float]:
    """How much a ramp rises from one row to the next, and from one column to the next."""
    found = []
    for axis in (0, 1):
        means = ramp.nanmean(1 - axis)
        known = (~means.isnan()).nonzero()[:, 0]
        first, last = int(known[0]), int(known[-1])
        found.append(float(means[last] - means[first]) / max(1, last - first))
    return found[0], found[1]
