"""Photographs: image files, folders or patterns of them, or the names of those that scikit-image ships."""

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
"""Names of scikit-image's photographs, which can be given instead of a path."""


@dataclass(frozen=True)
class Photograph:
    """One image to explain.

    Attributes
    ----------
    name : str
        Stem of the files that are written about it; unique within a run.
    source : str
        A path, or one of :data:`PHOTOGRAPHS`.
    size : tuple of int
        Width and height of the upright image, in pixels.
    note : str
        How its values were read, if that was ambiguous; else empty.
    """

    name: str
    source: str
    size: tuple[int, int]
    note: str = ""

    @property
    def image(self) -> Image.Image:
        """The image, RGB and upright; read from its file each time, because many may not fit into memory."""
        return load_image(self.source)[0]


def load_photographs(sources: Sequence[str]) -> list[Photograph]:
    """Check that every source can be read, and give each a unique name.

    Raises
    ------
    InputError
        If a file is missing, truncated, or not an image, or if it has gray levels of unknown range: floats
        outside of 0 to 1, or negative integers.
    """
    found = expanded(sources)
    loaded = []
    for name, source in zip(_unique_names(found), found, strict=True):
        image, note = load_image(source)
        loaded.append(Photograph(name, source, image.size, note and printable(note)))
    return loaded


def expanded(sources: Sequence[str]) -> list[str]:
    """The files that sources stand for: the images of a folder in alphabetical order, those that match a pattern.

    Raises
    ------
    InputError
        If a folder has no images, or no image matches a pattern.
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
                others = f", only {len(matches)} files that are not images" if matches else ""
                raise InputError(f"no image matches {source!r}{others}")
            files += images
        else:
            files.append(source)
    return files


def _of_folder(folder: Path) -> list[str]:
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    images = [str(path) for path in inside if path.is_file() and is_image(path)]
    if not images:
        below = any(path.is_dir() for path in inside)
        hint = f"; for images in its subfolders give '{folder}/**/*.*'" if below else ""
        raise InputError(f"the folder {str(folder)!r} has no image that Pillow can read{hint}")
    return images


def is_image(path: Path) -> bool:
    """Whether a file has the suffix of an image that Pillow can read."""
    _know_heif()
    return path.suffix.lower() in Image.registered_extensions()


def _unique_names(sources: Sequence[str]) -> list[str]:
    """The sources' stems; the second source with the same stem gets ``-2``, and so on."""
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
    """The image of a source, RGB and upright, and a note on how its values were read if that was ambiguous.

    Raises
    ------
    InputError
        If it cannot be read, see :func:`load_photographs`.
    """
    path = Path(source)
    if source in PHOTOGRAPHS and not path.exists():
        return _shipped(source), ""
    if not path.exists():
        raise InputError(f"no image at {source!r}, and it is not one of the photographs {', '.join(PHOTOGRAPHS)}")
    _know_heif()
    try:
        with Image.open(path) as image:
            image.verify()  # finds broken files, but the image cannot be used afterwards
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
    """An image of any mode as RGB, and a note on how its values were read if that was ambiguous.

    Raises
    ------
    InputError
        If it has gray levels of unknown range.
    """
    return _deep(image, source) if deep(image) else (image.convert("RGB"), "")


def _deep(image: Image.Image, source: str) -> tuple[Image.Image, str]:
    """A gray image of more than 8 bits, scaled to 8 bits, because Pillow's own conversion clips values above 255."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            gray = levels(image)
        except ValueError as error:
            raise InputError(f"{source!r} is a grayscale image of mode {image.mode!r}: {error}") from None
    note = "; ".join(f"{source}: {one.message}" for one in said)
    return Image.fromarray((255 * gray).round().astype(np.uint8)).convert("RGB"), note


def _know_heif() -> None:
    """Let Pillow read HEIF images (from phones) if pillow-heif is installed."""
    if importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()


def _shipped(name: str) -> Image.Image:
    import skimage.data

    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
