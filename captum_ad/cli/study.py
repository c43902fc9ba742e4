"""The sub-command ``study``: the paper's experiment on any images, on one or several machines."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from captum_ad._common.errors import InputError, UnknownNameError, UnsupportedOperationError
from captum_ad.cli.dataset import read_dataset
from captum_ad.cli.errors import InterruptedRun
from captum_ad.cli.study_plan import Made, made
from captum_ad.cli.study_settings import Settings, settings_of
from captum_ad.study.manifest import Manifest
from captum_ad.study.processes import Processes, processes
from captum_ad.study.running import Ran, run
from captum_ad.study.store import StoreError, record_files, recorded


def study(arguments: argparse.Namespace, command: Sequence[str]) -> None:
    """Measure every image, model, method and masking that has no records yet, and write the report.

    Parameters
    ----------
    arguments : argparse.Namespace
        The sub-command's arguments, as ``captum-ad study --help`` describes them.
    command : sequence of str
        The command line, for the report.

    Raises
    ------
    InputError, UnknownNameError, UnsupportedOperationError
        If an argument is invalid or a model cannot be explained. What was recorded before stays.
    InterruptedRun
        On Ctrl-C, or if another process ended early.
    """
    settings = settings_of(arguments)
    among = processes()
    _refuse_occupied(arguments.out, resume=arguments.resume or arguments.dry_run)
    entries = read_dataset(arguments.dataset)
    others = None if settings.backgrounds_from is None else read_dataset(Path(settings.backgrounds_from))
    try:
        plan = made(entries, others, settings, among)
        if plan.about["skipped"] and among.rank == 0:
            _tell_skipped(plan.about["skipped"])
        if arguments.dry_run:
            from captum_ad.cli.study_cost import expected

            if among.rank == 0:
                print(expected(plan.plan, recorded(arguments.out) if arguments.out.is_dir() else set(), among.count))
            return
        ran = _run(plan, settings, arguments, command, among)
    except StoreError as error:
        raise InputError(str(error)) from error
    except KeyboardInterrupt:
        raise InterruptedRun(_left(arguments.out)) from None
    if among.rank == 0 and not ran.stopped:  # after a request to stop, do not spend time on a report
        from captum_ad.cli.study_report import write_report

        print(write_report([arguments.out], arguments.out))
    if ran.stopped or not ran.whole:
        raise InterruptedRun(_left(arguments.out))


def _run(
    plan: Made, settings: Settings, arguments: argparse.Namespace, command: Sequence[str], among: Processes
) -> Ran:
    about = {
        **plan.about,
        "command": shlex.join(command),
        "dataset": str(arguments.dataset),
        "settings": asdict(settings),
    }
    manifest: Manifest = replace(plan.plan.manifest(), about=about)
    try:
        return run(plan.plan, arguments.out, manifest, processes=among)
    except (StoreError, UnsupportedOperationError, UnknownNameError, torch.OutOfMemoryError, OSError):
        raise
    except Exception as error:  # raised by the user's model or method
        raise InputError(f"{type(error).__name__}: {error}") from error


def _refuse_occupied(out: Path, *, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {str(out)!r} is a file: name a directory")
    again = resume or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    if not again and out.exists() and any(out.iterdir()):
        what = "already has records: continue with --resume" if record_files(out) else "is not empty: empty it"
        raise InputError(f"--out {str(out)!r} {what}, or choose another")


def _tell_skipped(skipped: dict[str, str]) -> None:
    shown = "".join(f"\n  {why}" for why in list(skipped.values())[:5])
    rest = f"\n  and {len(skipped) - 5} more (see the report)" if len(skipped) > 5 else ""
    print(f"{len(skipped)} images cannot be read and are left out:{shown}{rest}", file=sys.stderr)


def _left(out: Path) -> str:
    return f"the same command with --resume continues from {str(out)!r}"
