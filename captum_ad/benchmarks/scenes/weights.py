"""Files of the networks' weights, with a fingerprint of the training scenes; those of other scenes are refused."""

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
"""Version of the file format."""

SETS: Mapping[str, int] = {"tuning": 0, "report": 1}
"""The shipped sets of weights and their seeds: make choices with the first, report results with the second."""


@dataclass(frozen=True)
class Trained:
    """A trained network, and what it was trained on.

    Attributes
    ----------
    name : str
        Its kind, one of :data:`~captum_ad.benchmarks.scenes.networks.NETWORKS`.
    model : nn.Module
        The network, in eval mode, float32; from normalized scenes (N, 3, 64, 64) to logits (N, 12).
    seed : int
        Seed of the training, and of the classes of its scenes.
    accuracy : float
        Its accuracy on whole scenes that it was not trained on, with named backgrounds, measured after training.
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
        ``"tuning"`` or ``"report"``, which come with captum_ad and have different seeds, or a folder written by
        :func:`~captum_ad.benchmarks.scenes.training.train`.

    Returns
    -------
    Trained
        The network, and the seed of its classes.

    Raises
    ------
    UnknownNameError
        If there is no such network or set.
    ValueError
        If the file has another format, was trained on other scenes, or does not fit the network.
    ImportError
        If safetensors is missing.
    """
    with seeded(0, torch.device("cpu")):  # the initial values are replaced: do not change the global random state
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
    """Write a network's weights as float16, completely or not at all.

    Parameters
    ----------
    trained : Trained
        The network.
    folder : Path
        An existing folder. The file in it has the network's name; an existing one is replaced.

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
    """Round a model's weights in place to the precision of the file, float16."""
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())


def _file(name: str, weights: str | Path) -> Path:
    folder = Path(__file__).parent / "weights" / str(weights) if str(weights) in SETS else Path(weights)
    if str(weights) not in SETS and not folder.is_dir():
        raise UnknownNameError("set of weights", str(weights), [*SETS, "a folder written by the training"])
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise ValueError(
            f"no weights of {name!r} in {str(folder)!r}: train the network, "
            "python -m captum_ad.benchmarks.scenes train --seed S --out DIR"
        )
    return path


def _checked(path: Path, name: str, about: Mapping[str, str]) -> tuple[int, float]:
    """The seed and the accuracy, after a check that the file is for this network and these scenes."""
    if about.get("format") != FORMAT:
        raise ValueError(
            f"the weights {str(path)!r} have format {about.get('format')!r}, expected {FORMAT!r}: train them again"
        )
    missing = [key for key in ("network", "seed", "scenes", "accuracy") if key not in about]
    if missing:
        raise ValueError(f"the weights {str(path)!r} have no {', '.join(missing)} in them: train them again")
    if about["network"] != name:
        raise ValueError(f"the weights {str(path)!r} belong to the network {about['network']!r}, expected {name!r}")
    try:
        seed, accuracy = checked_seed(int(about["seed"])), share(float(about["accuracy"]), "accuracy")
    except ValueError:
        given = f"seed {about['seed']!r} and accuracy {about['accuracy']!r}"
        raise ValueError(
            f"the weights {str(path)!r} have {given}, expected a whole number and a share: train them again"
        ) from None
    if not same_scenes(about["scenes"], definition(seed)):
        raise ValueError(
            f"the weights {str(path)!r} were trained on scenes that this version of captum_ad draws differently: train "
            "them again, python -m captum_ad.benchmarks.scenes train"
        )
    return seed, accuracy
