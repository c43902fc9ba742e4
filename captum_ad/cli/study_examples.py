"""Examples for a report: the images on which AD is furthest ahead of the best baseline, and furthest behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from captum_ad.cli.html import png, uri
from captum_ad.metrics.statistics import is_ad
from captum_ad.study.measuring import unpacked
from captum_ad.study.store import Store, record_files, rows_of
from captum_ad.study.units import Unit

if TYPE_CHECKING:
    import pandas as pd

EACH = 3
"""The number of best and of worst images, per model and method."""


def examples(folders: Sequence[Path], explanations: pd.DataFrame) -> list[dict[str, Any]]:
    """The best and worst images of each model and method: by ρ under the first AD rule minus ρ under a baseline.

    The baseline is the one with the largest mean ρ. ρ is taken at the largest equal size, or else at the largest γ, in
    the last context.

    Parameters
    ----------
    folders : sequence of Path
        Folders of results, which have the maps.
    explanations : DataFrame
        The explanations of all units.

    Returns
    -------
    list of dict
        The examples for the page's template; empty if there is no AD rule or no baseline.
    """
    shots = {
        (row["model"], row["image"]): row["picture"] for row in rows_of(folders, "images") if row["picture"] is not None
    }
    found = []
    with ExitStack() as stack:
        files = [path for folder in folders for path in record_files(folder)]
        stores = [stack.enter_context(closing(Store(path))) for path in files]
        for model, method, ad, paint, level, ranked in _ranked(explanations):
            ends = list(dict.fromkeys([*ranked[:EACH], *ranked[-EACH:]]))
            maskings = list(explanations["masking"].unique())
            rows = [
                {
                    "image": image,
                    "difference": f"{difference:+.2f}",
                    "picture": uri(shots[model, image], "jpeg"),
                    "maps": _maps(stores, explanations, model, image, method, maskings),
                }
                for image, difference in ends
                if (model, image) in shots
            ]
            found.append({"title": f"{model}, {method}", "what": f"{level}: {ad} minus {paint}", "rows": rows})
    return found


def _ranked(explanations: pd.DataFrame) -> Iterator[tuple[str, str, str, str, str, list[tuple[str, float]]]]:
    last = explanations[explanations["backgrounds"] == explanations["backgrounds"].iloc[-1]]
    equal = last[last["gamma"].isna()]
    level, rows = ("size", equal) if len(equal) else ("gamma", last)
    most = rows[level].max()
    rows, words = rows[rows[level] == most], f"ρ at {'size' if level == 'size' else 'γ'} {most:g}"
    for (model, method), group in rows.groupby(["model", "method"], sort=False):
        table = group.pivot_table(index="image", columns="masking", values="rho", sort=False)
        ads, paints = ([name for name in table.columns if is_ad(name) == side] for side in (True, False))
        if not ads or not paints:
            continue
        paint = str(table[paints].mean().idxmax())
        differences = (table[ads[0]] - table[paint]).dropna().sort_values(ascending=False, kind="stable")
        pairs = [(str(image), float(value)) for image, value in differences.items()]
        yield str(model), str(method), str(ads[0]), paint, words, pairs


def _maps(
    stores: Sequence[Store], explanations: pd.DataFrame, model: str, image: str, method: str, maskings: Sequence[str]
) -> list[dict[str, str]]:
    found = []
    rows = explanations[
        (explanations["model"] == model) & (explanations["image"] == image) & (explanations["method"] == method)
    ]
    for masking in maskings:
        data = next((d for store in stores if (d := store.picture(Unit(model, image, method, masking), "map"))), None)
        if data is None:
            continue
        own = rows[(rows["masking"] == masking) & rows["gamma"].notna() & rows["found"]]
        last = own[own["gamma"] == own["gamma"].max()]
        words = f"size {last['size'].iloc[0]:.2f}, ρ {last['rho'].iloc[-1]:.2f}" if len(last) else "not found"
        found.append({"masking": masking, "uri": png(_colored(unpacked(data))), "words": words})
    return found


def _colored(heat: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Red for the class and blue against it, on white."""
    strength = np.sqrt(np.abs(heat.astype(np.float64)) / 127)[..., None]
    ink = np.where(heat[..., None] > 0, (178.0, 24.0, 43.0), (33.0, 102.0, 172.0))
    mixed: npt.NDArray[np.uint8] = np.rint((1 - strength) * 247 + strength * ink).astype(np.uint8)
    return mixed
