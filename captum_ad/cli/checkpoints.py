"""Read checkpoint files of training scripts without running code in them, and find the state dict."""

from __future__ import annotations

import argparse
import codecs
import datetime
import pathlib
import pickle
import re
import types
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_ad._common.errors import InputError

WRAPPERS = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights"),
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
)
"""Keys under which training scripts put the state dict; if a file has several, the first of these is used."""

NAMES = ("classes", "class_names", "categories", "names", "labels", "idx_to_class", "class_to_idx")
"""Keys under which training scripts put the names of the classes."""

_SETTINGS = ("hyper_parameters", "hparams", "config", "args", "meta")
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")  # names in torchvision's published files
_REFUSED = re.compile(r"GLOBAL ([\w.]+)")
_READING = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile)
_HARMLESS: list[Any] = [  # types of settings that are saved with the tensors
    argparse.Namespace,
    types.SimpleNamespace,
    type(pathlib.Path()),
    codecs.encode,  # used by pickles of NumPy scalars
    datetime.datetime,
    datetime.date,
    np.ndarray,
    np.ones(1).__reduce__()[0],
    np.float64(0).__reduce__()[0],
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
]


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint file.

    Attributes
    ----------
    state : dict
        The state dict: names to tensors.
    class_names : sequence of str
        The names of all classes in order; empty if the file has none.
    key : str
        The key of the state dict in the file, such as ``"state_dict"``; empty if the file is the state dict.
    others : sequence of str
        Keys of other state dicts in the file, which are not used.
    """

    state: dict[str, Tensor]
    class_names: Sequence[str]
    key: str
    others: Sequence[str]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file written by torch.save (with ``weights_only=True``), or a safetensors file.

    Raises
    ------
    InputError
        If the file is missing, holds objects other than tensors and plain settings, or no state dict.
    """
    check_file(path)
    loaded = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    state, key, others = _state_of(loaded)
    if not state:
        keys = (
            f"its keys are {', '.join(map(repr, list(loaded)[:8]))}"
            if isinstance(loaded, Mapping)
            else type(loaded).__name__
        )
        raise InputError(
            f"{str(path)!r} has no state dict (names to tensors), neither itself nor under {', '.join(WRAPPERS)}: "
            f"{keys}. Save only the weights, torch.save(model.state_dict(), FILE)"
        )
    state = {_OLD_DENSENET.sub(r"\1\2", name): value for name, value in state.items()}
    return Checkpoint(state, _names_in(loaded), key, others)


def check_file(path: Path) -> None:
    """Raise InputError if there is no such file."""
    if not path.is_file():
        raise InputError(f"no weights file at {str(path)!r}")


def names_of(given: Any) -> list[str]:
    """Class names in order, from a list, or a mapping of numbers to names or names to numbers; [] for anything else."""
    if isinstance(given, Mapping) and given:
        pairs = [(str(key), value) for key, value in given.items()]
        if all(isinstance(value, int) for _, value in pairs):  # like ImageFolder.class_to_idx
            pairs = [(str(value), key) for key, value in pairs]
        numbered = {int(key): value for key, value in pairs if key.isdecimal()}
        if len(numbered) < len(pairs) or sorted(numbered) != list(range(len(pairs))):
            return []
        given = [numbered[index] for index in sorted(numbered)]
    if not isinstance(given, (list, tuple)) or not given:
        return []
    last = [one[-1] if isinstance(one, (list, tuple)) and one else one for one in given]  # ["n01440764", "tench"]
    return [str(name) for name in last] if all(isinstance(name, str) and name for name in last) else []


def _pickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), _harmless_allowed():
            warnings.simplefilter("ignore")  # torch warns about pickles before it refuses them
            return torch.load(path, map_location="cpu", weights_only=True)
    except _READING as error:
        found = _REFUSED.search(str(error))
        if found is not None:
            raise InputError(
                f"{str(path)!r} holds an object of {found[1]}. Loading it might run code in the file, so "
                "torch.load(weights_only=True) refuses it. If you trust the file, load it in Python with "
                "weights_only=False and save only the weights: torch.save(model.state_dict(), FILE)"
            ) from None
        if _is_torchscript(path):
            raise InputError(
                f"{str(path)!r} is a TorchScript archive, which is a network and not its weights: save the weights, "
                "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
            ) from None
        raise InputError(
            f"{str(path)!r} is not a checkpoint that torch.load(weights_only=True) can read ({type(error).__name__}): "
            "save the weights with torch.save(model.state_dict(), FILE)"
        ) from None


def _is_torchscript(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise InputError(f"{str(path)!r} needs safetensors: pip install safetensors") from None
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own types
        raise InputError(f"{str(path)!r} is not a safetensors file: {error}") from None


@contextmanager
def _harmless_allowed() -> Iterator[None]:
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(_HARMLESS)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _state_of(loaded: Any) -> tuple[dict[str, Tensor], str, list[str]]:
    """The state dict, its key, and the keys of other state dicts in the file."""
    if not isinstance(loaded, Mapping):
        return {}, "", []
    if loaded and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()):
        return dict(loaded), "", []
    found = {key: _state_of(loaded[key]) for key in WRAPPERS if isinstance(loaded.get(key), Mapping)}
    keys = [key for key, (state, _, _) in found.items() if state]
    if not keys:
        return {}, "", []
    state, inner, _ = found[keys[0]]
    return state, f"{keys[0]}.{inner}" if inner else keys[0], keys[1:]


def _names_in(loaded: Any) -> list[str]:
    places = [loaded]
    for key in _SETTINGS:
        settings = loaded.get(key) if isinstance(loaded, Mapping) else None
        places.append(vars(settings) if isinstance(settings, argparse.Namespace) else settings)
    for place in places:
        for key in NAMES:
            names = names_of(place.get(key)) if isinstance(place, Mapping) else []
            if names:
                return names
    return []
