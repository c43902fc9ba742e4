"""The command ``python -m captum_ad.benchmarks.localization``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from captum_ad._common.errors import InputError, UnsupportedOperationError
from captum_ad._common.images import load_photographs
from captum_ad._methods import METHODS, seeded
from captum_ad.benchmarks.console import exit_code
from captum_ad.benchmarks.localization.measuring import localize
from captum_ad.benchmarks.localization.table import markdown
from captum_ad.cli.arguments import Parser, at_least
from captum_ad.cli.devices import device_named
from captum_ad.cli.labels import labels_of, read_labels
from captum_ad.cli.models import Classifier, load_classifier
from captum_ad.cli.predictions import probabilities
from captum_ad.metrics.collages import Collages, make_collages
from captum_ad.metrics.masking_names import all_maskings, by_their_names
from captum_ad.metrics.recommendation_text import number

PROGRAM = "python -m captum_ad.benchmarks.localization"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0; 2 after bad input, with one line on stderr; 130 after Ctrl-C.
    """
    csv: Path | None = None

    def run() -> None:
        nonlocal csv
        given = _parser().parse_args(argv)
        csv = given.csv
        print(_report(given))

    def left() -> str:
        return f"the same command continues from {str(csv)!r}" if csv else "nothing was written"

    return exit_code(PROGRAM, run, left)


def _report(given: argparse.Namespace) -> str:
    device = device_named(given.device)
    maskings = by_their_names(given.maskings)
    sources, targets = _labeled(given)
    torch.set_num_threads(given.threads)
    with seeded(given.seed, device):
        classifier = load_classifier(given.model, given.weights, device)
    images: list[Tensor] = []
    to_confidence = "softmax"
    for source in sources:
        (photograph,) = load_photographs([source])  # one at a time: many large ones may not fit into memory
        images.append(classifier.prepare(photograph.image))
        if len(images) == 1:
            to_confidence = probabilities(classifier, images[0], photograph)[1]
    common = {"seed": given.seed, "to_confidence": to_confidence, "batch_size": given.batch_size}
    try:
        collages = make_collages(
            classifier.model,
            images,
            targets,
            grid=tuple(given.grid),
            n=given.collages,
            min_confidence=given.min_confidence,
            show_progress=True,
            **common,
        )
        records = localize(
            classifier.model,
            collages,
            list(dict.fromkeys(given.methods)),
            maskings,
            samples=given.samples,
            segments=given.segments,
            window=given.window,
            path=given.csv,
            show_progress=True,
            **common,
        )
    except (UnsupportedOperationError, ValueError, TypeError, ImportError, OSError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # raised by the user's model
        raise InputError(f"{classifier.name!r} failed: {type(error).__name__}: {error}") from error
    return f"{_header(given, classifier, collages, len(images))}\n\n{markdown(records, given.seed)}"


def _labeled(given: argparse.Namespace) -> tuple[list[str], list[int] | None]:
    """The photographs without duplicates, and their classes if they are known."""
    sources = list(dict.fromkeys(given.photographs))
    if given.labels is None:
        if not sources:
            raise InputError(f"give photographs, or --labels to use those listed there (see {PROGRAM} --help)")
        return sources, None
    known = read_labels(given.labels, boxed=False)
    sources = sources or [str(given.labels.parent / label.file) for label in known]
    return sources, [label.index for label in labels_of(sources, known, given.labels)]


def _header(given: argparse.Namespace, classifier: Classifier, collages: Collages, count: int) -> str:
    rows, columns = collages.grid
    classes = "the network's own answers" if given.labels is None else "those given"
    used, cells = len(collages.images.unique()), collages.explained
    explained = len(collages.images.gather(1, cells[:, None]).unique())
    which = f"{explained} different photographs are explained" if explained > 1 else "one photograph is explained"
    bracket = f"In brackets: 95 % bootstrap intervals over these {explained}."
    return (
        f"{classifier.title}, {len(collages)} collage{'s' if len(collages) > 1 else ''} of {rows} × {columns}, of "
        f"{used} of {count} photographs (the classes are {classes}), seed {given.seed}; {which}, each as the network's "
        f"answer for its collage, with a confidence of {number(float(collages.confidence.mean()))} on average and "
        f"{number(float(collages.confidence.min()))} at least. Chance: {number(1 / (rows * columns))}. "
        f"{bracket if explained > 1 else 'One photograph gives no intervals.'} "
        "The best paint was chosen on these collages, which favors it."
    )


def _parser() -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description="Under which masking do attributions find what the network sees? Explains collages of photographs "
        "of different classes, and measures the share of the attribution that lies in the right cell.",
    )
    add = parser.add_argument
    add("photographs", nargs="*", metavar="PHOTOGRAPH", help="of different classes (default: those in --labels)")
    add("--labels", type=Path, metavar="FILE.csv", help="columns file and index (default: the network's own answers)")
    add("--model", default="demo", help="see captum-ad compare (default: demo)")
    add("--weights", type=Path, metavar="FILE", help="state dict of the model (default: the published weights)")
    add("--maskings", nargs="+", default=all_maskings(), metavar="MASKING", help="at least two (default: all)")
    add("--methods", nargs="+", default=["occlusion", "lime"], metavar="METHOD", help=f"among {', '.join(METHODS)}")
    add("--collages", type=at_least(1), default=50, metavar="N", help="number of collages (default: 50)")
    add("--grid", type=at_least(1), nargs=2, default=(2, 2), metavar=("ROWS", "COLUMNS"), help="(default: 2 2)")
    add(
        "--min-confidence",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="least confidence in each photograph, and in the explained class on the collage (default: .5)",
    )
    add(
        "--samples",
        type=at_least(2),
        default=150,
        metavar="N",
        help="perturbations of lime and kernel_shap (default: 150)",
    )
    add("--segments", type=at_least(2), default=100, metavar="N", help="approximate superpixels (default: 100)")
    add("--window", type=at_least(1), default=32, metavar="PIXELS", help="side of Occlusion's window (default: 32)")
    add("--seed", type=at_least(0), default=0, help="seed of collages, perturbations and bootstrap (default: 0)")
    add("--threads", type=at_least(1), default=1, metavar="N", help="CPU threads (default: 1)")
    add("--batch-size", type=at_least(1), metavar="N", help="inputs per forward (default: 4 on the CPU, else 32)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1 … (default: cpu)")
    add("--csv", type=Path, metavar="FILE", help="file for the records, from which an interrupted command continues")
    return parser
