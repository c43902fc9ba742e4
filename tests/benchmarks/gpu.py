"""What AD costs on a GPU, in under ten minutes: forwards, peak memory, whole tasks, compiled forwards.

    python tests/benchmarks/gpu.py [NETWORK ...] [--minutes 9] [--json FILE] [--help]

A figure is AD divided by the model's own forward, or by the same task with baseline 0; medians of pairs, as in
``speed.py``. What matters most comes first, because nothing new begins when the time is over. float32 uses TF32.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from captum.attr import KernelShap, Occlusion
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from captum_ad import PRESETS, ADForward
from tests.benchmarks.speed import SIZE, cells, masks, network, ratio

Measure = Callable[[], float]


def forwards(name: str, dtype: torch.dtype, batch: int, options: argparse.Namespace) -> Iterator[tuple[str, Measure]]:
    """A forward under a mask / the model's, and their peak memory."""
    model = network(name).to(options.device, dtype)
    x = torch.randn(batch, 3, SIZE, SIZE, device=options.device, dtype=dtype)
    for rule in options.rules:
        for kind in ("half", "patches 50 %"):
            masked = partial(ADForward(model, rule), x, mask=masks()[kind].to(options.device))
            yield f"{rule}, {kind}", partial(ratio, partial(model, x), masked, options)
            yield f"{rule}, {kind}, peak memory", partial(grown, partial(model, x), masked)


def grown(before: Callable[[], Any], after: Callable[[], Any]) -> float:
    """The ratio of the memory that two forwards need at most, beside what is there already."""
    peaks = []
    for run in (before, after):
        run()  # what libraries take at first use
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        run()
        peaks.append(torch.cuda.max_memory_allocated() - held)
    return peaks[1] / peaks[0]


def compiled(name: str, dtype: torch.dtype, batch: int, options: argparse.Namespace) -> Iterator[tuple[str, Measure]]:
    """Both compiled, with CUDA graphs (reduce-overhead) as well."""
    for mode in ("default", "reduce-overhead"):
        model = network(name).to(options.device, dtype)
        x = torch.randn(batch, 3, SIZE, SIZE, device=options.device, dtype=dtype)
        plain = torch.compile(model, mode=mode)
        for rule in options.rules:
            ad = ADForward(model, rule)
            ad.compile(mode=mode)
            masked = partial(ad, x, mask=masks()["half"].to(options.device))
            yield f"{rule}, compiled, {mode}", partial(ratio, partial(plain, x), masked, options)


def tasks(name: str, dtype: torch.dtype, batch: int, options: argparse.Namespace) -> Iterator[tuple[str, Measure]]:
    """Occlusion and KernelShap under AD / the same with baseline 0."""
    model = network(name).to(options.device, dtype)
    x = torch.rand(1, 3, SIZE, SIZE, device=options.device, dtype=dtype)
    given: dict[str, Any] = {"inputs": x, "target": 0, "perturbations_per_eval": batch}
    runs: dict[str, Callable[[Any], Tensor]] = {
        "Occlusion": lambda forward: Occlusion(forward).attribute(
            **given, sliding_window_shapes=(3, 32, 32), strides=(3, 16, 16)
        ),
        "KernelShap": lambda forward: KernelShap(forward).attribute(
            **given, feature_mask=cells(7).to(options.device), n_samples=200
        ),
    }
    for rule in options.rules:
        for task, run in runs.items():
            yield f"{rule}, {task}", partial(ratio, partial(run, model), partial(run, ADForward(model, rule)), options)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["resnet50", "vit_b_16"], help="torchvision's")
    parser.add_argument("--rules", nargs="+", default=["no-growth-mean", "no-growth"], choices=list(PRESETS))
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 256, 16])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=9.0, help="nothing new begins after that")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, help="write the rows there, after each")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    end = time.monotonic() + 60 * options.minutes
    on_gpu = torch.device(options.device).type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        sys.exit("torch sees no GPU; --device cpu tries the script without one")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    print(f"{torch.cuda.get_device_name() if on_gpu else 'CPU'}, torch {torch.__version__}, CUDA {torch.version.cuda}")
    first, rows = options.batches[0], []
    plan = [(forwards, batch) for batch in options.batches] + [(tasks, first), (compiled, first)]
    for measure, batch in plan:
        for name in options.networks:
            for dtype in options.dtypes:
                for what, figure in measure(name, getattr(torch, dtype), batch, options):
                    if time.monotonic() > end:
                        sys.exit(f"{options.minutes:g} minutes are over; not measured: {measure.__name__} and later")
                    if what.endswith("memory") and not on_gpu:
                        continue
                    try:
                        with torch.inference_mode():
                            found: float | str = round(figure(), 3)
                    except Exception as error:  # e.g. no memory is left; the other figures are still wanted
                        found = type(error).__name__
                        print(f"{what}: {error}", file=sys.stderr)
                    rows.append({"network": name, "dtype": dtype, "batch": batch, "what": what, "ratio": found})
                    print(f"{name:18}{dtype:10}{batch:5}  {what:46}{found:>8}", flush=True)
                    if options.json:
                        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
