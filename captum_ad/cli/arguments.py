"""What the commands' arguments have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from captum_ad import PRESETS
from captum_ad._common.errors import InputError
from captum_ad._forwards.baseline_forward import NAMED
from captum_ad._methods import METHODS, SEARCHED
from captum_ad.targets.written import KINDS

DEFAULT = "(default: %(default)s)"
IMAGES = "Image files, folders, patterns as 'photos/*.jpg', or the photographs chelsea, coffee and camera"


class Parser(argparse.ArgumentParser):
    """A parser that raises an InputError where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse what was given, in one line.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(f"{message} (see {self.prog} --help)")


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number, not too small for what it is for."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value < 2**63:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    number.__name__ = "integer"
    return number


def add_inputs(add: Callable[..., object]) -> None:
    """Which network, with which weights and names."""
    add(
        "--model",
        default="demo",
        help="The network is demo (EfficientNet-Lite0), torchvision:NAME, timm:NAME, or the one that your own function "
        f"returns, as a model or (model, transform): FILE.py:FUNCTION or package.module:FUNCTION {DEFAULT}.",
    )
    add(
        "--weights",
        type=Path,
        metavar="FILE",
        help="Weights are read from this checkpoint, as torch.save, Lightning or safetensors write it; a known network "
        "gets as many classes as it has (default: the published weights).",
    )
    add(
        "--classes",
        type=Path,
        metavar="FILE",
        help="The names of the classes are the lines of this file, or a JSON list or mapping (default: those of the "
        "checkpoint, else ImageNet's where they fit).",
    )


def add_target(add: Callable[..., object]) -> None:
    """Which class."""
    add(
        "--target",
        metavar="TARGET",
        help="This class is explained, a number or a name; or another question, as Python writes it: "
        f"'Contrast(967, 968)', 'MultiLabel(3, threshold=0.2)', of {listed(KINDS)}. Names of classes are in quotes "
        "there, and places in pixels of what the network sees, as the picture shows it (default: the predicted class).",
    )


def add_columns(add: Callable[..., object]) -> None:
    """Which methods, each with which maskings."""
    presets, painted = ["no-growth-mean", "paper"], ["zero", "min", "max", "avg"]
    methods = ["occlusion", "feature_ablation", "kernel_shap", "lime"]
    add(
        "--methods",
        nargs="+",
        default=methods,
        metavar="METHOD",
        help=f"The rows are methods, of {listed(METHODS)} (default: {' '.join(methods)}).",
    )
    add(
        "--ad",
        nargs="*",
        default=presets,
        metavar="PRESET",
        help=f"The first columns are AD's rules, of {listed(PRESETS)}, or knobs as in growth=none,average=active "
        f"(default: {' '.join(presets)}).",
    )
    add(
        "--baselines",
        nargs="*",
        default=painted,
        metavar="NAME",
        help=f"The other columns are baselines, of {listed(NAMED)} (default: {' '.join(painted)}).",
    )


def add_effort(add: Callable[..., object]) -> None:
    """How much is computed."""
    add(
        "--segments",
        type=at_least(2),
        default=40,
        metavar="N",
        help=f"The image is cut into about so many superpixels {DEFAULT}.",
    )
    add(
        "--samples",
        type=at_least(2),
        default=100,
        metavar="N",
        help="KernelShap and Lime draw so many perturbations, better several per superpixel; responsibility and rise "
        f"run {SEARCHED} times as many {DEFAULT}.",
    )
    add(
        "--gamma",
        type=float,
        default=0.9,
        metavar="SHARE",
        help=f"An explanation keeps the class at this share of the original confidence {DEFAULT}.",
    )
    add(
        "--backgrounds",
        type=at_least(1),
        default=20,
        metavar="N",
        help=f"Explanations are planted on so many solid colors, to measure ρ {DEFAULT}.",
    )


def add_running(add: Callable[..., object], batch: str) -> None:
    """Where and how it runs."""
    add(
        "--batch-size",
        type=at_least(1),
        metavar="N",
        help=f"So many inputs go through the network at once (default: {batch} on the CPU, else 32).",
    )
    add("--seed", type=at_least(0), default=0, metavar="N", help=f"This seeds the random perturbations {DEFAULT}.")
    add("--device", default="cpu", help=f"The network runs on cpu, cuda, cuda:1, mps and so on {DEFAULT}.")


def add_folder(add: Callable[..., object], out: str) -> None:
    """Where the files of a report go."""
    add("--out", type=Path, default=Path(out), metavar="DIR", help=f"The files go into this folder {DEFAULT}.")
    add("--force", action="store_true", help="Files of an earlier report in --out are replaced; others stay.")


def listed(names: Iterable[str]) -> str:
    """Names with commas between them."""
    return ", ".join(names)
