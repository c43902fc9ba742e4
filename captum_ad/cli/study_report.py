"""Write the report of a study: summary, tables, figures, and a page with all of them."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_ad._common.errors import InputError
from captum_ad._common.files import write_whole
from captum_ad.cli.html import rendered, uri
from captum_ad.cli.study_examples import examples
from captum_ad.metrics.plots import plot_rho_over_gamma, plot_rho_over_size
from captum_ad.study.manifest import Manifest
from captum_ad.study.plan import units_of
from captum_ad.study.results import merged_manifest, read_explanations, read_scores
from captum_ad.study.store import StoreError, rows_of
from captum_ad.study.tables import all_tables, score_summary, summary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PAGE, SUMMARY, SCORES = "report.html", "summary.csv", "scores.csv"

NOTES = {
    "Size against the best baseline": "Negative: the explanations under AD are smaller than those under the baseline "
    "with the smallest ones. The baseline is chosen on the same images, which favors it.",
    "ρ by γ": "Larger explanations are more robust: read this with their sizes, and with ρ at equal size. Solid colors "
    "(K1) look like solid paint and favor explanations found with it; that is why there is K2 too.",
    "ρ, AD against each baseline": "Paired by image; 95 % bootstrap interval of the mean difference, Wilcoxon's "
    "signed-rank test, and Holm's correction within a model.",
    "Judges": "insertion: higher is better; deletion: lower is better; missingness: how often the answer stays the "
    "same while parts that do not matter are missing; pointing, energy: whether the attribution lies on the object; "
    "specific drop: how much more confidence is lost by hiding the object than by hiding as much elsewhere.",
}
"""Notes on how to read the tables."""


def report(arguments: argparse.Namespace) -> None:
    """Write the report of folders of results again.

    Parameters
    ----------
    arguments : argparse.Namespace
        The sub-command's arguments, as ``captum-ad report --help`` describes them.

    Raises
    ------
    InputError
        If a folder has no results, or they are of different configurations.
    """
    print(write_report(arguments.folders, arguments.out or arguments.folders[0]))


def write_report(folders: Sequence[Path], out: Path) -> str:
    """Write summary.csv, scores.csv, tables, figures and the page; those of an earlier report are replaced.

    Parameters
    ----------
    folders : sequence of Path
        Results of studies of the same configuration.
    out : Path
        The folder of the report; created if it does not exist.

    Returns
    -------
    str
        A sentence that says what was written and how many units are missing.

    Raises
    ------
    InputError
        If a folder has no results, or they are of different configurations.
    """
    try:
        manifest = merged_manifest(folders)
        units = units_of(manifest)
        explanations, scores = read_explanations(folders, units), read_scores(folders, units)
        images = [{name: row[name] for name in row if name != "picture"} for row in rows_of(folders, "images")]
    except StoreError as error:
        raise InputError(str(error)) from error
    if explanations.empty:
        raise InputError("there are no records of explanations yet: write the report when some units are done")
    done = len(set(zip(scores["model"], scores["image"], scores["method"], scores["masking"])))
    tables = all_tables(explanations, scores, images)
    figures = _figures(explanations)
    (out / "tables").mkdir(parents=True, exist_ok=True)
    (out / "figures").mkdir(exist_ok=True)
    write_whole(out / SUMMARY, summary(explanations).to_csv(index=False))
    write_whole(out / SCORES, score_summary(scores).to_csv(index=False))
    for title, table in tables.items():
        write_whole(out / "tables" / f"{_file(title)}.csv", table.to_csv(index=False))
    pictures = []
    for title, figure in figures.items():
        data = _png(figure)
        (out / "figures" / f"{_file(title)}.png").write_bytes(data)
        pictures.append({"title": title, "uri": uri(data, "png")})
    missing = len(units) - done
    page = rendered(
        "study.html",
        title=_title(manifest),
        missing=missing,
        units=len(units),
        tables=[_shown(title, table) for title, table in tables.items()],
        figures=pictures,
        examples=examples(folders, explanations),
        configuration=_configuration(manifest),
        skipped=manifest.about.get("skipped", {}),
    )
    write_whole(out / PAGE, page)
    said = f"; {missing} of {len(units)} units are missing" if missing else ""
    return f"{out / PAGE}, with {SUMMARY}, {SCORES}, tables and figures in the same folder{said}"


def _figures(explanations: pd.DataFrame) -> dict[str, Figure]:
    found = {}
    for key, rows in explanations.groupby(["model", "method", "backgrounds"], sort=False):
        model, method, context = map(str, key)
        of_model = explanations[explanations["model"] == model]
        for name, plot in (("γ", plot_rho_over_gamma), ("size", plot_rho_over_size)):
            if rows["gamma"].notna().any() if name == "γ" else rows["gamma"].isna().any():
                figure, axes = plot(of_model, method, context, use_pyplot=False)
                axes.set_title(f"{model}: {method}, {context}")
                found[f"ρ over {name}, {model}, {method}, {context}"] = figure
    return found


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _shown(title: str, table: pd.DataFrame) -> dict[str, Any]:
    """A table for the page; each cell is its text and the number to sort by."""
    rows = [[(_words(value), value if _is_number(value) else "") for value in row] for row in table.to_numpy().tolist()]
    return {
        "title": title,
        "note": NOTES.get(title, ""),
        "columns": [str(name) for name in table.columns],
        "rows": rows,
    }


def _words(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if value != value:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) and not value.is_integer() else f"{value:g}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and value == value


def _title(manifest: Manifest) -> str:
    return f"{len(manifest.images)} images, {', '.join(manifest.models)}: which way of hiding explains better?"


def _configuration(manifest: Manifest) -> dict[str, str]:
    about = manifest.about
    shown: dict[str, Any] = {"command": about.get("command", ""), "data set": about.get("dataset", "")}
    shown |= {f"transform of {name}": words for name, words in about.get("transforms", {}).items()}
    shown |= {f"note on {name}": " ".join(notes) for name, notes in about.get("notes", {}).items() if notes}
    shown |= manifest.settings
    for kind in ("models", "methods", "maskings"):
        shown[kind] = [f"{name} ({digest})" for name, digest in getattr(manifest, kind).items()]
    shown |= {"versions": [f"{name} {number}" for name, number in manifest.versions.items()], **manifest.running}
    return {name: _listed(value) for name, value in shown.items() if value not in ("", None)}


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _file(title: str) -> str:
    """A file name made from a title."""
    plain = title.replace("γ", "gamma").replace("ρ", "rho")
    words = "".join(sign if sign.isascii() and sign.isalnum() else " " for sign in plain).split()
    return "-".join(words).lower()
