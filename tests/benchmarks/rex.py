"""AD against baselines with ReX itself as the explainer: size, ρ-robustness and cost of its explanations.

    python tests/benchmarks/rex.py [DATASET | PHOTOGRAPH ...] [--images N] [--model MODEL] [--out FOLDER] [--help]

Needs rex-xai. A network (--model, as ``captum-ad explain`` takes it) on photographs (by default three that
scikit-image ships), the class that it gives to each. ReX makes one responsibility map per photograph and
masking, from the same seed; the rest is measured on the maps: the smallest prefix that alone keeps the
class at each γ, under the same masking, its ρ on solid colors (K1) and on other photographs (K2, with
--k2), and ρ of the best positions at equal sizes. Forwards and seconds (of processor time) are those of
ReX's search.
"""

import argparse
import csv
import io
import json
import logging
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from rex_xai.explanation.rex import calculate_responsibility, predict_target
from rex_xai.input.config import CausalArgs

from captum_ad._common.files import write_whole
from captum_ad._forwards.baseline_forward import MaskedForward, masked_forward
from captum_ad.adapters.rex import script
from captum_ad.cli.dataset import read_dataset, some_of
from captum_ad.cli.models import Classifier, load_classifier
from captum_ad.cli.study_plan import ColorsOfItsRange
from captum_ad.metrics import (
    DrawnBackgrounds,
    OtherClassImages,
    SolidColors,
    SufficientExplanation,
    rho_curve,
    rho_robustness,
    sufficient_explanation,
)

MASKINGS = ("ad:paper", "ad:no-growth-mean", "zero", "min", "max", "avg")
SHIPPED = ("coffee", "chelsea", "camera")
SIZES = (0.1, 0.3, 0.5)


def photograph(source: str) -> Image.Image:
    if source in SHIPPED and not Path(source).exists():
        from skimage import data

        return Image.fromarray(getattr(data, source)()).convert("RGB")
    return Image.open(source).convert("RGB")


def photographs(options: argparse.Namespace) -> dict[str, Callable[[], Image.Image]]:
    """By name, each opened when its turn comes: files, or some of a data set."""
    first = Path(options.photographs[0])
    if len(options.photographs) == 1 and (first.is_dir() or first.suffix == ".csv"):
        entries = some_of(read_dataset(first), options.images, options.seed)
        return {entry.name: partial(getattr, entry, "image") for entry in entries}
    return {Path(source).stem: partial(photograph, source) for source in options.photographs}


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
    explanations: Sequence[SufficientExplanation],
    drawn: dict[str, DrawnBackgrounds],
    sizes: Sequence[float],
    batch: int | None,
) -> dict[str, float]:
    """What an attribution's explanations at each γ measure, and its best positions at equal sizes."""
    row = {f"size, γ {found.gamma:g}": found.size for found in explanations}
    row |= {f"confidence, γ {found.gamma:g}": found.confidence for found in explanations}
    for name, backgrounds in drawn.items():
        for found in explanations:
            robust = rho_robustness(forward.model, x, found, target, backgrounds, batch_size=batch)
            row[f"ρ {name}, γ {found.gamma:g}"] = robust.rho
        curve = rho_curve(forward.model, x, attribution, target, backgrounds, sizes, batch_size=batch)
        row |= {f"ρ {name}, size {size:g}": curve.at(size) for size in sizes}
    return row


def measured(
    model: nn.Module,
    transform: Any,
    name: str,
    image: Image.Image,
    masking: str,
    backgrounds: dict[str, Any],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """One row: a photograph and a masking."""
    forward = masked_forward(model, masking)
    with cost(model) as spent:
        attribution = responsibility(forward, transform, image, options.iters, options.seed, options.batch)
    x = transform(image)[None]
    target = int(model(x).argmax())
    drawn = {key: source.draw(model, x, target, batch_size=options.batch) for key, source in backgrounds.items()}
    found = sufficient_explanation(forward, x, attribution, target, options.gammas, batch_size=options.batch)
    row = {"photograph": name, "masking": masking, "target": target}
    return row | worth(forward, x, target, attribution, found, drawn, SIZES, options.batch) | spent


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means over the photographs, one line per masking."""
    columns = [name for name in rows[0] if name not in ("photograph", "masking", "target")]
    lines = ["| masking | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for masking in dict.fromkeys(row["masking"] for row in rows):
        means = [statistics.fmean(row[name] for row in rows if row["masking"] == masking) for name in columns]
        lines.append(f"| {masking} | " + " | ".join(map(shown, columns, means)) + " |")
    return "\n".join(lines)


def shown(column: str, value: float, sign: str = "") -> str:
    """A number of that column, in as many digits as say something."""
    return f"{value:{sign}.{0 if column in ('forwards', 'seconds') else 3}f}"


def arguments(
    parser: argparse.ArgumentParser, maskings: Sequence[str], backgrounds: int, given: Sequence[str] | None
) -> argparse.Namespace:
    """What is measured, and on what; a parser may have more to ask for."""
    known = "files, names of scikit-image's, or a data set as captum-ad study takes it"
    parser.add_argument("photographs", nargs="*", default=SHIPPED, help=known)
    parser.add_argument("--images", type=int, help="so many of the data set, drawn by --seed: more include the fewer")
    parser.add_argument("--model", default="demo", help="as captum-ad explain takes it (default: %(default)s)")
    parser.add_argument("--maskings", nargs="+", default=maskings)
    parser.add_argument("--gammas", nargs="+", type=float, default=(0.0, 0.9))
    number = "in each set, 0 for no ρ (default: %(default)s)"
    parser.add_argument("--backgrounds", type=int, default=backgrounds, help=number)
    parser.add_argument("--k2", nargs="+", default=(), metavar="PHOTOGRAPH", help="backgrounds of other classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=None, help="inputs per forward")
    parser.add_argument("--threads", type=int, default=1)
    rows = "rows.csv, each row as soon as it is there, and summary.md; go on where they end"
    parser.add_argument("--out", type=Path, help=rows)
    return parser.parse_args(given)


def backgrounds_of(classifier: Classifier, options: argparse.Namespace) -> dict[str, Any]:
    """K1, and K2 where there are photographs for it."""
    n = options.backgrounds
    if not n:
        return {}
    mean, std = classifier.normalization(3)
    known = mean is not None and std is not None
    colors = SolidColors(n, options.seed, mean or 0.0, std or 1.0) if known else ColorsOfItsRange(n, options.seed)
    backgrounds: dict[str, Any] = {"K1": colors}
    if options.k2:  # of no known class: the network's own answer tells which ones to leave out
        others = [(classifier.transform(photograph(source)), -1) for source in options.k2]
        backgrounds["K2"] = OtherClassImages(others, n, options.seed)
    return backgrounds


def record(rows: Sequence[dict[str, Any]], out: Path | None) -> None:
    """Show the last row, and write all of them."""
    print(*(f"{v:.3g}" if isinstance(v, float) else v for v in rows[-1].values()), file=sys.stderr, flush=True)
    if out:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(out / "rows.csv", text.getvalue())


def recorded(out: Path | None, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows that an earlier run of the same command has written, perhaps of fewer photographs."""
    if out is None:
        return []
    free = ("photographs", "images", "threads", "out")
    settings = {name: value for name, value in vars(options).items() if name not in free}
    settings = json.loads(json.dumps(settings))
    out.mkdir(parents=True, exist_ok=True)
    if (out / "settings.json").exists():
        before = json.loads((out / "settings.json").read_text(encoding="utf-8"))
        other = [name for name in settings if settings[name] != before.get(name)]
        if other:
            raise SystemExit(
                f"{out} has results of another {', '.join(other)}: give another --out, or the same options"
            )
    write_whole(out / "settings.json", json.dumps(settings, indent=1))
    if not (out / "rows.csv").exists():
        return []
    with (out / "rows.csv").open(newline="", encoding="utf-8") as file:
        return [{key: _number(text) for key, text in row.items()} for row in csv.DictReader(file)]


def summarized(text: str, out: Path | None) -> None:
    """Show a summary, and write it."""
    print(text)
    if out:
        write_whole(out / "summary.md", text + "\n")


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def set_up(options: argparse.Namespace) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Network, transform and backgrounds; and torch and ReX as quiet as they have to be."""
    torch.set_num_threads(options.threads)
    logging.getLogger("ReX").setLevel(logging.ERROR)
    classifier = load_classifier(options.model, None, torch.device("cpu"))
    return classifier.model, classifier.transform, backgrounds_of(classifier, options)


@torch.no_grad()
def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iters", type=int, default=20, help="ReX's iterations (default: %(default)s, ReX's own)")
    options = arguments(parser, MASKINGS, 100, given)
    model, transform, backgrounds = set_up(options)
    rows = recorded(options.out, options)
    done = {(row["photograph"], row["masking"]) for row in rows}
    chosen = photographs(options)
    for name, opened in tqdm(chosen.items(), "photographs"):
        for masking in options.maskings:
            if (name, masking) in done:
                continue
            rows.append(measured(model, transform, name, opened(), masking, backgrounds, options))
            record(rows, options.out)
    summarized(
        f"Means over {len(chosen)} photographs, {options.iters} iterations of ReX, {options.backgrounds} backgrounds, "
        f"{options.threads} thread(s)\n\n" + table([row for row in rows if row["photograph"] in chosen]),
        options.out,
    )


if __name__ == "__main__":
    main()
