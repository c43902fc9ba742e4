"""What AD costs, as a multiple of the plain forward or of the same task with a painted baseline.

    python tests/benchmarks/speed.py [NETWORK ...] [--tasks [TASK ...] | --memory | --overhead] [--json FILE] [--help]

Plain and AD forwards alternate in one process; a figure is the median of the ratios of the pairs. Random
weights, inference mode. On one thread seconds are those of the CPU, which other work on the machine hardly changes.
``--tasks`` measures whole tasks (Occlusion, FeatureAblation, KernelShap, the scan for a
sufficient explanation), on AD and with baseline 0, and in brackets the same ratio of multiply-adds; ``--memory`` the
growth of the peak memory of a process of its own for each forward; ``--overhead`` what there is beside forwards.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from captum.attr import FeatureAblation, KernelShap, Occlusion
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from captum_ad import PRESETS, ADForward
from captum_ad._forwards.baseline_forward import BaselineForward
from captum_ad.attr import Rise
from captum_ad.metrics import sufficient_explanation

NETWORKS = (
    "resnet50 regnet_y_3_2gf efficientnet_v2_s mobilenet_v2 densenet121 googlenet vgg16_bn convnext_tiny "
    "efficientnet_lite0"
).split()
SIZE = 224
GAMMAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
TASKS = ("Occlusion", "FeatureAblation 49", "FeatureAblation 196", "KernelShap", "RISE", "scan at six γ")


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "efficientnet_lite0":
        from efficientnet_lite_pytorch import EfficientNet

        lite: nn.Module = EfficientNet.from_name("efficientnet-lite0").eval()
        return lite
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    built: nn.Module = torchvision.models.get_model(name, weights=None, **options).eval()
    return built


def masks() -> dict[str, Tensor]:
    """True = keep, shape (SIZE, SIZE)."""
    everything, nothing = torch.ones(SIZE, SIZE, dtype=torch.bool), torch.zeros(SIZE, SIZE, dtype=torch.bool)
    half, window, quarter, tenth = everything.clone(), everything.clone(), nothing.clone(), nothing.clone()
    half[:, : SIZE // 2] = False
    window[96:128, 96:128] = False
    quarter[56:168, 56:168] = True
    tenth[76:147, 76:147] = True
    coarse = torch.rand(SIZE // 16, SIZE // 16, generator=torch.Generator().manual_seed(0)) < 0.5
    patches = coarse.repeat_interleave(16, 0).repeat_interleave(16, 1)
    return {"half": half, "patches 50 %": patches, "window off": window, "center 25 %": quarter, "center 10 %": tenth}


def seconds(run: Callable[[], Any], device: str = "cpu") -> float:
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    if device != "cpu":
        torch.cuda.synchronize()
    start = clock()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def elapsed(run: Callable[[], Any]) -> float:
    """Seconds on the wall: C++ compilers run in processes of their own."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratio(
    before: Callable[[], Any], after: Callable[[], Any], options: argparse.Namespace, warm: bool = False
) -> float:
    """Median over pairs, after one pair to warm up if they are not `warm`."""
    pairs = [
        (seconds(before, options.device), seconds(after, options.device)) for _ in range(options.pairs + (not warm))
    ]
    return statistics.median(b / a for a, b in pairs[not warm :])


def forwards(options: argparse.Namespace) -> list[dict[str, Any]]:
    """AD / plain, per network, mask and rule."""
    rows = []
    for name in options.networks:
        dtype = getattr(torch, options.dtype)
        model = network(name).to(options.device, dtype)
        plain = torch.compile(model) if options.compile else model
        x = torch.randn(options.batch, 3, SIZE, SIZE, device=options.device, dtype=dtype)
        forwards_of = {rule: ADForward(model, rule) for rule in options.rules}
        if options.compile:
            took = [f"plain {elapsed(partial(plain, x)):.0f} s"]
            for rule, ad in forwards_of.items():
                ad.compile()
                first = partial(ad, x, mask=masks()["half"].to(options.device))
                took.append(f"{rule} {elapsed(first):.0f} s")
            print(f"{name:20}first forward, with compiling: {', '.join(took)}", flush=True)
        for kind, mask in masks().items():
            if kind not in options.masks:
                continue
            row: dict[str, Any] = {"network": name, "mask": kind}
            for rule in options.rules:
                masked = partial(forwards_of[rule], x, mask=mask.to(options.device))
                row[rule] = ratio(partial(plain, x), masked, options)
            rows.append(row)
            print(f"{name:20}{kind:14}" + "".join(f"{row[rule]:16.2f}" for rule in options.rules), flush=True)
    return rows


def tasks(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A task on AD / the same on the plain model with baseline 0, per forward: a scan ends where it has found all."""
    rows = []
    for name in options.networks:
        model, x = network(name), torch.rand(1, 3, SIZE, SIZE)
        target = int(model(x).argmax())
        given = {"inputs": x, "target": target}
        if options.batch:
            given["perturbations_per_eval"] = options.batch
        windows = {"sliding_window_shapes": (3, 32, 32), "strides": (3, 16, 16)}  # 169 of them
        scanned = {"target": target, "gamma": GAMMAS, "step": SIZE * SIZE // 50}  # in batches of its own choice
        calls: dict[str, Callable[[Any], Any]] = {
            "Occlusion": partial(_attributed, Occlusion, **given, **windows),
            "FeatureAblation 49": partial(_attributed, FeatureAblation, **given, feature_mask=cells(7)),
            "FeatureAblation 196": partial(_attributed, FeatureAblation, **given, feature_mask=cells(14)),
            "KernelShap": partial(_attributed, KernelShap, **given, feature_mask=cells(7), n_samples=200),
            "RISE": partial(_attributed, Rise, **given, n_samples=200),
            "scan at six γ": partial(sufficient_explanation, inputs=x, attribution=blob(), **scanned),
        }
        for task in options.tasks or TASKS:
            run = calls[task]
            painted: Any = BaselineForward(model, "zero") if task.startswith("scan") else model
            row: dict[str, Any] = {"network": name, "task": task}
            for rule in options.rules:
                ad = ADForward(model, rule)
                (before, painted_adds), (after, ad_adds) = (counted(model, partial(run, f)) for f in (painted, ad))
                row[rule] = before / after * ratio(partial(run, painted), partial(run, ad), options, warm=True)
                row[f"{rule}, multiply-adds"] = before / after * ad_adds / painted_adds
            rows.append(row)
            line = [f"{row[rule]:7.2f} ({row[f'{rule}, multiply-adds']:4.2f})" for rule in options.rules]
            print(f"{name:20}{task:20}" + "".join(f"{one:>16}" for one in line), flush=True)
    return rows


def cells(side: int) -> Tensor:
    """A grid of so many cells on each side, as a feature mask."""
    line = torch.arange(SIZE) // (SIZE // side)
    return (line[:, None] * side + line)[None, None]


def counted(model: nn.Module, run: Callable[[], Any]) -> tuple[int, int]:
    """How many inputs a task runs through a model, and its multiply-adds, which are what limits its seconds."""
    seen: list[int] = []
    hook = model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    with FlopCounterMode(display=False) as counter:
        run()
    hook.remove()
    return sum(seen), counter.get_total_flops()


def blob() -> Tensor:
    """A map as of an object that is not in the middle, shape (1, 1, SIZE, SIZE)."""
    row = torch.linspace(0, 1, SIZE)
    noise = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    smooth = nn.functional.avg_pool2d(noise, 33, 1, 16, count_include_pad=False)
    return smooth - ((row[:, None] - 0.4) ** 2 + (row - 0.6) ** 2)


def _attributed(attributor: Callable[[Any], Any], forward: Any, **given: Any) -> Tensor:
    found: Tensor = attributor(forward).attribute(**given)
    return found


def memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak memory of AD / plain, half of the image off; medians of three processes: the allocator's luck differs."""
    rows = []
    for name in options.networks:
        row: dict[str, Any] = {"network": name}
        peaks = {rule: [_peak(name, rule, options.batch) for _ in range(3)] for rule in ("plain", *options.rules)}
        for rule in options.rules:
            row[rule] = statistics.median(peaks[rule]) / statistics.median(peaks["plain"])
        rows.append(row)
        print(f"{name:20}{'peak memory':16}" + "".join(f"{row[rule]:16.2f}" for rule in options.rules), flush=True)
    return rows


def _peak(name: str, rule: str, batch: int) -> float:
    command = [sys.executable, __file__, name, "--peak-of", rule, "--batch", str(batch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_of(name: str, rule: str, batch: int) -> None:
    """Print by how many MiB two forwards raise the peak memory of this process."""
    model, x, mask = network(name), torch.randn(batch, 3, SIZE, SIZE), masks()["half"]
    ad = ADForward(model, "paper" if rule == "plain" else rule)
    small = x[:1, :, :64, :64]
    model(small), ad(small, mask=mask[:64, 80:144])  # what libraries take at first use
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        model(x) if rule == "plain" else ad(x, mask=mask)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


class Chain(nn.Module):
    """200 operations that do next to nothing."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(100):
            x = torch.relu(x).neg()
        return x


def overhead(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What there is beside the forwards: interception, import, and what 10,000 forwards leave behind."""
    x, mask = torch.randn(1, 3, 8, 8), torch.arange(8).expand(8, 8) < 4
    model = Chain().eval()
    ad = ADForward(model, options.rules[0])
    plain, masked = ([seconds(run) for _ in range(200)] for run in (partial(model, x), partial(ad, x, mask=mask)))
    code = "import time, torch, captum.attr; t = time.perf_counter(); import captum_ad; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True) for _ in range(3)]
    small = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)).eval()
    ad = ADForward(small, options.rules[0])
    for _ in range(1000):
        ad(x, mask=mask)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10_000):
        ad(x, mask=mask)
    row = {
        "µs per operation": (statistics.median(masked) - statistics.median(plain)) / 200 * 1e6,
        "import beyond torch and captum, s": statistics.median(float(run.stdout) for run in runs),
        "growth over 10,000 forwards, MiB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }
    for name, value in row.items():
        print(f"{name:36}{value:16.2f}")
    return [row]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="torchvision's, or efficientnet_lite0")
    parser.add_argument(
        "--tasks", nargs="*", choices=TASKS, metavar="TASK", help=f"whole tasks instead of forwards: {', '.join(TASKS)}"
    )
    parser.add_argument("--memory", action="store_true", help="peak memory instead of seconds")
    parser.add_argument("--overhead", action="store_true", help="interception, import and leaks instead of seconds")
    parser.add_argument("--masks", nargs="+", default=list(masks()), choices=list(masks()))
    parser.add_argument("--rules", nargs="+", default=["paper", "no-growth"], choices=list(PRESETS))
    parser.add_argument("--batch", type=int, default=16, help="0, with --tasks: as many as each side does by default")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="for forwards: cpu, cuda …")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"], help="for forwards")
    parser.add_argument(
        "--compile", action="store_true", help="compare compiled masked forwards with the compiled model"
    )
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.peak_of:
        peak_of(options.networks[0], options.peak_of, options.batch)
        return
    what = (
        tasks if options.tasks is not None else memory if options.memory else overhead if options.overhead else forwards
    )
    print(
        f"AD / plain{', both compiled' if options.compile else ''}, batch {options.batch}, "
        f"{options.threads} thread(s), {options.device}, {options.dtype}, torch {torch.__version__}"
    )
    print(
        " " * (40 if options.tasks is not None else 36 if what is not forwards else 34)
        + "".join(f"{rule:>16}" for rule in options.rules)
    )
    rows = what(options)
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options) | {"json": None}, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
