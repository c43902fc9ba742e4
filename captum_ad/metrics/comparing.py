"""Compare ways of hiding features: explanations of many images by several methods, each under every masking."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from captum_ad._common.extras import needed
from captum_ad._forwards.baseline_forward import Masking, masked_forward
from captum_ad._scoring import ToConfidence, batch_of, in_eval_mode, share
from captum_ad.metrics.backgrounds import Backgrounds
from captum_ad.metrics.digests import digest
from captum_ad.metrics.explanation import PAPER_GAMMAS
from captum_ad.metrics.given import Given, Method, by_name, named_inputs, named_methods
from captum_ad.study.plan import Effort, Judges, Plan, Sample, Subject
from captum_ad.study.results import read_explanations
from captum_ad.study.running import run
from captum_ad.targets.base import Target
from captum_ad.targets.classes import checked_confidence

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "image method masking target gamma backgrounds found size confidence rho confidence_planted n_backgrounds seconds"
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
    n_samples: int = 150,
    n_segments: int = 40,
    window: int = 32,
    step: int | None = None,
    target: Target | None = None,
    to_confidence: ToConfidence = "softmax",
    seed: int = 0,
    batch_size: int | None = None,
    folder: str | Path | None = None,
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
    n_samples : int
        Perturbations per attribution by ``kernel_shap`` or ``lime``; ``responsibility`` and ``rise``
        run four times as many.
    n_segments : int
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
    folder : str or Path, optional
        Where the records go, one by one, as ``captum-ad study`` writes them (:mod:`captum_ad.study.store`): what is
        there already is not computed again. Made if there is none.
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
          which :func:`summarize` and :func:`significance` leave out.
        - ``confidence``: float, with the explanation alone, under its masking; NaN at an equal size.
        - ``rho``, ``confidence_planted``: float, ρ and the mean confidence on the backgrounds.
        - ``n_backgrounds``: int.
        - ``seconds``: float, of the attribution and the scan.

    Raises
    ------
    ValueError, TypeError, UnknownNameError
        If something given does not fit; also if the folder has records of another configuration: other settings or
        weights, an image, method or masking of a known name that is another one now.
    ImportError
        If an extra is missing.
    """
    needed("pandas", "pandas", "metrics")
    in_eval_mode(model)
    checked_confidence(to_confidence)
    batch_of(batch_size, torch.device("cpu"))
    if not backgrounds:
        raise ValueError(
            'give at least one set of backgrounds, e.g. backgrounds={"K1": SolidColors(mean=mean, std=std)}'
        )
    inputs = named_inputs(images, model)
    functions = named_methods(methods)
    how: dict[str, Masking] = by_name(maskings, "masking")
    for masking in how.values():
        masked_forward(model, masking)  # is there such a one?
    thresholds = tuple(share(gamma, "gamma") for gamma in gammas)
    if not thresholds:
        raise ValueError("gamma is an empty sequence: give at least one threshold")
    judges = Judges(thresholds, tuple(share(size, "a size") for size in sizes), step)
    samples_of = {name: Sample(x, more) for name, (x, more) in inputs.items()}
    plan = Plan(
        {_MODEL: Subject(model, samples_of.__getitem__, backgrounds, to_confidence)},
        {name: digest(x, *more) for name, (x, more) in inputs.items()},
        functions,
        how,
        judges,
        Effort(n_samples, n_segments, window),
        seed,
        batch_size,
        target,
    )
    with _somewhere(folder) as where:
        if run(plan, where, show_progress=show_progress).stopped:
            sys.exit(128 + signal.SIGTERM)  # as without us, but after the unit in hand
        return read_explanations([where], plan.units())[list(COLUMNS)]


_MODEL = "model"


@contextmanager
def _somewhere(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="captum-ad-") as made:
        yield Path(made)
