"""How a restoration shows how far it is, and how it is stopped."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from evovae.commands.shared import console
from evovae.restore.result import Progress as Report
from evovae.signals import requests_to_end


class Bar:
    """A progress bar as the callback of a restoration; remembers which signal asked to stop, if any did."""

    def __init__(self) -> None:
        self.signal = 0
        self.page, self.pages = 0, 1
        self.bar = Progress(
            TextColumn("{task.fields[what]}"),
            BarColumn(),
            TextColumn("elbo {task.fields[elbo]:.2f}  sigma {task.fields[sigma]:.4g}  new {task.fields[new]:.1f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        nothing = float("nan")
        self.task = self.bar.add_task("", total=None, what="epoch 0/?", elbo=nothing, sigma=nothing, new=nothing)

    def begin(self, page: int, pages: int) -> None:
        """The next page."""
        self.page, self.pages = page, pages

    def __call__(self, report: Report) -> None:
        page = f"page {self.page + 1}/{self.pages}, " if self.pages > 1 else ""
        self.bar.update(
            self.task,
            completed=self.page + report.share,
            total=self.pages,
            what=f"{page}epoch {report.epoch}/{report.epochs}",
            elbo=report.elbo,
            sigma=report.sigma,
            new=report.substitutions,
        )

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
