"""Photographs: image files, or those that scikit-image ships, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from captum_ad.cli.errors import InputError
from captum_ad.pixels import deep, levels

PHOTOGRAPHS = ("camera", "chelsea", "coffee")
"""Names of scikit-image's photographs that stand for a path."""


@dataclass(frozen=True)
class Photograph:
    """One image to explain.

    Attributes
    ----------
    name : str
        Stem of the files that are written about it; unique within a run.
    source : str
        What the user gave: a path, or a name of :data:`PHOTOGRAPHS`.
    image : PIL.Image.Image
        RGB, upright.
    """

    name: str
    source: str
    image: Image.Image


def load_photographs(sources: Sequence[str]) -> list[Photograph]:
    """Every source loaded completely, with a name of its own each.

    Raises
    ------
    InputError
        If a file is missing, no image, or truncated, or has grey levels whose range is unknown: floats
        outside of 0 to 1, negative integers.

    Warns
    -----
    UserWarning
        If grey levels of 10, 12 or 14 bits are scaled.
    """
    return [
        Photograph(name, source, _load(source)) for name, source in zip(_unique_names(sources), sources, strict=True)
    ]


def _unique_names(sources: Sequence[str]) -> list[str]:
    """The sources' stems; the second of a kind gets ``-2``, and so on."""
    stems = [Path(source).stem or "image" for source in sources]
    names: list[str] = []
    for i, stem in enumerate(stems):
        name, count = stem, 1
        while name in names or (count > 1 and name in stems[i:]):
            count += 1
            name = f"{stem}-{count}"
        names.append(name)
    return names


def _load(source: str) -> Image.Image:
    path = Path(source)
    if source in PHOTOGRAPHS and not path.exists():
        return _shipped(source)
    if not path.exists():
        raise InputError(f"no image at {source!r} (nor a photograph of that name: {', '.join(PHOTOGRAPHS)})")
    if path.is_dir():
        raise InputError(f"{source!r} is a directory: give image files")
    try:
        with Image.open(path) as image:
            image.verify()  # finds broken files; the image cannot be used after it
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise InputError(f"{source!r} is no image that Pillow can read") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the image {source!r} (truncated or damaged?): {error}") from None
    if not deep(upright):
        return upright.convert("RGB")
    try:
        grey = levels(upright)
    except ValueError as error:
        raise InputError(f"{source!r} is a greyscale image of mode {upright.mode!r}: {error}") from None
    return Image.fromarray((255 * grey).round().astype(np.uint8)).convert("RGB")


def _shipped(name: str) -> Image.Image:
    import skimage.data

    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
