"""ReX's command line with the script that tutorials/other-packages.md shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("rex_xai")

from rex_xai import rex_wrapper

REPOSITORY = Path(__file__).resolve().parents[3]

(COMMAND_LINE,) = re.findall(
    r"```py\n(# script.py.*?)```",
    (REPOSITORY / "tutorials" / "other-packages.md").read_text(encoding="utf-8"),
    re.DOTALL,
)

CONFIGURATION = """
[rex]
mask_value = "none"
seed = 0
batch_size = 14

[causal]
iters = 1
tree_depth = 2

[explanation]
chunk_size = 2500
"""


def test_command_line(tmp_path):
    """The demo network and a photograph, as a user has it."""
    from skimage.data import coffee

    Image.fromarray(coffee()).save(tmp_path / "photo.png")
    (tmp_path / "script.py").write_text(COMMAND_LINE)
    (tmp_path / "rex.toml").write_text(CONFIGURATION)
    options = ["--script", "script.py", "--config", "rex.toml", "--output", "found.png", "-v"]
    run = subprocess.run(
        [Path(sys.executable).with_name("ReX"), "photo.png", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "image classified as 967" in run.stdout  # espresso
    assert "a sufficient explanation for 967 found" in run.stdout
    with Image.open(tmp_path / "found.png") as image:
        assert image.size == (224, 224)


def test_command_line_without_configuration(tmp_path, monkeypatch, picture):
    """ReX's default is to paint, which is refused."""
    (tmp_path / "script.py").write_text(COMMAND_LINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["ReX", str(picture), "--script", "script.py"])
    with pytest.raises(ValueError, match="mask_value is 0"):
        rex_wrapper.main()
