"""Compare ways of hiding features: explain many images by several methods, each under every masking."""

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

    By default, the predicted class is explained. Each attribution is turned into sufficient explanations under the same
    masking. These, and the highest-ranked positions at equal sizes, are planted on each set of backgrounds and
    classified by the plain model.

    Parameters
    ----------
    model : nn.Module
        The plain model, in eval mode.
    images : mapping, sequence or Tensor
        Inputs of shape (1, C, *spatial) or (C, *spatial), by name; unnamed ones are called "0", "1", … A tuple is an
        input followed by the model's other arguments, which are not masked.
    methods : sequence of str, or mapping
        Some of ``occlusion``, ``feature_ablation``, ``kernel_shap``, ``lime``, ``responsibility``, ``rise``; or a
        mapping of names to functions of (forward, x, target) that return an attribution, where ``forward`` is an
        ADForward or BaselineForward.
    maskings : sequence of str, or mapping
        ``"ad:PRESET"`` and names of baselines; or a mapping of names to rules and baselines. Names that begin with
        "ad:" count as AD in the statistics.
    gammas : sequence of float
        Thresholds γ; by default the paper's.
    backgrounds : mapping of str to Backgrounds
        Required. Sets of backgrounds by name, e.g. ``{"K1": SolidColors(mean=mean, std=std)}``.
    sizes : sequence of float
        Equal sizes at which ρ is also measured.
    n_samples : int
        Perturbations per attribution for ``kernel_shap`` and ``lime``; ``responsibility`` and ``rise``
        run four times as many.
    n_segments : int
        Approximate number of superpixels for ``feature_ablation``, ``kernel_shap`` and ``lime``.
    window : int
        Side of Occlusion's window. Its stride is half of that.
    step : int, optional
        Positions per step of the scan; by default one per cent of them.
    target : Target, optional
        What to explain for every image instead of the predicted class.
    to_confidence : str or callable
        As for :func:`sufficient_explanation`.
    seed : int
        Random seed of the perturbations, which are the same for every image and masking.
    batch_size : int, optional
        Inputs per forward. Default: 4 on the CPU, else 32.
    folder : str or Path, optional
        Where to write the records one by one, in the format of ``captum-ad study`` (:mod:`captum_ad.study.store`).
        Existing records are not computed again. The folder is created if needed.
    show_progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row per image, method, masking, backgrounds and threshold, or equal size, in that order:

        - ``image``, ``method``, ``masking``, ``backgrounds``: str, their names.
        - ``target``: int, the class explained; or the target's ``repr``.
        - ``gamma``: float, the threshold; NaN in rows for an equal size.
        - ``found``: bool, whether any part of the ranking is sufficient; if not, the next four are NaN.
        - ``size``: float, fraction of the positions, 0 to 1. At a threshold, 0 if the model predicts the class even
          with everything hidden; :func:`summarize` and :func:`significance` leave these rows out.
        - ``confidence``: float, with the explanation alone, under its masking; NaN at an equal size.
        - ``rho``, ``confidence_planted``: float, ρ and the mean confidence on the backgrounds.
        - ``n_backgrounds``: int, the number of backgrounds.
        - ``seconds``: float, time of the attribution and the scan.

    Raises
    ------
    ValueError, TypeError, UnknownNameError
        If an argument is invalid, or the folder has records of another configuration: other settings or weights, or
        a different image, method or masking under the same name.
    ImportError
        If an optional dependency is missing.
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
        masked_forward(model, masking)  # raises an error if it is unknown
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
            sys.exit(128 + signal.SIGTERM)  # the default behavior, but after the current unit of work
        return read_explanations([where], plan.units())[list(COLUMNS)]


_MODEL = "model"


@contextmanager
def _somewhere(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="captum-ad-") as made:
        yield Path(made)
