"""Files that are there whole or not at all."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

_asking = threading.Lock()  # a process has one mask, which is only told when it is changed


def write_atomically(path: Path, save: Callable[[IO[bytes]], object]) -> None:
    """Let `save` fill a temporary file beside path, flush it to the disk, and rename it to path."""
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".tmp", delete=False) as file:
        temporary = Path(file.name)
        try:
            save(file)
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    _flush_folder(path.parent)


def _umask() -> int:
    with _asking:
        umask = os.umask(0)
        os.umask(umask)
    return umask


def _flush_folder(folder: Path) -> None:
    """Make a renamed file survive a loss of power, where folders can be flushed."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
