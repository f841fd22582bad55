"""Jobs, each in a process of its own: a bounded queue, and limits of time and memory."""

import logging
import multiprocessing
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from evovae.restore.memory import in_gib
from evovae.web.jobs import Jobs
from evovae.web.limits import MIB, Limits
from evovae.web.names import INTERRUPTED, LOG, PROBLEM, SUMMARY
from evovae.web.schemas import Job, Picture, State, Summary, Wish
from evovae.web.worker import work

logger = logging.getLogger(__name__)

BEST_SO_FAR = "; this is the best so far"
LOOK = 0.1  # seconds between looks at a process
# Processes are forked off one that has loaded all libraries, which takes seconds.  Elsewhere, where there is no fork or
# it is not safe beside the system's own libraries, each loads them itself.
if sys.platform == "linux":
    PROCESSES = multiprocessing.get_context("forkserver")
else:
    PROCESSES = multiprocessing.get_context("spawn")
PROCESSES.set_forkserver_preload(
    [work.__module__, *(f"evovae.engines.{loops}" for loops in ("subspace_chunks", "mixture_kernels"))]
)


class QueueFullError(Exception):
    """No more jobs can wait."""


@dataclass
class _Running:
    """A process, and since when and why it was asked to stop."""

    process: BaseProcess
    line: Connection
    began: float = field(default_factory=time.monotonic)
    asked: float | None = None
    reason: str = ""

    def ask(self, reason: str) -> None:
        """Ask it to stop, once, with the best so far."""
        if self.asked is None:
            self.asked, self.reason = time.monotonic(), reason
            with suppress(OSError):  # it has just ended
                self.line.send_bytes(b"stop")


class Runner:
    """Does queued jobs, some at a time, in threads that wait for processes."""

    def __init__(self, folder: Path, jobs: Jobs, limits: Limits) -> None:
        self.folder, self.jobs, self.limits = folder, jobs, limits
        self._waiting: list[str] = []
        self._running: dict[str, _Running] = {}
        self._change = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(limits.parallel)]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop all jobs with the best so far, or end them; those in the queue fail when the next server starts."""
        with self._change:
            self._closed = True
            self._waiting.clear()
            for running in self._running.values():
                running.ask(f"the server was ended{BEST_SO_FAR}")
            self._change.notify_all()
        for thread in self._threads:
            thread.join(self.limits.farewell)
        with self._change:
            for running in self._running.values():
                running.process.kill()

    def submit(self, name: str, wish: Wish, picture: Picture) -> Job:
        """Queue a job whose folder is ready.

        Raises
        ------
        QueueFullError
            If as many as may be are waiting.
        """
        with self._change:
            if len(self._waiting) >= self.limits.queue:
                raise QueueFullError
            job = self.jobs.add(name, wish, picture)
            self._waiting.append(name)
            self._change.notify()
        return job

    def cancel(self, name: str) -> None:
        """Take a job out of the queue, or ask it to stop with the best so far; nothing if it has ended."""
        with self._change:
            if name in self._waiting:
                self._waiting.remove(name)
                self.jobs.ended(name, State.STOPPED, "stopped before it began")
            elif name in self._running:
                self._running[name].ask(f"stopped{BEST_SO_FAR}")

    def ahead(self, name: str) -> int:
        """How many jobs are done before this one."""
        with self._change:
            return self._waiting.index(name) + len(self._running) if name in self._waiting else 0

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                name = self._waiting.pop(0)
                with self._survived(name):
                    self._begin(name)
            if name in self._running:
                with self._survived(name):
                    self._finish(name)

    @contextmanager
    def _survived(self, name: str) -> Iterator[None]:
        """Let what goes wrong here end that job alone: the disk is full, say, and the next job may do better."""
        try:
            yield
        except (OSError, sqlite3.Error, ValueError) as error:
            logger.exception("what became of job %s could not be kept", name)
            with suppress(sqlite3.Error):
                self.jobs.ended(name, State.FAILED, f"what became of it could not be kept: {error}")

    def _begin(self, name: str) -> None:
        self.jobs.started(name)
        try:
            self._running[name] = self._process(name)
        except (OSError, EOFError) as error:
            self.jobs.ended(name, State.FAILED, f"no process could be started for it: {error}")

    def _finish(self, name: str) -> None:
        running = self._running[name]
        with running.line:
            self._wait(running)
        with self._change:
            del self._running[name]
            self.jobs.ended(name, *self._outcome(name, running))

    def _process(self, name: str) -> _Running:
        """A worker, and the line on which it is asked to stop."""
        ours, theirs = PROCESSES.Pipe()
        with theirs:
            process = PROCESSES.Process(
                target=work, args=(self.folder / name, int(self.limits.memory // MIB), theirs), daemon=True
            )
            process.start()
        return _Running(process, ours)

    def _wait(self, running: _Running) -> None:
        """Until it ends, or has to be ended."""
        process, limits = running.process, self.limits
        while True:
            process.join(LOOK)
            if not process.is_alive():
                return
            now = time.monotonic()
            if _memory(process) > limits.memory + limits.beside:
                most = in_gib(limits.memory + limits.beside)
                running.reason = f"it took more than {most} of memory and was ended; restore a part of the picture"
                process.kill()
            elif now - running.began > limits.seconds:
                running.ask(f"stopped after {limits.seconds:g} seconds, the most there is{BEST_SO_FAR}")
            if running.asked is not None and now - running.asked > limits.grace:
                running.reason = f"it was asked to stop and had not {limits.grace:g} seconds later, so it was ended"
                process.kill()

    def _outcome(self, name: str, running: _Running) -> tuple[State, str]:
        place = self.folder / name
        if (place / SUMMARY).exists():
            summary = Summary.model_validate_json((place / SUMMARY).read_bytes())
            return (State.STOPPED, running.reason) if summary.interrupted else (State.DONE, "")
        if (place / PROBLEM).exists():
            return State.FAILED, (place / PROBLEM).read_text()
        code = running.process.exitcode
        if code == INTERRUPTED:
            return State.STOPPED, f"nothing was restored yet: {running.reason.removesuffix(BEST_SO_FAR)}"
        return State.FAILED, running.reason or f"its process ended unexpectedly, with {code}; {place / LOG} says more"


def _memory(process: BaseProcess) -> int:
    """Bytes that a process takes now; none if it has ended."""
    try:
        return psutil.Process(process.pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0
