"""The command ``captum-ad``: parses arguments, runs the sub-command, prints an error as one line."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

import torch

from captum_ad import PRESETS, __version__
from captum_ad._common.errors import InputError, UnknownNameError, UnsupportedOperationError
from captum_ad._common.extras import install_hint
from captum_ad._forwards.baseline_forward import MASKING_VALUES, NAMED
from captum_ad._methods import METHODS
from captum_ad.cli.arguments import (
    DEFAULT,
    IMAGES,
    Parser,
    add_columns,
    add_effort,
    add_folder,
    add_inputs,
    add_running,
    add_target,
    listed,
)
from captum_ad.cli.errors import InterruptedRun
from captum_ad.cli.study_arguments import add_report, add_study

PROGRAM = "captum-ad"
FAILED, INTERRUPTED = 2, 130

_Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


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
    words = list(sys.argv[1:] if argv is None else argv)
    resume: Path | bool | None = None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)  # an exception, so that unfinished files are removed
    try:
        arguments = _parser().parse_args(words)
        resume = getattr(arguments, "resume", None)
        arguments.run(arguments, [PROGRAM, *words])
    except SystemExit as stop:  # argparse: --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt as stop:
        left = str(stop) if isinstance(stop, InterruptedRun) else "nothing was written"
        if isinstance(resume, Path):
            left = f"the same command continues from {str(resume)!r}"
        elif words[:1] == ["rules"]:
            left += "; with --resume FILE.csv an interrupted command can continue"
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
    _add_explain(commands)
    _add_compare(commands)
    _add_rules(commands)
    _add_study(commands)
    return parser


def _add_explain(commands: _Commands) -> None:
    explain = commands.add_parser(
        "explain",
        help="what a network sees in one photograph, in seconds",
        description="Explain what a classifier sees in a photograph, by one method with one way of hiding parts of it. "
        "Print how much of the photograph alone keeps the class, and write one picture or page.",
    )
    explain.add_argument(
        "image",
        nargs="?",
        default="coffee",
        metavar="PHOTO",
        help=f"An image file, or one of the photographs chelsea, coffee and camera {DEFAULT}.",
    )
    add_inputs(explain.add_argument)
    add_target(explain.add_argument)
    explain.add_argument(
        "--method", default="feature_ablation", help=f"The attribution method, one of {listed(METHODS)} {DEFAULT}."
    )
    explain.add_argument(
        "--masking",
        default="ad:no-growth-mean",
        help=f"How parts are hidden: by AD, as ad:PRESET (one of {listed(PRESETS)}) or ad:KNOB=VALUE,KNOB=VALUE; or by "
        f"a baseline, one of {listed(NAMED)} {DEFAULT}.",
    )
    add_effort(explain.add_argument)
    add_running(explain.add_argument, batch="4")
    explain.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="The file to write: a picture (.png, .jpg, .pdf, .svg) or a page to explore in a browser (.html) "
        "(default: PHOTO-explained.png).",
    )
    explain.add_argument("--force", action="store_true", help="Replace the file if it exists.")
    explain.set_defaults(run=_explain)


def _add_compare(commands: _Commands) -> None:
    compare = commands.add_parser(
        "compare",
        help="AD and baseline attributions of photographs, side by side",
        description="Explain what a classifier sees in photographs with Captum's attributors, each with "
        "Activation-Deactivation (AD) and with painted baselines, and write figures, the attributions, a summary and a "
        "page to explore in a browser.",
    )
    compare.add_argument("images", nargs="*", metavar="IMAGE", help=f"{IMAGES} (default: coffee).")
    add_inputs(compare.add_argument)
    add_target(compare.add_argument)
    add_columns(compare.add_argument)
    add_effort(compare.add_argument)
    add_running(compare.add_argument, batch="4")
    compare.add_argument(
        "--compile",
        action="store_true",
        help="Compile AD's forwards with torch.compile. This takes minutes per rule before the first map, so it pays "
        "off only for many photographs.",
    )
    add_folder(compare.add_argument, out="captum-ad-report")
    compare.add_argument(
        "--resume",
        action="store_true",
        help="Continue an interrupted command: photographs whose results are already in --out are not explained again.",
    )
    compare.set_defaults(run=_compare)


def _add_rules(commands: _Commands) -> None:
    rules = commands.add_parser(
        "rules",
        help="which AD rule or baseline disturbs a network least",
        description="Hide parts of photographs under every masking: scattered parts, all but the middle and, with "
        "boxes, all but the object or the object itself. Print under which masking the network keeps its answer most "
        "often. Only photographs that the network gets right when they are whole count.",
    )
    rules.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help=f"{IMAGES} (default: the files in --labels or --boxes, else these three).",
    )
    add_inputs(rules.add_argument)
    _add_labels(rules.add_mutually_exclusive_group().add_argument)
    rules.add_argument(
        "--maskings",
        nargs="+",
        metavar="MASKING",
        help=f"At least two maskings to try: ad:PRESET, one of {listed(PRESETS)}; ad:KNOB=VALUE,KNOB=VALUE for your "
        f"own rule; or a baseline, one of {listed(MASKING_VALUES)} (default: all presets and baselines).",
    )
    rules.add_argument(
        "--resume",
        type=Path,
        metavar="FILE.csv",
        help="Write each photograph's results to this file as soon as they are known; an interrupted command continues "
        "from it.",
    )
    rules.add_argument("--csv", action="store_true", help="Print the table, with all intervals, as CSV.")
    add_running(rules.add_argument, batch="8")
    add_folder(rules.add_argument, out="captum-ad-rules")
    rules.set_defaults(run=_rules)


def _add_study(commands: _Commands) -> None:
    study = commands.add_parser(
        "study",
        help="the paper's experiment on your images: which way of hiding gives the better explanations?",
        description="Explain every image of a data set by every method under every masking, measure the explanations, "
        "record them one by one, and write tables, figures and a page. Several processes can share the work: torchrun "
        "--nproc-per-node=2 -m captum_ad.study …",
    )
    add_study(study)
    study.set_defaults(run=_study)
    report = commands.add_parser(
        "report",
        help="write a study's report again, from one or several folders of results",
        description="Write the tables, figures and page of a study again, from all records in the folders.",
    )
    add_report(report)
    report.set_defaults(run=_report)


def _add_labels(add: Callable[..., object]) -> None:
    add(
        "--labels",
        type=Path,
        metavar="FILE.csv",
        help="The true class of each photograph: a file with the columns file and index. Without it, the network's own "
        "answer counts as right.",
    )
    add(
        "--boxes",
        type=Path,
        metavar="FILE.csv",
        help="Like --labels, with the columns left, top, right and bottom too: the object's box in pixels of the "
        "photograph, right and bottom exclusive.",
    )


def _explain(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    _require("demo", _DEMO)
    from captum_ad.cli.explain import explain

    explain(arguments, command)


def _compare(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    _require("demo", _DEMO)
    from captum_ad.cli.compare import compare

    compare(arguments, command)


def _rules(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    _require("demo,metrics", {**_DEMO, "pandas": "pandas", "scipy": "scipy"})
    from captum_ad.cli.rules import rules

    rules(arguments, command)


def _study(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    _require("study", _STUDY)
    from captum_ad.cli.study import study

    study(arguments, command)


def _report(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    _require("study", _STUDY)
    from captum_ad.cli.study_report import report

    report(arguments)


_DEMO = {
    "torchvision": "torchvision",
    "PIL": "pillow",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "jinja2": "jinja2",
}
"""Modules of the extra, and the names of their packages for pip."""

_STUDY = {**_DEMO, "pandas": "pandas", "scipy": "scipy", "statsmodels": "statsmodels"}


def _require(extras: str, modules: Mapping[str, str]) -> None:
    missing = [package for module, package in modules.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f"this command needs {', '.join(missing)}: {install_hint(missing, extras)}")


if __name__ == "__main__":
    sys.exit(main())
