"""npy: any array of numbers, mapped rather than read."""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from evovae.io.content import Content, UnsupportedFormatError


def read(path: Path) -> Content:
    """An array whose values stay on the disk until they are used; Python objects are never unpickled."""
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.dtype.kind not in "biufc":
        raise UnsupportedFormatError(f"holds {values.dtype} values, which are no numbers")
    return Content(values)


def write(file: BinaryIO, content: Content) -> None:
    """Write the values, the alpha channel among them."""
    np.save(file, content.whole().values, allow_pickle=False)
