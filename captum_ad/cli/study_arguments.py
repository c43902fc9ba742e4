"""The arguments of ``study`` and ``report``; those that a file of settings may have too have no default here."""

from __future__ import annotations

import argparse
from pathlib import Path

from captum_ad._methods import METHODS
from captum_ad.cli.arguments import DEFAULT, at_least, listed
from captum_ad.cli.study_settings import CONTEXTS, JUDGES, Settings
from captum_ad.metrics.masking_names import all_maskings

_STANDARD = Settings()


def add_study(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``study``."""
    add = parser.add_argument
    add(
        "dataset",
        type=Path,
        metavar="DATASET",
        help="A folder with a folder of images for each class; a CSV file with the columns file and class (and left, "
        "top, right, bottom of a box); or a folder that datasets.Dataset.save_to_disk wrote.",
    )
    add(
        "--config",
        type=Path,
        metavar="FILE.toml",
        help="Settings are read from this file, under the names of the options below with _ for -; what the command "
        "line says counts more.",
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
        help="Its checkpoint; of several models as many, '-' for the published weights.",
    )
    add("--classes", action="append", metavar="FILE", help="The names of its classes; of several as --weights.")


def _add_what(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help=f"Of {listed(METHODS)}, or your own FILE.py:FUNCTION of (forward, x, target) {_said('methods')}.",
    )
    add(
        "--maskings",
        nargs="+",
        metavar="MASKING",
        help=f"Of {listed(all_maskings())}, or ad:KNOB=VALUE,KNOB=VALUE {_said('maskings')}.",
    )
    add("--gammas", nargs="+", type=float, metavar="SHARE", help=f"Confidence thresholds {_said('gammas')}.")
    add("--sizes", nargs="*", type=float, metavar="SHARE", help=f"Equal sizes, for ρ {_said('sizes')}.")
    add("--contexts", nargs="+", choices=CONTEXTS, help=f"Solid colors, images of other classes {_said('contexts')}.")
    add("--backgrounds", type=at_least(1), metavar="N", help=f"So many in each context {_said('backgrounds')}.")
    add("--backgrounds-from", metavar="DATASET", help="K2 is drawn from this data set (default: the same).")
    add(
        "--judges",
        nargs="*",
        choices=JUDGES,
        help="What is measured beside ρ, sizes, confidences and insertion; where there are boxes localization is too, "
        f"and what hiding the object takes is a part of missingness {_said('judges')}.",
    )
    add("--images", type=at_least(1), metavar="N", help="So many are drawn from the data set (default: all).")
    add("--samples", type=at_least(2), metavar="N", help=f"Perturbations of KernelShap and Lime {_said('samples')}.")
    add("--segments", type=at_least(2), metavar="N", help=f"Superpixels, about {_said('segments')}.")
    add("--window", type=at_least(1), metavar="PIXELS", help=f"Side of Occlusion's window {_said('window')}.")
    add("--step", type=at_least(1), metavar="N", help="Positions per step of a scan (default: one per cent of them).")
    add("--seed", type=at_least(0), metavar="N", help=f"Of everything random {_said('seed')}.")


def _add_how(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--batch-size", type=at_least(1), metavar="N", help="Inputs per forward (default: 4 on the CPU, else 32).")
    add("--threads", type=at_least(1), metavar="N", help=f"Of each process on the CPU {_said('threads')}.")
    add("--device", help=f"cpu, cuda (of several processes each takes one of the GPUs), cuda:1 … {_said('device')}.")
    add(
        "--out",
        type=Path,
        default=Path("captum-ad-study"),
        metavar="DIR",
        help=f"The results go into this folder {DEFAULT}.",
    )
    add("--resume", action="store_true", help="The folder may have records: what is there is not measured again.")
    add(
        "--dry-run",
        action="store_true",
        help="Say how many forwards, how much memory and time it would take, and stop.",
    )


def add_report(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``report``."""
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="Results of studies of the same configuration."
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="The report goes into this folder (default: the first FOLDER)."
    )


def _said(name: str) -> str:
    value = getattr(_STANDARD, name)
    return f"(default: {' '.join(map(str, value)) if isinstance(value, list) else value})"
