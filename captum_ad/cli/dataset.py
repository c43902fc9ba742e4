"""Data sets of a study: a folder per class, a CSV file, or a folder saved by Hugging Face's datasets."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from captum_ad._common.errors import InputError
from captum_ad._common.extras import needed
from captum_ad._common.images import as_rgb, is_image
from captum_ad.cli.labels import EDGES, Box


@dataclass(frozen=True)
class Entry:
    """One image of a data set.

    Attributes
    ----------
    name : str
        Unique within the data set, and the same on every machine.
    class_name : str
        The class as the data set gives it: a name, a number, or a WordNet id.
    read : callable
        Returns the bytes of its file.
    box : Box, optional
        The object's box, in pixels of the image.
    """

    name: str
    class_name: str
    read: Callable[[], bytes] = field(repr=False)
    box: Box | None = None

    @property
    def image(self) -> Image.Image:
        """The image, RGB and upright.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        return _decoded(self.name, self.read)

    @property
    def digest(self) -> str:
        """A digest of its file's contents, its class and its box."""
        about = f"{self.class_name} {self.box}".encode()
        return hashlib.sha256(self.read() + about).hexdigest()[:12]


def read_dataset(path: Path) -> list[Entry]:
    """List the images of a data set, in the same order on every machine. No image is decoded.

    Parameters
    ----------
    path : Path
        A folder with images as ``CLASS/image.jpg``; a CSV file with the columns file (relative to the CSV file) and
        class or index, optionally also left, top, right and bottom; or a folder written by
        ``datasets.Dataset.save_to_disk``.

    Raises
    ------
    InputError
        If it is none of these.
    """
    if path.is_dir():
        saved = any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))
        return _of_datasets(path) if saved else _of_folder(path)
    if path.suffix.lower() == ".csv" and path.is_file():
        return _of_csv(path)
    raise InputError(
        f"no data set at {str(path)!r}: expected a folder with a folder for each class, a CSV file with the columns "
        "file and class, or a folder that datasets.Dataset.save_to_disk wrote"
    )


def some_of(entries: Sequence[Entry], count: int | None, seed: int) -> list[Entry]:
    """Up to `count` entries, drawn without replacement, in the data set's order."""
    if count is None or count >= len(entries):
        return list(entries)
    return [entries[place] for place in sorted(np.random.default_rng(seed).permutation(len(entries))[:count].tolist())]


def _decoded(name: str, read: Callable[[], bytes]) -> Image.Image:
    try:
        with Image.open(io.BytesIO(read())) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise InputError(f"{name!r} is not an image that Pillow can read") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the image {name!r}: {error}") from None
    return as_rgb(upright, name)[0]


def _of_folder(path: Path) -> list[Entry]:
    classes = sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
    entries = []
    for folder in classes:
        files = sorted(one for one in folder.rglob("*") if one.is_file() and is_image(one))
        entries += [Entry(one.relative_to(path).as_posix(), folder.name, one.read_bytes) for one in files]
    if not entries:
        loose = sum(is_image(one) for one in path.iterdir() if one.is_file())
        what = f"holds {loose} images and no folders with images" if loose else "holds no images"
        raise InputError(
            f"the data set {str(path)!r} {what}: expected a folder for each class, {path.name}/CLASS/image.jpg, or a "
            "CSV file with the columns file and class"
        )
    return entries


def _of_csv(path: Path) -> list[Entry]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            columns = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from None
    by = next((name for name in ("class", "index") if name in columns), None)
    if "file" not in columns or by is None:
        raise InputError(f"{str(path)!r} needs the columns file and class (a name) or index, got {', '.join(columns)}")
    some = [name for name in EDGES if name in columns]
    if some and len(some) < len(EDGES):
        raise InputError(f"{str(path)!r} has {', '.join(some)} of a box: expected all of {', '.join(EDGES)}, or none")
    entries: dict[str, Entry] = {}
    for line, row in enumerate(rows, 2):
        file, class_name = row["file"], row[by]
        if not file or not class_name:
            raise InputError(f"{str(path)!r}, row {line}: the file or its {by} is missing")
        if file in entries:
            raise InputError(f"{str(path)!r}, row {line}: {file!r} already has a row")
        entries[file] = Entry(
            file, class_name, (path.parent / file).read_bytes, _box(path, line, row) if some else None
        )
    if not entries:
        raise InputError(f"{str(path)!r} has no rows")
    return list(entries.values())


def _box(path: Path, line: int, row: dict[str, str]) -> Box | None:
    given = [row[name] for name in EDGES]
    if not any(given):
        return None
    try:
        left, top, right, bottom = (int(edge) for edge in given)
    except (TypeError, ValueError):
        raise InputError(f"{str(path)!r}, row {line}: a box has whole numbers of pixels, got {given}") from None
    return left, top, right, bottom


def _of_datasets(path: Path) -> list[Entry]:
    try:
        datasets = needed("datasets", "datasets", "study")
    except ImportError as error:
        raise InputError(f"{str(path)!r} was saved by Hugging Face's datasets: {error}") from None
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # it raises many types for a damaged folder
        raise InputError(f"datasets cannot read {str(path)!r}: {error}") from None
    if isinstance(found, datasets.DatasetDict):
        raise InputError(
            f"{str(path)!r} has the splits {', '.join(found)}: give one of them, {path / next(iter(found))}"
        )
    features = found.features
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if len(images) != 1 or len(labels) != 1:
        raise InputError(
            f"{str(path)!r} has the columns {', '.join(features)}: expected one of type Image and one ClassLabel"
        )
    raw, names = found.cast_column(images[0], datasets.Image(decode=False)), features[labels[0]].names
    classes = [names[index] for index in found[labels[0]]]

    def reads(index: int) -> Callable[[], bytes]:
        def read() -> bytes:
            one: dict[str, Any] = raw[index][images[0]]
            return one["bytes"] if one["bytes"] is not None else Path(one["path"]).read_bytes()

        return read

    return [Entry(f"{index:06d}", name, reads(index)) for index, name in enumerate(classes)]


def class_indices(class_names: Iterable[str], model: str, known: Sequence[str], classes: int) -> dict[str, int]:
    """The model's class for each class of a data set, matched by number, name, or WordNet id.

    Names match regardless of case, and of spaces, hyphens and underscores between words.

    Parameters
    ----------
    class_names : iterable of str
        The data set's classes.
    model : str
        The model's name for messages.
    known : sequence of str
        The model's class names, in the order of its outputs; may be empty.
    classes : int
        The number of the model's outputs.

    Raises
    ------
    InputError
        If a class of the data set is not one of the model's.
    """
    given = sorted(set(class_names))
    numbers = {name: int(name) for name in given if name.isdecimal()}
    by_name: dict[str, list[int]] = {}
    for index, name in enumerate(known):
        by_name.setdefault(_plain(name), []).append(index)
    ids = _wordnet_ids() if any(_is_id(name) for name in given) and classes == 1000 else {}
    found, unknown = {}, []
    for name in given:
        named = by_name.get(_plain(name), [])
        place = named[0] if len(named) == 1 else ids.get(name, numbers.get(name, -1))
        if 0 <= place < classes:
            found[name] = place
        else:
            unknown.append(name)
    if unknown:
        shown = ", ".join(map(repr, unknown[:5])) + (" …" if len(unknown) > 5 else "")
        names = (
            f"its classes are called {', '.join(known[:3])} …" if known else "the names of its classes are not known"
        )
        hint = "; WordNet ids need timm: pip install timm" if any(map(_is_id, unknown)) and not ids else ""
        raise InputError(
            f"{len(unknown)} of {len(given)} classes of the data set are not classes of {model!r}, {shown}: it has "
            f"{classes} outputs, and {names}. Name classes as the model does or by number, or give its names with "
            f"--classes{hint}"
        )
    return found


def _plain(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def _is_id(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdecimal()


def _wordnet_ids() -> dict[str, int]:
    """ImageNet's classes by WordNet id, from timm, in the order of all networks' outputs; empty without timm."""
    try:
        from timm.data import ImageNetInfo
    except ImportError:
        return {}
    return {name: index for index, name in enumerate(ImageNetInfo().label_names())}
