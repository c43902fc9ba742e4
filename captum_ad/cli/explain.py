"""The sub-command ``explain``: one photograph, one method, one masking, one picture."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from captum_ad._common.batches import default_batch_size
from captum_ad._common.errors import InputError
from captum_ad._common.images import load_photographs
from captum_ad._forwards.baseline_forward import NAMED
from captum_ad._methods import METHODS, seeded
from captum_ad.cli.compare import known, print_notes, settings_of
from captum_ad.cli.devices import device_named, threads
from captum_ad.cli.explanations import in_words
from captum_ad.cli.figure import METHOD_TITLES, column_title
from captum_ad.cli.given import check_early
from captum_ad.cli.maskings import masking_given
from captum_ad.cli.models import Classifier, load_classifier
from captum_ad.cli.output import staged
from captum_ad.cli.page import page
from captum_ad.cli.predictions import Comparison, add_explanation, prediction, probabilities
from captum_ad.cli.report import arrays, described, draw, entry, summary_of

KINDS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".html")
SAID = 3
"""The number of most probable classes that are printed."""


def explain(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    """Explain one photograph, print what was found, and write one file.

    Parameters
    ----------
    arguments : argparse.Namespace
        The sub-command's arguments, as ``captum-ad explain --help`` describes them.
    command : sequence of str
        The command line, for the page.

    Raises
    ------
    InputError, UnknownNameError, UnsupportedOperationError
        If an argument is invalid or the model cannot be explained; nothing is written then.
    """
    (method,) = known("method", [arguments.method], METHODS)
    masking, _ = masking_given(arguments.masking, "--masking", NAMED)
    device = device_named(arguments.device)
    arguments.batch_size = arguments.batch_size or default_batch_size(device)
    if not 0 <= arguments.gamma <= 1:
        raise InputError(f"--gamma must be a share of the original confidence, 0 to 1, got {arguments.gamma}")
    photographs = load_photographs([arguments.image])
    if len(photographs) > 1:
        raise InputError(f"{arguments.image!r} is {len(photographs)} images: give one, or use captum-ad compare")
    (photograph,) = photographs
    check_early(arguments)
    out = arguments.out or Path(f"{photograph.name}-explained.png")
    _refuse(out, photograph.source, force=arguments.force)
    with staged(out.parent, [out.name]) as folder, threads(arguments.threads):
        with seeded(arguments.seed, device):
            classifier = load_classifier(arguments.model, arguments.weights, device, arguments.classes)
        comparison = prediction(classifier, photograph, arguments)
        add_explanation(classifier, method, masking, comparison)
        if out.suffix.lower() == ".html":
            settings = settings_of(arguments, [method], [masking])
            summary = summary_of(command, settings, classifier, [entry(classifier, comparison)])
            (folder / out.name).write_text(page(summary, [arrays(classifier, comparison)]), encoding="utf-8")
        else:
            draw(folder / out.name, classifier, comparison)
        said = [described(classifier, comparison)]
        if comparison.predicted is not None:
            said.append(_most_probable(classifier, comparison))
    print("\n".join(said))
    print(_sentence(comparison, method, masking))
    print_notes(classifier, [photograph.note])
    print(f"\n{out}")


def _refuse(out: Path, source: str, *, force: bool) -> None:
    if os.path.realpath(out) == os.path.realpath(source):
        raise InputError(f"--out {str(out)!r} is the photograph itself: name another file")
    if out.is_dir():
        raise InputError(f"--out {str(out)!r} is a folder: name a file, such as {str(out / 'explained.png')!r}")
    if out.suffix.lower() not in KINDS:
        raise InputError(f"--out {str(out)!r}: expected a name that ends in {', '.join(KINDS)}")
    if out.exists() and not force:
        raise InputError(f"{str(out)!r} exists: choose another with --out, or replace it with --force")


def _most_probable(classifier: Classifier, comparison: Comparison) -> str:
    row, _ = probabilities(classifier, comparison.task.x, comparison.photograph)
    best = row.argsort(descending=True)[:SAID].tolist()
    return "Most probable: " + ", ".join(f"{classifier.class_name(i)} ({i}) {float(row[i]):.2f}" for i in best)


def _sentence(comparison: Comparison, method: str, masking: str) -> str:
    found = comparison.explanations[method, masking]
    which = f"{METHOD_TITLES[method]}, {column_title(masking)}"
    attribution = comparison.results[method, masking].attribution
    return f"{which}: {in_words(attribution, found.measures(), comparison.scale.backgrounds.n)}"
