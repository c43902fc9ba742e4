"""The manifest of a folder of results: settings, and digests of everything that the results depend on."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from captum_ad._common.files import write_whole
from captum_ad._version import __version__
from captum_ad.study.store import SCHEMA, StoreError

FILE = "study.json"
"""The name of the manifest in a folder of results."""

_NAMED = ("models", "images", "methods", "maskings")


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "captum", "numpy")}
    return {"captum_ad": __version__, **packages, "python": platform.python_version()}


@dataclass(frozen=True)
class Manifest:
    """What the results of a folder depend on.

    Attributes
    ----------
    settings : dict
        Settings of all units.
    models, images, methods, maskings : dict
        Digests by name: of weights, code and transform; of contents; of code; of values.
    running : dict
        What changes only rounding errors and times: threads, batch size.
    about : dict
        Information for readers: the command, images that were skipped, names of classes.
    versions : dict
        Versions of the packages.
    schema : int
        Version of the records' tables.
    """

    settings: dict[str, Any]
    models: dict[str, str]
    images: dict[str, str]
    methods: dict[str, str]
    maskings: dict[str, str]
    running: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=_versions)
    schema: int = SCHEMA

    def differences(self, other: Manifest) -> list[str]:
        """The differences for which results cannot be combined, one line each; names in only one of the two are fine.

        Examples
        --------
        >>> mine = Manifest({"seed": 0}, {"net": "1f"}, {}, {}, {})
        >>> mine.differences(Manifest({"seed": 1}, {"net": "1f", "other": "2e"}, {}, {}, {}))
        ['seed: 0 there, 1 now']
        """
        found = [
            f"{name}: {self.settings.get(name)!r} there, {other.settings.get(name)!r} now"
            for name in sorted({*self.settings, *other.settings})
            if self.settings.get(name) != other.settings.get(name)
        ]
        for kind in _NAMED:
            mine, theirs = getattr(self, kind), getattr(other, kind)
            changed = [name for name in mine if name in theirs and mine[name] != theirs[name]]
            found += [f"{_CHANGED[kind].format(name)} ({mine[name]} there, {theirs[name]} now)" for name in changed]
        for package in ("captum_ad", "torch", "captum"):
            there, now = self.versions.get(package), other.versions.get(package)
            found += [f"version of {package}: {there} there, {now} now"] if there != now else []
        return found

    def grown(self, other: Manifest) -> Manifest:
        """The manifest with the names of the other added."""
        named: dict[str, Any] = {kind: {**getattr(self, kind), **getattr(other, kind)} for kind in _NAMED}
        return Manifest(
            self.settings,
            **named,
            running=other.running,
            about=merged(self.about, other.about),
            versions=other.versions,
        )

    def write(self, folder: Path) -> None:
        """Write :data:`FILE`, completely or not at all."""
        write_whole(folder / FILE, json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")


_CHANGED = {
    "models": "model {!r} has other weights, code, transform or backgrounds",
    "images": "image {!r} has other contents",
    "methods": "method {!r} has other code",
    "maskings": "masking {!r} has another meaning",
}


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings, recursively; for keys in both, the value of `other` is used."""
    both = {name: (one[name], other[name]) for name in one if name in other}
    inner = {
        name: merged(a, b) if isinstance(a, Mapping) and isinstance(b, Mapping) else b for name, (a, b) in both.items()
    }
    return {**one, **other, **inner}


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder of results; None if there is none.

    Raises
    ------
    StoreError
        If it is damaged or has another schema.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        given = json.loads(text)
        schema = given["schema"]
        found = Manifest(**given) if schema == SCHEMA else None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{str(path)!r} is not a manifest of a study ({error}): choose another folder") from None
    if found is None:
        raise StoreError(
            f"{str(path)!r} has schema {schema}, but this version of captum_ad reads schema {SCHEMA}: use the "
            "version that wrote it, or start in another folder"
        )
    return found


def take_up(folder: Path, now: Manifest) -> Manifest:
    """Write the manifest of a study, merged with the one that is already in the folder.

    Raises
    ------
    StoreError
        If the folder has results of another configuration; the message lists the differences.
    """
    there = read_manifest(folder)
    if there is not None:
        different = there.differences(now)
        if different:
            shown = "; ".join(different[:8]) + (f"; and {len(different) - 8} more" if len(different) > 8 else "")
            raise StoreError(
                f"{str(folder)!r} has results of another configuration: {shown}. Use the same one, or another folder"
            )
        now = there.grown(now)
    now.write(folder)
    return now
