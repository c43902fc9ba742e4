"""The sub-command ``compare``: from photographs and a model to a report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from tqdm import tqdm

from captum_ad._common.batches import default_batch_size
from captum_ad._common.errors import InputError, UnknownNameError
from captum_ad._common.images import Photograph, load_photographs
from captum_ad._forwards.baseline_forward import NAMED
from captum_ad._forwards.programs import compiled_forwards
from captum_ad._methods import METHODS, columns, seeded
from captum_ad.cli.devices import device_named, threads
from captum_ad.cli.errors import InterruptedRun
from captum_ad.cli.files import digest
from captum_ad.cli.folder import occupied_alone, refuse_foreign, refuse_occupied, remove
from captum_ad.cli.given import check_early
from captum_ad.cli.maskings import masking_given
from captum_ad.cli.models import Classifier, load_classifier
from captum_ad.cli.output import staged
from captum_ad.cli.own_code import source_of
from captum_ad.cli.page import write_page
from captum_ad.cli.predictions import add_explanation, prediction
from captum_ad.cli.report import (
    PAGE,
    archive_name,
    arrays,
    draw,
    entries_to_keep,
    entry,
    figure_name,
    file_names,
    files_of,
    read_summary,
    summary_of,
    write_summary,
)
from captum_ad.cli.table import legend, results_table

DEFAULT_IMAGE = "coffee"


def compare(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    """Explain every photograph by every method under every masking, and write the report, photograph by photograph.

    Parameters
    ----------
    arguments : argparse.Namespace
        The sub-command's arguments, as ``captum-ad compare --help`` describes them.
    command : sequence of str
        The command line, for the summary.

    Raises
    ------
    InputError, UnknownNameError, UnsupportedOperationError
        If an argument is invalid or the model cannot be explained. Photographs finished before stay.
    InterruptedRun
        On Ctrl-C after the first photograph.
    """
    methods = known("method", arguments.methods, METHODS)
    rules = dict.fromkeys(masking_given(f"ad:{name}", "--ad", ())[0].removeprefix("ad:") for name in arguments.ad)
    shown = columns(list(rules), known("baseline", arguments.baselines, NAMED))
    if not shown:
        raise InputError("nothing to compare: name at least one of --ad and --baselines")
    device = device_named(arguments.device)
    arguments.batch_size = arguments.batch_size or default_batch_size(device)
    if not 0 <= arguments.gamma <= 1:
        raise InputError(f"--gamma must be a share of the original confidence, 0 to 1, got {arguments.gamma}")
    photographs = load_photographs(arguments.images or [DEFAULT_IMAGE])
    check_early(arguments)
    out, names = arguments.out, file_names(photographs)
    settings = settings_of(arguments, methods, shown)
    refuse_occupied(out, names, force=arguments.force or arguments.resume, way_out=", or continue it with --resume")
    earlier = files_of(read_summary(out))
    refuse_foreign(out, names, earlier, [photograph.source for photograph in photographs])
    with occupied_alone(out), threads(arguments.threads):
        entries = entries_to_keep(out, settings, photographs) if arguments.resume else []
        obsolete = [] if arguments.resume else earlier
        with seeded(arguments.seed, device):
            classifier = load_classifier(arguments.model, arguments.weights, device, arguments.classes)
        with compiled_forwards() if arguments.compile else nullcontext():
            _explain_all(classifier, photographs, entries, obsolete, settings, arguments, command)
    _print(classifier, entries, arguments, len(names))


def _explain_all(
    classifier: Classifier,
    photographs: Sequence[Photograph],
    entries: list[dict[str, Any]],
    obsolete: Sequence[str],
    settings: dict[str, Any],
    arguments: argparse.Namespace,
    command: Sequence[str],
) -> None:
    """Explain the photographs that are not in `entries`, and add the results to `entries` and to the report."""
    out, methods, shown = arguments.out, settings["methods"], settings["maskings"]
    done = {one["figure"] for one in entries}
    left = [photograph for photograph in photographs if figure_name(photograph) not in done]
    writable = True
    try:
        with tqdm(total=len(left) * len(methods) * len(shown), unit="map", file=sys.stderr) as progress:
            for photograph in left:
                found = _compared(classifier, photograph, arguments, methods, shown, progress)
                remove(out, set(obsolete) - {figure_name(photograph), archive_name(photograph)})
                obsolete = []
                entries.append(found)
                write_summary(out, summary_of(command, settings, classifier, entries))
    except KeyboardInterrupt:
        if not entries:
            raise
        raise InterruptedRun(
            f"{len(entries)} of {len(photographs)} photographs are in {str(out)!r}; the same command with --resume "
            "continues"
        ) from None
    except OSError as error:
        writable = False
        raise InputError(
            f"cannot write to {str(out)!r}: {error.strerror or error}; {len(entries)} of {len(photographs)} "
            "photographs are in it, and the same command with --resume continues"
        ) from error
    finally:
        if entries and writable:
            write_page(out, summary_of(command, settings, classifier, entries))


def _compared(
    classifier: Classifier,
    photograph: Photograph,
    arguments: argparse.Namespace,
    methods: Sequence[str],
    shown: Sequence[str],
    progress: Any,
) -> dict[str, Any]:
    """One photograph explained, and its files written."""
    with staged(arguments.out, [figure_name(photograph), archive_name(photograph)]) as folder:
        comparison = prediction(classifier, photograph, arguments)
        for method in methods:
            for column in shown:
                progress.set_description(f"{photograph.name}: {method} {column}")
                add_explanation(classifier, method, column, comparison)
                progress.update()
        draw(folder / figure_name(photograph), classifier, comparison)
        np.savez_compressed(folder / archive_name(photograph), **arrays(classifier, comparison))
    return entry(classifier, comparison)


def _print(
    classifier: Classifier, entries: Sequence[dict[str, Any]], arguments: argparse.Namespace, count: int
) -> None:
    for one in entries:
        print(one["title"])
    print(f"\n{results_table(entries)}\n")
    print("\n".join(legend(entries, arguments.gamma, arguments.backgrounds)))
    print_notes(classifier, [one["note"] for one in entries])
    print(f"\n{arguments.out / PAGE} shows everything; {count - 1} more files are in the same folder")


def print_notes(classifier: Classifier, notes: Iterable[str]) -> None:
    """Print what was assumed about the network and the photographs."""
    print(f"\nTransform: {classifier.described_transform}")
    for note in (*classifier.notes, *notes):
        if note:
            print(note)


def settings_of(arguments: argparse.Namespace, methods: Sequence[str], shown: Sequence[str]) -> dict[str, Any]:
    """The settings that a report's numbers depend on, besides the photographs."""
    numbers = ("target", "seed", "samples", "segments", "batch_size", "gamma", "backgrounds")
    return {
        "model": arguments.model,
        "weights": digest(arguments.weights),
        "classes": digest(arguments.classes),
        "code": digest(source_of(arguments.model)),
        "methods": list(methods),
        "maskings": list(shown),
        **{name: getattr(arguments, name) for name in numbers},
    }


def known(what: str, given: Iterable[str], names: Iterable[str]) -> list[str]:
    """The given names without duplicates.

    Raises
    ------
    UnknownNameError
        If one of them is not in `names`.
    """
    for name in given:
        if name not in names:
            raise UnknownNameError(what, name, names)
    return list(dict.fromkeys(given))
