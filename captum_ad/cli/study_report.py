"""The report of a study."""

import argparse
from pathlib import Path


def write_report(folders: list[Path], out: Path) -> str:
    return ""


def report(arguments: argparse.Namespace) -> None: ...
