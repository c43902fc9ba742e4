"""CausalResponsibility and Rise against ReX itself: what their maps are worth, what they cost, how far they agree.

    python tests/benchmarks/responsibility.py [PHOTOGRAPH ...] [--k2 PHOTOGRAPH ...] [--csv FILE] [--help]

Needs rex-xai. EfficientNet-Lite0 on photographs, the class that it gives to each. All explainers take
their turn on a photograph and a masking, in one process; forwards and seconds (of processor time) are
those of the attribution alone, the rest is measured on the maps as in rex.py. ``rank i`` is Spearman's
correlation with the map of explainer i: of one explainer under two seeds it bounds what can be expected
of two. An explainer is a name with settings, ``rex:iters=8,seed=1``: ``rex`` takes ReX's, ``causal`` and
``rise`` take those of ``CausalResponsibility.attribute`` and ``Rise.attribute``.
"""

import argparse
import ast
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from captum_ad.attr import CausalResponsibility, Rise
from captum_ad.metrics import DrawnBackgrounds
from captum_ad.painted import masked_forward
from captum_ad.scoring import batch_of
from tests.benchmarks.rex import arguments, cost, photograph, record, recorded, responsibility, set_up, worth

MASKINGS = ("zero", "ad:paper")
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
    maps, costs = [], []
    for explainer in options.explainers:
        with cost(model) as spent:
            maps.append(attribution(explainer, model, masking, transform, task, options.batch))
        costs.append(spent)
    agreement = [[float(spearmanr(a.flatten(), b.flatten()).statistic) for b in maps] for a in maps]
    forward, gamma = masked_forward(model, masking), options.gamma
    for explainer, found, spent, ranks in zip(options.explainers, maps, costs, agreement):
        row = {"photograph": task.name, "masking": masking, "explainer": explainer}
        row |= worth(forward, task.x, task.target, found, gamma, task.backgrounds, SIZES, options.batch)
        yield row | spent | {f"rank {i}": rank for i, rank in enumerate(ranks)}


def table(rows: Sequence[dict[str, Any]], explainers: Sequence[str]) -> str:
    """Means over the photographs, and paired differences from the first explainer ± their standard errors."""
    columns = [name for name in rows[0] if name not in KEYS]
    lines = ["".join(f"{name:>14}" for name in columns)]
    for masking in dict.fromkeys(row["masking"] for row in rows):
        of = [[row for row in rows if (row["masking"], row["explainer"]) == (masking, e)] for e in explainers]
        for number, (explainer, ours) in enumerate(zip(explainers, of)):
            lines += ["", f"{masking}, {number} {explainer}"]
            lines.append("".join(f"{statistics.fmean(row[name] for row in ours):14.3f}" for name in columns))
            if number and len(ours) > 1:
                differences = [[row[name] - first[name] for row, first in zip(ours, of[0])] for name in columns]
                lines.append("".join(f"{statistics.fmean(d):+14.3f}" for d in differences))
                errors = (statistics.stdev(d) / len(d) ** 0.5 for d in differences)
                lines.append("".join(f"{'± ' + format(error, '.3f'):>14}" for error in errors))
    return "\n".join(lines)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--explainers", nargs="+", default=EXPLAINERS, metavar="NAME[:SETTING=VALUE,...]")
    options = arguments(parser, MASKINGS, 50)
    model, transform, backgrounds = set_up(options)
    rows = recorded(options.csv)
    for source in options.photographs:
        done = [(row["masking"], row["explainer"]) for row in rows if row["photograph"] == Path(source).stem]
        missing = [m for m in options.maskings if not all((m, e) in done for e in options.explainers)]
        if not missing:
            continue
        image = photograph(source)
        x = transform(image)[None]
        target = int(model(x).argmax())
        drawn = {name: source.draw(model, x, target, batch_size=options.batch) for name, source in backgrounds.items()}
        task = Task(Path(source).stem, image, x, target, drawn)
        rows = [row for row in rows if row["photograph"] != task.name or row["masking"] not in missing]
        for masking in missing:
            for row in rows_of(model, transform, task, masking, options):
                rows.append(row)
                record(rows, options.csv)
    print(
        f"means over {len(options.photographs)} photographs, γ = {options.gamma:g}, {options.backgrounds} backgrounds, "
        f"{options.threads} thread(s); below them the differences from explainer 0 on the same photographs"
    )
    print(table(rows, options.explainers))


if __name__ == "__main__":
    main()
