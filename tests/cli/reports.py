"""What a report's folder holds."""

import json
from pathlib import Path

import numpy as np

from captum_ad._methods import METHODS


def entries(report):
    return json.loads((Path(report) / "summary.json").read_text())["images"]


def archive(path):
    """The attributions, the superpixels and the target."""
    with np.load(path) as arrays:
        names = [name for name in arrays.files if name.split("/")[0] in (*METHODS, "superpixels", "target")]
        return {name: arrays[name] for name in names}


def explanations(path):
    with np.load(path) as arrays:
        return {name.removeprefix("explanation/"): arrays[name] for name in arrays.files if name[:4] == "expl"}
