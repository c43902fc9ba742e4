"""What must hold on any device, run on one that is not a CPU: second_device.cpp, compiled and loaded.

    python -m tests.device.second_device FOLDER

compiles into FOLDER and prints a line of JSON for each case. It is for a process of its own, since torch
cannot forget a device.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision
from captum.attr import FeatureAblation, KernelShap, Occlusion
from torch import Tensor, nn
from torch.utils.cpp_extension import include_paths, library_paths

from captum_ad import PRESETS, ADForward, BaselineForward
from captum_ad.attr import CausalResponsibility, Rise
from captum_ad.metrics import SolidColors, insertion_curve, rho_robustness, sufficient_explanation
from captum_ad.targets import Class

SOURCE = Path(__file__).with_suffix(".cpp")
NETWORKS = "resnet18 mobilenet_v2 densenet121 googlenet efficientnet_b0 convnext_tiny swin_t vit_b_32".split()
BASELINES = ("zero", "min", "max", "avg", "blur")
SIZE, WINDOWS = 64, {"sliding_window_shapes": (3, 16, 16), "strides": (3, 16, 16)}
ROW = torch.arange(SIZE) // 16
SEGMENTS = ROW[:, None] * 4 + ROW


def load(folder: Path) -> torch.device:
    """Compile the device and make it known to torch."""
    library = folder / "second_device.so"
    paths = [f"-I{path}" for path in include_paths()] + [f"-L{path}" for path in library_paths()]
    paths += [f"-Wl,-rpath,{path}" for path in library_paths()]
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    command = ["g++", "-std=c++20", "-O1", "-fPIC", "-shared", abi, str(SOURCE), "-o", str(library), *paths]
    subprocess.run([*command, "-ltorch_cpu", "-ltorch", "-lc10"], check=True)
    torch.ops.load_library(str(library))
    module: Any = types.ModuleType("torch.privateuseone")
    module.is_available, module.device_count, module.current_device = lambda: True, lambda: 1, lambda: 0
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    module._is_in_bad_fork, module.manual_seed_all = lambda: False, lambda seed: None
    torch._register_device_module("privateuseone", module)
    return torch.device("privateuseone", 0)


def fetches() -> int:
    """How often Python has fetched values from the device so far, and waited for it."""
    return int(torch.ops.second_device.counted(True))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"image_size": SIZE} if name.startswith("vit") else {}
    options = {"init_weights": False} if name == "googlenet" else {}
    built: nn.Module = torchvision.models.get_model(name, weights=None, **sizes, **options).eval()
    return built


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(True), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3)
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()
    model[-1].weight.data *= 20
    model[-1].bias.data.zero_()
    return model


class Both(nn.Module):
    """A network of two images, the sum of one's logits and twice the other's."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        logits: Tensor = self.model(a) + 2 * self.model(b)
        return logits


def cases() -> Iterator[tuple[str, Callable[[torch.device], Tensor]]]:
    """Names, and functions that give the same on every device."""
    x = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    mask = torch.stack([ROW[:, None] + ROW < 3, (ROW[:, None] + ROW) % 2 == 0])
    for name in NETWORKS:
        for rule in PRESETS:
            yield f"{name}, {rule}", lambda d, name=name, rule=rule: ADForward(network(name).to(d), rule)(x.to(d), mask=mask.to(d))  # fmt: skip  # noqa: E501
    model, photo = small_network(), x[:1]
    target = int(model(photo).argmax())
    model[-1].bias.data[target] -= 1e-3  # so that it is not the answer for nothing at all
    forwards = {f"AD, {rule}": lambda m, rule=rule: ADForward(m, rule) for rule in PRESETS}
    forwards |= {kind: lambda m, kind=kind: BaselineForward(m, kind) for kind in BASELINES}

    def on(make: Callable[[Any], nn.Module], run: Callable[[Any, Tensor], Tensor]) -> Callable[[torch.device], Tensor]:
        return lambda device: run(make(copy.deepcopy(model).to(device)), photo.to(device))

    def attributed(kind: Callable[[Any], Any], **given: Any) -> Callable[[Any, Tensor], Tensor]:
        def run(forward: Any, image: Tensor) -> Tensor:
            torch.manual_seed(0)
            moved = {name: v.to(image.device) if isinstance(v, Tensor) else v for name, v in given.items()}
            found: Tensor = kind(forward).attribute(image, target=target, **moved)
            return found

        return run

    saliency = photo.sum(1, keepdim=True)
    scan = {"step": 512, "gamma": 0.5}
    runs: dict[str, Callable[[Any, Tensor], Tensor]] = {
        "Occlusion": attributed(Occlusion, perturbations_per_eval=3, **WINDOWS),
        "FeatureAblation": attributed(FeatureAblation, feature_mask=SEGMENTS),
        "KernelShap": attributed(KernelShap, feature_mask=SEGMENTS, n_samples=20),
        "Rise": attributed(Rise, n_samples=8, seed=0),
        "CausalResponsibility": attributed(CausalResponsibility, seed=0),
        "sufficient_explanation": lambda f, i: sufficient_explanation(f, i, saliency.to(i.device), target, **scan).mask,
        "insertion_curve": lambda f, i: insertion_curve(f, i, saliency.to(i.device), target, step=512).values,
    }
    for kind, make in forwards.items():
        for name, run in runs.items():
            yield f"{name}, {kind}", on(make, run)
    pair = (photo, x[1:])
    windows = {"sliding_window_shapes": ((3, 16, 16),) * 2, "strides": ((3, 16, 16),) * 2, "perturbations_per_eval": 4}
    for kind, make in forwards.items():
        asked = make(Both(model).eval())
        yield (
            f"Occlusion of two images, {kind}",
            lambda d, asked=asked: torch.cat(
                Occlusion(copy.deepcopy(asked).to(d)).attribute(tuple(p.to(d) for p in pair), target=target, **windows)
            ),
        )
        yield (
            f"sufficient_explanation of two images, {kind}",
            lambda d, asked=asked: torch.cat(
                sufficient_explanation(
                    copy.deepcopy(asked).to(d).with_target(Class(target)),
                    tuple(p.to(d) for p in pair),
                    tuple(p.to(d) for p in pair),
                    **scan,
                    allow_other_target=True,
                ).mask
            ),
        )
    yield (
        "rho_robustness",
        lambda d: torch.tensor(
            rho_robustness(copy.deepcopy(model).to(d), photo.to(d), mask[0].to(d), target, SolidColors(8)).rho
        ),
    )


def main(folder: Path) -> None:
    torch.set_num_threads(1)  # many small operations
    device, cpu = load(folder), torch.device("cpu")
    for name, run in cases():
        row: dict[str, Any] = {"case": name, "error": None}
        try:
            with torch.no_grad():
                expected, found = run(cpu), run(device)
                before = fetches()  # what depends on shapes alone is known from now on
                run(device)
                row["fetches"] = fetches() - before
            row["difference"] = float((found.cpu().double() - expected.cpu().double()).abs().max())
            row["size"] = float(expected.double().abs().max())
        except Exception as error:  # whatever goes wrong is the result
            row["error"] = f"{error}\n{traceback.format_exc(limit=-4)}"
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
