"""Several processes: the records of one, whoever dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from captum_ad.cli.main import main
from captum_ad.study.store import record_files, recorded, rows_of
from tests.study.conftest import started

pytestmark = pytest.mark.slow  # processes that wait for one another: not beside other work

STUDY = ("photos", "--config", "study.toml")
UNITS = 8 * 3 * 3


def rows(*folders: Path) -> dict[Any, list[str]]:
    """Everything that is recorded but the time, by unit."""
    found: dict[Any, list[str]] = {}
    for table in ("explanations", "scores", "pictures", "images"):
        for row in rows_of(folders, table):
            key = (table, *(row.get(name) for name in ("model", "image", "method", "masking")))
            found.setdefault(key, []).append(repr({name: row[name] for name in row if name != "seconds"}))
    return found


def port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def launched(here: Path, count: int, *words: str, **environment: str) -> list[subprocess.Popen[str]]:
    """As Slurm's srun does on several hosts: every process is told who it is, over loopback."""
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port(), **environment}
    return [started(here, "-m", "captum_ad.study", *words, **common, RANK=str(rank)) for rank in range(count)]


def torchrun(here: Path, count: int, *words: str, restarts: int = 0, **environment: str) -> tuple[int, str]:
    options = (f"--nproc-per-node={count}", f"--max-restarts={restarts}", f"--master-port={port()}")
    process = started(here, "-m", "torch.distributed.run", *options, "-m", "captum_ad.study", *words, **environment)
    _, error = process.communicate(timeout=300)
    return process.returncode, error


@pytest.fixture
def alone(here: Path) -> dict[Any, list[str]]:
    """The records of one process."""
    assert main(["study", *STUDY, "--out", "alone"]) == 0
    found = rows(here / "alone")
    assert len({key[1:] for key in found if key[0] == "scores"}) == UNITS
    return found


def test_two_launches_over_loopback_give_the_records_of_one(here: Path, alone: dict[Any, list[str]]) -> None:
    both = launched(here, 2, *STUDY, "--out", "both")
    for process in both:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    assert rows(here / "both") == alone
    assert len(record_files(here / "both")) == 2


def test_one_that_dies_loses_its_unit_and_nothing_else(here: Path, alone: dict[Any, list[str]]) -> None:
    """The other does the rest of the list; another number of processes goes on."""
    first, second = launched(here, 2, *STUDY, "--out", "out", DIES="1/2/0")
    _, error = first.communicate(timeout=300)
    assert second.wait() == -signal.SIGKILL
    assert first.returncode == 130, error
    assert "--resume continues" in error
    assert len(recorded(here / "out")) == UNITS - 1
    assert main(["study", *STUDY, "--out", "out", "--resume"]) == 0
    assert rows(here / "out") == alone


def test_without_the_one_that_counts_the_others_stop_after_their_unit(here: Path, alone: dict[Any, list[str]]) -> None:
    first, second = launched(here, 2, *STUDY, "--out", "out", DIES="0/2/0")
    _, error = second.communicate(timeout=300)
    assert first.wait() == -signal.SIGKILL
    assert second.returncode == 130, error
    assert 0 < len(recorded(here / "out")) < UNITS
    assert main(["study", *STUDY, "--out", "out", "--resume"]) == 0
    assert rows(here / "out") == alone


def test_torchrun_of_three_and_after_a_death_a_restart(here: Path, alone: dict[Any, list[str]]) -> None:
    code, error = torchrun(here, 3, *STUDY, "--out", "three")
    assert code == 0, error
    assert rows(here / "three") == alone
    code, error = torchrun(here, 2, *STUDY, "--out", "again", restarts=1, DIES="1/2/0")
    assert code == 0, error
    assert rows(here / "again") == alone


def test_torchrun_that_gave_up_is_taken_up_by_another_number(here: Path, alone: dict[Any, list[str]]) -> None:
    code, error = torchrun(here, 2, *STUDY, "--out", "out", DIES="0/3/0")
    assert code, error
    lost = UNITS - len(recorded(here / "out"))
    assert lost > 0
    code, error = torchrun(here, 3, *STUDY, "--out", "out", "--resume")
    assert code == 0, error
    assert rows(here / "out") == alone


def test_different_configurations_do_not_mix(here: Path) -> None:
    words = (*STUDY, "--out", "out")
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port()}
    both = [
        started(here, "-m", "captum_ad.study", *words, "--seed", str(rank), **common, RANK=str(rank))
        for rank in range(2)
    ]
    for process in both:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 2
        assert "the processes have different configurations: seed: 0 there, 1 now" in error
    assert not os.path.exists(here / "out")
