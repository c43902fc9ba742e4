"""Removal truth: how a network's output changes when a part is hidden, against when it is really left out."""

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
"""What :class:`RemovalTruth` measures."""

_EVALUATION = 3  # what scenes are for is a part of their seed, see the training
_BATCH = 50
_PATIENCE = 20  # scenes looked at for each that is wanted


@dataclass(frozen=True)
class RemovalTruth:
    """What a network says of missing parts, under maskings and in truth.

    Attributes
    ----------
    labels : Tensor
        The scenes' classes, int64, shape (scenes,).
    true : Tensor
        By how much the logits change when a part is left out of the drawing, float32, shape (scenes, 5, classes).
    claimed : mapping of str to Tensor
        By how much they change when the part's pixels are hidden, for each masking; shaped like `true`.
    leaked : mapping of str to Tensor
        By how much they change when the same pixels are hidden in a drawing that lacks the part
        already. Nothing goes missing: all that changes comes from the mask's own shape. Where the mask covers
        all that the part shows on (every shape but ``"superpixels"``) and the masking reads nothing of
        what it hides (AD, ``"zero"``, inpainting), the masked network sees the same either way, so that
        leaked is claimed − true to the last digits, and the whole error is the mask's shape.
    """

    labels: Tensor
    true: Tensor
    claimed: Mapping[str, Tensor]
    leaked: Mapping[str, Tensor]

    def per_scene(self, measure: str, masking: str) -> PerScene:
        """What each scene adds to a measure.

        Parameters
        ----------
        measure : {"error", "correlation", "sign", "leakage"}
            ``"error"``: ‖claimed − true‖ / ‖true‖ over all logits, parts and scenes; 0 is perfect, and 1
            is what a masking gets that changes nothing. ``"correlation"``: Spearman's, of the class's
            logit's five changes in a scene, the mean over scenes. ``"sign"``: for how many parts the
            class's logit changes in the true direction. ``"leakage"``: ‖leaked‖ / ‖true‖; 0 is perfect.
        masking : str
            One of those measured.

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
        """A measure of a masking, or its difference from that of another one, with the bootstrap interval.

        Parameters
        ----------
        measure, masking : str
            As for :meth:`per_scene`.
        minus : str, optional
            The masking to subtract, paired by scene.
        seed : int
            Of the bootstrap.
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
        A plain network in eval mode, from normalized scenes (N, 3, 64, 64) to logits (N, classes), on the CPU.
    scenes : sequence of Scene
        With all their parts; see :func:`right_scenes`.
    maskings : sequence of maskings, or mapping from names to maskings
        As :func:`captum_ad._forwards.baseline_forward.masked_forward` takes them. A function paints normalized pixels.
    shape, grow
        What is hidden, as for :func:`~captum_ad.benchmarks.scenes.masks.hidden_pixels`.
    batch_size : int
        Inputs per forward.
    show_progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    RemovalTruth
        The changes of each scene, and what is measured by them.

    Raises
    ------
    UnknownNameError, ValueError
        If there is no such masking or shape, no scene or masking is given, or the batch size is not positive.
    """
    in_eval_mode(model)
    batch_size = batch_of(batch_size, torch.device("cpu"))
    if len(scenes) == 0:
        raise ValueError("scenes is empty: give at least one, e.g. of right_scenes")
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
    """Scenes that a network gets right when whole, and that its training has not seen.

    Parameters
    ----------
    model : nn.Module
        The network, as for :func:`removal_truth`.
    count : int
        How many, at least 1.
    classes_seed : int
        Which classes there are: the seed that the network was trained with.
    background : str, Path, or sequence of those
        As for :func:`~captum_ad.benchmarks.scenes.drawing.scene`; several take turns.
    seed : int
        Of the scenes. Networks get the same ones but for those that one of them gets wrong.

    Raises
    ------
    ValueError
        If `count` is not positive, there is no background, the seed is none, or the network gets too few right.
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
        f"the network gets {len(right)} of {_PATIENCE * count} whole scenes right, {count} are needed: is it trained "
        f"on the classes of seed {classes_seed}, and does it take normalized scenes?"
    )


def _through(forward: nn.Module, x: Tensor, kept: Tensor | None, batch_size: int) -> Tensor:
    """The outputs of all inputs, in batches."""
    parts = []
    for start in range(0, len(x), batch_size):
        chosen = slice(start, start + batch_size)
        parts.append(forward(x[chosen]) if kept is None else forward(x[chosen], mask=kept[chosen]))
    return torch.cat(parts)
