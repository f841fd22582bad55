"""Masks of missing pixels as people have them: of zeros and ones, drawn in black and white, with soft brushes."""

from os import PathLike

import numpy as np
from numpy.typing import ArrayLike

from evovae.notes import warn

MOST = 0.5  # share of missing pixels, beyond which a mask may be meant the other way round


def missing(mask: ArrayLike) -> np.ndarray:
    """Where a mask says that a value is missing.

    That is where it is True, or the brighter of its two levels (1 of 0 and 1, 255 of 0 and 255).  Where it has more
    levels, as soft brushes and JPEG leave them, the upper half of their range is missing, and a warning says so.  Where
    a mask that is not of bool says that more than half of the pixels are missing, a warning asks whether that is meant.

    Parameters
    ----------
    mask
        Of bool, integers or floats, of any shape.

    Returns
    -------
    ndarray of bool
        True where a value is missing; of the shape of the mask.

    Raises
    ------
    TypeError
        If the mask is a path.
    ValueError
        Where the mask holds NaN, or one level alone that is neither that of none (0) nor that of all (True, 1, or the
        largest of its type).

    Examples
    --------
    >>> import numpy as np
    >>> from evovae.masks import missing
    >>> missing(np.array([[0, 0, 255]], np.uint8))
    array([[False, False,  True]])
    """
    if isinstance(mask, str | PathLike):
        raise TypeError(f"mask is a path; read the file first: evovae.io.read({str(mask)!r}).drawn() is its array")
    mask = np.asarray(mask)
    if mask.dtype == bool or not mask.size:
        return mask.astype(bool)
    if mask.dtype.kind not in "iuf" or np.isnan(mask).any():
        raise ValueError(
            f"mask holds {'NaN' if mask.dtype.kind == 'f' else mask.dtype}; give 0 (known) and 1 (missing)"
        )
    low, high = mask.min(), mask.max()
    if low == high:
        full = (1, np.iinfo(mask.dtype).max) if mask.dtype.kind in "iu" else (1,)
        if low not in (0, *full):
            raise ValueError(f"mask is {low} everywhere; give 0 where pixels are known, and 1 where they are missing")
        return mask != 0
    half = (float(low) + float(high)) / 2
    found = mask >= half
    if not ((mask == low) | (mask == high)).all():
        warn(
            f"mask has more than two levels, from {low} to {high}: "
            f"where it is {half:g} or more, pixels are missing ({found.sum()} of {found.size})"
        )
    if found.mean() > MOST:
        warn(
            f"the mask says that {found.mean():.0%} of the pixels are missing, which are its brighter ones; "
            "if the darker ones are meant, invert it"
        )
    return found
