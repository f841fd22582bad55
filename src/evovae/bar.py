"""A progress bar, in terminals and in notebooks."""

from __future__ import annotations

from datetime import timedelta
from math import isnan
from typing import TYPE_CHECKING, Any, Self

from evovae.extras import needs
from evovae.remaining import Remaining

if TYPE_CHECKING:
    from rich.console import Console

    from evovae.restore.result import Progress as Report


class ProgressBar:
    """A bar that shows how far a restoration is, what noise was found, and how long it will still take.

    Give it as the `callback` of `evovae.denoise`, `inpaint`, `fit_denoiser` or `FittedDenoiser.restore`, which show it
    while they work.  It draws on stderr where that is a terminal, and in notebooks; elsewhere it is silent.  One bar
    serves one image after another; ``with bar:`` around a loop over images keeps it in its place, and shows it where a
    callback of your own calls it.

    Parameters
    ----------
    console
        Where to draw, of rich.  Default: stderr, or the notebook.

    Raises
    ------
    ModuleNotFoundError
        Without rich, which ``pip install "evovae[cli]"`` brings.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
    >>> evovae.denoise(noisy, preset="fast", rng=0, callback=evovae.ProgressBar()).shape
    (16, 16)
    """

    def __init__(self, console: Console | None = None) -> None:
        with needs("cli", "a progress bar"):
            from rich.console import Console
        self.console = Console(stderr=True) if console is None else console
        self.notebook: Any = None  # what shows the bar there
        self.entered, self.page, self.pages, self.done = 0, 0, 1, 0.0
        self.words = "begins", "", ""  # how far it is, the noise, and what time is left
        self.remaining = Remaining()

    def begin(self, page: int, pages: int) -> None:
        """Say that the next of several images follows: the bar is that of all of them.

        Parameters
        ----------
        page
            Its number, from 0.
        pages
            How many there are.
        """
        self.page, self.pages = page, pages

    def __enter__(self) -> Self:
        self.entered += 1
        if self.entered == 1:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            what, noise, left = (TextColumn(f"{{task.fields[{name}]}}") for name in ("what", "noise", "left"))
            drawn = self.console.is_terminal and not self.console.is_jupyter
            columns = what, BarColumn(20), noise, TimeElapsedColumn(), left
            self.bar = Progress(*columns, console=self.console, disable=not drawn)
            self.words, self.done, self.remaining = ("begins", "", ""), 0.0, Remaining()
            self.task = self.bar.add_task("", total=None, what="begins", noise="", left="")
            self.bar.start()
            if self.console.is_jupyter:
                from IPython.display import display  # which is there, as the notebook is

                self.notebook = display(self.bar, display_id=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.entered -= 1
        if not self.entered:
            self.bar.live.transient = kind is not None  # leave the line to the error
            self.bar.stop()
            self.notebook, self.page, self.pages = None, 0, 1

    def __call__(self, report: Report) -> None:
        page = f"page {self.page + 1}/{self.pages}, " if self.pages > 1 else ""
        what = f"{page}epoch {report.epoch}/{report.epochs}" if report.epochs else f"{page}restored"  # without training
        noise = "" if isnan(report.sigma) else f"noise {report.sigma:.4g}"
        done = self.page + report.share
        if done < self.done:  # another image
            self.remaining = Remaining()
        self.done = done
        seconds = self.remaining(done / self.pages)
        left = "" if isnan(seconds) else f"{timedelta(seconds=round(seconds))} left"
        self.words = what, noise, left
        if self.entered:
            self.bar.update(self.task, completed=done, total=self.pages, what=what, noise=noise, left=left)
        if self.notebook is not None:
            self.notebook.update(self.bar)
