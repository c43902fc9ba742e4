"""The sub-command ``compare``: from photographs and a model to a report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from captum_ad import MaskRule
from captum_ad.attributions import METHODS, Task, columns, explain, seeded
from captum_ad.baselines import BASELINES
from captum_ad.cli.errors import InputError
from captum_ad.cli.explanations import Scale, measure, solid_colors
from captum_ad.cli.images import Photograph, load_photographs
from captum_ad.cli.models import ASSUMED, Classifier, load_classifier
from captum_ad.cli.output import staged
from captum_ad.cli.report import (
    Comparison,
    describe,
    file_names,
    legend,
    results_table,
    write_comparison,
    write_summary,
)
from captum_ad.errors import UnknownNameError, UnsupportedOperationError
from captum_ad.segmentation import superpixels

DEFAULT_IMAGE = "coffee"


def compare(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    """Explain every photograph by every method and column, and write the report.

    Parameters
    ----------
    arguments : argparse.Namespace
        The sub-command's arguments, as ``captum-ad compare --help`` describes them.
    command : sequence of str
        The command line, for the summary.

    Raises
    ------
    InputError, UnknownNameError, UnsupportedOperationError
        If something given cannot be worked with; nothing is written then.
    """
    methods = _known("method", arguments.methods, METHODS)
    presets = list(dict.fromkeys(_rule(name) for name in arguments.ad))
    painted = _known("baseline", arguments.baselines, BASELINES)
    shown = columns(presets, painted)
    if not shown:
        raise InputError("nothing to compare: name at least one of --ad and --baselines")
    device = device_named(arguments.device)
    if arguments.batch_size is None:
        arguments.batch_size = 4 if device.type == "cpu" else 32  # larger ones fall out of a CPU's cache
    if not 0 <= arguments.gamma <= 1:
        raise InputError(f"--gamma is a share of the original confidence, 0 to 1, got {arguments.gamma}")
    photographs = load_photographs(arguments.images or [DEFAULT_IMAGE])
    with staged(arguments.out, file_names(photographs), force=arguments.force) as folder:
        with seeded(arguments.seed, device):
            classifier = load_classifier(arguments.model, arguments.weights, device)
        pending = [_prediction(classifier, photograph, arguments) for photograph in photographs]
        with tqdm(total=len(pending) * len(methods) * len(shown), unit="map", file=sys.stderr) as progress:
            for comparison in pending:
                for method in methods:
                    for column in shown:
                        progress.set_description(f"{comparison.photograph.name}: {method} {column}")
                        _explain(classifier, method, column, comparison)
                        progress.update()
                write_comparison(folder, classifier, comparison, methods, shown)
        settings = {
            name: getattr(arguments, name)
            for name in ("seed", "samples", "segments", "batch_size", "gamma", "backgrounds")
        }
        write_summary(folder, command, settings, classifier, pending)
    for comparison in pending:
        print(f"{classifier.title} on {comparison.photograph.name}: {describe(classifier, comparison)}")
    if classifier.transform is ASSUMED:
        print(f"Preprocessing is {classifier.preprocessing}.")
    empty = any(one.empty for comparison in pending for one in comparison.explanations.values())
    print(f"\n{results_table(pending, methods, shown)}\n\n{legend(pending[0], empty)}\n")
    print(arguments.out / pending[0].figure_name, end="")
    print(f" and {len(file_names(photographs)) - 1} more files in {arguments.out}")


def _rule(name: str) -> str:
    """The name of an AD rule as columns have it."""
    try:
        return MaskRule.named(name).name
    except UnknownNameError:
        raise
    except ValueError as error:
        raise InputError(f"--ad: {error}") from None


def _known(what: str, given: Iterable[str], names: Iterable[str]) -> list[str]:
    """The given names, each once, if all of them are known."""
    for name in given:
        if name not in names:
            raise UnknownNameError(what, name, names)
    return list(dict.fromkeys(given))


def device_named(name: str) -> torch.device:
    """The device of --device, tried.

    Raises
    ------
    InputError
        If it cannot be used.
    """
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()
    except Exception as error:  # each back end has its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"--device {name!r} cannot be used: {reason}") from None
    return device


def _prediction(classifier: Classifier, photograph: Photograph, arguments: argparse.Namespace) -> Comparison:
    """What the classifier says about a photograph, ready to be explained."""
    x = classifier.prepare(photograph.image)
    row, to_confidence = probabilities(classifier, x, photograph)
    predicted = int(row.argmax())
    target = predicted if arguments.target is None else arguments.target
    if not 0 <= target < len(row):
        raise InputError(f"--target {target} is out of range: the model has classes 0 to {len(row) - 1}")
    labels = superpixels(classifier.displayed(x), n_segments=arguments.segments).to(x.device)
    if int(labels.max()) == 0:
        raise InputError(f"{photograph.source!r} has one superpixel only: raise --segments")
    task = Task(x, target, labels, arguments.samples, arguments.batch_size, arguments.seed, to_confidence=to_confidence)
    colors = solid_colors(classifier, x, arguments.backgrounds, arguments.seed)
    scale = Scale(arguments.gamma, colors, to_confidence, arguments.batch_size)
    return Comparison(photograph, task, scale, float(row[target]), predicted)


def _explain(classifier: Classifier, method: str, column: str, comparison: Comparison) -> None:
    """One attribution and its explanation, noted in the comparison."""
    task = comparison.task
    try:
        result = explain(classifier.model, method, column, task)
        found = measure(classifier, method, column, task, result.attribution, comparison.scale)
    except (UnsupportedOperationError, UnknownNameError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of the user's own model, or the attributor's of what it returned
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"{classifier.name!r} failed in {method} with {column}: {what}") from error
    comparison.results[method, column] = result
    comparison.explanations[method, column] = found


def probabilities(classifier: Classifier, x: Tensor, photograph: Photograph) -> tuple[Tensor, str]:
    """The probability of each class, float64 of shape (classes,), and how the model's output becomes that.

    Raises
    ------
    InputError
        If the model fails, or what it returns is no classifier's output.
    """
    try:
        with torch.no_grad():
            output = classifier.model(x)
    except Exception as error:  # of the user's own code
        shape = tuple(x.shape)
        raise InputError(
            f"{classifier.name!r} failed on {photograph.source!r}, input {shape}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[0] != 1:
        what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise InputError(f"{classifier.name!r} returned {what}; a classifier returns a tensor (N, classes)")
    row = output[0].double().cpu()
    if not bool(row.isfinite().all()):
        raise InputError(f"{classifier.name!r} returned NaN or Inf for {photograph.source!r}")
    ends_in_softmax = bool((row >= 0).all()) and abs(float(row.sum()) - 1) < 1e-3
    return (row, "none") if ends_in_softmax else (row.softmax(0), "softmax")
