"""The command ``captum-ad``: reads arguments, runs the sub-command, turns errors into one line."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

import torch

from captum_ad import PRESETS, __version__
from captum_ad.attributions import METHODS, SEARCHED
from captum_ad.baselines import BASELINES
from captum_ad.cli.arguments import Parser, at_least
from captum_ad.cli.errors import InputError
from captum_ad.errors import UnknownNameError, UnsupportedOperationError
from captum_ad.painted import MASKING_VALUES

PROGRAM = "captum-ad"
FAILED, INTERRUPTED = 2, 130

_Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


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
    resume: Path | None = None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)  # so that what is half-made is cleared away
    try:
        arguments = _parser().parse_args(words)
        resume = getattr(arguments, "resume", None)
        arguments.run(arguments, [PROGRAM, *words])
    except SystemExit as stop:  # argparse: --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt:
        left = f"the same command goes on from {str(resume)!r}" if resume else "nothing was written"
        if resume is None and words[:1] == ["rules"]:
            left += "; with --resume FILE.csv it can be interrupted and go on"
        print(f"{PROGRAM}: interrupted, {left}", file=sys.stderr)
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


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROGRAM, description="Explanations of image classifiers without a baseline.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_compare(commands)
    _add_rules(commands)
    return parser


_DEFAULT = "(default: %(default)s)"


def _add_compare(commands: _Commands) -> None:
    compare = commands.add_parser(
        "compare",
        help="AD and baseline attributions of photographs, side by side",
        description="Explain what a classifier sees in photographs with Captum's attributors, each with "
        "Activation-Deactivation (AD) and with painted baselines, and write figures, the attributions and a summary.",
    )
    _add_inputs(compare.add_argument, images="coffee")
    compare.add_argument(
        "--target", type=int, metavar="N", help="index of the class to explain (default: the predicted one)"
    )
    _add_columns(compare.add_argument)
    _add_effort(compare.add_argument)
    _add_running(compare.add_argument, out="captum-ad-report", batch="4")
    compare.set_defaults(run=_compare)


def _add_rules(commands: _Commands) -> None:
    rules = commands.add_parser(
        "rules",
        help="which AD rule or baseline disturbs a network least",
        description="Hide scattered parts of photographs, all but their middle and, where boxes are given, all but the "
        "object or the object itself, under every masking, and say under which one the network keeps its answer most "
        "often. Only photographs count that the network gets right when they are whole.",
    )
    _add_inputs(rules.add_argument, images="those of --labels or --boxes, or else these three")
    known = rules.add_mutually_exclusive_group()
    known.add_argument(
        "--labels",
        type=Path,
        metavar="FILE.csv",
        help="A file with the columns file and index says which class each photograph is of. Without it, the network's "
        "own answer is taken to be right.",
    )
    known.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE.csv",
        help="The same with the columns left, top, right and bottom, in pixels of the photograph and the last two "
        "exclusive, which say where the object is.",
    )
    rules.add_argument(
        "--maskings",
        nargs="+",
        metavar="MASKING",
        help="What is tried, two at least: ad:PRESET, or ad:KNOB=VALUE,KNOB=VALUE for a rule of your own, of presets "
        f"{_listed(PRESETS)}; or a baseline of {_listed(MASKING_VALUES)}. The default is all presets and baselines.",
    )
    rules.add_argument(
        "--resume",
        type=Path,
        metavar="FILE.csv",
        help="Every photograph's results go into this file at once; a command that was interrupted goes on from it.",
    )
    rules.add_argument("--csv", action="store_true", help="Print the table with all intervals as CSV.")
    rules.add_argument(
        "--threads", type=at_least(1), metavar="N", help="threads of the CPU (default: as torch chooses)"
    )
    _add_running(rules.add_argument, out="captum-ad-rules", batch="8")
    rules.set_defaults(run=_rules)


def _compare(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    _require("demo", _DEMO)
    from captum_ad.cli.compare import compare

    compare(arguments, command)


def _rules(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    _require("demo,metrics", {**_DEMO, "pandas": "pandas", "scipy": "scipy"})
    from captum_ad.cli.rules import rules

    rules(arguments, command)


def _add_inputs(add: Callable[..., object], images: str) -> None:
    add("images", nargs="*", metavar="IMAGE", help=f"image files, or chelsea, coffee, camera (default: {images})")
    add(
        "--model",
        default="demo",
        help="demo (EfficientNet-Lite0), torchvision:NAME, timm:NAME, or package.module:callable for a function "
        "that returns (model, transform), or a model alone, for which ImageNet's preprocessing is assumed "
        f"{_DEFAULT}",
    )
    add("--weights", type=Path, metavar="FILE", help="state dict of the model (default: the published weights)")


def _add_columns(add: Callable[..., object]) -> None:
    presets, painted = ["no-growth-mean", "paper"], ["zero", "min", "max", "avg"]
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
        help=f"AD columns, of {_listed(PRESETS)}, or knobs as in growth=none,average=active "
        f"(default: {' '.join(presets)})",
    )
    add(
        "--baselines",
        nargs="*",
        default=painted,
        metavar="NAME",
        help=f"baseline columns, of {_listed(BASELINES)} (default: {' '.join(painted)})",
    )


def _add_effort(add: Callable[..., object]) -> None:
    add("--segments", type=at_least(2), default=40, metavar="N", help=f"superpixels, about {_DEFAULT}")
    add(
        "--samples",
        type=at_least(2),
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
        type=at_least(1),
        default=20,
        metavar="N",
        help=f"solid colours that explanations are planted on, to measure ρ {_DEFAULT}",
    )


def _add_running(add: Callable[..., object], out: str, batch: str) -> None:
    default = f"(default: {batch} on the CPU, else 32)"
    add("--batch-size", type=at_least(1), metavar="N", help=f"inputs per forward {default}")
    add("--seed", type=at_least(0), default=0, metavar="N", help=f"of the random perturbations {_DEFAULT}")
    add("--device", default="cpu", help=f"cpu, cuda, cuda:1 … {_DEFAULT}")
    add("--out", type=Path, default=Path(out), metavar="DIR", help=_DEFAULT)
    add("--force", action="store_true", help="replace an earlier report's files in --out")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


_DEMO = {
    "torchvision": "torchvision",
    "PIL": "pillow",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}
"""What a module of the extra is called by pip."""


def _require(extras: str, modules: Mapping[str, str]) -> None:
    missing = [package for module, package in modules.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f'this command needs {", ".join(missing)}: pip install "captum_ad[{extras}]"')


if __name__ == "__main__":
    sys.exit(main())
