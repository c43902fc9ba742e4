"""The page of a report: one HTML file that contains everything, so that it works offline."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from captum_ad._common.files import write_whole
from captum_ad.cli.explanations import in_words
from captum_ad.cli.figure import METHOD_TITLES, OUTLIERS, column_title
from captum_ad.cli.html import png, rendered
from captum_ad.cli.report import PAGE
from captum_ad.cli.table import legend, table_rows

SHOWN = 40
"""The largest number of photographs on a page, so that a phone can open it (each takes a few hundred kilobytes).

The table has all of them.
"""

_UNLISTED = ("images", "schema", "notes", "command", "transform", "explained")


def write_page(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write ``report.html`` from a report's summary and archives.

    Parameters
    ----------
    folder : Path
        The folder of the report.
    summary : mapping
        The contents of ``summary.json``.
    """
    archives = []
    for one in summary["images"][:SHOWN]:
        with np.load(folder / one["attributions"]) as archive:
            archives.append({name: archive[name] for name in archive.files})
    write_whole(folder / PAGE, page(summary, archives))


def page(summary: Mapping[str, Any], archives: Sequence[Mapping[str, Any]]) -> str:
    """The page as text.

    Parameters
    ----------
    summary : mapping
        The contents of ``summary.json``.
    archives : sequence of mapping
        The archives of the photographs to show, in the summary's order; see
        :func:`captum_ad.cli.report.arrays`.
    """
    entries = summary["images"]
    return rendered(
        "page.html",
        title=entries[0]["title"] if len(entries) == 1 else f"{len(entries)} photographs, {summary['model']}",
        photographs=[_photograph(one, archive) for one, archive in zip(entries, archives)],
        left_out=len(entries) - len(archives),
        table=table_rows(entries),
        legend=legend(entries, summary["gamma"], summary["backgrounds"]),
        notes=[note for note in (*summary["notes"], *(one["note"] for one in entries)) if note],
        transform=summary["transform"],
        explained=summary["explained"],
        command=shlex.join(summary["command"]),
        settings={name.replace("_", " "): _words(summary[name]) for name in summary if name not in _UNLISTED},
        gamma=summary["gamma"],
        answer="target" if entries[0]["target"]["index"] is None else "class",
    )


def _photograph(entry: Mapping[str, Any], archive: Mapping[str, Any]) -> dict[str, Any]:
    maps = []
    for method, columns in entry["methods"].items():
        for column, measured in columns.items():
            key = f"{method}/{column}"
            sizes, confidences, kept = archive[f"curve/{key}"]
            heat, scale = _heat(archive[key])
            maps.append(
                {
                    "method": METHOD_TITLES.get(method, method),
                    "masking": column_title(column),
                    "heat": heat,
                    "scale": f"{scale:.2g}",
                    "steps": _steps(archive[f"steps/{key}"]),
                    "sizes": sizes.round(5).tolist(),
                    "confidences": confidences.round(4).tolist(),
                    "kept": [bool(one) for one in kept],
                    "keptOn": [bool(one) for one in archive[f"kept/{key}"]],
                    "measures": measured["explanation"],
                    "words": in_words(archive[key], measured["explanation"], len(archive["backgrounds"])),
                }
            )
    height, width = archive["photograph"].shape[:2]
    return {
        "title": entry["title"],
        "width": width,
        "height": height,
        "pixels": png(archive["photograph"]),
        "backgrounds": [f"rgb({r},{g},{b})" for r, g, b in archive["backgrounds"].tolist()],
        "confidence": entry["confidence"],
        "graded": entry["graded"],
        "maps": maps,
    }


def _heat(attribution: npt.NDArray[np.float32]) -> tuple[str, float]:
    """An attribution summed over channels as a gray image (128 is zero), and the value that 255 stands for."""
    heat = attribution.sum(0, dtype=np.float64)
    scale = float(np.percentile(np.abs(heat), 100 - OUTLIERS)) or float(np.abs(heat).max())
    shown = np.clip(heat / scale, -1, 1) if scale > 0 else heat
    return png(np.rint(128 + 127 * shown).astype(np.uint8)), scale


def _steps(steps: npt.NDArray[np.int16]) -> str:
    """An image of the step at which each position appears: its low byte in red, its high byte in green."""
    low, high = (steps & 255).astype(np.uint8), (steps >> 8).astype(np.uint8)
    return png(np.stack([low, high, np.zeros_like(low)], -1))


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
