"""The table of networks: what the tests showed of each, as Markdown.

Written by ``pytest tests/architectures -m "slow or not slow" --table tutorials/networks.md``. A run of some networks
replaces their rows and keeps the others'. A row stands under the versions that it was made with: if a library was
updated since, the rows that were not made again stay under a heading of their own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

COMMAND = 'pytest tests/architectures -m "slow or not slow" --table tutorials/networks.md'
_INTRODUCTION = f"""# Networks

The test results for each network, with random weights and every preset of `ADForward`.

- Theorem 1: if nothing is masked, the output is the network's own, bit for bit. The column says whether this also holds
  for a whole sample that shares a batch with a half-masked one: bit for bit, or to rounding (attention runs other
  kernels).
- Missing means missing: noise, 1e30, Inf, or NaN behind the mask does not change a bit of the output.
- "refused": AD cannot run the network. It raises an error that names the
  operation instead of returning a wrong output.
- The models of transformers are small: the library's classes, built from our own configurations, with each attention
  implementation that they have.
- Not run: torchvision's regnet_y_128gf and vit_h_14, with over 600 million parameters each. Smaller ones of their
  families are.

Made by `{COMMAND}`.
"""
_HEADER = "| network | parameters | Theorem 1 | missing means missing |\n|---|---|---|---|\n"

Sections = dict[str, dict[str, str]]


@dataclass
class Row:
    """What was found of one network; as long as nothing was shown, that it fails."""

    parameters: int | None = None
    theorem_1: str = "fails"
    missing: str = "fails"
    refused: str | None = None

    def cells(self) -> list[str]:
        """The columns after the name."""
        size = "?" if self.parameters is None else f"{self.parameters / 1e6:.1f} M"
        if self.refused is not None:
            return [size, f"refused: {self.refused}".replace("|", "\\|"), "–"]
        return [size, self.theorem_1, self.missing]


def heading(library: str) -> str:
    """The section of a library in its present version."""
    return (
        f"{library} {version(library)}, torch {version('torch')}"
        if library != "others"
        else f"others, torch {version('torch')}"
    )


def write_table(path: Path, found: Mapping[tuple[str, str], Row]) -> None:
    """Put the rows found, by (library, network), in place of theirs in the table at `path`; all of it or nothing."""
    sections = read_table(path.read_text(encoding="utf-8")) if path.exists() else {}
    for (library, network), row in found.items():
        for title, rows in sections.items():
            if title.startswith((f"{library} ", f"{library},")):
                rows.pop(network, None)
        line = f"| {' | '.join([network, *row.cells()])} |"
        sections.setdefault(heading(library), {})[network] = line
    text = _text(sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    os.chmod(file.name, 0o644)  # temporary files are for their owner alone
    os.replace(file.name, path)


def read_table(text: str) -> Sections:
    """The rows of a table, by heading and network."""
    sections: Sections = {}
    for line in text.splitlines():
        if line.startswith("## "):
            rows = sections.setdefault(line[3:], {})
        elif sections and line.startswith("| ") and not line.startswith("| network |"):
            rows[line.split(" | ")[0][2:]] = line
    return sections


def _text(sections: Sections) -> str:
    parts = [_INTRODUCTION]
    for title in sorted(title for title, rows in sections.items() if rows):
        lines = [line for _, line in sorted(sections[title].items())]
        parts.append(f"\n## {title}\n\n{_HEADER}" + "\n".join(lines) + "\n")
    return "".join(parts)
