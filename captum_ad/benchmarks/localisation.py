"""Which way of hiding makes attributions find the class: the grid pointing game on collages of photographs.

    python -m captum_ad.benchmarks.localisation PHOTOGRAPH ... [--model MODEL] [--csv FILE]

Collages are made of photographs that the network is confident about, one class per cell. The class of one cell, chosen
at random, is explained by every method under every masking; the score is the share of the positive attribution that
lies in that cell (Rao et al. 2022). Chance is one over the number of cells.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from captum_ad.attributions import METHODS, OVER_SUPERPIXELS, Task, explain, seeded
from captum_ad.cli.compare import device_named, probabilities
from captum_ad.cli.errors import InputError
from captum_ad.cli.images import load_photographs
from captum_ad.cli.models import load_classifier
from captum_ad.errors import UnknownNameError, UnsupportedOperationError
from captum_ad.extras import needed
from captum_ad.metrics.collages import Collages, make_collages
from captum_ad.metrics.digests import described, digest, fingerprint
from captum_ad.metrics.localisation import grid_pointing_game
from captum_ad.metrics.masking_names import all_maskings, by_their_names
from captum_ad.metrics.records import read_records, write_records
from captum_ad.metrics.statistics import _compared, _generator, is_ad
from captum_ad.painted import Masking, masked_forward
from captum_ad.scoring import Judge, batch_of
from captum_ad.segmentation import superpixels

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("collage", "cell", "target", "confidence", "method", "masking", "share", "seconds", "run", "input")
"""The columns of the records."""


def localise(
    model: nn.Module,
    collages: Collages,
    methods: Sequence[str],
    maskings: Mapping[str, Masking],
    *,
    samples: int = 150,
    segments: int = 100,
    window: int = 32,
    seed: int = 0,
    to_confidence: str = "softmax",
    batch_size: int | None = None,
    path: Path | None = None,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Explain one cell of every collage by every method under every masking.

    Parameters
    ----------
    model : nn.Module
        The plain model, in eval mode.
    collages : Collages
        Of :func:`captum_ad.metrics.make_collages`.
    methods : sequence of str
        Of :data:`captum_ad.attributions.METHODS`.
    maskings : mapping
        Names to maskings; a name that begins with "ad:" counts as Activation-Deactivation.
    samples, segments, window : int
        The effort, as for :class:`captum_ad.attributions.Task`; superpixels are of the whole collage.
    seed : int
        Of the cells and the perturbations; every masking gets the same ones.
    to_confidence, batch_size
        As for :func:`captum_ad.metrics.sufficient_explanation`.
    path : Path, optional
        A file, .csv or .parquet, that the records are added to after every attribution; what it has already is not
        computed again.
    show_progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row per collage, method and masking: ``collage``, ``cell``, ``target`` (int); ``confidence``, the plain
        model's in the target on the whole collage; ``method``, ``masking`` (str); ``share``, the score; ``seconds``
        of the attribution; ``run`` and ``input``, digests of the settings and weights, and of what is explained how.

    Raises
    ------
    ValueError, UnknownNameError, UnsupportedOperationError
        If something given does not fit, or the file has records of other settings or another model.
    """
    pandas = needed("pandas", "pandas", "metrics")
    for method in methods:
        if method not in METHODS:
            raise UnknownNameError("method", method, METHODS)
    run = digest(fingerprint(model), described((collages.grid, samples, segments, window, seed, to_confidence)))
    texts = {name: described(masking) for name, masking in maskings.items()}
    known = _known(path, run)
    _try(model, collages.x[:1], maskings)
    cells = [int(np.random.default_rng((seed, i)).integers(collages.targets.shape[1])) for i in range(len(collages))]
    rows: list[dict[str, Any]] = []
    total = len(collages) * len(methods) * len(maskings)
    with tqdm(total=total, desc="Localisation", unit="attribution", disable=not show_progress) as bar:
        for i, cell in enumerate(cells):
            x, target = collages.x[i : i + 1], int(collages.targets[i, cell])
            confidence = _confidence(model, x, target, to_confidence)
            labels = torch.zeros(1, 1, *x.shape[2:], dtype=torch.int64)
            if set(methods) & set(OVER_SUPERPIXELS):
                labels = superpixels(x[0] if x.shape[1] == 3 else x[0].mean(0).expand(3, -1, -1), n_segments=segments)
            size = batch_of(batch_size, x.device)
            task = Task(x, target, labels.to(x.device), samples, size, seed, window, to_confidence)
            for method in methods:
                for name, masking in maskings.items():
                    what = digest(x, str((i, cell, target, method)), texts[name])
                    row = known.get((method, name, what))
                    if row is None:
                        found = explain(model, method, masking, task)
                        score = grid_pointing_game(found.attribution, cell, collages.grid)
                        values = (i, cell, target, confidence, method, name, score, found.seconds, run, what)
                        row = known[method, name, what] = dict(zip(COLUMNS, values, strict=True))
                        if path is not None:
                            write_records(pandas.DataFrame(list(known.values()), columns=list(COLUMNS)), path)
                    rows.append(row)
                    bar.update()
    records: pd.DataFrame = pandas.DataFrame(rows, columns=list(COLUMNS))
    return records


def markdown(records: pd.DataFrame, seed: int = 0) -> str:
    """A table of the mean shares, with 95 % bootstrap intervals over the collages.

    Parameters
    ----------
    records : DataFrame
        Of :func:`localise`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    str
        A row per method and masking: the mean share; its difference from the best of the method's baselines, the one
        with the highest mean on these very collages, paired by collage.
    """
    lines = ["| method | masking | share in the cell | against the best paint |", "|---|---|---|---|"]
    for method in dict.fromkeys(records["method"]):
        values = records[records["method"] == method].pivot(index="collage", columns="masking", values="share")
        values = values[list(dict.fromkeys(records["masking"]))]
        painted = [name for name in values.columns if not is_ad(name)]
        best = str(values[painted].mean().idxmax()) if painted else None
        for name in values.columns:
            key = {"method": method, "masking": name}
            cell = _interval(values[name], seed, key, ".2f")
            against = "best" if name == best else ""
            if best is not None and name != best:
                against = _interval(values[name] - values[best], seed, {**key, "reference": best}, "+.2f")
            lines.append(f"| {method} | {name} | {cell} | {against} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0, or 2 after bad input, with one line on stderr."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(options.threads)
    try:
        print(_report(options))
    except (InputError, UnsupportedOperationError, ValueError, TypeError, ImportError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _report(options: argparse.Namespace) -> str:
    device = device_named(options.device)
    maskings = by_their_names(options.maskings)
    with seeded(options.seed, device):
        classifier = load_classifier(options.model, options.weights, device)
    images, to_confidence = [], "softmax"
    for source in dict.fromkeys(options.photographs):
        (photograph,) = load_photographs([source])  # one at a time: many large ones do not fit into memory
        images.append(classifier.prepare(photograph.image))
        if len(images) == 1:
            to_confidence = probabilities(classifier, images[0], photograph)[1]
    collages = make_collages(
        classifier.model,
        images,
        grid=tuple(options.grid),
        n=options.collages,
        min_confidence=options.min_confidence,
        seed=options.seed,
        to_confidence=to_confidence,
        batch_size=options.batch_size,
    )
    records = localise(
        classifier.model,
        collages,
        list(dict.fromkeys(options.methods)),
        maskings,
        samples=options.samples,
        segments=options.segments,
        window=options.window,
        seed=options.seed,
        to_confidence=to_confidence,
        batch_size=options.batch_size,
        path=options.csv,
        show_progress=True,
    )
    rows, columns = collages.grid
    sure = records.drop_duplicates("collage")["confidence"].mean()
    return (
        f"{classifier.title}, {len(collages)} collages of {rows} × {columns} of {len(images)} photographs, seed "
        f"{options.seed}. Chance: {1 / (rows * columns):.2f}. The network's mean confidence in the class that is "
        f"explained, on the collages: {sure:.2f}. In brackets: 95 % bootstrap intervals over the collages.\n\n"
        f"{markdown(records, options.seed)}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m captum_ad.benchmarks.localisation", description=(__doc__ or "").splitlines()[0]
    )
    add = parser.add_argument
    add("photographs", nargs="+", metavar="PHOTOGRAPH", help="image files of different classes")
    add("--model", default="demo", help="as for captum-ad compare (default: demo)")
    add("--weights", type=Path, metavar="FILE", help="state dict of the model (default: the published weights)")
    add("--maskings", nargs="+", default=all_maskings(), metavar="MASKING", help="two at least (default: all)")
    add("--methods", nargs="+", default=["occlusion", "lime"], metavar="METHOD", help=f"of {', '.join(METHODS)}")
    add("--collages", type=int, default=50, metavar="N", help="how many (default: 50)")
    add("--grid", type=int, nargs=2, default=(2, 2), metavar=("ROWS", "COLUMNS"), help="(default: 2 2)")
    add("--min-confidence", type=float, default=0.5, metavar="SHARE", help="in a photograph (default: .5)")
    add("--samples", type=int, default=150, metavar="N", help="perturbations of lime and kernel_shap (default: 150)")
    add("--segments", type=int, default=100, metavar="N", help="superpixels of a collage, about (default: 100)")
    add("--window", type=int, default=32, metavar="PIXELS", help="side of Occlusion's window (default: 32)")
    add("--seed", type=int, default=0, help="of collages, cells, perturbations and bootstrap (default: 0)")
    add("--threads", type=int, default=1, metavar="N", help="of the CPU (default: 1)")
    add("--batch-size", type=int, metavar="N", help="inputs per forward (default: 4 on the CPU, else 32)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1 … (default: cpu)")
    add("--csv", type=Path, metavar="FILE", help="the records; a command that was interrupted goes on from them")
    return parser


def _known(path: Path | None, run: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The file's rows, if it is of these settings."""
    if path is None:
        return {}
    if not path.parent.is_dir():
        raise ValueError(f"there is no directory {str(path.parent)!r} for the records: make it first")
    found = read_records(path)
    if found is None:
        return {}
    if set(COLUMNS) - set(found.columns) or set(found["run"]) != {run}:
        raise ValueError(f"{str(path)!r} has records of other settings or weights: choose another file, or delete it")
    rows = cast("list[dict[str, Any]]", found[list(COLUMNS)].to_dict("records"))
    return {(row["method"], row["masking"], row["input"]): row for row in rows}


def _try(model: nn.Module, x: Tensor, maskings: Mapping[str, Masking]) -> None:
    """Hide half of an input in every way, so that what does not work says so at once, not after hours."""
    half = torch.arange(x.shape[-1], device=x.device).expand(x.shape[2:]) < x.shape[-1] // 2
    with torch.no_grad():
        for masking in maskings.values():
            masked_forward(model, masking)(x, mask=half)


def _confidence(model: nn.Module, x: Tensor, target: int, to_confidence: str) -> float:
    with torch.no_grad():
        return float(Judge(target, to_confidence)(model(x))[0])


def _interval(values: pd.Series[float], seed: int, key: dict[str, Any], form: str) -> str:
    given = np.asarray(values, dtype=np.float64)
    if len(given) < 2:
        return format(float(given.mean()), form)
    found = _compared(given, _generator(seed, "localisation", key), 9999, 0.95)
    mean, low, high = (format(found[name], form) for name in ("difference", "ci_low", "ci_high"))
    return f"{mean} ({low} to {high})"


if __name__ == "__main__":
    sys.exit(main())
