"""What measuring costs beside the forwards themselves: forwards per second, over those of the bare model.

    python tests/benchmarks/scan.py [ARCHITECTURE ...]

Random weights, batch 8, 2 threads, one 224-px input, a random attribution. Scan: a sufficient
explanation at the paper's six γ, 100 steps. Planting: its mask on 100 solid colors. The bare model
runs as many inputs, in batches as full; the two alternate in one process, and a figure is the median
of the ratios of the pairs.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from captum_ad._forwards.baseline_forward import masked_forward
from captum_ad.metrics import PAPER_GAMMAS, SolidColors, rho_robustness, sufficient_explanation
from tests.architectures.test_architectures import build
from tests.benchmarks.speed import seconds

BATCH, THREADS, PAIRS, STEPS, COLORS = 8, 2, 3, 100, 100
MASKINGS = ("zero", "avg", "blur", "ad:paper", "ad:no-growth", "ad:no-growth-mean")
ARCHITECTURES = ("resnet50", "resnet18", "mobilenet_v2")


def rate(bare: Callable[[], object], measured: Callable[[], object]) -> float:
    """Median of the ratios of forwards per second, after one pair to warm up."""
    pairs = [(seconds(bare), seconds(measured)) for _ in range(PAIRS + 1)][1:]
    return statistics.median(before / after for before, after in pairs)


@torch.inference_mode()
def main(names: Sequence[str]) -> None:
    torch.set_num_threads(THREADS)
    print(f"forwards per second over the bare model's, batch {BATCH}, {THREADS} threads, median of {PAIRS} pairs")
    print(f"{'':16}{'planting':>18}" + "".join(f"{masking:>18}" for masking in MASKINGS))
    for name in names:
        model = build(name)[0]
        x, attribution = torch.rand(1, 3, 224, 224), torch.rand(1, 1, 224, 224)
        target, batch = int(model(x).argmax()), torch.rand(BATCH, 3, 224, 224)

        def bare(count: int, model: torch.nn.Module = model, batch: torch.Tensor = batch) -> None:
            for start in range(0, count, BATCH):
                model(batch[: min(BATCH, count - start)])

        def planting(model: torch.nn.Module = model, x: torch.Tensor = x, target: int = target) -> None:
            mask = torch.rand(224, 224) > 0.5
            rho_robustness(model, x, mask, target, SolidColors(COLORS), batch_size=BATCH)

        row = [rate(lambda: bare(COLORS), planting)]
        for masking in MASKINGS:
            forward = masked_forward(model, masking)

            def scan(f: torch.nn.Module = forward, x: torch.Tensor = x, a: torch.Tensor = attribution) -> None:
                step = -(-x[0, 0].numel() // STEPS)
                sufficient_explanation(f, x, a, target, PAPER_GAMMAS, step=step, batch_size=BATCH)  # noqa: B023

            row.append(rate(lambda: bare(STEPS + 1), scan))
        print(f"{name:16}" + "".join(f"{value:18.2f}" for value in row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ARCHITECTURES)
