"""Removal truth: a network's change of output when a part is hidden, compared with really leaving it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad._common.errors import UnknownNameError
from captum_ad._common.extras import needed
from captum_ad._forwards.baseline_forward import Masking, masked_forward
from captum_ad._scoring import batch_of, in_eval_mode
from captum_ad.benchmarks.scenes.drawing import Scene, draw, normalized, scene
from captum_ad.benchmarks.scenes.estimates import Estimate, PerScene, estimate, mean_of, rank_correlations, relative
from captum_ad.benchmarks.scenes.looks import PARTS
from captum_ad.benchmarks.scenes.masks import hidden_pixels, named_maskings
from captum_ad.metrics.given import checked_seed

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("error", "correlation", "sign", "leakage")
"""The measures of :class:`RemovalTruth`."""

_EVALUATION = 3  # the purpose of scenes is part of their seed, see training.py
_BATCH = 50
_PATIENCE = 20  # number of scenes to try per scene that is wanted


@dataclass(frozen=True)
class RemovalTruth:
    """The changes of a network's logits for missing parts, under maskings and in truth.

    Attributes
    ----------
    labels : Tensor
        The scenes' classes, int64, shape (scenes,).
    true : Tensor
        The change of the logits when a part is left out of the drawing, float32, shape (scenes, 5, classes).
    claimed : mapping of str to Tensor
        The change of the logits when the part's pixels are hidden, by masking; same shape as `true`.
    leaked : mapping of str to Tensor
        The change of the logits when the same pixels are hidden in a drawing that already lacks the part. Nothing
        goes missing, so any change comes from the shape of the mask. If the mask covers all visible pixels of the
        part (every shape except ``"superpixels"``), and the masking does not read what it hides (AD, ``"zero"``,
        inpainting), the masked network sees the same in both cases. Then leaked equals claimed − true up to rounding
        errors, and the whole error is due to the shape of the mask.
    """

    labels: Tensor
    true: Tensor
    claimed: Mapping[str, Tensor]
    leaked: Mapping[str, Tensor]

    def per_scene(self, measure: str, masking: str) -> PerScene:
        """The contribution of each scene to a measure.

        Parameters
        ----------
        measure : {"error", "correlation", "sign", "leakage"}
            ``"error"``: ‖claimed − true‖ / ‖true‖ over all logits, parts and scenes; 0 is perfect, and a
            masking that changes nothing gets 1. ``"correlation"``: Spearman's correlation of the five
            changes of the class's logit in a scene, mean over scenes. ``"sign"``: the share of parts for
            which the class's logit changes in the true direction. ``"leakage"``: ‖leaked‖ / ‖true‖; 0 is
            perfect.
        masking : str
            One of those that were measured.

        Raises
        ------
        UnknownNameError
            If there is no such measure or masking.
        """
        if measure not in MEASURES:
            raise UnknownNameError("measure", measure, MEASURES)
        if masking not in self.claimed:
            raise UnknownNameError("masking", masking, self.claimed)
        true, claimed = (values.double().numpy() for values in (self.true, self.claimed[masking]))
        if measure == "error":
            return relative(claimed - true, true)
        if measure == "leakage":
            return relative(self.leaked[masking].double().numpy(), true)
        rows = np.arange(len(true))
        found, known = claimed[rows, :, self.labels.numpy()], true[rows, :, self.labels.numpy()]
        if measure == "correlation":
            return mean_of(rank_correlations(found, known))
        counts = known != 0
        right = (np.sign(found) == np.sign(known)) & counts
        return PerScene(right.sum(1).astype(np.float64), counts.sum(1).astype(np.float64))

    def estimate(self, measure: str, masking: str, *, minus: str | None = None, seed: int = 0) -> Estimate:
        """A measure of a masking, or its difference from another masking's, with its bootstrap interval.

        Parameters
        ----------
        measure, masking : str
            See :meth:`per_scene`.
        minus : str, optional
            The masking to subtract, paired by scene.
        seed : int
            Seed of the bootstrap.
        """
        other = None if minus is None else self.per_scene(measure, minus)
        return estimate(self.per_scene(measure, masking), other, seed=seed)

    def table(self, *, seed: int = 0) -> pd.DataFrame:
        """All measures of all maskings: columns measure, masking, value, low, high and n, the number of scenes.

        Raises
        ------
        ImportError
            If pandas is missing.
        """
        pandas = needed("pandas", "pandas", "metrics")
        rows = []
        for measure in MEASURES:
            for masking in self.claimed:
                found = self.estimate(measure, masking, seed=seed)
                rows.append({"measure": measure, "masking": masking, **vars(found), "n": len(self.labels)})
        return cast("pd.DataFrame", pandas.DataFrame(rows))


def removal_truth(
    model: nn.Module,
    scenes: Sequence[Scene],
    maskings: Sequence[Masking] | Mapping[str, Masking],
    *,
    shape: str = "exact",
    grow: int = 2,
    batch_size: int = _BATCH,
    show_progress: bool = False,
) -> RemovalTruth:
    """Compare maskings with the truth, part by part.

    Parameters
    ----------
    model : nn.Module
        A plain network in eval mode, on the CPU, from normalized scenes (N, 3, 64, 64) to logits (N, classes).
    scenes : sequence of Scene
        Scenes with all their parts; see :func:`right_scenes`.
    maskings : sequence of maskings, or mapping from names to maskings
        See :func:`captum_ad._forwards.baseline_forward.masked_forward`. A function paints normalized pixels.
    shape, grow
        The hidden pixels, see :func:`~captum_ad.benchmarks.scenes.masks.hidden_pixels`.
    batch_size : int
        Inputs per forward.
    show_progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    RemovalTruth
        The changes of each scene, with their measures.

    Raises
    ------
    UnknownNameError, ValueError
        If there is no such masking or shape, no scene or masking is given, or the batch size is not positive.
    """
    in_eval_mode(model)
    batch_size = batch_of(batch_size, torch.device("cpu"))
    if len(scenes) == 0:
        raise ValueError("scenes is empty: give at least one, e.g. from right_scenes")
    forwards = {name: masked_forward(model, masking) for name, masking in named_maskings(maskings).items()}
    present = torch.cat([torch.ones(1, len(PARTS), dtype=torch.bool), ~torch.eye(len(PARTS), dtype=torch.bool)])
    drawings = normalized(torch.stack([draw(one, present) for one in scenes]))  # the whole one first
    kept = ~torch.stack([hidden_pixels(one, shape, grow=grow) for one in scenes]).flatten(0, 1)
    whole, lacking = drawings[:, :1].expand(-1, len(PARTS), -1, -1, -1).flatten(0, 1), drawings[:, 1:].flatten(0, 1)

    bar = tqdm(total=2 * len(forwards), desc="maskings", unit="pass", disable=not show_progress)
    with torch.inference_mode(), bar:
        outputs = _through(model, drawings.flatten(0, 1), None, batch_size).unflatten(0, (len(scenes), -1))
        claimed, leaked = {}, {}
        for name, forward in forwards.items():
            hidden = _through(forward, whole, kept, batch_size).unflatten(0, (len(scenes), -1))
            claimed[name] = (hidden - outputs[:, :1]).clone()
            bar.update()
            again = _through(forward, lacking, kept, batch_size).unflatten(0, (len(scenes), -1))
            leaked[name] = (again - outputs[:, 1:]).clone()
            bar.update()
    labels = torch.tensor([one.label for one in scenes])
    return RemovalTruth(labels, outputs[:, 1:] - outputs[:, :1], claimed, leaked)


def right_scenes(
    model: nn.Module,
    count: int,
    *,
    classes_seed: int,
    background: str | Path | Sequence[str | Path] = ("smooth", "textured"),
    seed: int = 0,
) -> list[Scene]:
    """Draw scenes that a network gets right when whole, and that are not in its training set.

    Parameters
    ----------
    model : nn.Module
        The network, see :func:`removal_truth`.
    count : int
        The number of scenes, at least 1.
    classes_seed : int
        The seed of the classes, with which the network was trained.
    background : str, Path, or sequence of those
        See :func:`~captum_ad.benchmarks.scenes.drawing.scene`; several are used in turn.
    seed : int
        Seed of the scenes. All networks get the same scenes, except those that one of them gets wrong.

    Raises
    ------
    ValueError
        If `count` is not positive, there is no background, a seed is invalid, or the network gets too few right.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be a positive number of scenes, got {count!r}")
    backgrounds = [background] if isinstance(background, (str, Path)) else list(background)
    if not backgrounds:
        raise ValueError("background is empty: give at least one, e.g. 'smooth'")
    seed, classes_seed = checked_seed(seed), checked_seed(classes_seed)
    right: list[Scene] = []
    for start in range(0, _PATIENCE * count, _BATCH):
        batch = [
            scene(
                (_EVALUATION, classes_seed, seed, i),
                classes_seed=classes_seed,
                background=backgrounds[i % len(backgrounds)],
            )
            for i in range(start, min(start + _BATCH, _PATIENCE * count))
        ]
        with torch.inference_mode():
            answers = model(normalized(torch.stack([draw(one) for one in batch]))).argmax(1)
        right += [one for one, answer in zip(batch, answers.tolist()) if one.label == answer]
        if len(right) >= count:
            return right[:count]
    raise ValueError(
        f"the network gets {len(right)} of {_PATIENCE * count} whole scenes right, but {count} are needed: was it "
        f"trained on the classes of seed {classes_seed}, and does it take normalized scenes?"
    )


def _through(forward: nn.Module, x: Tensor, kept: Tensor | None, batch_size: int) -> Tensor:
    """The outputs of all inputs, in batches."""
    parts = []
    for start in range(0, len(x), batch_size):
        chosen = slice(start, start + batch_size)
        parts.append(forward(x[chosen]) if kept is None else forward(x[chosen], mask=kept[chosen]))
    return torch.cat(parts)
