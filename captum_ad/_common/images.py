"""Photographs: image files, folders and patterns of them, or those that scikit-image ships, by name."""

from __future__ import annotations

import glob
import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from captum_ad._common.errors import InputError
from captum_ad._common.files import printable
from captum_ad._common.pixels import deep, levels

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
    size : tuple of int
        Width and height, upright.
    note : str
        How its values were read, if that was a choice.
    """

    name: str
    source: str
    size: tuple[int, int]
    note: str = ""

    @property
    def image(self) -> Image.Image:
        """The image, RGB and upright, read from its file anew: many do not fit into memory."""
        return load_image(self.source)[0]


def load_photographs(sources: Sequence[str]) -> list[Photograph]:
    """Every source read completely once, with a name of its own each.

    Raises
    ------
    InputError
        If a file is missing, no image, or truncated, or has gray levels whose range is unknown: floats
        outside of 0 to 1, negative integers.
    """
    found = expanded(sources)
    loaded = []
    for name, source in zip(_unique_names(found), found, strict=True):
        image, note = load_image(source)
        loaded.append(Photograph(name, source, image.size, note and printable(note)))
    return loaded


def expanded(sources: Sequence[str]) -> list[str]:
    """The files that are meant: a folder's images in alphabetical order, those that fit a pattern, and files as given.

    Raises
    ------
    InputError
        If a folder holds no images, or nothing fits a pattern.
    """
    files: list[str] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files += _of_folder(path)
        elif any(sign in source for sign in "*?[") and not path.exists():
            matches = sorted(name for name in glob.glob(source, recursive=True) if Path(name).is_file())
            images = [name for name in matches if is_image(Path(name))]
            if not images:
                others = f"; {len(matches)} other files do" if matches else ""
                raise InputError(f"no image fits {source!r}{others}")
            files += images
        else:
            files.append(source)
    return files


def _of_folder(folder: Path) -> list[str]:
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    images = [str(path) for path in inside if path.is_file() and is_image(path)]
    if not images:
        below = any(path.is_dir() for path in inside)
        hint = f"; for those in its folders give '{folder}/**/*.*'" if below else ""
        raise InputError(f"the folder {str(folder)!r} holds no image that Pillow can read{hint}")
    return images


def is_image(path: Path) -> bool:
    """Whether a file's name is that of an image that Pillow can read."""
    _know_heif()
    return path.suffix.lower() in Image.registered_extensions()


def _unique_names(sources: Sequence[str]) -> list[str]:
    """The sources' stems; the second of a kind gets ``-2``, and so on."""
    stems = [printable(Path(source).stem) or "image" for source in sources]
    names: list[str] = []
    folded = [stem.casefold() for stem in stems]  # a.png and A.png are one file on many systems
    for i, stem in enumerate(stems):
        name, count = stem, 1
        while name.casefold() in {one.casefold() for one in names} or (count > 1 and name.casefold() in folded[i:]):
            count += 1
            name = f"{stem}-{count}"
        names.append(name)
    return names


def load_image(source: str) -> tuple[Image.Image, str]:
    """The image of a source, RGB and upright, and how its values were read if that was a choice.

    Raises
    ------
    InputError
        If it cannot be read, see :func:`load_photographs`.
    """
    path = Path(source)
    if source in PHOTOGRAPHS and not path.exists():
        return _shipped(source), ""
    if not path.exists():
        raise InputError(f"no image at {source!r} (nor a photograph of that name: {', '.join(PHOTOGRAPHS)})")
    _know_heif()
    try:
        with Image.open(path) as image:
            image.verify()  # finds broken files; the image cannot be used after it
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        phone = path.suffix.lower() in (".heic", ".heif")
        hint = ": pip install pillow-heif, or save it as JPEG" if phone else ""
        raise InputError(f"{source!r} is not an image that Pillow can read{hint}") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"the image {source!r} is too large: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"cannot read the image {source!r} (truncated or damaged?): {error}") from None
    return as_rgb(upright, source)


def as_rgb(image: Image.Image, source: str) -> tuple[Image.Image, str]:
    """An image of any mode as RGB, and how its values were read if that was a choice.

    Raises
    ------
    InputError
        If it has gray levels whose range is unknown.
    """
    return _deep(image, source) if deep(image) else (image.convert("RGB"), "")


def _deep(image: Image.Image, source: str) -> tuple[Image.Image, str]:
    """A gray image of more than 8 bits, brought to 8: Pillow's own conversion cuts off what is above 255."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            gray = levels(image)
        except ValueError as error:
            raise InputError(f"{source!r} is a grayscale image of mode {image.mode!r}: {error}") from None
    note = "; ".join(f"{source}: {one.message}" for one in said)
    return Image.fromarray((255 * gray).round().astype(np.uint8)).convert("RGB"), note


def _know_heif() -> None:
    """Let Pillow read the pictures of phones where the package for it is installed."""
    if importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()


def _shipped(name: str) -> Image.Image:
    import skimage.data

    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
