"""Threads that run compiled loops."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import torch

SOON = 2.0  # seconds, after which compiled code would have been read from disk
logger = logging.getLogger(__name__)


class _TorchThreads:
    """How many threads torch uses: each of ours has a number of its own, first the one that was set last anywhere."""

    def __init__(self) -> None:
        self._lock, self._users, self._before = threading.Lock(), 0, 0

    @property
    def usual(self) -> int:
        """How many there are where none works alone."""
        with self._lock:
            return self._before if self._users else torch.get_num_threads()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One for the thread that asks, as others may at the same time; then as many as there were before the first."""
        with self._lock:
            if not self._users:
                self._before = torch.get_num_threads()
            self._users += 1
            torch.set_num_threads(1)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                torch.set_num_threads(self._before)


_TORCH = _TorchThreads()


class Workers:
    """A pool of threads (default: as many as torch uses)."""

    def __init__(self, threads: int | None = None) -> None:
        self.pool = ThreadPoolExecutor(threads or _TORCH.usual, thread_name_prefix="evovae")

    def alone(self) -> AbstractContextManager[None]:
        """Torch works with one thread: its others would spin after each small optimiser step, and slow ours down."""
        return _TORCH.alone()

    def run(self, loop: Any, work: Callable[..., None], *items: Sequence[Any]) -> None:  # of numba
        """Call work on the first of all items, the second of all items, ..., side by side; all call a compiled loop."""
        jobs: list[Future[None]] = []
        try:
            for item in zip(*items, strict=True):
                jobs.append(self.pool.submit(work, *item))
            if not loop.signatures and wait(jobs, SOON).not_done and not loop.signatures:
                _say_compiling()
            for job in jobs:
                job.result()
        finally:
            wait(jobs)  # also after an interrupt: nobody writes to the states behind our back


@cache
def _say_compiling() -> None:
    logger.warning("compiling the CPU kernels; this happens once and takes about a minute")
