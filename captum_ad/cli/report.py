"""The files of a report: a figure and an archive per photograph, a summary, a page."""

from __future__ import annotations

import json
import platform
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from captum_ad import __version__
from captum_ad._common.errors import InputError
from captum_ad._common.files import printable, write_whole
from captum_ad._common.images import Photograph
from captum_ad.cli.figure import save_figure
from captum_ad.cli.files import digest
from captum_ad.cli.models import Classifier
from captum_ad.cli.predictions import Comparison

SUMMARY, PAGE = "summary.json", "report.html"
SCHEMA = 3


def figure_name(photograph: Photograph) -> str:
    """The file name of a photograph's figure."""
    return f"{photograph.name}.png"


def archive_name(photograph: Photograph) -> str:
    """The file name of a photograph's archive of attributions."""
    return f"{photograph.name}.npz"


def file_names(photographs: Sequence[Photograph]) -> list[str]:
    """The names of all files of a report."""
    return [name for one in photographs for name in (figure_name(one), archive_name(one))] + [SUMMARY, PAGE]


def described(classifier: Classifier, comparison: Comparison) -> str:
    """The network, the photograph, the target and the confidence in it, in words."""
    target, where = comparison.task.index, f"{classifier.title} on {comparison.photograph.name}"
    if target is None or comparison.predicted is None:
        what, digits = ("confidence", ".2f") if comparison.task.graded else ("value", ".3g")
        words = f"{where}: {comparison.asked or comparison.task.target}, {what} {comparison.confidence:{digits}}"
        return words if comparison.answered else f"{words}; not the network's answer to the whole photograph"
    words = f"{where}: {classifier.class_name(target)} ({target}), confidence {comparison.confidence:.2f}"
    if target != comparison.predicted:
        words += f"; predicted {classifier.class_name(comparison.predicted)} ({comparison.predicted})"
    return words


def draw(path: Path, classifier: Classifier, comparison: Comparison) -> None:
    """Write the figure of one photograph."""
    keys = list(comparison.results)
    save_figure(
        path,
        described(classifier, comparison),
        classifier.displayed(comparison.task.x),
        comparison.task.superpixels[0, 0].cpu().numpy(),
        list(dict.fromkeys(method for method, _ in keys)),
        list(dict.fromkeys(column for _, column in keys)),
        {key: result.attribution.numpy() for key, result in comparison.results.items()},
        comparison.explanations,
        answer="target" if comparison.task.index is None else "class",
    )


def arrays(classifier: Classifier, comparison: Comparison) -> dict[str, Any]:
    """The arrays in the archive of one photograph.

    Returns
    -------
    dict
        - ``METHOD/COLUMN``: the attribution, float, (C, H, W).
        - ``explanation/METHOD/COLUMN``: the explanation, bool, (H, W).
        - ``steps/METHOD/COLUMN``: the step of the scan at which each position appears, int16, (H, W).
        - ``curve/METHOD/COLUMN``: size, confidence and whether the class is kept after 0, 1, … steps, (3, steps + 1).
        - ``kept/METHOD/COLUMN``: whether the explanation keeps the class on each background, bool, (n).
        - ``superpixels``: labels, (H, W).
        - ``target``: the class index, or the target as text.
        - ``photograph``: the model's input as an image, uint8, (H, W, 3).
        - ``backgrounds``: their colors, uint8, (n, 3).
    """
    task, colors = comparison.task, comparison.scale.backgrounds
    shown = classifier.displayed(task.x)
    solid = [classifier.displayed(task.x, colors.batch(i, i + 1)[:, :, :1, :1])[0, 0] for i in range(colors.n)]
    found: dict[str, Any] = {
        "superpixels": task.superpixels[0, 0].cpu().numpy(),
        "target": np.array(repr(task.target) if task.index is None else task.index),
        "photograph": _bytes(shown),
        "backgrounds": _bytes(np.stack(solid)),
    }
    for (method, column), result in comparison.results.items():
        explanation, key = comparison.explanations[method, column], f"{method}/{column}"
        curve = explanation.curve
        found[key] = result.attribution.numpy()
        found[f"explanation/{key}"] = explanation.mask.numpy()
        found[f"steps/{key}"] = explanation.steps.numpy().astype(np.int16)
        found[f"curve/{key}"] = torch.stack([curve.sizes, curve.values, curve.class_kept.double()]).cpu().numpy()
        found[f"kept/{key}"] = explanation.class_kept.numpy()
    return found


def entry(classifier: Classifier, comparison: Comparison) -> dict[str, Any]:
    """The summary's entry for one photograph."""
    task, photograph = comparison.task, comparison.photograph
    measured: dict[str, dict[str, Any]] = {}
    for (method, column), result in comparison.results.items():
        measured.setdefault(method, {})[column] = {
            "seconds": round(result.seconds, 3),
            "forwards": result.forwards,
            "explanation": comparison.explanations[method, column].measures(),
        }
    return {
        "file": printable(photograph.source),
        "contents": digest(Path(photograph.source)),
        "title": described(classifier, comparison),
        "note": photograph.note,
        "size": list(photograph.size),
        "input_shape": list(task.x.shape[1:]),
        "figure": figure_name(photograph),
        "attributions": archive_name(photograph),
        "target": _named(classifier, task.index, repr(task.target)),
        "confidence": comparison.confidence,
        "graded": task.graded,
        "predicted": None if comparison.predicted is None else _named(classifier, comparison.predicted),
        "superpixels": int(task.superpixels.max()) + 1,
        "methods": measured,
    }


def _named(classifier: Classifier, index: int | None, otherwise: str = "") -> dict[str, Any]:
    return {"index": index, "name": otherwise if index is None else classifier.class_name(index)}


def summary_of(
    command: Sequence[str], settings: Mapping[str, Any], classifier: Classifier, entries: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The contents of ``summary.json``: what ran, what it found, and what it cost."""
    return {
        "schema": SCHEMA,
        "command": [printable(word) for word in command],
        "explained": "the model's raw output for the target class (the logit, if the model ends without softmax); of "
        "another target, its score",
        "transform": classifier.described_transform,
        "notes": list(classifier.notes),
        "versions": {
            "captum_ad": __version__,
            "captum": version("captum"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "device": str(classifier.device),
        "threads": torch.get_num_threads(),
        **settings,
        "images": list(entries),
    }


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write ``summary.json``."""
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(folder / SUMMARY, text + "\n")


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of an earlier report; empty if there is none that this version can read."""
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    images = summary.get("images") if isinstance(summary, dict) else None
    needed = {"file", "contents", "figure", "attributions", "methods"}
    whole = isinstance(images, list) and all(isinstance(one, dict) and one.keys() >= needed for one in images)
    return summary if whole else {}


def files_of(summary: Mapping[str, Any]) -> list[str]:
    """The names of all files of the report with this summary, the summary included."""
    named = [one.get(kind) for one in summary.get("images", ()) for kind in ("figure", "attributions")]
    return [name for name in named if isinstance(name, str)] + ([SUMMARY, PAGE] if summary else [])


def entries_to_keep(
    folder: Path, settings: Mapping[str, Any], photographs: Sequence[Photograph]
) -> list[dict[str, Any]]:
    """The entries of an earlier run about these photographs, if their files are unchanged and complete.

    Raises
    ------
    InputError
        If the earlier run had other settings, or photographs that are not among these.
    """
    summary = read_summary(folder)
    if not summary:
        return []
    if summary.get("schema") != SCHEMA:
        raise InputError(
            f"{str(folder / SUMMARY)!r} is from another version and cannot be continued: start again with --force"
        )
    other = [name for name, value in settings.items() if summary.get(name) != value]
    if other:
        was = ", ".join(f"{name} {summary.get(name)!r} (now {settings[name]!r})" for name in other)
        raise InputError(
            f"--resume: the report in {str(folder)!r} had other settings, {was}: give the same ones, or --force"
        )
    expected = {(printable(one.source), figure_name(one)): digest(Path(one.source)) for one in photographs}
    unknown = [one["file"] for one in summary["images"] if (one["file"], one["figure"]) not in expected]
    if unknown:
        raise InputError(
            f"--resume: the report in {str(folder)!r} has {unknown[0]!r}, which is not among the images in that place: "
            "give the same images, or --force"
        )
    return [
        one
        for one in summary["images"]
        if one["contents"] == expected[one["file"], one["figure"]] and _is_whole(folder, one)
    ]


def _is_whole(folder: Path, one: Mapping[str, Any]) -> bool:
    """Whether the files of a photograph exist and can be read."""
    try:
        with np.load(folder / one["attributions"]) as archive:
            found = all(
                f"{method}/{column}" in archive.files for method, row in one["methods"].items() for column in row
            )
        return found and (folder / one["figure"]).stat().st_size > 0
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def _bytes(pixels: Any) -> Any:
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
