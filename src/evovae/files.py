"""Files that are there whole or not at all, and arrays that are too large for the memory."""

import mmap
import os
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import IO

import numpy as np
from numpy.typing import DTypeLike

IN_MEMORY = 2**28  # bytes of the largest array that is not kept on the disk

_asking = threading.Lock()  # a process has one mask, which is only told when it is changed


def write_atomically(path: Path, save: Callable[[IO[bytes]], object]) -> None:
    """Write a file whole or not at all: to a temporary file beside it, flushed to the disk, and renamed.

    Parameters
    ----------
    path
        The file; replaced, where there is one.
    save
        What writes to the open temporary file.
    """
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".tmp", delete=False) as file:
        temporary = Path(file.name)
        try:
            save(file)
            file.flush()
            os.fsync(file.fileno())
            with _asking:
                umask = os.umask(0)
                os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    if hasattr(os, "O_DIRECTORY"):  # a folder that can be flushed, so that the name survives a loss of power, too
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def on_disk(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Room for an array: in a file without a name, that goes with the array, if it is a large one."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if size < IN_MEMORY:
        return np.empty(shape, dtype)
    with TemporaryFile() as file:
        file.truncate(size)
        return np.memmap(file, dtype, "r+", shape=shape)


def let_go(*arrays: np.ndarray) -> None:
    """Let the system take the memory of arrays that are on the disk for other things."""
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
