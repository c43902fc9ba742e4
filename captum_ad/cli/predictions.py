"""A classifier's prediction for a photograph, and the explanations of it."""

from __future__ import annotations

import argparse
import ast
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from captum_ad._common.errors import InputError, UnknownNameError, UnsupportedOperationError
from captum_ad._common.images import Photograph
from captum_ad._forwards.baseline_forward import BaselineForward
from captum_ad._methods import Result, Task, explain
from captum_ad.cli.explanations import Explanation, Scale, measure, solid_colors
from captum_ad.cli.given import is_question, question
from captum_ad.cli.models import Classifier
from captum_ad.segmentation import superpixels
from captum_ad.targets.base import Target


@dataclass(frozen=True)
class Comparison:
    """Everything that was found about one photograph.

    Attributes
    ----------
    photograph : Photograph
        The photograph.
    task : Task
        What was explained.
    scale : Scale
        How explanations are measured.
    confidence : float
        The confidence in the target; for a class, its probability.
    predicted : int or None
        The most probable class; None if the target is not a class.
    asked : str
        A target that is not a class, as it was written in --target, with the names in it; empty for a class.
    answered : bool
        Whether a target that is not a class is the model's answer to the whole photograph.
    results : dict
        The attribution of each (method, column).
    explanations : dict
        The sufficient explanation of each (method, column).
    """

    photograph: Photograph
    task: Task
    scale: Scale
    confidence: float
    predicted: int | None
    asked: str = ""
    answered: bool = True
    results: dict[tuple[str, str], Result] = field(default_factory=dict)
    explanations: dict[tuple[str, str], Explanation] = field(default_factory=dict)


def prediction(classifier: Classifier, photograph: Photograph, arguments: argparse.Namespace) -> Comparison:
    """The classifier's prediction for a photograph, ready to be explained.

    Raises
    ------
    InputError, UnknownNameError
        If the model fails on the photograph, there is no such target, or the photograph has a single superpixel.
    """
    x = classifier.prepare(photograph.image)
    text = arguments.target
    if text is not None and is_question(text, classifier.class_names):
        target, confidence, answered = _asked(classifier, x, photograph, arguments)
        found = _comparison(classifier, photograph, arguments, x, target, "softmax", confidence, None)
        return replace(found, asked=ast.unparse(ast.parse(text.strip(), mode="eval")), answered=answered)
    row, to_confidence = probabilities(classifier, x, photograph)
    predicted = int(row.argmax())
    _check_names(classifier, arguments, len(row))
    index = predicted if arguments.target is None else classifier.class_index(arguments.target, len(row))
    return _comparison(classifier, photograph, arguments, x, index, to_confidence, float(row[index]), predicted)


def _check_names(classifier: Classifier, arguments: argparse.Namespace, classes: int) -> None:
    if arguments.classes is not None and len(classifier.class_names) != classes:
        raise InputError(
            f"--classes {str(arguments.classes)!r} names {len(classifier.class_names)} classes, but the model has "
            f"{classes}: give one name per output, in the order of the outputs"
        )


def _asked(
    classifier: Classifier, x: Tensor, photograph: Photograph, arguments: argparse.Namespace
) -> tuple[Target, float, bool]:
    """The target in --target, bound to the whole input; the confidence in it; whether it is the model's answer."""
    text = arguments.target
    target = question(text, classifier.class_names)
    try:
        forward = BaselineForward(classifier.model, 0.0, target=target).bound(x)
        assert forward.target is not None
        with torch.no_grad():
            outputs = forward.outputs(x)
            confidence, kept = float(forward.target.confidence(outputs)[0]), bool(forward.target.kept(outputs)[0])
    except Exception as error:  # raised by the user's code, or by a target that does not fit it
        raise InputError(f"--target {text!r} with {classifier.name!r} on {photograph.source!r}: {error}") from error
    if isinstance(outputs, Tensor) and outputs.dim() >= 2 and outputs.shape[1] > 1:
        _check_names(classifier, arguments, outputs.shape[1])
    return forward.target, confidence, kept


def _comparison(
    classifier: Classifier,
    photograph: Photograph,
    arguments: argparse.Namespace,
    x: Tensor,
    target: int | Target,
    to_confidence: str,
    confidence: float,
    predicted: int | None,
) -> Comparison:
    labels = superpixels(classifier.displayed(x), n_segments=arguments.segments).to(x.device)
    if int(labels.max()) == 0:
        raise InputError(f"{photograph.source!r} has only one superpixel: raise --segments")
    task = Task(x, target, labels, arguments.samples, arguments.batch_size, arguments.seed, to_confidence=to_confidence)
    colors = solid_colors(classifier, x, arguments.backgrounds, arguments.seed)
    scale = Scale(arguments.gamma, colors, to_confidence, arguments.batch_size)
    return Comparison(photograph, task, scale, confidence, predicted)


def add_explanation(classifier: Classifier, method: str, column: str, comparison: Comparison) -> None:
    """Compute one attribution and its explanation, and add them to the comparison.

    Raises
    ------
    InputError, UnknownNameError, UnsupportedOperationError
        If the model fails under masks, or AD cannot follow it.
    """
    task = comparison.task
    try:
        result = explain(classifier.model, method, column, task)
        found = measure(classifier, method, column, task, result.attribution, comparison.scale)
    except (UnsupportedOperationError, UnknownNameError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # raised by the user's model, or by the attributor on the model's output
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"{classifier.name!r} failed in {method} with {column}: {what}") from error
    comparison.results[method, column] = result
    comparison.explanations[method, column] = found


def probabilities(classifier: Classifier, x: Tensor, photograph: Photograph) -> tuple[Tensor, str]:
    """The probability of each class, float64, shape (classes,), and the ``to_confidence`` that computes it.

    Raises
    ------
    InputError
        If the model fails, or its output is not that of a classifier.
    """
    try:
        with torch.no_grad():
            output = classifier.model(x)
    except Exception as error:  # raised by the user's code
        shape = tuple(x.shape)
        raise InputError(
            f"{classifier.name!r} failed on {photograph.source!r}, input {shape}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(output, Tensor) or output.dim() != 2 or output.shape[0] != 1 or output.shape[1] < 2:
        what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"{classifier.name!r} returned {what}; a classifier returns a tensor (N, classes). For another output, say "
            "what to explain: --target 'Binary()' for one logit, 'Regression(tolerance=3)' for a number, 'Region(12)' "
            "for maps of classes, 'Detection((left, top, right, bottom), 1)' for boxes"
        )
    row = output[0].double().cpu()
    if not bool(row.isfinite().all()):
        raise InputError(f"{classifier.name!r} returned NaN or Inf for {photograph.source!r}")
    ends_in_softmax = bool((row >= 0).all()) and abs(float(row.sum()) - 1) < 1e-3
    return (row, "none") if ends_in_softmax else (row.softmax(0), "softmax")
