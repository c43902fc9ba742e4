"""The command ``python -m captum_ad.benchmarks.scenes``: tables of maskings × networks, training, a picture."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_ad._common.errors import InputError
from captum_ad._common.extras import needed
from captum_ad.benchmarks.scenes.behind import BACKGROUNDS
from captum_ad.benchmarks.scenes.drawing import scene
from captum_ad.benchmarks.scenes.estimates import Estimate
from captum_ad.benchmarks.scenes.looks import PARTS
from captum_ad.benchmarks.scenes.masks import MASK_SHAPES, named_maskings
from captum_ad.benchmarks.scenes.networks import NETWORKS
from captum_ad.benchmarks.scenes.shapley import shapley_truth
from captum_ad.benchmarks.scenes.training import SCENES, train
from captum_ad.benchmarks.scenes.truth import removal_truth, right_scenes
from captum_ad.benchmarks.scenes.weights import SETS, load_network
from captum_ad.cli.arguments import Parser, at_least
from captum_ad.metrics.masking_names import all_maskings
from captum_ad.metrics.records import write_records

if TYPE_CHECKING:
    import pandas as pd

PROGRAM = "python -m captum_ad.benchmarks.scenes"
FAILED, INTERRUPTED = 2, 130

_TITLES = {
    "error": "Error of the change, ‖claimed − true‖ / ‖true‖ over all logits (0 is perfect, 1 is no change at all)",
    "correlation": "Rank correlation of the class's logit's changes over the parts, mean over scenes (1 is perfect)",
    "sign": "Share of parts for which the class's logit changes in the true direction",
    "leakage": "Mask shape: change where the part is gone already, ‖leaked‖ / ‖true‖ (0 is perfect)",
    "shapley correlation": "Rank correlation with the true Shapley values",
    "shapley error": "Error of the Shapley values, ‖found − true‖ / ‖true‖",
}


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
    try:
        if words[:1] == ["train"]:
            _train(_training_parser().parse_args(words[1:]))
        else:
            _evaluate(_parser().parse_args(words))
    except SystemExit as stop:  # argparse: --help
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (InputError, ValueError, ImportError, OSError) as error:
        print(f"{PROGRAM}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return FAILED
    return 0


def _evaluate(given: argparse.Namespace) -> None:
    _check_output(given.csv, ".csv")
    _check_output(given.picture, ".png")
    if given.grow is None:
        given.grow = 2
    elif given.shape != "grown" and given.picture is None:
        raise InputError(
            f"--grow {given.grow} is only for --shape grown or --picture: leave it out with --shape {given.shape}"
        )
    maskings = named_maskings(given.maskings or _possible_maskings())
    backgrounds = [given.photographs] if given.photographs is not None else given.background
    networks = [load_network(name, given.weights) for name in given.networks]
    if given.picture is not None:
        _draw_picture(given, networks[0].seed, backgrounds)
    tables = []
    for trained in networks:
        scenes = right_scenes(
            trained.model, given.scenes, classes_seed=trained.seed, background=backgrounds, seed=given.seed
        )
        print(f"{trained.name}: {len(scenes)} scenes", file=sys.stderr)
        options: dict[str, Any] = {"shape": given.shape, "grow": given.grow, "show_progress": True}
        if given.shapley:
            values = shapley_truth(trained.model, scenes, maskings, seed=given.seed, **options)
            table = values.table(seed=given.seed)
            table["measure"] = "shapley " + table["measure"]
        else:
            table = removal_truth(trained.model, scenes, maskings, **options).table(seed=given.seed)
        table.insert(0, "network", trained.name)
        tables.append(table)
    found: pd.DataFrame = needed("pandas", "pandas", "metrics").concat(tables, ignore_index=True)
    found = found.assign(weights=str(given.weights), shape=given.shape, background=" ".join(map(str, backgrounds)))
    print(_header(given, networks, backgrounds))
    print(markdown(found))
    if given.csv is not None:
        write_records(found, given.csv)


def _header(given: argparse.Namespace, networks: Sequence[Any], backgrounds: Sequence[str | Path]) -> str:
    accuracies = ", ".join(f"{trained.name} {trained.accuracy:.3f}" for trained in networks)
    brackets = "In brackets: 95 % bootstrap intervals over scenes." if given.scenes > 1 else "One gives no intervals."
    return (
        f"{given.scenes} scene{'s' if given.scenes > 1 else ''} a network (seed {given.seed}, background "
        f"{' and '.join(map(str, backgrounds))}), "
        f"hidden: {given.shape}; weights {given.weights}, accuracy on whole unseen scenes: {accuracies}. {brackets}\n"
    )


def markdown(found: pd.DataFrame) -> str:
    """Tables of maskings × networks in Markdown, one for each measure (and attributor).

    Parameters
    ----------
    found : DataFrame
        Columns network, measure, masking, value, low and high, and attributor if there are several.

    Returns
    -------
    str
        The tables, on several lines.
    """
    groups = ["measure", *(["attributor"] if "attributor" in found.columns else [])]
    networks = list(dict.fromkeys(found["network"]))
    text = []
    for key, group in found.groupby(groups, sort=False):
        measure, *attributor = key if isinstance(key, tuple) else (key,)
        text += [f"{_TITLES[str(measure)]}{''.join(f': {name}' for name in attributor)}", ""]
        text += [f"| masking | {' | '.join(networks)} |", f"|---|{'---|' * len(networks)}"]
        for masking, rows in group.groupby("masking", sort=False):
            estimates = map(Estimate, rows["value"], rows["low"], rows["high"])
            cells = dict(zip(rows["network"], map(str, estimates)))
            text.append(f"| {masking} | {' | '.join(cells[name] for name in networks)} |")
        text.append("")
    return "\n".join(text)


def _draw_picture(given: argparse.Namespace, classes_seed: int, backgrounds: Sequence[str | Path]) -> None:
    from captum_ad.benchmarks.scenes.picture import plot_scenes

    shown = [
        scene((given.seed, i), classes_seed=classes_seed, background=backgrounds[i % len(backgrounds)])
        for i in range(len(PARTS))
    ]
    figure = plot_scenes(shown, grow=given.grow)
    handle, name = tempfile.mkstemp(prefix=f".{given.picture.stem}-", suffix=".png", dir=given.picture.parent)
    os.close(handle)
    try:
        figure.savefig(name, dpi=130)
        os.chmod(name, 0o644)
        os.replace(name, given.picture)
    finally:
        Path(name).unlink(missing_ok=True)


def _train(given: argparse.Namespace) -> None:
    for trained in train(
        given.seed,
        given.out,
        networks=given.networks,
        photographs=given.photographs,
        scenes=given.scenes,
        show_progress=True,
    ):
        print(f"{trained.name}: accuracy {trained.accuracy:.3f} on whole unseen scenes")


def _possible_maskings() -> list[str]:
    """All named maskings; without OpenCV, all except inpaint."""
    return [name for name in all_maskings() if name != "inpaint" or importlib.util.find_spec("cv2") is not None]


def _check_output(path: Path | None, ending: str) -> None:
    """Refuse a file that cannot be written, before the work and not after it."""
    if path is None:
        return
    if path.suffix != ending:
        raise InputError(f"expected a file that ends in {ending}, got {str(path)!r}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{str(path.parent)!r} is not a folder: make it first")


_DEFAULT = "(default: %(default)s)"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROGRAM,
        description="Compare maskings with the truth: in drawn scenes, hiding a part of a figure is compared with "
        f"really leaving it out. Prints tables in Markdown. To train networks: {PROGRAM} train --help.",
    )
    add = parser.add_argument
    add(
        "--networks",
        nargs="+",
        default=list(NETWORKS),
        metavar="NAME",
        help=f"among {', '.join(NETWORKS)} (default: all)",
    )
    add("--weights", default="report", help=f"{' or '.join(SETS)}, or a folder with trained weights {_DEFAULT}")
    add(
        "--scenes",
        type=at_least(1),
        default=200,
        metavar="N",
        help=f"number of scenes that the network gets right when whole {_DEFAULT}",
    )
    add(
        "--maskings",
        nargs="+",
        metavar="MASKING",
        help="ad:PRESET, ad:KNOB=VALUE,KNOB=VALUE, or a baseline (default: all that have a name)",
    )
    add("--shape", default="exact", help=f"shape of the hidden pixels: {', '.join(MASK_SHAPES)} {_DEFAULT}")
    add("--grow", type=at_least(0), metavar="K", help="pixels by which --shape grown grows (default: 2)")
    add("--background", nargs="+", default=list(BACKGROUNDS), help="one or several, used in turn (default: both)")
    add("--photographs", type=Path, metavar="FOLDER", help="use crops of its photographs as backgrounds instead")
    add("--seed", type=at_least(0), default=0, metavar="N", help=f"seed of the scenes {_DEFAULT}")
    add("--csv", type=Path, metavar="FILE", help="write the numbers to this file too")
    add("--picture", type=Path, metavar="FILE.png", help="draw a few scenes and masks")
    add("--shapley", action="store_true", help="compare Shapley values of the parts, with Captum's attributors")
    return parser


def _training_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"{PROGRAM} train", description="Train the networks (takes about 15 minutes on two CPU cores)."
    )
    add = parser.add_argument
    add("--seed", type=at_least(0), required=True, metavar="S", help="seed of the classes, scenes and training")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the weights")
    add("--networks", nargs="+", metavar="NAME", help=f"among {', '.join(NETWORKS)} (default: all)")
    add("--photographs", type=Path, metavar="FOLDER", help="use crops of photographs as background of a third")
    add("--scenes", type=at_least(64), default=SCENES, metavar="N", help=f"number of training scenes {_DEFAULT}")
    return parser
