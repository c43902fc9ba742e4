"""Weights of the networks in files: what they were trained on is written with them, and others are refused."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from captum_ad._common.errors import UnknownNameError
from captum_ad._common.extras import needed
from captum_ad._methods import seeded
from captum_ad._scoring import share
from captum_ad.benchmarks.scenes.definition import definition, same_scenes
from captum_ad.benchmarks.scenes.networks import network
from captum_ad.metrics.given import checked_seed

FORMAT = "2"
"""Of the files."""

SETS: Mapping[str, int] = {"tuning": 0, "report": 1}
"""The shipped sets of weights and their seeds: choose on the first, report on the second."""


@dataclass(frozen=True)
class Trained:
    """A trained network, and what it was trained on.

    Attributes
    ----------
    name : str
        Its kind, one of :data:`~captum_ad.benchmarks.scenes.networks.NETWORKS`.
    model : nn.Module
        In eval mode, float32; its input is normalized scenes, (N, 3, 64, 64), its output logits, (N, 12).
    seed : int
        Of the training, and of the classes of its scenes.
    accuracy : float
        On whole scenes that it was not trained on, on named backgrounds, when it was trained.
    """

    name: str
    model: nn.Module
    seed: int
    accuracy: float


def load_network(name: str, weights: str | Path = "report") -> Trained:
    """A trained network.

    Parameters
    ----------
    name : str
        One of :data:`~captum_ad.benchmarks.scenes.networks.NETWORKS`.
    weights : str or Path
        ``"tuning"`` or ``"report"``, sets of different seeds that come with captum_ad, or a folder that the
        training has written.

    Returns
    -------
    Trained
        The network, and the seed of its classes.

    Raises
    ------
    UnknownNameError
        If there is no such network or set.
    ValueError
        If the file is of another format, was trained on other scenes, or does not fit the network.
    ImportError
        If safetensors is missing.
    """
    with seeded(0, torch.device("cpu")):  # its first values are replaced: nobody's random state is to change
        model = network(name)
    path = _file(name, weights)
    safetensors = needed("safetensors", "safetensors", "benchmarks")
    try:
        with safetensors.safe_open(str(path), framework="pt") as opened:
            about = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a mapping)
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"cannot read the weights {str(path)!r}: {error}; train them again") from None
    seed, accuracy = _checked(path, name, about)
    try:
        model.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
        )
    except RuntimeError as error:
        raise ValueError(
            f"the weights {str(path)!r} do not fit the network {name!r}: {error}; train it again"
        ) from None
    return Trained(name, model.eval().requires_grad_(False), seed, accuracy)


def save_network(trained: Trained, folder: Path) -> Path:
    """Write a network's weights as float16, whole or not at all.

    Parameters
    ----------
    trained : Trained
        The network.
    folder : Path
        It exists; the file in it is called after the network, and replaced.

    Returns
    -------
    Path
        The file.
    """
    save: Any = needed("safetensors.torch", "safetensors", "benchmarks").save
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in trained.model.state_dict().items()
    }
    about = {
        "format": FORMAT,
        "network": trained.name,
        "seed": str(trained.seed),
        "scenes": definition(trained.seed),
        "accuracy": f"{trained.accuracy:.4f}",
    }
    path = folder / f"{trained.name}.safetensors"
    handle, name = tempfile.mkstemp(prefix=f".{trained.name}-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(save(tensors, about))
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def rounded(model: nn.Module) -> None:
    """Round a model's weights, in place, as the file will."""
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())


def _file(name: str, weights: str | Path) -> Path:
    folder = Path(__file__).parent / "weights" / str(weights) if str(weights) in SETS else Path(weights)
    if str(weights) not in SETS and not folder.is_dir():
        raise UnknownNameError("set of weights", str(weights), [*SETS, "a folder that the training has written"])
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise ValueError(
            f"no weights of {name!r} in {str(folder)!r}: train them, "
            "python -m captum_ad.benchmarks.scenes train --seed S --out DIR"
        )
    return path


def _checked(path: Path, name: str, about: Mapping[str, str]) -> tuple[int, float]:
    """The seed and the accuracy, if the file is of this network and of these scenes."""
    if about.get("format") != FORMAT:
        raise ValueError(
            f"the weights {str(path)!r} have format {about.get('format')!r}, expected {FORMAT!r}: train them again"
        )
    missing = [key for key in ("network", "seed", "scenes", "accuracy") if key not in about]
    if missing:
        raise ValueError(f"the weights {str(path)!r} do not say their {', '.join(missing)}: train them again")
    if about["network"] != name:
        raise ValueError(f"the weights {str(path)!r} are those of {about['network']!r}, expected {name!r}")
    try:
        seed, accuracy = checked_seed(int(about["seed"])), share(float(about["accuracy"]), "accuracy")
    except ValueError:
        given = f"seed {about['seed']!r} and accuracy {about['accuracy']!r}"
        raise ValueError(
            f"the weights {str(path)!r} say {given}, expected a whole number and a share: train them again"
        ) from None
    if not same_scenes(about["scenes"], definition(seed)):
        raise ValueError(
            f"the weights {str(path)!r} were trained on other scenes than this version of captum_ad draws: train them "
            "again, python -m captum_ad.benchmarks.scenes train"
        )
    return seed, accuracy
