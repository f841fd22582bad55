"""How much a file may claim to hold, before anything is decoded, and what formats can hold.

A header of a few bytes can ask for any amount of memory.  What a picture really holds shrinks by a factor of two to
ten; only empty ones shrink by hundreds.  So up to `FREE_BYTES` are decoded whatever the file, and beyond that at most
`MAX_EXPANSION` times the bytes it has.  Of 30,000 x 30,000 pixels, a photograph passes, and a megabyte that claims
them does not; nothing is lost by that, as the same array can be read as .npy, which is mapped and not decoded.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evovae.io.content import Content, UnsupportedFormatError
from evovae.notes import warn

FREE_BYTES = 2**29
MAX_EXPANSION = 100


def check_size(shape: Sequence[int], dtype: np.dtype, stored: int) -> None:
    """Fail if `stored` bytes of a file claim to be an array of that shape, out of all proportion."""
    claimed = math.prod(map(int, shape)) * dtype.itemsize
    if claimed > max(FREE_BYTES, MAX_EXPANSION * stored):
        sizes = " x ".join(map(str, shape))
        raise UnsupportedFormatError(
            f"claims {sizes} values of {dtype}, {claimed:,} bytes from {stored:,}, which is over {FREE_BYTES:,} bytes "
            f"and {MAX_EXPANSION} times what there is; save it uncompressed or as .npy if that is so"
        )


def check_series(path: Path, series: int, there: Sequence[str]) -> None:
    """Fail if a file has no such series, and say which others there are, as far as these are described."""
    if not 0 <= series < len(there):
        raise UnsupportedFormatError(f"has no series {series}; there are {len(there)}, counted from 0")
    if len(there) > 1:
        listed = ", ".join(f"{number}: {what}" for number, what in enumerate(there[:9]) if what)
        warn(f"{path.name} holds {len(there)} series{listed and f' ({listed})'}; series {series} is read")


def check_dtype(content: Content, name: str, held: tuple[type[np.generic], ...], others: str) -> None:
    """Fail if a format cannot hold the type of the values; `others` are the formats that might."""
    dtype = content.values.dtype
    if dtype.newbyteorder("=") not in held:
        types = ", ".join(np.dtype(kind).name for kind in held)
        raise UnsupportedFormatError(f"{name} cannot hold {dtype}, which is not one of {types}; write {others}")


def check_picture(content: Content, name: str, held: tuple[type[np.generic], ...], samples: int) -> None:
    """Fail if a format of single pictures, with up to so many samples in a pixel, cannot hold the content."""
    check_dtype(content, name, held, ".tif or .npy")
    shape = content.values.shape
    channel_axis = content.channel_axis
    if content.axes is None and len(shape) == 3 and shape[2] in (3, 4):
        channel_axis = 2
    if len(shape) - (channel_axis is not None) != 2 or channel_axis not in (None, 2):
        axes = f" with axes {content.axes}" if content.axes else ""
        raise UnsupportedFormatError(
            f"{name} holds single pictures, with colours as the last axis, not shape {shape}{axes}; write .tif or .npy"
        )
    found = (1 if channel_axis is None else shape[2]) + (content.alpha is not None)
    if found > samples:
        alpha = ", with the alpha channel," if content.alpha is not None else ""
        raise UnsupportedFormatError(f"{name} cannot hold the {found}{alpha} channels there are; write .tif or .npy")


def check_rows(content: Content, name: str, held: tuple[type[np.generic], ...]) -> None:
    """Fail if a format of numbers alone, whose last axes are rows and columns, cannot hold the content."""
    content = content.whole()
    check_dtype(content, name, held, ".tif or .npy")
    axes = content.axes
    if axes and axes != "X" and not axes.endswith("YX"):
        raise UnsupportedFormatError(f"{name} holds rows and columns as the last axes, not {axes}; write .tif or .npy")
