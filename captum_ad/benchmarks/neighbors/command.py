"""The command ``python -m captum_ad.benchmarks.neighbors``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_ad._common.errors import InputError
from captum_ad._common.images import load_photographs
from captum_ad._methods import seeded
from captum_ad.benchmarks.console import exit_code
from captum_ad.benchmarks.neighbors import attention, fei, frames, idgi, multiscale, noise, pathways, prototypes
from captum_ad.benchmarks.neighbors.measuring import Study, measure
from captum_ad.benchmarks.neighbors.table import markdown
from captum_ad.cli.arguments import Parser, at_least
from captum_ad.cli.devices import device_named
from captum_ad.cli.labels import labels_of, read_labels
from captum_ad.cli.models import load_classifier
from captum_ad.metrics.masking_names import by_their_names

PROGRAM = "python -m captum_ad.benchmarks.neighbors"

STUDIES: Mapping[str, Study] = {
    "attention": attention.STUDY,
    "fei": fei.STUDY,
    "frames": frames.STUDY,
    "idgi": idgi.STUDY,
    "multiscale": multiscale.STUDY,
    "noise": noise.STUDY,
    "pathways": pathways.STUDY,
    "prototypes": prototypes.STUDY,
}
"""The studies by name."""

DEMO = "demo"
"""The default model."""

OWN = 24
"""The default number of a study's own inputs."""

MASKINGS = ("ad:no-growth-mean", "ad:no-growth", "ad:paper", "avg", "blur", "linear")


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
    return exit_code(
        PROGRAM, lambda: print(_report(_parser().parse_args(argv))), lambda: "with --csv the same command continues"
    )


def _report(given: argparse.Namespace) -> str:
    study = STUDIES[given.study]
    device = device_named(given.device)
    maskings = by_their_names(given.maskings)
    torch.set_num_threads(given.threads)
    settings = {"seed": given.seed, "path": given.csv, "show_progress": True}
    if study.own is not None and not given.photographs and given.labels is None and given.model == DEMO:
        own = study.own(OWN if given.first is None else given.first, given.seed)
        records = measure(given.study, study.run, own.model, own.images, own.targets, maskings, **settings)
        shown = own.title
    else:
        with seeded(given.seed, device):
            classifier = load_classifier(given.model, given.weights, device)
        images, targets = _known(given, classifier.model, classifier.prepare)
        mean, std = classifier.normalization(next(iter(images.values())).shape[1])
        settings |= {"mean": 0.0 if mean is None else mean, "std": 1.0 if std is None else std}
        records = measure(given.study, study.run, classifier.model, images, targets, maskings, **settings)
        which = "the network's own answers" if given.labels is None else "the labels, which the network gives too"
        shown = f"{classifier.title}, {len(images)} photographs (classes: {which})"
    head = f"{shown}, seed {given.seed}. {study.title} In brackets 95 % bootstrap intervals over inputs."
    options = {"compared": study.compared, "lower_is_better": study.lower_is_better, "product": study.product}
    table = markdown(records, seed=given.seed, **options)  # type: ignore[arg-type]
    return f"{head}\n\n{table}"


def _known(
    given: argparse.Namespace, model: torch.nn.Module, prepare: Callable[[Any], Tensor]
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Inputs and classes, by name, of the photographs that the network gets right; without labels, of all."""
    sources = list(dict.fromkeys(given.photographs))
    known = None if given.labels is None else read_labels(given.labels, boxed=False)
    if known is not None:
        sources = sources or [str(given.labels.parent / label.file) for label in known]
    if not sources:
        raise InputError(f"give photographs, or --labels to use those listed there (see {PROGRAM} --help)")
    labels = None if known is None else [label.index for label in labels_of(sources, known, given.labels)]
    images: dict[str, Tensor] = {}
    targets: dict[str, int] = {}
    for i, source in enumerate(sources):
        if len(images) == given.first:
            break
        (photograph,) = load_photographs([source])
        x: Tensor = prepare(photograph.image)
        with torch.no_grad():
            answer = int(model(x).argmax())
        if labels is None or labels[i] == answer:
            images[photograph.name], targets[photograph.name] = x, answer
    if not images:
        raise InputError("the network gets none of the photographs right: is it the model that the labels are for?")
    return images, targets


def _parser() -> Parser:
    parser = Parser(prog=PROGRAM, description="Metrics and attributors of neighboring work, under AD and baselines.")
    add = parser.add_argument
    add("study", choices=STUDIES, metavar="STUDY", help=f"one of {', '.join(STUDIES)}")
    add(
        "photographs",
        nargs="*",
        metavar="PHOTOGRAPH",
        help="of any size (default: those in --labels; the study attention has its own drawn scenes)",
    )
    add("--labels", type=Path, metavar="FILE.csv", help="columns file and index (default: the network's own answers)")
    add("--model", default=DEMO, help="see captum-ad compare (default: demo)")
    add("--weights", type=Path, metavar="FILE", help="state dict of the model (default: the published weights)")
    add("--maskings", nargs="+", default=list(MASKINGS), metavar="MASKING", help=f"(default: {' '.join(MASKINGS)})")
    add("--first", type=at_least(1), metavar="N", help="use the first N that the network gets right (default: all)")
    add("--seed", type=at_least(0), default=0, help="seed of everything random (default: 0)")
    add("--threads", type=at_least(1), default=1, metavar="N", help="CPU threads (default: 1)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1 … (default: cpu)")
    add("--csv", type=Path, metavar="FILE", help="file for the records, from which an interrupted command continues")
    return parser
