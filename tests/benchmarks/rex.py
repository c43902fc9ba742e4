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
from collections.abc import Sequence
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


def responsibility(forward: MaskedForward, transform: Any, image: Image.Image, options: argparse.Namespace) -> Tensor:
    """ReX's map of one photograph, (1, 1, H, W): what ReX does before it extracts an explanation."""
    made = script(forward, transform, batch_size=options.batch)
    args = CausalArgs()
    args.mask_value, args.seed, args.iters, args.progress_bar = "none", options.seed, options.iters, False
    args.batch_size = 14  # it tries the 14 combinations of four boxes: together rather than one by one
    data = made.preprocess(image)
    data.set_mask_value(args.mask_value)
    data.target = predict_target(data, args, made.prediction_function)
    maps, _ = calculate_responsibility(data, args, made.prediction_function)
    return torch.from_numpy(maps.get(data.target.classification))[None, None]


def measured(
    model: nn.Module, transform: Any, source: str, masking: str, contexts: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """One row: a photograph and a masking."""
    image, forward, forwards = photograph(source), masked_forward(model, masking), []
    hook = model.register_forward_pre_hook(lambda module, inputs: forwards.append(len(inputs[0])))
    start = time.process_time()
    attribution = responsibility(forward, transform, image, options)
    cost = {"forwards": sum(forwards), "seconds": time.process_time() - start}
    hook.remove()
    x = transform(image)[None]
    target = int(model(x).argmax())
    found = sufficient_explanation(forward, x, attribution, target, options.gamma, batch_size=options.batch)
    row = {"photograph": Path(source).stem, "masking": masking, "target": target}
    row |= {"size": found.size, "confidence": found.confidence}
    for name, context in contexts.items():
        drawn = context.draw(model, x, target, batch_size=options.batch)
        row[f"ρ {name}"] = rho_robustness(model, x, found, target, drawn, batch_size=options.batch).rho
        curve = rho_curve(model, x, attribution, target, drawn, SIZES, batch_size=options.batch)
        row |= {f"ρ {name} at {size:g}": curve.at(size) for size in SIZES}
    return row | cost


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means over the photographs, one line per masking."""
    columns = [name for name in rows[0] if name not in ("photograph", "masking", "target")]
    lines = [f"{'':18}" + "".join(f"{name:>14}" for name in columns)]
    for masking in dict.fromkeys(row["masking"] for row in rows):
        means = [statistics.fmean(row[name] for row in rows if row["masking"] == masking) for name in columns]
        digits = [0 if name in ("forwards", "seconds") else 3 for name in columns]
        lines.append(f"{masking:18}" + "".join(f"{mean:14.{n}f}" for mean, n in zip(means, digits)))
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", nargs="*", default=SHIPPED, help="files, or names of scikit-image's")
    parser.add_argument("--maskings", nargs="+", default=MASKINGS)
    parser.add_argument("--iters", type=int, default=20, help="ReX's iterations (default: %(default)s, ReX's own)")
    parser.add_argument("--gamma", type=float, default=0.9)
    parser.add_argument("--backgrounds", type=int, default=100, help="per context (default: %(default)s)")
    parser.add_argument("--k2", nargs="+", default=(), metavar="PHOTOGRAPH", help="backgrounds of other classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=None, help="inputs per forward")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", type=Path, help="write each row as soon as it is there")
    return parser.parse_args()


@torch.no_grad()
def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    logging.getLogger("ReX").setLevel(logging.ERROR)
    model, transform = efficientnet_lite0()
    n = options.backgrounds
    contexts: dict[str, Any] = {"K1": SolidColors(n, options.seed, mean=127 / 255, std=128 / 255)}
    if options.k2:  # of no known class: the network's own answer tells which ones to leave out
        others = [(transform(photograph(source)), -1) for source in options.k2]
        contexts["K2"] = OtherClassImages(others, n, options.seed)
    rows: list[dict[str, Any]] = []
    for source in options.photographs:
        for masking in options.maskings:
            rows.append(measured(model, transform, source, masking, contexts, options))
            print(*(f"{v:.3g}" if isinstance(v, float) else v for v in rows[-1].values()), file=sys.stderr, flush=True)
            if options.csv:
                with options.csv.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, rows[0])
                    writer.writeheader()
                    writer.writerows(rows)
    print(
        f"means over {len(options.photographs)} photographs, {options.iters} iterations of ReX, γ = {options.gamma:g}, "
        f"{n} backgrounds, {options.threads} thread(s)"
    )
    print(table(rows))


if __name__ == "__main__":
    main()
