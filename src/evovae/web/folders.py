"""The folders of uploads and of jobs: which files there are in them, and what is read of them on all sides."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

import numpy as np
from fastapi import HTTPException

from evovae import io
from evovae.web.images import PLANE, as_stored, plane
from evovae.web.schemas import ID, Picture

LONGEST = 120  # letters of a file's name that are kept

# Of an upload, and copied to its jobs: beside them the picture as it came, input.png, .tif, ....
VALUES, CLEAN = "before.npy", "clean.npy"
PICTURE = "picture.json"  # of an upload alone
# What a job is, and what became of it; and what else it is given.
JOB, HOLES, MODEL = "job.json", "holes.npy", "model.safetensors"
# What it tells while it runs.
EVENTS, PREVIEW, LOG, PROBLEM = "events.jsonl", "preview.png", "worker.log", "problem.txt"
# What it leaves, beside restored.png, .tif, ...; the summary last.
AFTER, STD, STD_FILE, REPORT, SUMMARY = "after.npy", "std.npy", "uncertainty.tif", "report.json", "summary.json"


def plots_file(page: int) -> str:
    """The file of plots of a page's noise."""
    return f"noise-{page}.json"


def models_file(page: int) -> str:
    """The file of the models that a page has taught."""
    return f"models-{page}.safetensors"


def made(folder: Path) -> list[Path]:
    """The folders of uploads or jobs in another one; what else lies there is not ours."""
    return [place for place in folder.iterdir() if re.match(ID, place.name) and place.is_dir()]


@contextmanager
def new_place(folder: Path, what: str) -> Iterator[Path]:
    """A new folder in another one, of a name that no one can guess; nothing is left of it if it comes to nothing.

    Raises
    ------
    HTTPException
        507 if it cannot be written to.
    """
    place = folder / uuid4().hex
    try:
        place.mkdir()
        yield place
    except BaseException as error:
        shutil.rmtree(place, ignore_errors=True)
        if isinstance(error, OSError):
            why = error.strerror or error
            raise HTTPException(507, f"the {what} cannot be kept: {why}; free some space") from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text whole or not at all."""
    io.write_atomically(path, lambda file: file.write(text.encode()))


def plain_name(encoded: str) -> str:
    """A file's name as text on one line, without folders: shown to people, never used as a path."""
    last = re.split(r"[/\\]", unquote(encoded))[-1]
    return "".join(letter for letter in last if letter.isprintable()).strip()[:LONGEST]


def restored_name(name: str, suffix: str) -> str:
    """What a restored picture is called when it is taken away."""
    return f"{Path(name.removesuffix('.gz')).stem or 'picture'}-restored{suffix}"


def painted(mask: np.ndarray, picture: Picture) -> np.ndarray:
    """Where a mask (arranged values of any dtype) of an upright picture is brighter than half: (Y, X), bool, as stored.

    Raises
    ------
    HTTPException
        422 if it has another size than the picture, or leaves nothing of it.
    """
    first = plane(mask, 0).max(-1)
    if first.shape != (picture.height, picture.width):
        sizes = f"{first.shape[1]} x {first.shape[0]} pixels, but the picture {picture.width} x {picture.height}"
        raise HTTPException(422, f"the mask has {sizes}; give one of the same size")
    most = np.iinfo(first.dtype).max if first.dtype.kind in "iu" else 1.0
    holes = first > most / 2
    if holes.all():
        raise HTTPException(422, "no observed pixels: all of the picture is painted over; leave some to learn from")
    return as_stored(holes, picture.orientation)


def mask_of(place: Path, content: io.Content) -> np.ndarray | None:
    """The painted holes of a job, in the shape of a page without its channels; None where nothing is painted."""
    if not (place / HOLES).exists():
        return None
    axes = content.axes or PLANE[-content.values.ndim :]
    there = [content.values.shape[axes.index(letter)] for letter in PLANE if letter in axes]
    holes = np.load(place / HOLES)
    depth = there[0] if len(there) == 3 else 1
    return np.broadcast_to(holes, (depth, *holes.shape)).reshape(there)


def holes_of(place: Path, values: np.ndarray) -> np.ndarray:
    """Where arranged values of a job (.., Y, X, channels) are painted over, as stored: (Y, X)."""
    return np.load(place / HOLES) if (place / HOLES).exists() else np.zeros(values.shape[-3:-1], bool)


def filled(place: Path, values: np.ndarray) -> np.ndarray:
    """Where arranged values of a job (.., Y, X, channels) were painted over or are none: (.., Y, X)."""
    return holes_of(place, values) | ~np.isfinite(values).all(-1)
