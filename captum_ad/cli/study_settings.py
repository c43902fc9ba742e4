"""Settings of a study, from a TOML file and the command line, which takes precedence."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from captum_ad._common.errors import InputError, UnknownNameError
from captum_ad._common.extras import needed
from captum_ad._forwards.baseline_forward import NAMED, Masking
from captum_ad._methods import METHODS
from captum_ad.cli.maskings import masking_given
from captum_ad.cli.own_code import own_function
from captum_ad.metrics.explanation import PAPER_GAMMAS
from captum_ad.metrics.given import Method

JUDGES = ("deletion", "missingness")
CONTEXTS = ("K1", "K2")


@dataclass(frozen=True)
class Settings:
    """The settings of a study. The names are the same in a TOML file and on the command line.

    Attributes
    ----------
    model, weights, classes : list of str
        Networks, as for ``--model`` of the other commands; their checkpoints and files of class names, in the same
        order.
    methods, maskings : list of str
        Names; a user's own method is ``module:function`` or ``file.py:function``.
    gammas, sizes : list of float
        Confidence thresholds, and equal sizes at which to compare ρ, 0 to 1.
    contexts : list of str
        Kinds of backgrounds, among :data:`CONTEXTS`.
    backgrounds : int
        Backgrounds per context.
    backgrounds_from : str, optional
        The data set that K2 is drawn from; by default that of the study.
    judges : list of str
        What to measure besides ρ, sizes, confidences and insertion, among :data:`JUDGES`.
    images : int, optional
        The number of images to draw from the data set; by default all.
    samples, segments, window, step, seed, batch_size, threads : int
        See :func:`captum_ad.metrics.compare`; threads per process.
    device : str
        Where the networks run; ``cuda`` is one GPU per process.
    """

    model: list[str] = field(default_factory=lambda: ["demo"])
    weights: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=lambda: ["occlusion", "lime"])
    maskings: list[str] = field(
        default_factory=lambda: ["ad:no-growth-mean", "ad:paper", "zero", "min", "max", "avg", "blur"]
    )
    gammas: list[float] = field(default_factory=lambda: list(PAPER_GAMMAS))
    sizes: list[float] = field(default_factory=lambda: [0.1, 0.3, 0.5])
    contexts: list[str] = field(default_factory=lambda: list(CONTEXTS))
    backgrounds: int = 100
    backgrounds_from: str | None = None
    judges: list[str] = field(default_factory=lambda: list(JUDGES))
    images: int | None = None
    samples: int = 150
    segments: int = 40
    window: int = 32
    step: int | None = None
    seed: int = 0
    batch_size: int | None = None
    threads: int = 1
    device: str = "cpu"

    def methods_by_name(self) -> dict[str, Method]:
        """The methods by name, with the user's own imported.

        Raises
        ------
        InputError, UnknownNameError
            If there is no such method.
        """
        found: dict[str, Method] = {}
        for name in self.methods:
            if ":" not in name and name not in METHODS:
                raise UnknownNameError("method", name, [*METHODS, "file.py:FUNCTION"])
            found[name] = own_function(name, "--methods") if ":" in name else name
        return found

    def maskings_by_name(self) -> dict[str, Masking]:
        """The maskings, by their names in tables.

        Raises
        ------
        InputError, UnknownNameError
            If there is no such masking.
        """
        return dict(masking_given(given, "masking", NAMED) for given in self.maskings)


_NUMBERS: Mapping[str, int] = {
    **dict.fromkeys(("samples", "segments"), 2),
    **dict.fromkeys(("backgrounds", "images", "window", "step", "batch_size", "threads"), 1),
    "seed": 0,
}
_CHOICES = {"contexts": CONTEXTS, "judges": JUDGES}
_KINDS = dict.fromkeys(_NUMBERS, "a whole number") | dict.fromkeys(("device", "backgrounds_from"), "a string")
_KINDS |= dict.fromkeys(("gammas", "sizes"), "a list of numbers")
_OPTIONAL = ("weights", "classes", "sizes", "judges")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings of a command line and of its --config file.

    Raises
    ------
    InputError, UnknownNameError
        If there is no such setting, or a value is invalid.
    """
    given = {} if arguments.config is None else _read(arguments.config)
    known = [one.name for one in fields(Settings)]
    for name in given:
        if name not in known:
            raise UnknownNameError(f"setting in {arguments.config}", name, known)
    where = {name: f"{name} in {str(arguments.config)!r}" for name in given}
    for name in known:
        value = getattr(arguments, name, None)
        if value is not None:
            given[name], where[name] = value, "--" + name.replace("_", "-")
    for name, value in given.items():
        given[name] = _checked(name, value, where[name])
    settings = Settings(**given)
    for name in ("weights", "classes"):
        count = len(getattr(settings, name))
        if count not in (0, len(settings.model)):
            raise InputError(
                f"got {count} --{name} for {len(settings.model)} --model: give one for each model, '-' for none"
            )
    return settings


def _read(path: Path) -> dict[str, Any]:
    """The contents of a TOML file."""
    try:
        toml = importlib.import_module("tomllib") if sys.version_info >= (3, 11) else needed("tomli", "tomli", "study")
        found: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"cannot read --config {str(path)!r}: {error}") from None
    return found


def _checked(name: str, value: Any, where: str) -> Any:
    kind = _KINDS.get(name, "a list of strings")
    if kind.startswith("a list"):
        value = [value] if isinstance(value, str) and name in ("model", "weights", "classes") else value
        wanted: Callable[[Any], bool] = _is_number if "numbers" in kind else lambda one: isinstance(one, str)
        if not isinstance(value, list) or not all(map(wanted, value)) or (not value and name not in _OPTIONAL):
            raise InputError(f"{where} must be {kind}, got {value!r}")
        return _list(name, list(dict.fromkeys(value)) if name not in ("weights", "classes") else value, where)
    if kind == "a string":
        if not isinstance(value, str):
            raise InputError(f"{where} must be a string, got {value!r}")
        return value
    least = _NUMBERS[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
        raise InputError(f"{where} must be a whole number of at least {least}, got {value!r}")
    return value


def _list(name: str, value: list[Any], where: str) -> list[Any]:
    if name in ("gammas", "sizes"):
        bad = [one for one in value if not 0 <= one <= 1]
        if bad:
            raise InputError(f"{where} must be shares, 0 to 1, got {bad[0]!r}")
        return [float(one) for one in value]
    for one in value if name in _CHOICES else ():
        if one not in _CHOICES[name]:
            raise UnknownNameError(where, one, _CHOICES[name])
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def paired(settings: Settings) -> list[tuple[str, Path | None, Path | None]]:
    """Each model with its checkpoint and its file of class names."""

    def files(given: Sequence[str]) -> list[Path | None]:
        return [None if one == "-" else Path(one) for one in given] or [None] * len(settings.model)

    return list(zip(settings.model, files(settings.weights), files(settings.classes)))
