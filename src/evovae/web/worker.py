"""The process of one job.

It reads the folder, restores, and tells how it goes.  At a message on its line it stops with the best so far; when that
is closed it ends at once, as its server is gone.
"""

import os
import sys
import threading
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
from evovae.web import diary, holes
from evovae.web.limits import MIB
from evovae.web.names import INTERRUPTED, LOG, MODEL, PICTURE, PROBLEM, WISH
from evovae.web.outcome import Task, write
from evovae.web.schemas import Picture, Wish
from evovae.web.telling import Telling


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
    picture = Picture.model_validate_json((folder / PICTURE).read_bytes())
    wish = Wish.model_validate_json((folder / WISH).read_bytes())
    (source,) = folder.glob("input.*")
    content = io.read(source)
    if wish.model is not None:  # which has learnt from pictures as they are decoded
        content = replace(content, planes=None)
    mask = holes.load(folder, content)
    telling = Telling(folder, content, picture)
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
            diary.note(folder, "warning", message=str(message))
        usual(message, category, *place)  # type: ignore[arg-type]

    warnings.showwarning = show  # type: ignore[assignment]
