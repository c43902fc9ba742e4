"""Run a study on one photograph after the other; records that a file already has are not measured again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad._common.extras import needed
from captum_ad._forwards.baseline_forward import Masking, masked_forward
from captum_ad._methods import Task, explain
from captum_ad._scoring import batch_of
from captum_ad.metrics.digests import described, digest, fingerprint
from captum_ad.metrics.records import known_records, write_records
from captum_ad.segmentation import superpixels

if TYPE_CHECKING:
    import pandas as pd

Found = tuple[str, str, str, float]
"""Method, masking, quantity, and its value."""

COLUMNS = ("photograph", "target", "method", "masking", "quantity", "value", "run", "shown")
"""The columns of the records."""


@dataclass
class Case:
    """One photograph, with everything that a study may need.

    Attributes
    ----------
    model : nn.Module
        The plain model, in eval mode.
    x : Tensor
        The input, shape (1, C, H, W).
    target : int
        The class to explain.
    maskings : mapping
        Maskings by name.
    seed : int
        Seed of everything random.
    mean, std : float or sequence of float
        The normalization of `x`.
    images : mapping
        All inputs of the study by name, including this one.
    shared : dict
        For results that a study computes once for all inputs.
    window : int
        Side of Occlusion's window in pixels.
    samples, segments : int
        Number of perturbations of LIME and KernelSHAP, and of superpixels.
    """

    model: nn.Module
    x: Tensor
    target: int
    maskings: Mapping[str, Masking]
    seed: int = 0
    mean: Sequence[float] | float = 0.0
    std: Sequence[float] | float = 1.0
    images: Mapping[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)
    window: int = 56
    samples: int = 100
    segments: int = 50
    _attributions: dict[tuple[str, str], Tensor] = field(default_factory=dict, repr=False)

    def attribution(self, method: str, masking: str) -> Tensor:
        """The attribution by a name in :data:`captum_ad._methods.METHODS` under a masking, shape (C, H, W); cached."""
        known = self._attributions.get((method, masking))
        if known is None:
            known = self._attributions[method, masking] = explain(
                self.model, method, self.maskings[masking], self.task
            ).attribution
        return known

    @property
    def task(self) -> Task:
        """The task for attributors."""
        labels = superpixels(self.x, n_segments=self.segments).to(self.x.device)
        size = batch_of(None, self.x.device)
        return Task(self.x, self.target, labels, self.samples, size, self.seed, self.window)


@dataclass(frozen=True)
class Study:
    """A study: what it measures, and how its table shows that.

    Attributes
    ----------
    run : callable
        Yields the measurements of a case.
    title : str
        A sentence above the table.
    compared : tuple of str
        Quantities for which the table shows the paired difference from the best baseline.
    lower_is_better : bool
        Whether lower values of these are better.
    product : tuple of str
        Two quantities, and the name of the product of their means, which the table shows too.
    own : callable, optional
        If no photographs are given: returns an :class:`Own` for a number of inputs and a seed.
    """

    run: Callable[[Case], Iterator[Found]]
    title: str
    compared: tuple[str, ...] = ()
    lower_is_better: bool = False
    product: tuple[str, str, str] | None = None
    own: Callable[[int, int], Own] | None = None


@dataclass(frozen=True)
class Own:
    """A study's own network and inputs.

    Attributes
    ----------
    title : str
        Their name in the table.
    model : nn.Module
        The network, in eval mode.
    images, targets : mapping
        See :func:`measure`.
    """

    title: str
    model: nn.Module
    images: Mapping[str, Tensor]
    targets: Mapping[str, int]


def measure(
    study: str,
    run: Callable[[Case], Iterator[Found]],
    model: nn.Module,
    images: Mapping[str, Tensor],
    targets: Mapping[str, int],
    maskings: Mapping[str, Masking],
    *,
    seed: int = 0,
    mean: Sequence[float] | float = 0.0,
    std: Sequence[float] | float = 1.0,
    path: Path | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Run a study on photographs.

    Parameters
    ----------
    study, run
        The study's name, and the function that measures a case.
    model : nn.Module
        The plain model, in eval mode.
    images, targets : mapping
        Inputs, shape (1, C, H, W), and classes, by the names of the photographs.
    maskings : mapping
        Maskings by name.
    seed : int
        Seed of everything random.
    mean, std : float or sequence of float
        The normalization of the inputs.
    path : Path, optional
        A .csv or .parquet file to which the records are added after every photograph.
    show_progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row per photograph, method, masking and quantity, with :data:`COLUMNS`.

    Raises
    ------
    ValueError
        If the file has records of other settings.
    """
    pandas = needed("pandas", "pandas", "metrics")
    named = ", ".join(f"{name}={described(masking)}" for name, masking in maskings.items())
    settings = digest(fingerprint(model), described((study, named, seed)))
    known = known_records(path, settings, COLUMNS)
    rows: list[dict[Any, Any]] = [] if known is None else known[list(COLUMNS)].to_dict("records")
    done = {(row["photograph"], row["shown"]) for row in rows}
    shared: dict[str, Any] = {}
    _try(model, next(iter(images.values())), maskings)
    for name, x in tqdm(images.items(), desc=study, unit="photograph", disable=not show_progress):
        shown = digest(x, str(targets[name]))
        if (name, shown) in done:
            continue
        case = Case(model, x, targets[name], maskings, seed, mean, std, images, shared)
        for method, masking, quantity, value in run(case):
            values = (name, targets[name], method, masking, quantity, value, settings, shown)
            rows.append(dict(zip(COLUMNS, values, strict=True)))
        if path is not None:
            write_records(pandas.DataFrame(rows, columns=list(COLUMNS)), path)
    found: pd.DataFrame = pandas.DataFrame(rows, columns=list(COLUMNS))
    return found[found["photograph"].isin(list(images))]


def _try(model: nn.Module, x: Tensor, maskings: Mapping[str, Masking]) -> None:
    """Hide half of an input under every masking, so that errors show up at once and not after hours."""
    half = torch.arange(x.shape[-1], device=x.device).expand(x.shape[2:]) < x.shape[-1] // 2
    with torch.no_grad():
        for masking in maskings.values():
            masked_forward(model, masking)(x, mask=half)


def evenly(model: nn.Module, kinds: Sequence[type[nn.Module]], n: int) -> list[str]:
    """Paths of `n` modules of these types, evenly spaced from the first to the last; all if there are fewer."""
    paths = [path for path, module in model.named_modules() if isinstance(module, tuple(kinds))]
    if len(paths) < n:
        return paths
    return [paths[round(i * (len(paths) - 1) / (n - 1))] for i in range(n)]
