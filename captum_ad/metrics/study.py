"""Compare ways of hiding features: explanations of many images by several methods, each under every masking."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad.attributions import OVER_SUPERPIXELS, Task, explain, seeded
from captum_ad.extras import needed
from captum_ad.metrics.backgrounds import Backgrounds, DrawnBackgrounds
from captum_ad.metrics.digests import described, digest, fingerprint
from captum_ad.metrics.explanation import PAPER_GAMMAS, sufficient_explanation
from captum_ad.metrics.given import Given, Method, by_name, named_inputs, named_methods
from captum_ad.metrics.inputs import with_arguments
from captum_ad.metrics.planting import planted_scores
from captum_ad.metrics.records import known_records, write_records
from captum_ad.metrics.robustness import equal_size_masks
from captum_ad.metrics.scan import SufficientExplanation
from captum_ad.painted import MaskedForward, Masking, masked_forward
from captum_ad.scoring import Judge, ToConfidence, batch_of, in_eval_mode, share
from captum_ad.segmentation import superpixels
from captum_ad.targets.base import Target, matrix, tensor_of

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "image method masking target gamma backgrounds found size confidence rho confidence_planted n_backgrounds seconds "
    "run input"
).split()
"""The columns of the records."""


def compare(
    model: nn.Module,
    images: Mapping[str, Given] | Sequence[Given] | Tensor,
    methods: Sequence[str] | Mapping[str, Method] = ("occlusion", "lime"),
    maskings: Sequence[str] | Mapping[str, Masking] = ("ad:no-growth-mean", "ad:paper", "zero", "min", "max", "avg"),
    gammas: Sequence[float] = PAPER_GAMMAS,
    backgrounds: Mapping[str, Backgrounds] | None = None,
    *,
    sizes: Sequence[float] = (0.1, 0.3, 0.5),
    samples: int = 150,
    segments: int = 40,
    window: int = 32,
    step: int | None = None,
    target: Target | None = None,
    to_confidence: ToConfidence = "softmax",
    seed: int = 0,
    batch_size: int | None = None,
    path: str | Path | None = None,
    show_progress: bool = True,
) -> pd.DataFrame:
    """Explain every image by every method under every masking, and measure the explanations.

    What is explained is the class that the model gives to the image. The attribution is turned into
    sufficient explanations under the same masking; these, and the highest positions at equal sizes,
    are planted on the backgrounds of each set and classified by the plain model.

    Parameters
    ----------
    model : nn.Module
        The plain model, in eval mode.
    images : mapping, sequence or Tensor
        Inputs of shape (1, C, *spatial) or (C, *spatial), by name; without names they are "0", "1", … A tuple is an
        input and the model's other arguments, which stay as they are.
    methods : sequence of str, or mapping
        Of ``occlusion``, ``feature_ablation``, ``kernel_shap``, ``lime``, ``responsibility``, ``rise``; or
        names to functions of (forward, x, target) that return an attribution, ``forward`` being an ADForward or
        BaselineForward.
    maskings : sequence of str, or mapping
        ``"ad:PRESET"`` and baselines' names; or names to rules and baselines. A name that begins with
        "ad:" counts as AD in the statistics.
    gammas : sequence of float
        Thresholds; by default the paper's.
    backgrounds : mapping of str to Backgrounds
        To be given: there is no default. By name, e.g. ``{"K1": SolidColors(mean=mean, std=std)}``.
    sizes : sequence of float
        The equal sizes at which ρ is measured too.
    samples : int
        Perturbations per attribution by ``kernel_shap`` or ``lime``; ``responsibility`` and ``rise``
        run four times as many.
    segments : int
        Superpixels, about, for ``feature_ablation``, ``kernel_shap`` and ``lime``.
    window : int
        Side of Occlusion's window; it moves by half of that.
    step : int, optional
        Positions per step of the scan; by default one per cent of them.
    target : Target, optional
        What is explained of every image, if not the class that the model gives to it.
    to_confidence : str or callable
        As for :func:`sufficient_explanation`.
    seed : int
        Of the perturbations; every image and masking gets the same ones.
    batch_size : int, optional
        Inputs per forward. Default: 4 on the CPU, else 32.
    path : str or Path, optional
        A file, .csv or .parquet, that the records are added to after every attribution; what it has
        already is not computed again.
    show_progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row per image, method, masking, backgrounds and threshold, or equal size, in that order:

        - ``image``, ``method``, ``masking``, ``backgrounds``: str, their names.
        - ``target``: int, the class explained; or the target in words.
        - ``gamma``: float, the threshold; NaN in the rows of an equal size.
        - ``found``: bool, whether any part of the ranking suffices; if not, the next four are NaN.
        - ``size``: float, share of the positions, 0 to 1; 0 at a threshold where the model gives the class to nothing,
          which :func:`summarise` and :func:`significance` leave out.
        - ``confidence``: float, with the explanation alone, under its masking; NaN at an equal size.
        - ``rho``, ``confidence_planted``: float, ρ and the mean confidence on the backgrounds.
        - ``n_backgrounds``: int.
        - ``seconds``: float, of the attribution and the scan.
        - ``run``, ``input``: str, digests of the settings, backgrounds and weights; of the image, method and masking.

    Raises
    ------
    ValueError, TypeError, UnknownNameError
        If something given does not fit; also if the file has records of other settings or another
        model.
    ImportError
        If an extra is missing.
    """
    pandas = needed("pandas", "pandas", "metrics")
    in_eval_mode(model)
    if not backgrounds:
        raise ValueError(
            'give one set of backgrounds at least, e.g. backgrounds={"K1": SolidColors(mean=mean, std=std)}'
        )
    inputs = named_inputs(images, model)
    functions = named_methods(methods)
    how: dict[str, Masking] = by_name(maskings, "masking")
    for masking in how.values():
        masked_forward(model, masking)  # is there such a one?
    thresholds = tuple(share(gamma, "gamma") for gamma in gammas)
    levels = tuple(share(size, "a size") for size in sizes)
    study = _Study(model, thresholds, levels, backgrounds, step, to_confidence, batch_size, target)
    settings = [
        described(value) for value in (study.gammas, study.sizes, backgrounds, step, target or to_confidence, seed)
    ]
    run = digest(fingerprint(model), *settings, str((samples, segments, window)))
    texts = {("method", name): described(function) for name, function in functions.items()}  # now: they may count calls
    texts |= {("masking", name): described(masking) for name, masking in how.items()}
    destination = None if path is None else Path(path)
    known = known_records(destination, run, COLUMNS)
    rows_of_cell = len(backgrounds) * (len(study.gammas) + len(study.sizes))
    done = {} if known is None else dict(iter(known.groupby(list(_CELL), sort=False)))
    done = {key: rows for key, rows in done.items() if len(rows) == rows_of_cell}
    everything = list(done.values())
    result: list[pd.DataFrame] = []
    with tqdm(total=len(inputs) * len(functions) * len(how), unit="attribution", disable=not show_progress) as bar:
        for image, (x, more) in inputs.items():
            bound = with_arguments(model, more or None)
            of_image = replace(study, model=bound)
            prepared: _Image | None = None
            for method, function in functions.items():
                for masking in how:
                    cell_input = digest(x, *more, texts["method", method], texts["masking", masking])
                    bar.set_description(f"{image}: {method} {masking}")
                    rows = done.get((image, method, masking, cell_input))
                    if rows is None:
                        prepared = prepared or of_image.prepared(x)
                        task, forward = (samples, segments, window, seed), masked_forward(bound, how[masking])
                        start = time.perf_counter()
                        attribution = _attributed(function, forward, how[masking], prepared, task, of_image)
                        found = of_image.measured(prepared, forward, attribution, start)
                        cell = {"image": image, "method": method, "masking": masking, "run": run, "input": cell_input}
                        rows = pandas.DataFrame([{**cell, **row} for row in found], columns=COLUMNS)
                        if destination is not None:
                            everything.append(rows)
                            write_records(pandas.concat(everything, ignore_index=True), destination)
                    result.append(rows)
                    bar.update()
    records: pd.DataFrame = pandas.concat(result, ignore_index=True)
    return records


_CELL = ("image", "method", "masking", "input")


@dataclass(frozen=True)
class _Image:
    """One input, ready to be explained."""

    x: Tensor
    target: int | Target
    backgrounds: Mapping[str, DrawnBackgrounds]

    @property
    def named(self) -> int | str:
        """The target as records have it."""
        return self.target if isinstance(self.target, int) else repr(self.target)


@dataclass(frozen=True)
class _Study:
    """What is measured of each attribution."""

    model: nn.Module
    gammas: tuple[float, ...]
    sizes: tuple[float, ...]
    backgrounds: Mapping[str, Backgrounds]
    step: int | None
    to_confidence: ToConfidence
    batch_size: int | None
    target: Target | None

    def prepared(self, x: Tensor) -> _Image:
        target = self.target or self._answer(x)
        drawn = {
            name: source.draw(self.model, x, target, batch_size=self.batch_size)
            for name, source in self.backgrounds.items()
        }
        return _Image(x, target, drawn)

    def _answer(self, x: Tensor) -> int:
        """The class that the model gives to an input; of one logit, the only one."""
        with torch.no_grad():
            return int(matrix(tensor_of(self.model(x)), "compare").argmax(1))

    def measured(
        self, image: _Image, forward: MaskedForward, attribution: Tensor, start: float
    ) -> list[dict[str, Any]]:
        """The rows of one attribution; `start` is when it was begun."""
        explanations = sufficient_explanation(
            forward,
            image.x,
            attribution,
            image.target,
            self.gammas,
            step=self.step,
            to_confidence=self.to_confidence,
            batch_size=self.batch_size,
        )
        seconds = time.perf_counter() - start
        masks = torch.stack([one.mask for one in explanations])
        masks = torch.cat([masks, equal_size_masks(attribution, image.x, self.sizes)]) if self.sizes else masks
        rows: list[dict[str, Any]] = []
        for name, drawn in image.backgrounds.items():
            judge = Judge(image.target, self.to_confidence)
            scores = planted_scores(self.model, image.x, masks, drawn, judge, self.batch_size)
            kept, confidence = (values.double().mean(1).tolist() for values in scores)
            fixed = {
                "target": image.target if isinstance(image.target, int) else repr(image.target),
                "backgrounds": name,
                "n_backgrounds": drawn.n,
                "seconds": seconds,
            }
            levels: list[SufficientExplanation | float] = [*explanations, *self.sizes]
            for i, level in enumerate(levels):
                planted = {"rho": kept[i], "confidence_planted": confidence[i]}
                rows.append({**fixed, **planted, **_alone(level)})
        return rows


def _alone(level: SufficientExplanation | float) -> dict[str, Any]:
    """The columns of a row that do not depend on its backgrounds."""
    if not isinstance(level, SufficientExplanation):
        return {"gamma": math.nan, "found": True, "size": level, "confidence": math.nan}
    row: dict[str, Any] = {
        "gamma": level.gamma,
        "found": level.found,
        "size": level.size,
        "confidence": level.confidence,
    }
    return row if level.found else {**row, "rho": math.nan, "confidence_planted": math.nan}


def _attributed(
    method: Method,
    forward: MaskedForward,
    masking: Masking,
    image: _Image,
    effort: tuple[int, int, int, int],
    study: _Study,
) -> Tensor:
    samples, segments, window, seed = effort
    x = image.x
    if not isinstance(method, str):
        with seeded(seed, x.device):
            return method(forward, x, image.target)
    used = method in OVER_SUPERPIXELS
    labels = (
        superpixels(x, n_segments=segments, spatial_dims=x.dim() - 2) if used else torch.zeros(1, dtype=torch.int64)
    )
    batch = batch_of(study.batch_size, x.device)
    task = Task(x, image.target, labels.to(x.device), samples, batch, seed, window, study.to_confidence)
    return explain(study.model, method, masking, task).attribution
