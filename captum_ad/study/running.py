"""Run a study: take a unit, measure it, record it."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from captum_ad.study.manifest import Manifest, take_up
from captum_ad.study.measuring import Measuring
from captum_ad.study.plan import Plan
from captum_ad.study.processes import Alone, Processes, stoppable
from captum_ad.study.store import Store, StoreError, record_file, recorded
from captum_ad.study.units import Unit


@dataclass(frozen=True)
class Ran:
    """How a run ended.

    Attributes
    ----------
    done : int
        Number of units that this process measured.
    stopped : bool
        Whether it was asked to stop before all units were done.
    whole : bool
        Whether all processes finished.
    """

    done: int
    stopped: bool
    whole: bool


def run(
    plan: Plan,
    folder: Path,
    manifest: Manifest | None = None,
    *,
    processes: Processes | None = None,
    show_progress: bool = True,
) -> Ran:
    """Measure every unit that has no records in a folder yet.

    Parameters
    ----------
    plan : Plan
        The study.
    folder : Path
        The folder of results: ``study.json`` and one file of records per process.
    manifest : Manifest, optional
        The plan's manifest, perhaps with more information in ``about``.
    processes : Processes, optional
        The processes that share the work; by default this one alone.
    show_progress : bool
        Show a progress bar, in the first process, of all units of all processes.

    Raises
    ------
    StoreError
        If the folder has results of another configuration, the processes have different configurations, or the disk
        is full.
    """
    among = Alone() if processes is None else processes
    manifest = plan.manifest() if manifest is None else manifest
    _begin(folder, manifest, among)
    known = _known(folder, among)
    units = plan.units()
    todo = [unit for unit in units if unit not in known]
    measure, done = Measuring(plan), 0
    bar = tqdm(
        total=len(units), initial=len(units) - len(todo), unit="unit", disable=not show_progress or among.rank > 0
    )
    with closing(Store(record_file(folder, among.rank))) as store, bar, stoppable() as stop:
        for place, unit in among.take(todo):
            bar.set_description(_words(unit))
            store.add(unit, measure(unit))
            done += 1
            bar.update(len(units) - len(todo) + place + 1 - bar.n)
            if stop.asked:
                break
        bar.update(0 if stop.asked else len(units) - bar.n)
    if stop.asked:
        return Ran(done, True, False)
    return Ran(done, False, among.leave())


def _words(unit: Unit) -> str:
    return f"{unit.image}: {unit.method or 'no method'} {unit.masking}"


def _begin(folder: Path, manifest: Manifest, among: Processes) -> None:
    """Write the manifest once per host; all processes must have the same configuration."""
    there = among.gather(manifest)
    different = next((said for one in there if (said := there[0].differences(one))), None)
    if different:
        among.leave()  # a connection that closes while others still read from it would abort them
        raise StoreError(
            f"the processes have different configurations: {'; '.join(different)}. Start them with the same one"
        )
    error = None
    for turn in (True, False):  # the first process first: hosts may share the folder, or have one each
        if (among.rank == 0) == turn and _first_of_host():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                take_up(folder, manifest)
            except (StoreError, OSError) as failed:
                error = str(failed)
        failures = [said for said in among.gather(error) if said]
        if failures:
            among.leave()
            raise StoreError(failures[0])


def _known(folder: Path, among: Processes) -> set[Unit]:
    """The units that any host has records of; the first process reads first, and recovers logs of killed processes."""
    found: set[Unit] = set()
    for turn in (True, False):
        own = recorded(folder) if (among.rank == 0) == turn and _first_of_host() else set()
        found = found.union(*among.gather(own))
    return found


def _first_of_host() -> bool:
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0"))) == 0
