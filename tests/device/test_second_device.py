"""Nothing depends on tensors being on the CPU: the same on a second device, where two devices may not meet."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++"),
    pytest.mark.skipif(torch.__version__ < "2.6", reason="written for torch's newer interface for devices"),
]


def test_everything_runs_and_gives_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.device.second_device", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 50
    assert [row["case"] + ": " + row["error"] for row in rows if row["error"]] == []
    assert [row for row in rows if not row["difference"] <= 1e-4 * max(row["size"], 1e-3)] == []

    # Is anything NaN? Is everything kept? A forward waits for nothing else.
    waits = {row["case"]: row["fetches"] for row in rows}
    for network in ("resnet18", "mobilenet_v2", "densenet121", "googlenet", "efficientnet_b0", "vit_b_32"):
        for rule in ("paper", "no-growth", "no-growth-mean", "layer-masking"):
            assert waits[f"{network}, {rule}"] == 2, (network, rule)
