"""Values that lie in a file as they are: mapped rather than read, also where the file is packed with gzip.

npy is nothing but that; what FITS, MRC and NIfTI say beside their values is in modules of their own.
"""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from evovae.files import on_disk
from evovae.io.content import Content, CorruptFileError, UnsupportedFormatError, spread
from evovae.io.limits import check_size

GZIP = b"\x1f\x8b"
BLOCK = 2**22  # values that are converted at a time


@dataclass(frozen=True)
class Notes:
    """What a file says beside its values: a header of its library, the bytes before and after, and its axes.

    full_axes are those with the ones of length 1, which axes lack.
    """

    header: Any
    axes: str
    full_axes: str
    before: Any  # bytes, or an array of them
    after: Any = b""


def read_npy(path: Path) -> Content:
    """An array whose values stay on the disk until they are used; Python objects are never unpickled."""
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.dtype.kind not in "biufc":
        raise UnsupportedFormatError(f"holds {values.dtype} values, which are no numbers")
    return Content(values)


def write_npy(file: IO[bytes], content: Content) -> None:
    """Write the values, the alpha channel among them."""
    np.save(file, content.whole().values, allow_pickle=False)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file, unpacked to the disk if it is packed with gzip, whatever its name says."""
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.open(file) as inner, TemporaryFile() as unpacked:
            stored, count = path.stat().st_size, 0
            while part := inner.read(2**20):
                count += len(part)
                check_size((count,), np.dtype(np.uint8), stored)
                unpacked.write(part)
            unpacked.seek(0)
            with open(unpacked.fileno(), "rb", closefd=False) as readable:
                yield readable


def mapped(file: IO[bytes], offset: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Values that lie in a file one after another, read when they are used."""
    length = file.seek(0, 2)
    end = offset + int(np.prod([*map(int, shape), dtype.itemsize], dtype=object))
    if min(shape, default=1) < 0 or offset < 0 or end > length:
        sizes = " x ".join(map(str, shape))
        raise CorruptFileError(f"it has {length} bytes, too few for {sizes} values of {dtype.name} from byte {offset}")
    if end == offset:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, "r", offset, shape)


def scaled(stored: np.ndarray, scale: float, offset: float, blank: int | None = None) -> np.ndarray:
    """scale * stored + offset, float32 where that holds all stored integers, else float64; NaN where stored is blank.

    float32 holds integers of 8 and 16 bits.
    """
    small = stored.dtype.itemsize <= (4 if stored.dtype.kind == "f" else 2)
    values = on_disk(stored.shape, np.float32 if small else np.float64)
    for part, out in zip(parts(stored), parts(values), strict=True):
        np.multiply(part, scale, out=out, casting="unsafe", dtype=values.dtype)
        out += values.dtype.type(offset)
        if blank is not None:
            out[part == blank] = np.nan
    return values


def parts(values: np.ndarray) -> Iterator[np.ndarray]:
    """All values in order, as views of rows of a few megabytes."""
    rows = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
    step = max(BLOCK // max(rows.shape[1], 1), 1)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def thin(values: np.ndarray, axes: str) -> tuple[np.ndarray, str]:
    """Without the axes of length 1 other than Y and X, which are there in files of a fixed number of axes."""
    kept = [n for n, letter in enumerate(axes) if letter in "YX" or values.shape[n] > 1]
    return values.reshape([values.shape[n] for n in kept]), "".join(axes[n] for n in kept)


def thick(values: np.ndarray, axes: str | None, notes: Notes) -> tuple[np.ndarray, str]:
    """With all the axes that there were in a file: `thin` undone, if their order is the same."""
    return spread(values, notes.axes if values.ndim == len(notes.axes) else axes, notes.full_axes)


def put(file: IO[bytes], values: np.ndarray, order: str) -> None:
    """Write all values, with their bytes in that order, a few megabytes at a time."""
    for part in parts(values):
        file.write(part.astype(part.dtype.newbyteorder(order)).tobytes())  # type: ignore[arg-type]
