"""What AD costs: seconds of an AD forward over seconds of a plain one, per architecture and rule.

    python tests/benchmarks/ratios.py [ARCHITECTURE ...]

Random weights, batch 8, the left half of each image off, 2 threads, inference mode. Plain and AD
forwards alternate in one process; a figure is the median of the ratios of the pairs.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from captum_ad import PRESETS, ADForward
from tests.architectures.test_architectures import FAMILIES, build

BATCH, THREADS, PAIRS = 8, 2, 7


def seconds(run: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratio(plain: Callable[[], Tensor], masked: Callable[[], Tensor]) -> float:
    """Median over pairs, after one pair to warm up."""
    pairs = [(seconds(plain), seconds(masked)) for _ in range(PAIRS + 1)][1:]
    return statistics.median(after / before for before, after in pairs)


@torch.inference_mode()
def main(names: Sequence[str]) -> None:
    torch.set_num_threads(THREADS)
    print(f"AD / plain, batch {BATCH}, half of the image off, {THREADS} threads, median of {PAIRS} pairs")
    print(f"{'':20}" + "".join(f"{rule:>16}" for rule in PRESETS))
    for name in names:
        model = build(name)[0]
        size = 299 if name == "inception_v3" else 224
        x, mask = torch.randn(BATCH, 3, size, size), torch.ones(size, size, dtype=torch.bool)
        mask[:, : size // 2] = False
        row = []
        for rule in PRESETS:
            ad = ADForward(model, rule)
            row.append(ratio(lambda m=model, x=x: m(x), lambda ad=ad, x=x, mask=mask: ad(x, mask=mask)))
        print(f"{name:20}" + "".join(f"{value:16.2f}" for value in row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or [*FAMILIES, "efficientnet_lite0"])
