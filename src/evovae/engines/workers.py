"""Threads that run compiled loops."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from numba.core.event import Event, Listener, install_listener

logger = logging.getLogger(__name__)


class Workers:
    """A pool of threads (default: as many as torch uses)."""

    def __init__(self, threads: int | None = None) -> None:
        self.pool = ThreadPoolExecutor(threads or torch.get_num_threads(), thread_name_prefix="evovae")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Torch works with one thread: its others would spin after each small optimiser step, and slow ours down."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def run(self, work: Callable[..., None], *items: Sequence[Any]) -> None:
        """Call work on the first of all items, the second of all items, ..., side by side."""
        with _announced_compilation():
            jobs: list[Future[None]] = []
            try:
                for item in zip(*items, strict=True):
                    jobs.append(self.pool.submit(work, *item))
                for job in jobs:
                    job.result()
            finally:
                wait(jobs)  # also after an interrupt: nobody writes to the states behind our back


@cache
def _say_compiling() -> None:
    logger.warning("compiling the CPU kernels; this happens once and takes about half a minute")


class _Compilation(Listener):
    """Tells, once, that kernels are being compiled."""

    def on_start(self, event: Event) -> None:
        _say_compiling()

    def on_end(self, event: Event) -> None:
        pass


@contextmanager
def _announced_compilation() -> Iterator[None]:
    with install_listener("numba:compile", _Compilation()):
        yield
