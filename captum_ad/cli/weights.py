"""Weights from a file: read without running code in it, and loaded only if they fit."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_ad.cli.errors import InputError

_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # GoogLeNet's and Inception's training heads: eval mode never runs them
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")  # names in torchvision's published files


def load_weights(model: nn.Module, path: Path) -> None:
    """Load the state dict in a file into a model.

    The file is read with ``torch.load(weights_only=True)``. The state dict may stand under the key
    ``state_dict`` or ``model``, carry DataParallel's prefix ``module.``, and be of another precision.

    Raises
    ------
    InputError
        If the file is missing, is no checkpoint, or does not fit the model.
    """
    state = _read(path)
    wanted = model.state_dict()
    needed = [key for key in wanted if not key.startswith(_AUXILIARY) and not key.endswith("num_batches_tracked")]
    missing = [key for key in needed if key not in state]
    unexpected = [key for key in state if key not in wanted and not key.startswith(_AUXILIARY)]
    shapes = [key for key in wanted if key in state and wanted[key].shape != state[key].shape]
    if missing or unexpected or shapes:
        problems = [
            f"{len(keys)} of {of} {what} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
            for keys, of, what in (
                (missing, len(needed), "keys missing"),
                (unexpected, len(state), "keys unexpected"),
                (shapes, len(wanted), "of another shape"),
            )
            if keys
        ]
        raise InputError(f"the weights in {str(path)!r} do not fit {type(model).__name__}: {'; '.join(problems)}")
    model.load_state_dict({key: value for key, value in state.items() if key in wanted}, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"no weights file at {str(path)!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that it then refuses
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        what = "it holds more than tensors, e.g. a whole model" if zipfile.is_zipfile(path) else type(error).__name__
        raise InputError(
            f"{str(path)!r} is no checkpoint that torch.load(weights_only=True) reads ({what}): "
            "save the weights with torch.save(model.state_dict(), FILE)"
        ) from None
    state = _unwrapped(loaded)
    if not state or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise InputError(f"{str(path)!r} holds no state dict (names to tensors): save model.state_dict()")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}


def _unwrapped(loaded: Any) -> dict[str, Any]:
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            return dict(loaded[key])
    return dict(loaded) if isinstance(loaded, dict) else {}
