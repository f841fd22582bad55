"""A progress bar for restorations, and how they are stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from math import isnan
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from evovae.commands.shared import console, say
from evovae.remaining import Remaining
from evovae.signals import requests_to_end

if TYPE_CHECKING:
    from evovae.restore.result import Progress as Report

EVERY = 5.0  # seconds between lines, where there is no terminal to draw a bar on


class Bar:
    """A progress bar as the callback of a restoration; remembers which signal asked to stop, if any did.

    Where there is no terminal, it is a line every few seconds; where it is to be quiet, nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.signal = 0
        self.page, self.pages = 0, 1
        self.where = ""  # the epoch of the last report, and of how many
        self.lines = not (quiet or console.is_terminal)
        self.told = time.monotonic()
        self.remaining = Remaining()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            TextColumn("{task.fields[noise]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=quiet or self.lines,
        )
        self.task = self.bar.add_task("begins", total=None, noise="", left="")

    def begin(self, page: int, pages: int) -> None:
        """The next page."""
        self.page, self.pages = page, pages

    def __call__(self, report: Report) -> None:
        page = f"page {self.page + 1}/{self.pages}, " if self.pages > 1 else ""
        self.where = f"epoch {report.epoch} of {report.epochs}"
        what, noise = f"{page}epoch {report.epoch}/{report.epochs}", f"noise {report.sigma:.4g}"
        if not report.epochs:  # nothing is trained
            what, noise = f"{page}restored", ""
        done = self.page + report.share
        seconds = self.remaining(done / self.pages)
        left = "" if isnan(seconds) else f"{timedelta(seconds=round(seconds))} left"
        self.bar.update(self.task, completed=done, total=self.pages, description=what, noise=noise, left=left)
        if self.lines and time.monotonic() - self.told > EVERY:
            self.told = time.monotonic()
            say(", ".join(filter(None, (what, noise, f"{done / self.pages:.0%} done", left))), "default")

    def _stop(self, number: int, _: object) -> None:
        self.signal = number
        raise KeyboardInterrupt  # the restoration catches the first one and returns its best so far

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the bar, and notice Ctrl-C and requests to end."""
        try:
            with requests_to_end(self._stop), self.bar:
                try:
                    yield
                except BaseException:
                    self.bar.live.transient = True  # leave the line to the error
                    raise
        except KeyboardInterrupt as error:
            raise typer.Exit(128 + self.signal) from error
