"""Tells whether notebooks print what they printed when they were committed, apart from the digits of numbers.

python .ci/same_outputs.py COMMITTED EXECUTED, two folders of notebooks
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path


def printed(notebook: Path) -> list[str]:
    """What each code cell prints or returns: text with every number as "#", kinds of pictures, and errors."""
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    texts = []
    for cell in cells:
        streams = "".join("".join(out["text"]) for out in cell["outputs"] if out.get("name") == "stdout")
        results = ["".join(out.get("data", {}).get("text/plain", "")) for out in cell["outputs"]]
        text = re.sub(r"<Figure .*?>", "", "\n".join([streams, *results]))  # printed by some backends of matplotlib
        text = re.sub(r"[-+]?\b\d[\d.]*(e[-+]?\d+)?", "#", text)
        kinds = {kind for out in cell["outputs"] for kind in out.get("data", {}) if kind.startswith("image/")}
        kinds |= {out["ename"] for out in cell["outputs"] if out["output_type"] == "error"}
        texts.append(" ".join([*text.split(), *sorted(kinds)]))
    return texts


def main(committed: Path, executed: Path) -> int:
    """Print what differs, and return the number of cells in which something does."""
    differences = 0
    notebooks = sorted(committed.glob("*.ipynb"))
    assert notebooks, f"no notebooks in {committed}"
    for notebook in notebooks:
        before, after = printed(notebook), printed(executed / notebook.name)
        assert len(before) == len(after)
        for number, (old, new) in enumerate(zip(before, after)):
            if old != new:
                differences += 1
                print(f"{notebook.name}, code cell {number}:\n- {old}\n+ {new}\n")
    return differences


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1]), Path(sys.argv[2])) else 0)
