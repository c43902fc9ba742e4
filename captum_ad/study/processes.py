"""Distribute units: to a single process, or to several that take them from a common list.

Several processes are started by ``torchrun`` or Slurm, with ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and
``MASTER_PORT`` in their environment, on one machine or several. At the start they agree on the list of units. Then each
process takes the next unit from a shared counter whenever it is free. So no process waits for a slow one, and if a
process dies, only its current unit is lost. They exchange only Python objects, over gloo, whatever device the models
are on.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, Protocol, TypeVar

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from captum_ad.study.store import StoreError

T = TypeVar("T")

_PATIENCE = timedelta(days=7)  # timeout: other processes may be busy with long units
_NEXT = "next"


class Processes(Protocol):
    """The processes of one run.

    Attributes
    ----------
    rank, count : int
        The number of this process, from 0, and the number of processes.
    """

    rank: int
    count: int

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in their order; waits until every process has called it."""

    def take(self, todo: Sequence[T]) -> Iterator[tuple[int, T]]:
        """Yield (index, item) of the items that this process is to do, until none is left."""

    def leave(self) -> bool:
        """Wait for the others to finish; False if one of them died."""


class Alone:
    """A single process."""

    rank, count = 0, 1

    def gather(self, value: T) -> list[T]:
        """The value, in a list."""
        return [value]

    def take(self, todo: Sequence[T]) -> Iterator[tuple[int, T]]:
        """Everything, in order."""
        return enumerate(todo)

    def leave(self) -> bool:
        """True: there are no other processes."""
        return True


class Together:
    """One of several processes, see :func:`processes`."""

    def __init__(self) -> None:
        store, self.rank, self.count = next(rendezvous("env://"))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun's store outlives its restarts
        self.store = PrefixStore(f"captum_ad/{attempt}", store)
        self.lost = False
        group = PrefixStore("group", self.store)
        dist.init_process_group("gloo", store=group, rank=self.rank, world_size=self.count, timeout=_PATIENCE)

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in their order."""
        found: list[Any] = [None] * self.count
        try:
            dist.all_gather_object(found, value)
        except RuntimeError as error:
            raise StoreError(f"another process ended before the study began: see its output ({error})") from error
        return found

    def take(self, todo: Sequence[T]) -> Iterator[tuple[int, T]]:
        """Yield the next item that no process has taken yet."""
        while True:
            try:
                place = self.store.add(_NEXT, 1) - 1
            except RuntimeError:  # including torch's DistNetworkError: the process with the counter died
                self.lost = True
                return
            if place >= len(todo):
                return
            yield place, todo[place]

    def leave(self) -> bool:
        """Wait for the others; a process that died is noticed because its connection is closed."""
        try:
            dist.barrier()
            whole = not self.lost
        except RuntimeError:
            whole = False
        if whole:
            dist.destroy_process_group()
        return whole


def processes() -> Processes:
    """The process alone, or together with those that were started with it.

    Examples
    --------
    >>> processes().count
    1
    """
    return Together() if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ else Alone()


class Stop:
    """A signal handler that records a request to stop after the current unit."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal."""
        self.asked = True


@contextmanager
def stoppable() -> Iterator[Stop]:
    """While the block runs, SIGTERM lets the current unit finish.

    Slurm sends it at the end of a job, torchrun when another process died.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
