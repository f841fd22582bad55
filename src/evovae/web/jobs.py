"""Jobs: each is a folder, which says what it is and what became of it, and while it runs a process with limits."""

import logging
import multiprocessing
import shutil
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
from fastapi import HTTPException

from evovae.restore.memory import in_gib
from evovae.web.folders import JOB, LOG, PROBLEM, SUMMARY, made, write_text
from evovae.web.limits import MIB, Limits
from evovae.web.schemas import Job, Picture, State, Summary, Wish
from evovae.web.worker import INTERRUPTED, work

logger = logging.getLogger(__name__)

LOST = "the server was ended before this job was; start it again"
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


@dataclass
class _Running:
    """A process, and since when and why it was asked to stop."""

    process: BaseProcess
    line: Connection
    started: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)
    asked: float | None = None
    reason: str = ""

    def ask(self, reason: str) -> None:
        """Ask it to stop, once, with the best so far."""
        if self.asked is None:
            self.asked, self.reason = time.monotonic(), reason
            with suppress(OSError):  # it has just ended
                self.line.send_bytes(b"stop")


class Jobs:
    """Jobs in a folder, each in one of its own, done some at a time by threads that wait for processes.

    A folder says of a job that it was lost until it has come to an end; only this server knows that it waits or runs.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self._waiting: list[str] = []
        self._running: dict[str, _Running] = {}
        self._change = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(limits.parallel)]
        folder.mkdir(parents=True, exist_ok=True)

    def open(self) -> None:
        """Begin to work, once what was never submitted is removed."""
        for place in made(self.folder):
            if not (place / JOB).exists():
                shutil.rmtree(place, ignore_errors=True)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop all jobs with the best so far, or end them; those in the queue are lost."""
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

    def place(self, name: str) -> Path:
        """The folder of a job."""
        return self.folder / name

    def get(self, name: str) -> Job:
        """A job with its place in the queue and what it found; 404 if there is none."""
        with self._change:
            try:
                job, summary = self._read(name), self._summary(name)
            except FileNotFoundError as error:
                raise HTTPException(404, f"there is no job {name}; it may have been removed") from error
            except ValueError as error:
                raise HTTPException(404, f"what is kept of job {name} cannot be read; remove its folder") from error
            if name in self._waiting:
                ahead = self._waiting.index(name) + len(self._running)
                return job.model_copy(update={"state": State.QUEUED, "message": "", "ahead": ahead})
            if name in self._running:
                started = self._running[name].started
                return job.model_copy(update={"state": State.RUNNING, "message": "", "started": started})
        if summary is not None and job.message == LOST:  # it had just come to its end
            stopped = {"state": State.STOPPED, "message": f"the server was ended{BEST_SO_FAR}"}
            job = job.model_copy(update=stopped if summary.interrupted else {"state": State.DONE, "message": ""})
        return job.model_copy(update={"summary": summary})

    def all(self) -> list[Job]:
        """All of them, the newest first."""
        found = []
        for place in made(self.folder):
            with suppress(HTTPException):  # it has just been removed, or is not submitted yet
                found.append(self.get(place.name))
        return sorted(found, key=lambda job: job.created, reverse=True)

    def submit(self, name: str, wish: Wish, picture: Picture) -> Job:
        """Queue a job whose folder is ready; 429 if as many as may be are waiting."""
        with self._change:
            if len(self._waiting) >= self.limits.queue:
                waiting = f"{self.limits.queue} jobs are waiting, as many as may be; try again when one is done"
                raise HTTPException(429, waiting, {"Retry-After": "10"})
            self._write(Job(id=name, state=State.FAILED, message=LOST, created=time.time(), wish=wish, picture=picture))
            self._waiting.append(name)
            self._change.notify()
        return self.get(name)

    def cancel(self, name: str) -> Job:
        """Take a job out of the queue, or ask it to stop with the best so far; nothing if it has ended."""
        with self._change:
            if name in self._waiting:
                self._waiting.remove(name)
                self._ended(name, State.STOPPED, "stopped before it began")
            elif name in self._running:
                self._running[name].ask(f"stopped{BEST_SO_FAR}")
        return self.get(name)

    def remove(self, name: str) -> None:
        """Forget a job and all that came of it: first that there is one, should the rest not be removed."""
        (self.place(name) / JOB).unlink(missing_ok=True)
        shutil.rmtree(self.place(name), ignore_errors=True)

    def purge(self) -> None:
        """Remove what has ended long ago."""
        for place in made(self.folder):
            old = False
            with self._change, suppress(FileNotFoundError):  # it is being made, or removed
                age = time.time() - (place / JOB).stat().st_mtime
                old = age > self.limits.kept_jobs and place.name not in (*self._waiting, *self._running)
            if old:
                self.remove(place.name)

    def _read(self, name: str) -> Job:
        return Job.model_validate_json((self.place(name) / JOB).read_bytes())

    def _write(self, job: Job) -> None:
        write_text(self.place(job.id) / JOB, job.model_dump_json(exclude={"ahead", "summary"}))

    def _ended(self, name: str, state: State, message: str) -> None:
        """Write down what became of a job."""
        started = self._running[name].started if name in self._running else None
        changes = {"state": state, "message": message, "started": started, "ended": time.time()}
        self._write(self._read(name).model_copy(update=changes))

    def _summary(self, name: str) -> Summary | None:
        path = self.place(name) / SUMMARY
        return Summary.model_validate_json(path.read_bytes()) if path.exists() else None

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                name = self._waiting.pop(0)
                running = self._begin(name)
            if running is not None:
                self._finish(name, running)

    def _begin(self, name: str) -> _Running | None:
        """A worker, and the line on which it is asked to stop; None if the system has none."""
        try:
            ours, theirs = PROCESSES.Pipe()
            with theirs:
                given = self.place(name), int(self.limits.memory // MIB), theirs
                process = PROCESSES.Process(target=work, args=given, daemon=True)
                process.start()
        except (OSError, EOFError) as error:
            with suppress(OSError, ValueError):
                self._ended(name, State.FAILED, f"no process could be started for it: {error}")
            return None
        running = self._running[name] = _Running(process, ours)
        return running

    def _finish(self, name: str, running: _Running) -> None:
        try:
            with running.line:
                self._wait(running)
            with self._change:
                self._ended(name, *self._outcome(name, running))
        except (OSError, ValueError) as error:  # the disk is full, say, and the next job may do better
            logger.exception("what became of job %s could not be kept", name)
            running.process.kill()  # which may still run, if it could not be looked at
            with self._change, suppress(OSError, ValueError):
                self._ended(name, State.FAILED, f"what became of it could not be kept: {error}")
        finally:
            with self._change:
                del self._running[name]

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
        """What a process has left."""
        place, summary = self.place(name), self._summary(name)
        if summary is not None:
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
