"""The arguments of ``study`` and ``report``. Those that can also be set in --config have no default here."""

from __future__ import annotations

import argparse
from pathlib import Path

from captum_ad._methods import METHODS
from captum_ad.baselines import SAMPLED
from captum_ad.cli.arguments import DEFAULT, at_least, listed
from captum_ad.cli.study_settings import CONTEXTS, JUDGES, Settings
from captum_ad.metrics.masking_names import all_maskings

_STANDARD = Settings()


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``study``."""
    add = parser.add_argument
    add(
        "dataset",
        type=Path,
        metavar="DATASET",
        help="A folder with one folder of images per class; a CSV file with the columns file and class (optionally "
        "left, top, right, bottom of a box); or a folder written by datasets.Dataset.save_to_disk.",
    )
    add(
        "--config",
        type=Path,
        metavar="FILE.toml",
        help="A file of settings, named like the options below with _ for -. Options on the command line take "
        "precedence.",
    )
    _add_models(parser)
    _add_what(parser)
    _add_how(parser)


def _add_models(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--model",
        action="append",
        metavar="MODEL",
        help="A network: demo, torchvision:NAME, timm:NAME, FILE.py:FUNCTION or package.module:FUNCTION; may be given "
        "several times (default: demo).",
    )
    add(
        "--weights",
        action="append",
        metavar="FILE",
        help="Its checkpoint. With several models, give one --weights per model, '-' for the published weights.",
    )
    add(
        "--classes",
        action="append",
        metavar="FILE",
        help="The names of its classes. With several models, give one --classes per model, '-' for none.",
    )


def _add_what(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help=f"Attribution methods, among {listed(METHODS)}, or your own FILE.py:FUNCTION of (forward, x, target) "
        f"{_said('methods')}.",
    )
    add(
        "--maskings",
        nargs="+",
        metavar="MASKING",
        help=f"Maskings, among {listed([*all_maskings(), *SAMPLED])}, or ad:KNOB=VALUE,KNOB=VALUE {_said('maskings')}.",
    )
    add("--gammas", nargs="+", type=float, metavar="SHARE", help=f"Confidence thresholds γ {_said('gammas')}.")
    add("--sizes", nargs="*", type=float, metavar="SHARE", help=f"Equal sizes at which to compare ρ {_said('sizes')}.")
    add(
        "--contexts",
        nargs="+",
        choices=CONTEXTS,
        help=f"Backgrounds for ρ: K1, solid colors; K2, images of other classes {_said('contexts')}.",
    )
    add("--backgrounds", type=at_least(1), metavar="N", help=f"Backgrounds per context {_said('backgrounds')}.")
    add("--backgrounds-from", metavar="DATASET", help="The data set to draw K2 from (default: DATASET).")
    add(
        "--judges",
        nargs="*",
        choices=JUDGES,
        help="What to measure besides ρ, sizes, confidences and insertion. With boxes, localization is measured too, "
        f"and missingness includes the effect of hiding the object {_said('judges')}.",
    )
    add("--images", type=at_least(1), metavar="N", help="How many images to draw from the data set (default: all).")
    add("--samples", type=at_least(2), metavar="N", help=f"Perturbations of KernelShap and Lime {_said('samples')}.")
    add("--segments", type=at_least(2), metavar="N", help=f"Approximate number of superpixels {_said('segments')}.")
    add("--window", type=at_least(1), metavar="PIXELS", help=f"Side of Occlusion's window {_said('window')}.")
    add("--step", type=at_least(1), metavar="N", help="Positions per step of a scan (default: one percent of them).")
    add("--seed", type=at_least(0), metavar="N", help=f"The seed of everything random {_said('seed')}.")


def _add_how(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--batch-size", type=at_least(1), metavar="N", help="Inputs per forward (default: 4 on the CPU, else 32).")
    add("--threads", type=at_least(1), metavar="N", help=f"CPU threads per process {_said('threads')}.")
    add("--device", help=f"cpu, cuda (each of several processes takes one GPU), cuda:1 and so on {_said('device')}.")
    add(
        "--out",
        type=Path,
        default=Path("captum-ad-study"),
        metavar="DIR",
        help=f"The folder to write the results to {DEFAULT}.",
    )
    add("--resume", action="store_true", help="Continue in a folder with records: those are not measured again.")
    add(
        "--dry-run",
        action="store_true",
        help="Only print how many forwards and how much memory and time the study would take.",
    )


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``report``."""
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="Folders of results of studies with the same configuration.",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="The folder to write the report to (default: the first FOLDER)."
    )


def _said(name: str) -> str:
    value = getattr(_STANDARD, name)
    return f"(default: {' '.join(map(str, value)) if isinstance(value, list) else value})"
