"""How much a file may claim to hold, before anything is decoded.

A header of a few bytes can ask for any amount of memory.  What a picture really holds shrinks by a factor of two to
ten; only empty ones shrink by hundreds.  So up to `FREE_BYTES` are decoded whatever the file, and beyond that at most
`MAX_EXPANSION` times the bytes it has.  Of 30,000 x 30,000 pixels, a photograph passes, and a megabyte that claims
them does not; nothing is lost by that, as the same array can be read as .npy, which is mapped and not decoded.
"""

import math
from collections.abc import Sequence

import numpy as np

from evovae.io.content import UnsupportedFormatError

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
