"""What a comparison leaves behind: a figure and an archive per photograph, a summary, a table."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from captum_ad import __version__
from captum_ad.attributions import Result, Task
from captum_ad.cli.explanations import EQUAL_SIZE, Explanation, Scale
from captum_ad.cli.figure import save_figure
from captum_ad.cli.images import Photograph
from captum_ad.cli.models import Classifier

SUMMARY = "summary.json"


@dataclass(frozen=True)
class Comparison:
    """Everything that was found about one photograph.

    Attributes
    ----------
    photograph : Photograph
        Which.
    task : Task
        What was explained.
    confidence : float
        In the target: for a class its probability.
    predicted : int or None
        The most probable class; None where another target than a class is explained.
    scale : Scale
        How explanations are measured.
    results : dict
        (method, column) to an attribution.
    explanations : dict
        (method, column) to the sufficient explanation that it gives.
    """

    photograph: Photograph
    task: Task
    scale: Scale
    confidence: float
    predicted: int | None
    results: dict[tuple[str, str], Result] = field(default_factory=dict)
    explanations: dict[tuple[str, str], Explanation] = field(default_factory=dict)

    @property
    def figure_name(self) -> str:
        """File name of the figure."""
        return f"{self.photograph.name}.png"

    @property
    def archive_name(self) -> str:
        """File name of the attributions."""
        return f"{self.photograph.name}.npz"


def file_names(photographs: Sequence[Photograph]) -> list[str]:
    """The names of all files of a report, the summary last."""
    return [name for p in photographs for name in (f"{p.name}.png", f"{p.name}.npz")] + [SUMMARY]


def write_comparison(
    folder: Path, classifier: Classifier, comparison: Comparison, methods: Sequence[str], columns: Sequence[str]
) -> None:
    """Write the figure and the attributions of one photograph.

    The archive holds ``METHOD/COLUMN`` (float, shape (C, H, W)), ``explanation/METHOD/COLUMN`` (bool, (H, W)),
    ``superpixels`` (H, W) and ``target``.
    """
    task = comparison.task
    superpixels = task.superpixels[0, 0].cpu().numpy()
    attributions = {key: result.attribution.numpy() for key, result in comparison.results.items()}
    save_figure(
        folder / comparison.figure_name,
        f"{classifier.title} on {comparison.photograph.name}: {describe(classifier, comparison)}",
        classifier.displayed(task.x),
        superpixels,
        methods,
        columns,
        attributions,
        comparison.explanations,
    )
    named: dict[str, Any] = {f"{method}/{column}": array for (method, column), array in attributions.items()}
    for (method, column), found in comparison.explanations.items():
        named[f"explanation/{method}/{column}"] = found.mask.numpy()
    target = np.array(repr(task.target) if task.index is None else task.index)
    np.savez_compressed(folder / comparison.archive_name, superpixels=superpixels, target=target, **named)


def describe(classifier: Classifier, comparison: Comparison) -> str:
    """The explained class and its probability, in words."""
    target = comparison.task.index
    if target is None or comparison.predicted is None:
        return f"{comparison.task.target}, confidence {comparison.confidence:.3g}"
    name = classifier.class_name(target)
    words = f"{name} ({target}), confidence {comparison.confidence:.2f}"
    if target != comparison.predicted:
        words += f"; predicted {classifier.class_name(comparison.predicted)} ({comparison.predicted})"
    return words


def write_summary(
    folder: Path,
    command: Sequence[str],
    settings: Mapping[str, Any],
    classifier: Classifier,
    found: Sequence[Comparison],
) -> None:
    """Write ``summary.json``: what ran, on what, and what it cost."""
    summary = {
        "schema": 1,
        "command": list(command),
        "model": classifier.name,
        "preprocessing": classifier.preprocessing,
        "explained": "the model's raw output for the target class (the logit, if the model ends without softmax)",
        "versions": {
            "captum_ad": __version__,
            "captum": version("captum"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "device": str(classifier.device),
        "threads": torch.get_num_threads(),
        **settings,
        "images": [_entry(classifier, comparison) for comparison in found],
    }
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")


def _entry(classifier: Classifier, comparison: Comparison) -> dict[str, Any]:
    task = comparison.task
    measured: dict[str, dict[str, Any]] = {}
    for (method, column), result in comparison.results.items():
        explanation = comparison.explanations[method, column]
        measured.setdefault(method, {})[column] = {
            "seconds": round(result.seconds, 3),
            "forwards": result.forwards,
            "explanation": {
                name: value if value == value else None  # NaN is no JSON
                for name, value in vars(explanation).items()
                if name != "mask"
            }
            | {"empty": explanation.empty},
        }
    return {
        "file": comparison.photograph.source,
        "size": list(comparison.photograph.image.size),
        "input_shape": list(task.x.shape[1:]),
        "figure": comparison.figure_name,
        "attributions": comparison.archive_name,
        "target": _named(classifier, task.index, repr(task.target)),
        "confidence": comparison.confidence,
        "predicted": None if comparison.predicted is None else _named(classifier, comparison.predicted),
        "superpixels": int(task.superpixels.max()) + 1,
        "methods": measured,
    }


def _named(classifier: Classifier, index: int | None, otherwise: str = "") -> dict[str, Any]:
    return {"index": index, "name": otherwise if index is None else classifier.class_name(index)}


def results_table(found: Sequence[Comparison], methods: Sequence[str], columns: Sequence[str]) -> str:
    """Means over photographs of what was measured, per method and column, as lines of text."""
    rows = [["method", "masking", "size", "confidence", "ρ", f"ρ at size {EQUAL_SIZE:g}", "seconds"]]
    for method in methods:
        for column in columns:
            ours = [one.explanations[method, column] for one in found]
            sufficient = [one for one in ours if one.found and not one.empty]
            cells = [_mean([getattr(one, name) for one in sufficient]) for name in ("size", "confidence", "rho")]
            cells.append(_mean([one.rho_at_equal_size for one in ours]))
            spent = sum(one.results[method, column].seconds for one in found)
            counts = {"none found": sum(not one.found for one in ours), "empty": sum(one.empty for one in ours)}
            notes = ", ".join(f"{what} in {count}" for what, count in counts.items() if count)
            missing = f"  ({notes})" if notes else ""
            rows.append([method, column, *cells, f"{spent:7.1f}{missing}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for *row, seconds in rows:
        aligned = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        lines.append("  ".join([*aligned, seconds]))
    return "\n".join(lines)


def legend(comparison: Comparison, empty: bool = False) -> str:
    """What the numbers of the table are; `empty`: whether some explanations are."""
    gamma, colours = comparison.scale.gamma, comparison.scale.backgrounds.n
    lines = [
        f"size: share of the image that alone keeps the class, at {gamma:g} of its confidence or more",
        f"ρ: share of {colours} solid colours on which that still gets the class; it grows with the size, so compare",
        f"ρ at equal size: of the best {EQUAL_SIZE:.0%} of each attribution",
    ]
    if empty:
        lines.append("empty: the model gives the class to an image of which nothing is there; in none of the means")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f}" if values else "–"
