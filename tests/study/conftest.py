"""A small data set of colored images, a network that tells the colors apart, and a study of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLORS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}

NETWORK = f"""
import os, signal
import torch
from torch import nn
from torchvision import transforms

COLORS = {list(COLORS.values())}

def make():
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )
    colors = 2.0 * torch.tensor(COLORS) - 1
    with torch.no_grad():
        model[0].weight.fill_(1 / 9)
        model[3].weight.copy_(8 * colors[..., None, None] / 3**0.5)
        model[3].bias.copy_(-4 * colors.sum(1) / 3**0.5)
    half = [0.5] * 3
    return model, transforms.Compose(
        [transforms.Resize((16, 16)), transforms.ToTensor(), transforms.Normalize([0.0] * 3, [1.0] * 3)]
    )

calls = 0

def method(forward, x, target):
    global calls
    calls += 1
    here = (os.environ.get("RANK", "0"), str(calls), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if os.environ.get("DIES") == "/".join(here):
        os.kill(os.getpid(), signal.SIGKILL)
    with torch.no_grad():
        return x * forward(x)[0, target] + torch.rand(1, 3, 16, 16)

method.version = "1"
"""

SETTINGS = """
model = ["network.py:make"]
methods = ["occlusion", "network.py:method"]
maskings = ["ad:paper", "zero", "avg"]
gammas = [0.3, 0.9]
sizes = [0.25]
backgrounds = 5
samples = 12
segments = 6
window = 8
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with photos/CLASS/NUMBER.png, boxes.csv, network.py, study.toml and classes.txt."""
    draw = np.random.default_rng(0)
    rows = ["file,class,left,top,right,bottom"]
    for number, (name, color) in enumerate((name, c) for _ in range(2) for name, c in COLORS.items()):
        pixels = draw.uniform(0.3, 0.7, (8, 8, 3))
        pixels[2:6, 1:5] = 0.8 * np.array(color) + 0.1
        path = tmp_path / "photos" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * pixels).astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST).save(path)
        rows.append(f"photos/{name}/{number}.png,{name},8,16,40,48")
    (tmp_path / "boxes.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "classes.txt").write_text("\n".join(COLORS) + "\n")
    (tmp_path / "network.py").write_text(textwrap.dedent(NETWORK))
    (tmp_path / "study.toml").write_text(SETTINGS + 'classes = ["classes.txt"]\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def started(here: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """A process in the working directory, in which this captum_ad is imported."""
    root = str(Path(__file__).parents[2])
    settings = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, *words], cwd=here, env=settings, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
