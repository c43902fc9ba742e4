"""AD against baselines with ReX itself as the explainer: size, ρ-robustness and cost of its explanations.

    python tests/benchmarks/rex.py [PHOTOGRAPH ...] [--csv FILE] [--help]

Needs rex-xai. EfficientNet-Lite0 on photographs (by default three that scikit-image ships), the class
that it gives to each. ReX makes one responsibility map per photograph and masking, from the same seed;
the rest is measured on the maps: the smallest prefix that alone keeps the class at γ, under the same
masking, its ρ on solid colours (K1) and on other photographs (K2, with --k2), and ρ of the best
positions at equal sizes. Forwards and seconds (of processor time) are those of ReX's search.
"""

import argparse
import csv
import logging
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from rex_xai.explanation.rex import calculate_responsibility, predict_target
from rex_xai.input.config import CausalArgs

from captum_ad.demo import efficientnet_lite0
from captum_ad.metrics import (
    DrawnBackgrounds,
    OtherClassImages,
    SolidColors,
    rho_curve,
    rho_robustness,
    sufficient_explanation,
)
from captum_ad.painted import MaskedForward, masked_forward
from captum_ad.rex import script

MASKINGS = ("ad:paper", "ad:no-growth-mean", "zero", "min", "max", "avg")
SHIPPED = ("coffee", "chelsea", "camera")
SIZES = (0.1, 0.3, 0.5)


def photograph(source: str) -> Image.Image:
    if source in SHIPPED and not Path(source).exists():
        from skimage import data

        return Image.fromarray(getattr(data, source)()).convert("RGB")
    return Image.open(source).convert("RGB")


def responsibility(
    forward: MaskedForward,
    transform: Any,
    image: Image.Image,
    iters: int,
    seed: int = 0,
    batch: int | None = None,
    search_limit: int | None = None,
) -> Tensor:
    """ReX's map of one photograph, (1, 1, H, W): what ReX does before it extracts an explanation."""
    made = script(forward, transform, batch_size=batch)
    args = CausalArgs()
    args.mask_value, args.seed, args.iters, args.progress_bar = "none", seed, iters, False
    args.search_limit = search_limit
    args.batch_size = 14  # it tries the 14 combinations of four boxes: together rather than one by one
    data = made.preprocess(image)
    data.set_mask_value(args.mask_value)
    data.target = predict_target(data, args, made.prediction_function)
    maps, _ = calculate_responsibility(data, args, made.prediction_function)
    return torch.from_numpy(maps.get(data.target.classification))[None, None]


@contextmanager
def cost(model: nn.Module) -> Iterator[dict[str, float]]:
    """Inputs that the model sees within, and seconds of processor time: there at the end."""
    forwards: list[int] = []
    hook = model.register_forward_pre_hook(lambda module, inputs: forwards.append(len(inputs[0])))
    start, spent = time.process_time(), {}
    try:
        yield spent
    finally:
        hook.remove()
        spent |= {"forwards": sum(forwards), "seconds": time.process_time() - start}


def worth(
    forward: MaskedForward,
    x: Tensor,
    target: int,
    attribution: Tensor,
    gamma: float,
    drawn: dict[str, DrawnBackgrounds],
    sizes: Sequence[float],
    batch: int | None,
) -> dict[str, float]:
    """What an attribution's explanation at γ measures, and its best positions at equal sizes."""
    least, found = sufficient_explanation(forward, x, attribution, target, (0.0, gamma), batch_size=batch)
    row = {"size": found.size, "size at 0": least.size, "confidence": found.confidence}
    for name, backgrounds in drawn.items():
        row[f"ρ {name}"] = rho_robustness(forward.model, x, found, target, backgrounds, batch_size=batch).rho
        curve = rho_curve(forward.model, x, attribution, target, backgrounds, sizes, batch_size=batch)
        row |= {f"ρ {name} at {size:g}": curve.at(size) for size in sizes}
    return row


def measured(
    model: nn.Module,
    transform: Any,
    source: str,
    masking: str,
    backgrounds: dict[str, Any],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """One row: a photograph and a masking."""
    image, forward = photograph(source), masked_forward(model, masking)
    with cost(model) as spent:
        attribution = responsibility(forward, transform, image, options.iters, options.seed, options.batch)
    x = transform(image)[None]
    target = int(model(x).argmax())
    drawn = {name: source.draw(model, x, target, batch_size=options.batch) for name, source in backgrounds.items()}
    row = {"photograph": Path(source).stem, "masking": masking, "target": target}
    return row | worth(forward, x, target, attribution, options.gamma, drawn, SIZES, options.batch) | spent


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means over the photographs, one line per masking."""
    columns = [name for name in rows[0] if name not in ("photograph", "masking", "target")]
    lines = [f"{'':18}" + "".join(f"{name:>14}" for name in columns)]
    for masking in dict.fromkeys(row["masking"] for row in rows):
        means = [statistics.fmean(row[name] for row in rows if row["masking"] == masking) for name in columns]
        digits = [0 if name in ("forwards", "seconds") else 3 for name in columns]
        lines.append(f"{masking:18}" + "".join(f"{mean:14.{n}f}" for mean, n in zip(means, digits)))
    return "\n".join(lines)


def arguments(parser: argparse.ArgumentParser, maskings: Sequence[str], backgrounds: int) -> argparse.Namespace:
    """What is measured, and on what; a parser may have more to ask for."""
    parser.add_argument("photographs", nargs="*", default=SHIPPED, help="files, or names of scikit-image's")
    parser.add_argument("--maskings", nargs="+", default=maskings)
    parser.add_argument("--gamma", type=float, default=0.9)
    parser.add_argument("--backgrounds", type=int, default=backgrounds, help="in each set (default: %(default)s)")
    parser.add_argument("--k2", nargs="+", default=(), metavar="PHOTOGRAPH", help="backgrounds of other classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=None, help="inputs per forward")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", type=Path, help="write each row as soon as it is there; go on where it ends")
    return parser.parse_args()


def backgrounds_of(transform: Any, options: argparse.Namespace) -> dict[str, Any]:
    """K1, and K2 where there are photographs for it."""
    n = options.backgrounds
    backgrounds: dict[str, Any] = {"K1": SolidColors(n, options.seed, mean=127 / 255, std=128 / 255)}
    if options.k2:  # of no known class: the network's own answer tells which ones to leave out
        others = [(transform(photograph(source)), -1) for source in options.k2]
        backgrounds["K2"] = OtherClassImages(others, n, options.seed)
    return backgrounds


def record(rows: Sequence[dict[str, Any]], path: Path | None) -> None:
    """Show the last row, and write all of them."""
    print(*(f"{v:.3g}" if isinstance(v, float) else v for v in rows[-1].values()), file=sys.stderr, flush=True)
    if path:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def recorded(path: Path | None) -> list[dict[str, Any]]:
    """The rows that an earlier run of the same command has written."""
    if path is None or not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: _number(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def set_up(options: argparse.Namespace) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Network, transform and backgrounds; and torch and ReX as quiet as they have to be."""
    torch.set_num_threads(options.threads)
    logging.getLogger("ReX").setLevel(logging.ERROR)
    model, transform = efficientnet_lite0()
    return model, transform, backgrounds_of(transform, options)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iters", type=int, default=20, help="ReX's iterations (default: %(default)s, ReX's own)")
    options = arguments(parser, MASKINGS, 100)
    model, transform, backgrounds = set_up(options)
    rows = recorded(options.csv)
    done = {(row["photograph"], row["masking"]) for row in rows}
    for source in options.photographs:
        for masking in options.maskings:
            if (Path(source).stem, masking) in done:
                continue
            rows.append(measured(model, transform, source, masking, backgrounds, options))
            record(rows, options.csv)
    print(
        f"means over {len(options.photographs)} photographs, {options.iters} iterations of ReX, γ = {options.gamma:g}, "
        f"{options.backgrounds} backgrounds, {options.threads} thread(s)"
    )
    print(table(rows))


if __name__ == "__main__":
    main()
