"""The grid pointing game for every method under every masking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad._common.errors import UnknownNameError
from captum_ad._common.extras import needed
from captum_ad._forwards.baseline_forward import Masking, masked_forward
from captum_ad._methods import METHODS, OVER_SUPERPIXELS, Task, explain
from captum_ad._scoring import ToConfidence, batch_of
from captum_ad.metrics.collages import Collages
from captum_ad.metrics.digests import described, digest, fingerprint
from captum_ad.metrics.localization import grid_pointing_game
from captum_ad.metrics.records import read_records, write_records
from captum_ad.segmentation import superpixels

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("collage cell photograph target confidence method masking share seconds run shown input").split()
"""The columns of the records."""


def localize(
    model: nn.Module,
    collages: Collages,
    methods: Sequence[str],
    maskings: Mapping[str, Masking],
    *,
    samples: int = 150,
    segments: int = 100,
    window: int = 32,
    seed: int = 0,
    to_confidence: ToConfidence = "softmax",
    batch_size: int | None = None,
    path: Path | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Explain what a model sees in every collage, by every method under every masking.

    Parameters
    ----------
    model : nn.Module
        The plain model, in eval mode.
    collages : Collages
        As returned by :func:`captum_ad.metrics.make_collages`.
    methods : sequence of str
        Names in :data:`captum_ad._methods.METHODS`.
    maskings : mapping
        Maskings by name; a name that starts with "ad:" counts as Activation-Deactivation.
    samples, segments, window : int
        The effort, see :class:`captum_ad._methods.Task`; superpixels are of the whole collage.
    seed : int
        Seed of the perturbations; every masking gets the same ones.
    to_confidence, batch_size
        See :func:`captum_ad.metrics.sufficient_explanation`.
    path : Path, optional
        A .csv or .parquet file to which the records are added after every attribution. Records that it already has
        are not computed again.
    show_progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row per collage, method and masking. Columns: ``collage``, the explained ``cell``, the number of its
        ``photograph`` and its class ``target`` (int); ``confidence``, the plain model's confidence in the target on
        the whole collage; ``method``, ``masking`` (str); ``share``, the score, 0 to 1; ``seconds`` of the attribution;
        ``run``, ``shown`` and ``input``, digests of the settings and weights, of the collage and its cell, and of the
        target, method and masking.

    Raises
    ------
    ValueError, UnknownNameError, UnsupportedOperationError
        If an argument is invalid, or the file has records of other settings, collages or another model.
    """
    pandas = needed("pandas", "pandas", "metrics")
    for method in methods:
        if method not in METHODS:
            raise UnknownNameError("method", method, METHODS)
    run = digest(fingerprint(model), described((collages.grid, samples, segments, window, seed, to_confidence)))
    texts = {name: described(masking) for name, masking in maskings.items()}
    shown = [digest(x, str((i, int(cell)))) for i, (x, cell) in enumerate(zip(collages.x, collages.explained))]
    known = _known(path, run, shown)
    _try(model, collages.x[:1], maskings)
    rows: list[dict[str, Any]] = []
    total = len(collages) * len(methods) * len(maskings)
    with tqdm(total=total, desc="Localization", unit="attribution", disable=not show_progress) as bar:
        for i, cell in enumerate(collages.explained.tolist()):
            x, target, photograph = (
                collages.x[i : i + 1],
                *(int(of[i, cell]) for of in (collages.targets, collages.images)),
            )
            labels = torch.zeros(1, 1, *x.shape[2:], dtype=torch.int64)
            if set(methods) & set(OVER_SUPERPIXELS):
                labels = superpixels(x, n_segments=segments)
            size = batch_of(batch_size, x.device)
            task = Task(x, target, labels.to(x.device), samples, size, seed, window, to_confidence)
            about = (i, cell, photograph, target, float(collages.confidence[i]))
            for method in methods:
                for name, masking in maskings.items():
                    what = digest(shown[i], str((target, method)), texts[name])
                    row = known.get((method, name, what))
                    if row is None:
                        found = explain(model, method, masking, task)
                        score = grid_pointing_game(found.attribution, cell, collages.grid)
                        values = (*about, method, name, score, found.seconds, run, shown[i], what)
                        row = known[method, name, what] = dict(zip(COLUMNS, values, strict=True))
                        if path is not None:
                            write_records(pandas.DataFrame(list(known.values()), columns=COLUMNS), path)
                    rows.append(row)
                    bar.update()
    records: pd.DataFrame = pandas.DataFrame(rows, columns=COLUMNS)
    return records


def _known(path: Path | None, run: str, shown: Sequence[str]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The rows of the file, without damaged ones, if it has these settings and collages."""
    if path is None:
        return {}
    if not path.parent.is_dir():
        raise ValueError(f"there is no directory {str(path.parent)!r} for the records: make it first")
    found = read_records(path)
    if found is None:
        return {}
    if set(COLUMNS) - set(found.columns) or set(found["run"]) - {run}:
        raise ValueError(f"{str(path)!r} has records of other settings or weights: use another file, or delete it")
    rows = [row for row in found[COLUMNS].to_dict("records") if _sound(row)]
    if any(row["collage"] < len(shown) and row["shown"] != shown[int(row["collage"])] for row in rows):
        raise ValueError(
            f"{str(path)!r} has records of other collages (other photographs or another draw): use another file, or "
            "delete it"
        )
    return {(row["method"], row["masking"], row["input"]): row for row in cast("list[dict[str, Any]]", rows)}


def _sound(row: Mapping[Any, Any]) -> bool:
    """Whether all numbers of a row are finite, and its share is from 0 to 1."""
    numbers = [row[name] for name in ("collage", "cell", "photograph", "target", "confidence", "share", "seconds")]
    finite = all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers)
    return finite and 0 <= row["share"] <= 1


def _try(model: nn.Module, x: Tensor, maskings: Mapping[str, Masking]) -> None:
    """Hide half of an input under every masking, so that errors show up at once and not after hours."""
    half = torch.arange(x.shape[-1], device=x.device).expand(x.shape[2:]) < x.shape[-1] // 2
    with torch.no_grad():
        for masking in maskings.values():
            masked_forward(model, masking)(x, mask=half)
