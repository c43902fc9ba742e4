"""A tiny classifier in a module of its own, a photograph, and a command line that runs in process."""

import contextlib
import io
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from captum_ad.cli.main import main

TINY = """
import torch
from torch import nn
from torchvision import transforms

def transform(size=24, channels=3):
    return transforms.Compose([
        transforms.Resize((size, size)), transforms.Grayscale(channels), transforms.ToTensor(),
        transforms.Normalize([0.5] * channels, [0.25] * channels),
    ])

def network(channels=3):
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    )

def tiny():
    return network(), transform()

def biased():
    model = network()
    with torch.no_grad():
        model[-1].bias[2] = 100.0
    return model, transform()

def bare():
    return network()

def softmax():
    return nn.Sequential(network(), nn.Softmax(1)), transform()

def gray():
    return network(1), transform(channels=1)

class Sorting(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network()
    def forward(self, x):
        return self.network(x.renorm(2, 1, 1.0))

def unsupported():
    return Sorting(), transform()

def one_number():
    return nn.Sequential(network(), nn.Linear(5, 1)), transform()

def maps():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)), transform()

class Breaks(nn.Module):
    calls, error = 0, RuntimeError
    def __init__(self, at, error):
        super().__init__()
        self.network, self.at, self.error, self.calls = network(), at, error, 0
    def forward(self, x):
        self.calls += 1
        if self.calls == self.at:
            raise self.error("broke midway")
        return self.network(x)

def breaks_first():
    return Breaks(1, RuntimeError), transform()

def breaks_midway():
    return Breaks(30, RuntimeError), transform()

def interrupted():
    return Breaks(30, KeyboardInterrupt), transform()

def out_of_memory():
    return Breaks(30, torch.OutOfMemoryError), transform()

class Returns(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output
    def forward(self, x):
        return self.output

def returns_maps():
    return Returns(torch.zeros(1, 5, 3, 3)), transform()

def returns_dict():
    return Returns({"out": torch.zeros(1, 5)}), transform()

def returns_nan():
    return Returns(torch.full((1, 5), float("nan"))), transform()

def no_tensor():
    return network(), lambda image: image

def no_model():
    return 3

def raises():
    raise OSError("no such thing")

constant = 3
"""


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def error(self):
        """The one line of an error; fails if there is another or a traceback."""
        assert self.code == 2, self
        lines = [
            line
            for line in self.err.replace("\r", "\n").splitlines()
            if line.strip() and "map/s" not in line and "s/map" not in line
        ]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("captum-ad: error: "), self.err
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with tiny_model.py and photo.png."""
    (tmp_path / "tiny_model.py").write_text(textwrap.dedent(TINY))
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((80, 60), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "tiny_model", raising=False)
    return tmp_path


@pytest.fixture
def cli():
    def run(*argv):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(word) for word in argv])
        return Ran(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def compare(here, cli):
    """``captum-ad compare`` on the photograph with the tiny model, quick settings, unless told otherwise."""

    def run(*argv, model="tiny_model:tiny", images=("photo.png",)):
        return cli("compare", *images, "--model", model, "--samples", 12, "--segments", 6, *argv)

    return run


@pytest.fixture
def saved(tmp_path):
    """Save something with torch, and return the file."""

    def save(content):
        torch.save(content, tmp_path / "weights.pth")
        return tmp_path / "weights.pth"

    return save
