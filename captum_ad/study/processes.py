"""Who does which unit: one process alone, or many that take from a common list.

Many are what ``torchrun`` or Slurm starts: processes with ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT``
in their environment, on one machine or several. They meet once, to agree on what there is to do; then each takes the
next unit from a counter as soon as it has time, so that nobody waits for a slow one, and a process that dies takes its
unit with it and nothing else. Only Python objects travel, over gloo, whatever device the models are on.
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

_PATIENCE = timedelta(days=7)  # for others that are in the middle of long units
_NEXT = "next"


class Processes(Protocol):
    """The processes of one run.

    Attributes
    ----------
    rank, count : int
        Which of how many this is.
    """

    rank: int
    count: int

    def gather(self, value: T) -> list[T]:
        """What every process gives here, in their order; all of them have to be there."""

    def take(self, todo: Sequence[T]) -> Iterator[tuple[int, T]]:
        """What this process is to do next, and its place in the list, until the list is at its end."""

    def leave(self) -> bool:
        """Wait for the others to finish; False if one of them is gone."""


class Alone:
    """A single process."""

    rank, count = 0, 1

    def gather(self, value: T) -> list[T]:
        """The value."""
        return [value]

    def take(self, todo: Sequence[T]) -> Iterator[tuple[int, T]]:
        """Everything, in order."""
        return enumerate(todo)

    def leave(self) -> bool:
        """Nobody else is there."""
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
        """What every process gives, in their order."""
        found: list[Any] = [None] * self.count
        try:
            dist.all_gather_object(found, value)
        except RuntimeError as error:
            raise StoreError(f"another process ended before the study began, see what it said ({error})") from error
        return found

    def take(self, todo: Sequence[T]) -> Iterator[tuple[int, T]]:
        """The next item that nobody has taken yet."""
        while True:
            try:
                place = self.store.add(_NEXT, 1) - 1
            except RuntimeError:  # torch's DistNetworkError too: the process that counts is gone
                self.lost = True
                return
            if place >= len(todo):
                return
            yield place, todo[place]

    def leave(self) -> bool:
        """Wait for the others; a process that died is noticed by its closed connection."""
        try:
            dist.barrier()
            whole = not self.lost
        except RuntimeError:
            whole = False
        if whole:
            dist.destroy_process_group()
        return whole


def processes() -> Processes:
    """The process alone, or with those that were started with it.

    Examples
    --------
    >>> processes().count
    1
    """
    return Together() if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ else Alone()


class Stop:
    """Whether somebody asked to stop after the unit in hand."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """A signal handler."""
        self.asked = True


@contextmanager
def stoppable() -> Iterator[Stop]:
    """While the block runs SIGTERM, of Slurm or of torchrun when another process died, lets the unit in hand finish."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
