"""What a user's own model does wrong ends in one line and exit code 2, with nothing written."""

import json
import sys
from pathlib import Path

import pytest

from captum_ad.cli.main import main

MODULE = """
import torch
from torch import nn

class Fails(nn.Module):
    def __init__(self, after):
        super().__init__()
        self.after, self.calls = after, 0

    def forward(self, x):
        self.calls += 1
        if self.calls > self.after:
            raise KeyError("no such thing")
        return x.mean((2, 3))

def at_once():
    return Fails(0)

def later():
    return Fails(2)

def bad_transform():
    return Fails(9), lambda image: 1 / 0

def scripted():
    return torch.jit.script(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))

def alone():
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3))

def leaves():
    raise SystemExit(3)
"""


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
@pytest.mark.parametrize(
    ("maker", "says"),
    [
        ("at_once", "KeyError"),
        ("later", "failed in"),
        ("bad_transform", "ZeroDivisionError"),
        ("scripted", "TorchScript"),
        ("leaves", "SystemExit"),
    ],
)
def test_ends_in_one_line(
    maker: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_code.py").write_text(MODULE)
    arguments = ["compare", "--model", f"own_code:{maker}", "--methods", "feature_ablation", "--segments", "4"]
    assert main(arguments) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("captum-ad: error: ")
    assert says in last
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == ["own_code.py"]


def test_a_preprocessing_that_is_assumed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_code.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, "own_code", raising=False)
    quick = ["--methods", "feature_ablation", "--segments", "4", "--ad", "paper", "--baselines", "--backgrounds", "1"]
    assert main(["compare", "--model", "own_code:alone", *quick]) == 0
    assert "ImageNet's, assumed because own_code:alone returned only a model" in capsys.readouterr().out
    summary = json.loads((tmp_path / "captum-ad-report" / "summary.json").read_text())
    assert "ImageNet's, assumed because" in summary["transform"]
