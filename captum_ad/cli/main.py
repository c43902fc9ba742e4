"""The command ``captum-ad``: reads arguments, runs the sub-command, turns errors into one line."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import torch

from captum_ad import PRESETS, __version__
from captum_ad.attributions import METHODS, SEARCHED
from captum_ad.baselines import BASELINES
from captum_ad.cli.errors import InputError
from captum_ad.errors import UnknownNameError, UnsupportedOperationError

PROGRAM = "captum-ad"
FAILED, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; default those of the process.

    Returns
    -------
    int
        0; 2 after bad input, with one line on stderr; 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)  # so that what is half-made is cleared away
    try:
        arguments = _parser().parse_args(words)
        _require_demo_extra()
        from captum_ad.cli.compare import compare

        compare(arguments, [PROGRAM, *words])
    except SystemExit as stop:  # argparse: --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted, nothing was written", file=sys.stderr)
        return INTERRUPTED
    except torch.OutOfMemoryError as error:
        return _failed(f"out of memory, try a smaller --batch-size: {error}")
    except (InputError, UnknownNameError, UnsupportedOperationError, OSError) as error:
        return _failed(str(error))
    return 0


def _terminate(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _failed(message: str) -> int:
    print(f"{PROGRAM}: error: {' '.join(message.split())}", file=sys.stderr)
    return FAILED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description="Explanations of image classifiers without a baseline.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    compare = commands.add_parser(
        "compare",
        help="AD and baseline attributions of photographs, side by side",
        description="Explain what a classifier sees in photographs with Captum's attributors, each with "
        "Activation-Deactivation (AD) and with painted baselines, and write figures, the attributions and a summary.",
    )
    _add_inputs(compare.add_argument)
    _add_columns(compare.add_argument)
    _add_effort(compare.add_argument)
    compare.add_argument("--out", type=Path, default=Path("captum-ad-report"), metavar="DIR", help=_DEFAULT)
    compare.add_argument("--force", action="store_true", help="replace an earlier report's files in --out")
    return parser


_DEFAULT = "(default: %(default)s)"


def _add_inputs(add: Callable[..., object]) -> None:
    add("images", nargs="*", metavar="IMAGE", help="image files, or chelsea, coffee, camera (default: coffee)")
    add(
        "--model",
        default="demo",
        help="demo (EfficientNet-Lite0), torchvision:NAME, timm:NAME, or package.module:callable for a function "
        f"that returns a model or (model, transform) {_DEFAULT}",
    )
    add("--weights", type=Path, metavar="FILE", help="state dict of the model (default: the published weights)")
    add("--target", type=int, metavar="N", help="index of the class to explain (default: the predicted one)")


def _add_columns(add: Callable[..., object]) -> None:
    presets, painted = ["paper", "no-growth"], ["zero", "min", "max", "avg"]
    methods = ["occlusion", "feature_ablation", "kernel_shap", "lime"]
    add(
        "--methods",
        nargs="+",
        default=methods,
        metavar="METHOD",
        help=f"of {_listed(METHODS)} (default: {' '.join(methods)})",
    )
    add(
        "--ad",
        nargs="*",
        default=presets,
        metavar="PRESET",
        help=f"AD columns, of {_listed(PRESETS)} (default: {' '.join(presets)})",
    )
    add(
        "--baselines",
        nargs="*",
        default=painted,
        metavar="NAME",
        help=f"baseline columns, of {_listed(BASELINES)} (default: {' '.join(painted)})",
    )


def _add_effort(add: Callable[..., object]) -> None:
    add("--segments", type=_at_least(2), default=40, metavar="N", help=f"superpixels, about {_DEFAULT}")
    add(
        "--samples",
        type=_at_least(2),
        default=100,
        metavar="N",
        help="perturbations for KernelShap and Lime, better several per superpixel; responsibility and rise run "
        f"{SEARCHED} times as many {_DEFAULT}",
    )
    add(
        "--gamma",
        type=float,
        default=0.9,
        metavar="SHARE",
        help=f"an explanation keeps the class at this share of the original confidence {_DEFAULT}",
    )
    add(
        "--backgrounds",
        type=_at_least(1),
        default=20,
        metavar="N",
        help=f"solid colours that explanations are planted on, to measure ρ {_DEFAULT}",
    )
    add("--batch-size", type=_at_least(1), metavar="N", help="inputs per forward (default: 4 on the CPU, else 32)")
    add("--seed", type=_at_least(0), default=0, metavar="N", help=f"of the random perturbations {_DEFAULT}")
    add("--device", default="cpu", help=f"cpu, cuda, cuda:1 … {_DEFAULT}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not least <= value < 2**63:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    number.__name__ = "integer"
    return number


def _require_demo_extra() -> None:
    needed = {"torchvision": "torchvision", "PIL": "pillow", "matplotlib": "matplotlib", "tqdm": "tqdm"}
    needed |= {"skimage": "scikit-image", "sklearn": "scikit-learn"}
    missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f'this command needs {", ".join(missing)}: pip install "captum_ad[demo]"')


if __name__ == "__main__":
    sys.exit(main())
