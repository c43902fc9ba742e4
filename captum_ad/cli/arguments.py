"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from captum_ad import PRESETS
from captum_ad._common.errors import InputError
from captum_ad._forwards.baseline_forward import NAMED
from captum_ad._methods import METHODS, SEARCHED
from captum_ad.targets.written import KINDS

DEFAULT = "(default: %(default)s)"
IMAGES = "Image files, folders, patterns like 'photos/*.jpg', or the photographs chelsea, coffee and camera"


class Parser(argparse.ArgumentParser):
    """A parser that raises InputError where argparse would print its usage and exit.

    A sub-command's parser refuses unknown arguments itself, so that the error points to its own help.
    """

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments.

        Raises
        ------
        InputError
            If one is unknown or invalid.
        """
        found, left = super().parse_known_args(args, namespace)
        if left:
            known = [option[2:] for option in self._option_string_actions if option.startswith("--")]
            given = [word[2:].partition("=")[0] for word in left if word.startswith("--")]
            near = dict.fromkeys(one for word in given for one in difflib.get_close_matches(word, known, 1, 0.65))
            hint = f": did you mean {' and '.join(f'--{one}' for one in near)}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(left)}{hint}")
        return found, left

    def error(self, message: str) -> NoReturn:
        """Raise an error of one line for invalid arguments.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(f"{message} (see {self.prog} --help)")


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number, at least `least`."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value < 2**63:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    number.__name__ = "integer"
    return number


def add_inputs(add: Callable[..., object]) -> None:
    """Add the arguments for the network, its weights and class names."""
    add(
        "--model",
        default="demo",
        help="The network: demo (EfficientNet-Lite0), torchvision:NAME, timm:NAME, or your own function that returns "
        f"a model or (model, transform), as FILE.py:FUNCTION or package.module:FUNCTION {DEFAULT}.",
    )
    add(
        "--weights",
        type=Path,
        metavar="FILE",
        help="A checkpoint to read weights from, written by torch.save, Lightning or safetensors. The last layer of a "
        "known network gets as many classes as the checkpoint has (default: the published weights).",
    )
    add(
        "--classes",
        type=Path,
        metavar="FILE",
        help="A file with the names of the classes: one per line, or a JSON list or mapping (default: those in the "
        "checkpoint, else ImageNet's if they fit).",
    )


def add_target(add: Callable[..., object]) -> None:
    """Add the argument for the class, or other target, to explain."""
    add(
        "--target",
        metavar="TARGET",
        help="The class to explain, a number or a name; or another target in Python syntax, such as "
        f"'Contrast(967, 968)' or 'MultiLabel(3, threshold=0.2)', one of {listed(KINDS)}. In a target, class names are "
        "in quotes, and places are pixels of the network's input, as the picture shows it (default: the predicted "
        "class).",
    )


def add_columns(add: Callable[..., object]) -> None:
    """Add the arguments for the rows (methods) and columns (maskings) of a comparison."""
    presets, painted = ["no-growth-mean", "paper"], ["zero", "min", "max", "avg"]
    methods = ["occlusion", "feature_ablation", "kernel_shap", "lime"]
    add(
        "--methods",
        nargs="+",
        default=methods,
        metavar="METHOD",
        help=f"The rows: attribution methods, among {listed(METHODS)} (default: {' '.join(methods)}).",
    )
    add(
        "--ad",
        nargs="*",
        default=presets,
        metavar="PRESET",
        help=f"The first columns: AD's rules, among {listed(PRESETS)}, or knobs like growth=none,average=active "
        f"(default: {' '.join(presets)}).",
    )
    add(
        "--baselines",
        nargs="*",
        default=painted,
        metavar="NAME",
        help=f"The other columns: baselines, among {listed(NAMED)} (default: {' '.join(painted)}).",
    )


def add_effort(add: Callable[..., object]) -> None:
    """Add the arguments that say how much to compute."""
    add(
        "--segments",
        type=at_least(2),
        default=40,
        metavar="N",
        help=f"The approximate number of superpixels {DEFAULT}.",
    )
    add(
        "--samples",
        type=at_least(2),
        default=100,
        metavar="N",
        help="The number of perturbations of KernelShap and Lime, better several per superpixel; responsibility and "
        f"rise run {SEARCHED} times as many {DEFAULT}.",
    )
    add(
        "--gamma",
        type=float,
        default=0.9,
        metavar="SHARE",
        help=f"An explanation has to keep the class at this share of the original confidence, 0 to 1 {DEFAULT}.",
    )
    add(
        "--backgrounds",
        type=at_least(1),
        default=20,
        metavar="N",
        help=f"The number of solid colors that explanations are planted on to measure ρ {DEFAULT}.",
    )


def add_running(add: Callable[..., object], batch: str) -> None:
    """Add the arguments for batch size, seed, device and threads."""
    add(
        "--batch-size",
        type=at_least(1),
        metavar="N",
        help=f"The number of inputs per forward (default: {batch} on the CPU, else 32).",
    )
    add("--seed", type=at_least(0), default=0, metavar="N", help=f"The seed of the random perturbations {DEFAULT}.")
    add("--device", default="cpu", help=f"Where the network runs: cpu, cuda, cuda:1, mps and so on {DEFAULT}.")
    add("--threads", type=at_least(1), metavar="N", help="The number of CPU threads (default: torch's choice).")


def add_folder(add: Callable[..., object], out: str) -> None:
    """Add the arguments for the folder of a report."""
    add("--out", type=Path, default=Path(out), metavar="DIR", help=f"The folder to write the files to {DEFAULT}.")
    add("--force", action="store_true", help="Replace the files of an earlier report in --out; other files stay.")


def listed(names: Iterable[str]) -> str:
    """The names, joined by commas."""
    return ", ".join(names)
