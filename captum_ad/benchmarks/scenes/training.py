"""Training of the networks. Half of the scenes lack parts, so that missing parts are in the training distribution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from captum_ad._common.errors import UnknownNameError
from captum_ad._methods import seeded
from captum_ad.benchmarks.scenes.behind import BACKGROUNDS
from captum_ad.benchmarks.scenes.drawing import draw, normalized, scene
from captum_ad.benchmarks.scenes.looks import PARTS
from captum_ad.benchmarks.scenes.networks import NETWORKS, network
from captum_ad.benchmarks.scenes.weights import Trained, rounded, save_network

SCENES, BATCH = 16000, 64
"""The number of training scenes, and the batch size."""

EPOCHS = {"plain": 8, "residual": 4, "mobile": 6, "convnext": 5, "attention": 10}
"""The number of epochs of each network."""

RATES = {"plain": 1e-3, "residual": 4e-3, "mobile": 4e-3, "convnext": 2e-3, "attention": 1e-3}
"""The highest learning rates."""

_TRAINING, _TESTING = 1, 2  # the purpose of scenes is part of their seed, so that these sets are disjoint


def train(
    seed: int,
    out: str | Path,
    *,
    networks: Sequence[str] | None = None,
    photographs: str | Path | None = None,
    scenes: int = SCENES,
    show_progress: bool = False,
) -> list[Trained]:
    """Train networks and write their weights.

    Parameters
    ----------
    seed : int
        Seed of the classes, the scenes and the training.
    out : str or Path
        The folder for the weights; created if it does not exist.
    networks : sequence of str, optional
        Names in :data:`~captum_ad.benchmarks.scenes.networks.NETWORKS`; by default all.
    photographs : str or Path, optional
        A folder of photographs; crops of them are then the backgrounds of a third of the scenes.
    scenes : int
        The number of training scenes.
    show_progress : bool
        Show progress bars on stderr.

    Returns
    -------
    list of Trained
        The networks, in the order of `networks`.

    Raises
    ------
    UnknownNameError, ValueError
        If there is no such network, or no photograph in the folder.
    ImportError
        If safetensors is missing.
    """
    chosen = list(NETWORKS if networks is None else networks)
    for name in chosen:
        if name not in NETWORKS:
            raise UnknownNameError("network", name, NETWORKS)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    backgrounds = [*BACKGROUNDS, *([] if photographs is None else [photographs])]
    images, labels = drawn(seed, scenes, backgrounds, show_progress=show_progress)
    unseen = whole(seed, max(2, scenes // 16))
    found = []
    for name in chosen:
        model = _fitted(name, images, labels, seed, show_progress=show_progress)
        rounded(model)
        found.append(Trained(name, model, seed, accuracy(model, *unseen)))
        save_network(found[-1], folder)
    return found


def drawn(
    seed: int, count: int, backgrounds: Sequence[str | Path] = BACKGROUNDS, *, show_progress: bool = False
) -> tuple[Tensor, Tensor]:
    """Training scenes; in every other scene, each part is left out with probability 1/2.

    Returns
    -------
    images : Tensor
        uint8, shape (count, 3, 64, 64).
    labels : Tensor
        int64, shape (count,).
    """
    images, labels = torch.empty(count, 3, 64, 64, dtype=torch.uint8), torch.empty(count, dtype=torch.int64)
    for i in tqdm(range(count), desc="drawing", unit="scene", disable=not show_progress):
        kind = (_TRAINING, seed, i)
        one = scene(kind, classes_seed=seed, background=backgrounds[i // 2 % len(backgrounds)])
        odds = np.random.default_rng((*kind, 0)).random(len(PARTS))
        present = odds < 0.5 if i % 2 else np.ones(len(PARTS), bool)
        images[i] = (draw(one, present.tolist()) * 255).round().to(torch.uint8)
        labels[i] = one.label
    return images, labels


def whole(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Whole scenes that are not used for training, on the named backgrounds in turn: normalized images, and labels."""
    scenes = [
        scene((_TESTING, seed, i), classes_seed=seed, background=BACKGROUNDS[i % len(BACKGROUNDS)])
        for i in range(count)
    ]
    return normalized(torch.stack([draw(one) for one in scenes])), torch.tensor([one.label for one in scenes])


def accuracy(model: nn.Module, x: Tensor, labels: Tensor) -> float:
    """The share of inputs that a model classifies as their label."""
    with torch.inference_mode():
        right = [(model(part).argmax(1) == label).float() for part, label in zip(x.split(BATCH), labels.split(BATCH))]
    return float(torch.cat(right).mean())


def _fitted(name: str, images: Tensor, labels: Tensor, seed: int, *, show_progress: bool) -> nn.Module:
    """Train a network, and return it in eval mode."""
    steps = EPOCHS[name] * (len(images) // BATCH or 1)
    with seeded(seed, images.device):
        model = network(name).train().to(memory_format=torch.channels_last)  # twice as fast on CPUs
        decayed = [value for value in model.parameters() if value.dim() > 1]
        others = [value for value in model.parameters() if value.dim() <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATES[name], total_steps=steps, pct_start=0.15)
        bar: Iterable[Tensor] = tqdm(
            _batches(len(images), steps), desc=name, total=steps, unit="step", disable=not show_progress
        )
        for chosen in bar:
            x = normalized(images[chosen].float() / 255).contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(model(x), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval().to(memory_format=torch.contiguous_format)


def _batches(count: int, steps: int) -> Iterable[Tensor]:
    """Indices of `steps` batches, epoch by epoch."""
    left: list[Tensor] = []
    for _ in range(steps):
        if not left:
            left = [part for part in torch.randperm(count).split(BATCH) if len(part) == min(BATCH, count)]
        yield left.pop()
