"""CausalResponsibility and Rise against ReX itself: what their maps are worth, what they cost, how far they agree.

    python tests/benchmarks/responsibility.py [DATASET | PHOTOGRAPH ...] [--images N] [--out FOLDER] [--help]

Needs rex-xai. A network (--model) on photographs, the class that it gives to each. All explainers take
their turn on a photograph and a masking, in one process; forwards and seconds (of processor time) are
those of the attribution alone, the rest is measured on the maps as in rex.py. ``rank i`` is Spearman's
correlation with the map of explainer i, ``IoU i`` the overlap with its explanation, at each γ: of one explainer
under two seeds they bound what can be expected of two. The summary has paired differences, between explainers under
one masking, between maskings for one explainer, and of these between explainers, with 95 % intervals (Student's t
over photographs). An explainer is a name with settings, ``rex:iters=8,seed=1``: ``rex`` takes ReX's, ``causal`` and
``rise`` take those of ``CausalResponsibility.attribute`` and ``Rise.attribute``.
"""

import argparse
import ast
import itertools
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from scipy.stats import spearmanr, t
from torch import Tensor, nn
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad._scoring import batch_of
from captum_ad.attr import CausalResponsibility, Rise
from captum_ad.metrics import DrawnBackgrounds, sufficient_explanation
from tests.benchmarks.rex import (
    arguments,
    cost,
    photographs,
    record,
    recorded,
    responsibility,
    set_up,
    shown,
    summarized,
    worth,
)

MASKINGS = ("zero", "ad:no-growth-mean")
EXPLAINERS = ("rex:iters=8,search_limit=400", "rex:iters=8,search_limit=400,seed=1", "causal", "causal:seed=1", "rise")
SIZES = (0.1, 0.3)
KEYS = ("photograph", "masking", "explainer")


def settings_of(explainer: str) -> tuple[str, dict[str, Any]]:
    """Its name, and its settings."""
    name, _, given = explainer.partition(":")
    pairs = (setting.split("=") for setting in given.split(",") if setting)
    return name, {key: ast.literal_eval(value) for key, value in pairs}


@dataclass(frozen=True)
class Task:
    """A photograph, the network's input and answer, and what explanations are planted on."""

    name: str
    image: Image.Image
    x: Tensor
    target: int
    backgrounds: dict[str, DrawnBackgrounds]


def attribution(
    explainer: str, model: nn.Module, masking: str, transform: Any, task: Task, batch: int | None
) -> Tensor:
    """The map, shape (1, 1, H, W)."""
    name, settings = settings_of(explainer)
    if name == "rex":
        return responsibility(masked_forward(model, masking), transform, task.image, batch=batch, **settings)
    if name == "rise":  # explains probabilities, by hard masks as the others
        model = nn.Sequential(model, nn.Softmax(1)).eval()
    attributor = {"causal": CausalResponsibility, "rise": Rise}[name](masked_forward(model, masking))
    given = {"target": task.target, "perturbations_per_eval": batch_of(batch, task.x.device), **settings}
    found: Tensor = attributor.attribute(task.x, **given)
    return found[:, :1]


def rows_of(
    model: nn.Module, transform: Any, task: Task, masking: str, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """One row per explainer: a photograph and a masking."""
    forward = masked_forward(model, masking)
    maps, costs, found = [], [], []
    for explainer in options.explainers:
        with cost(model) as spent:
            maps.append(attribution(explainer, model, masking, transform, task, options.batch))
        costs.append(spent)
        found.append(
            sufficient_explanation(forward, task.x, maps[-1], task.target, options.gammas, batch_size=options.batch)
        )
    for explainer, ours, explanations, spent in zip(options.explainers, maps, found, costs):
        row = {"photograph": task.name, "masking": masking, "explainer": explainer}
        row |= worth(forward, task.x, task.target, ours, explanations, task.backgrounds, SIZES, options.batch) | spent
        for i, (other, others) in enumerate(zip(maps, found)):
            row[f"rank {i}"] = float(spearmanr(ours.flatten(), other.flatten()).statistic)
            for one, two in zip(explanations, others):
                row[f"IoU {i}, γ {one.gamma:g}"] = overlap(one.mask, two.mask)
        yield row


def overlap(one: Tensor, two: Tensor) -> float:
    """Intersection over union; of two empty masks 1."""
    union = int((one | two).sum())
    return int((one & two).sum()) / union if union else 1.0


Row = dict[str, Any]


def summary(rows: Sequence[Row], explainers: Sequence[str], maskings: Sequence[str]) -> str:
    """Means, agreement of explainers, and paired differences with their intervals, as tables."""
    rows = sorted(rows, key=lambda row: row["photograph"])  # runs that went on may have them in another order
    keys = list(itertools.product(maskings, explainers))
    of = {key: [row for row in rows if (row["masking"], row["explainer"]) == key] for key in keys}
    agreement = [name for name in rows[0] if name.startswith(("rank ", "IoU "))]
    columns = [name for name in rows[0] if name not in (*KEYS, *agreement)]
    lines = header("masking, explainer", columns)
    for key, ours in of.items():
        lines.append(line(", ".join(key), [shown(c, statistics.fmean(row[c] for row in ours)) for c in columns]))
    pairs = list(itertools.combinations(range(len(explainers)), 2))
    if pairs:
        names = [name.replace(" 0", "", 1) for name in agreement if name.startswith(("rank 0", "IoU 0"))]
        lines += ["", *header("agreement", names)]
    for masking, (i, j) in itertools.product(maskings, pairs):
        ours = of[masking, explainers[j]]
        with_i = [name for name in agreement if name.startswith((f"rank {i}", f"IoU {i},"))]
        means = [shown(c, statistics.fmean(row[c] for row in ours)) for c in with_i]
        lines.append(line(f"{masking}: {explainers[i]}, {explainers[j]}", means))
    lines += ["", *header("difference", columns)]
    for one, other in itertools.combinations(of, 2):
        same = [a for a, b in zip(one, other) if a == b]
        if same:  # the masking or the explainer
            (first,), (second,) = (set(key) - set(same) for key in (one, other))
            cells = [difference(c, [b[c] - a[c] for a, b in zip(of[one], of[other])]) for c in columns]
            lines.append(line(f"{same[0]}: {second} − {first}", cells))
    for (one, other), (first, second) in itertools.product(
        *(itertools.combinations(x, 2) for x in (maskings, explainers))
    ):
        four = list(zip(of[other, second], of[one, second], of[other, first], of[one, first]))
        cells = [difference(c, [(a[c] - b[c]) - (d[c] - e[c]) for a, b, d, e in four]) for c in columns]
        lines.append(line(f"{other} − {one}: {second} − {first}", cells))
    return "\n".join(lines)


def header(first: str, columns: Sequence[str]) -> list[str]:
    return [line(first, columns), line("---", ["---"] * len(columns))]


def line(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | " + " | ".join(cells) + " |"


def difference(column: str, values: Sequence[float]) -> str:
    """Its mean, with a 95 % interval if there are several."""
    mean = shown(column, statistics.fmean(values), "+")
    if len(values) < 2:
        return mean
    center, error = statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    return f"{mean} [{shown(column, center - reach, '+')}, {shown(column, center + reach, '+')}]"


@torch.no_grad()
def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--explainers", nargs="+", default=EXPLAINERS, metavar="NAME[:SETTING=VALUE,...]")
    options = arguments(parser, MASKINGS, 50, given)
    model, transform, backgrounds = set_up(options)
    rows = recorded(options.out, options)
    chosen = photographs(options)
    for name, opened in tqdm(chosen.items(), "photographs"):
        done = [(row["masking"], row["explainer"]) for row in rows if row["photograph"] == name]
        missing = [m for m in options.maskings if not all((m, e) in done for e in options.explainers)]
        if not missing:
            continue
        image = opened()
        x = transform(image)[None]
        target = int(model(x).argmax())
        drawn = {key: source.draw(model, x, target, batch_size=options.batch) for key, source in backgrounds.items()}
        task = Task(name, image, x, target, drawn)
        rows = [row for row in rows if row["photograph"] != name or row["masking"] not in missing]
        for masking in missing:
            for row in rows_of(model, transform, task, masking, options):
                rows.append(row)
                record(rows, options.out)
    summarized(
        f"Means over {len(chosen)} photographs, {options.backgrounds} backgrounds, {options.threads} thread(s); "
        "differences on the same photographs, with 95 % intervals\n\n"
        + summary([row for row in rows if row["photograph"] in chosen], options.explainers, options.maskings),
        options.out,
    )


if __name__ == "__main__":
    main()
