"""A progress bar for restorations, and how they are stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from evovae.bar import ProgressBar
from evovae.commands.shared import console, say
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
        self.where = ""  # the epoch of the last report, and of how many
        self.lines = not (quiet or console.is_terminal)
        self.told = time.monotonic()
        self.bar = ProgressBar(Console(file=StringIO()) if quiet else console)

    def begin(self, page: int, pages: int) -> None:
        """The next page."""
        self.bar.begin(page, pages)

    def __call__(self, report: Report) -> None:
        self.where = f"epoch {report.epoch} of {report.epochs}"
        self.bar(report)
        if self.lines and time.monotonic() - self.told > EVERY:
            self.told = time.monotonic()
            what, noise, left = self.bar.words
            done = f"{self.bar.done / self.bar.pages:.0%} done"
            say(", ".join(filter(None, (what, noise, done, left))))

    def _stop(self, number: int, _: object) -> None:
        self.signal = number
        raise KeyboardInterrupt  # the restoration catches the first one and returns its best so far

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the bar, and notice Ctrl-C and requests to end."""
        try:
            with requests_to_end(self._stop), self.bar:
                yield
        except KeyboardInterrupt as error:
            raise typer.Exit(128 + self.signal) from error

    def end(self) -> None:
        """Leave the command with the code of the signal that asked to stop, if one did."""
        if self.signal:
            raise typer.Exit(128 + self.signal)
