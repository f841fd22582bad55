"""The process of one job.

It reads the folder, restores, and tells how it goes: a line of JSON for each event, and from time to time a preview.
At a message on its line it stops with the best so far; when that is closed it ends at once, as its server is gone.
"""

import json
import math
import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

import evovae
from evovae import io
from evovae.notes import Note
from evovae.pages import channel_axis, restore
from evovae.remaining import Remaining
from evovae.restore import Progress
from evovae.web.folders import EVENTS, JOB, LOG, MODEL, PREVIEW, PROBLEM, mask_of
from evovae.web.images import arranged, grey, plane, png, upright
from evovae.web.limits import MIB
from evovae.web.outcome import Task, write
from evovae.web.schemas import Job, Picture

INTERRUPTED = 130  # the exit code, if it was asked to stop before there was anything worth keeping
PAUSE, SHARE = 1.0, 0.2  # seconds between previews, and how much of all time they may take


def work(folder: Path, memory: int, line: Connection) -> None:
    """Be the process of the job in a folder, with MiB for its arrays; leave a sentence if something is wrong.

    It is in a session of its own: an interrupt from the terminal is the server's alone.
    """
    if hasattr(os, "setsid"):
        os.setsid()
    with (folder / LOG).open("wb") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
    _note_warnings(folder)
    try:
        _work(folder, memory, line)
    except KeyboardInterrupt:  # without training there is nothing to return before the end
        sys.exit(INTERRUPTED)
    except (ValueError, TypeError, OSError, MemoryError, ArithmeticError) as error:
        traceback.print_exc()
        (folder / PROBLEM).write_text(str(error) or type(error).__name__)
        sys.exit(1)


def _work(folder: Path, memory: int, line: Connection) -> None:
    """Do the job, and write all that came of it."""
    job = Job.model_validate_json((folder / JOB).read_bytes())
    wish, picture = job.wish, job.picture
    (source,) = folder.glob("input.*")
    content = io.read(source)
    if wish.model is not None:  # which has learnt from pictures as they are decoded
        content = replace(content, planes=None)
    mask = mask_of(folder, content)
    telling = _Telling(folder, content, picture)
    threading.Thread(target=_listen, args=(line, telling.stop), daemon=True).start()
    done = restore(
        _applied(folder / MODEL) if wish.model is not None else evovae.denoise if mask is None else evovae.inpaint,
        content,
        mask,
        telling.begin,
        telling.stop.is_set,
        preset=wish.preset,
        sigma=wish.sigma,
        rng=wish.seed,
        noise=wish.noise,
        strength=wish.strength,
        held_out=wish.held_out,
        channel_axis=channel_axis(content),
        max_memory=memory * MIB,
        max_seconds=None,
        resume=None,
        callback=telling,
    )
    write(folder, Task(source, content, mask, wish, picture, memory), done)


def _note(folder: Path, kind: str, **said: float | str | None) -> None:
    """Add a line to the events; what JSON cannot hold is not known yet."""
    unknown = {name: None for name, value in said.items() if isinstance(value, float) and not math.isfinite(value)}
    with (folder / EVENTS).open("ab") as file:
        file.write(json.dumps({"type": kind, **said, **unknown}).encode() + b"\n")


class _Telling:
    """Tells of progress, as a callback that says when to stop."""

    def __init__(self, folder: Path, content: io.Content, picture: Picture) -> None:
        self.folder, self.content, self.picture = folder, content, picture
        self.stop = threading.Event()
        self.began, self.remaining = time.monotonic(), Remaining()
        self.page, self.pages, self.previews = 0, 1, 0
        self.next_preview = 0.0

    def begin(self, page: int, pages: int) -> None:
        """The next page."""
        self.page, self.pages, self.next_preview = page, pages, 0.0

    def __call__(self, report: Progress) -> bool:
        share = (self.page + report.share) / self.pages
        seconds = time.monotonic() - self.began
        _note(
            self.folder,
            "epoch",
            page=self.page,
            pages=self.pages,
            model=report.model,
            epoch=report.epoch,
            epochs=report.epochs,
            elbo=report.elbo,
            sigma=report.sigma,
            new=report.substitutions,
            share=share,
            seconds=seconds,
            left=self.remaining(share),
        )
        if seconds >= self.next_preview:
            self._preview(report)
        return self.stop.is_set()

    def _preview(self, report: Progress) -> None:
        began = time.monotonic()
        page = self.content.page(self.page) if self.content.batch_axes else self.content
        values = arranged(page.replaced(report.preview()))
        middle = upright(plane(values, values.shape[1] // 2), self.picture.orientation)
        image = png(grey(middle, self.picture.low, self.picture.high))
        io.write_atomically(self.folder / PREVIEW, lambda file: file.write(image))
        self.previews += 1
        _note(self.folder, "preview", number=self.previews, page=self.page, epoch=report.epoch)
        now = time.monotonic()
        self.next_preview = now - self.began + max(PAUSE, (now - began) / SHARE)


def _applied(path: Path) -> Callable[..., object]:
    """What has been learnt from another picture, used in place of `evovae.denoise`, with options of that."""
    fitted = evovae.FittedDenoiser.load(path)

    def apply(
        image: np.ndarray,
        *,
        preset: str,
        held_out: float,
        max_seconds: float | None,
        noise: str,
        **options: Any,  # noqa: ANN401 - of `FittedDenoiser.restore`
    ) -> object:
        return fitted.restore(image, noise=None if noise == "auto" else noise, **options)

    return apply


def _listen(line: Connection, stop: threading.Event) -> None:
    with suppress(EOFError, OSError):
        while True:
            line.recv_bytes()
            stop.set()
    os._exit(1)  # nobody is there to be told


def _note_warnings(folder: Path) -> None:
    """Tell warnings of our own; others are for the log."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: object) -> None:
        if issubclass(category, Note):
            _note(folder, "warning", message=str(message))
        usual(message, category, *place)  # type: ignore[arg-type]

    warnings.showwarning = show  # type: ignore[assignment]
