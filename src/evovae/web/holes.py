"""Painted holes: one plane that counts for all pages, planes and channels of a picture."""

from pathlib import Path

import numpy as np
from starlette.exceptions import HTTPException

from evovae import io
from evovae.web.layout import PLANE, as_stored, plane
from evovae.web.names import HOLES
from evovae.web.schemas import Picture


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


def load(folder: Path, content: io.Content) -> np.ndarray | None:
    """The holes of a job, in the shape of a page without its channels; None where nothing is painted."""
    if not (folder / HOLES).exists():
        return None
    axes = content.axes or PLANE[-content.values.ndim :]
    there = [content.values.shape[axes.index(letter)] for letter in PLANE if letter in axes]
    holes = np.load(folder / HOLES)
    depth = there[0] if len(there) == 3 else 1
    return np.broadcast_to(holes, (depth, *holes.shape)).reshape(there)


def stored(folder: Path, shape: tuple[int, int]) -> np.ndarray:
    """Where a job's picture is painted over, (Y, X) as stored; nowhere if it is not."""
    return np.load(folder / HOLES) if (folder / HOLES).exists() else np.zeros(shape, bool)


def filled(folder: Path, values: np.ndarray) -> np.ndarray:
    """Where arranged values of a job (.., Y, X, channels) were painted over or are none: (.., Y, X)."""
    return stored(folder, values.shape[-3:-1]) | ~np.isfinite(values).all(-1)


def write(folder: Path, holes: np.ndarray) -> str:
    """Write holes as a mask for the command line; the name of the file."""
    name = "mask.png" if holes.ndim == 2 else "mask.npy"
    io.write(folder / name, io.Content(holes.astype(np.uint8)))
    return name
