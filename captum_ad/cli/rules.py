"""The sub-command ``rules``: find the masking that disturbs a model least, on photographs."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from captum_ad._common.errors import InputError, UnknownNameError, UnsupportedOperationError
from captum_ad._common.extras import install_hint
from captum_ad._common.images import PHOTOGRAPHS, expanded, load_photographs
from captum_ad._methods import seeded
from captum_ad.cli.devices import device_named, threads
from captum_ad.cli.folder import refuse_occupied
from captum_ad.cli.labels import Box, Label, carried_box, labels_of, read_labels
from captum_ad.cli.models import Classifier, load_classifier
from captum_ad.cli.output import staged
from captum_ad.cli.predictions import probabilities
from captum_ad.metrics import Recommendation, recommend_rule
from captum_ad.metrics.masking_names import all_maskings
from captum_ad.metrics.recommendation import NoneRightError

LEAST_SHARE = 0.5
"""The least share of an object that the transform must leave: of a smaller rest, hiding it says little."""

TABLE, RECORDS, FIGURE = "table.md", "records.csv", "rules.png"


@dataclass
class _Photographs:
    """The model's inputs, and what is known about them."""

    inputs: dict[str, Tensor] = field(default_factory=dict)
    targets: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    cropped_away: list[str] = field(default_factory=list)
    to_confidence: str = "softmax"


def rules(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    """Try every masking on the photographs, and write the table, the records and the figure.

    Parameters
    ----------
    arguments : argparse.Namespace
        The sub-command's arguments, as ``captum-ad rules --help`` describes them.
    command : sequence of str
        The command line, for the table's file.

    Raises
    ------
    InputError, UnknownNameError, UnsupportedOperationError
        If an argument is invalid or the model cannot be masked; then nothing is written, except the file of --resume.
    """
    device = device_named(arguments.device)
    sources, labels = _labeled(arguments)
    maskings = arguments.maskings or _possible_maskings()
    files = [TABLE, RECORDS, FIGURE]
    refuse_occupied(arguments.out, files, force=arguments.force)
    with staged(arguments.out, files) as folder:
        with seeded(arguments.seed, device):
            classifier = load_classifier(arguments.model, arguments.weights, device, arguments.classes)
        with threads(arguments.threads):
            photographs = _prepared(sources, labels, classifier)
            found = _recommended(arguments, classifier, photographs, maskings)
        about = _about(classifier, photographs, found)
        (folder / TABLE).write_text(
            f"`{' '.join(command)}`\n\n{found.markdown()}\n\n{about}\n\n{found.sentence}\n", encoding="utf-8"
        )
        found.records.to_csv(folder / RECORDS, index=False)
        figure, _ = found.plot(use_pyplot=False)
        figure.savefig(folder / FIGURE, dpi=130)
    print(found.table().to_csv(index=False) if arguments.csv else f"{found.markdown()}\n")
    print(f"{about}\n\n{found.sentence}\n")
    print(f"{arguments.out / FIGURE}, with {TABLE} and {RECORDS} in the same folder")


def _labeled(arguments: argparse.Namespace) -> tuple[list[str], list[Label] | None]:
    """The photographs without duplicates, and their labels if there are any."""
    sources = list(dict.fromkeys(expanded(arguments.images)))
    path = arguments.boxes or arguments.labels
    if path is None:
        return sources or list(PHOTOGRAPHS), None
    known = read_labels(path, boxed=arguments.boxes is not None)
    sources = sources or [str(path.parent / label.file) for label in known]
    return sources, labels_of(sources, known, path)


def _possible_maskings() -> list[str]:
    """All maskings; without OpenCV, all except inpaint, which is reported."""
    if importlib.util.find_spec("cv2") is not None:
        return all_maskings()
    print(
        f"inpaint is left out, it needs OpenCV: {install_hint(['opencv-python-headless'], 'inpaint')}", file=sys.stderr
    )
    return [masking for masking in all_maskings() if masking != "inpaint"]


def _prepared(sources: Sequence[str], labels: Sequence[Label] | None, classifier: Classifier) -> _Photographs:
    found = _Photographs()
    for place, source in enumerate(sources):
        (photograph,) = load_photographs([source])
        image = photograph.image  # one at a time: many large images may not fit into memory
        x = classifier.prepare(image)
        label = None if labels is None else labels[place]
        if label is not None and label.box is not None:
            carried = carried_box(label.box, image, classifier, source)
            if carried.box is None or carried.share < LEAST_SHARE:
                found.cropped_away.append(source)
                continue
            found.boxes.append(carried.box)
        if not found.inputs:  # check on the first one that this is a classifier, and whether it ends in a softmax
            outputs, found.to_confidence = probabilities(classifier, x, photograph)
            classes = len(outputs)
        if label is not None:
            if not 0 <= label.index < classes:
                raise InputError(f"{source!r} has class {label.index}: the model has classes 0 to {classes - 1}")
            found.targets.append(label.index)
        found.inputs[source] = x
    if not found.inputs:
        raise InputError(
            f"the transform crops more than half of the object away in all {len(sources)} photographs: are the boxes "
            f"in pixels of the files? Transform: {classifier.described_transform}"
        )
    return found


def _recommended(
    arguments: argparse.Namespace, classifier: Classifier, photographs: _Photographs, maskings: Sequence[str]
) -> Recommendation:
    try:
        return recommend_rule(
            classifier.model,
            photographs.inputs,
            photographs.targets or None,
            boxes=photographs.boxes or None,
            maskings=maskings,
            seed=arguments.seed,
            to_confidence=photographs.to_confidence,
            batch_size=arguments.batch_size,
            path=arguments.resume,
            show_progress=True,
        )
    except (UnsupportedOperationError, UnknownNameError, torch.OutOfMemoryError):
        raise
    except NoneRightError as error:
        raise InputError(f"{error} Transform: {classifier.described_transform}") from None
    except (ValueError, ImportError) as error:
        raise InputError(str(error)) from error
    except Exception as error:  # raised by the user's model
        raise InputError(f"{classifier.name!r} failed: {type(error).__name__}: {error}") from error


def _about(classifier: Classifier, photographs: _Photographs, found: Recommendation) -> str:
    lines = [f"{classifier.title} ({classifier.name}). {found.notes}"]
    if photographs.cropped_away:
        count = len(photographs.cropped_away)
        lines.append(f"Left out: {count} more, because the transform crops away more than half of the object.")
    lines.append(f"Transform: {classifier.described_transform}")
    return " ".join(lines)
