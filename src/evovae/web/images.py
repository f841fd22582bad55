"""Pictures of any axes as (pages, Z, Y, X, channels), of films T for Z; and their frames as a browser shows them."""

from math import prod

import imagecodecs
import numpy as np

from evovae.io import Content, UnsupportedFormatError
from evovae.web.schemas import Histogram

PLANE, FILM = "ZYX", "TYX"
BINS = 64
MISSING = (200, 0, 110)  # a red that pictures hardly have, and most people tell from grey
MOST = 2**20  # values that are looked at to find out what is black and white


def arranged(content: Content) -> np.ndarray:
    """Values as (pages, Z, Y, X, channels), axes that are not there of length 1.

    Raises
    ------
    UnsupportedFormatError
        If the spatial axes are not some of Z, Y, X, in that order.
    """
    axes, channels = content.axes or PLANE[-content.values.ndim :], content.channel_axis
    spatial = [axes.find(letter) for letter in (FILM if content.film else PLANE)]
    there = [axis for axis in spatial if axis >= 0]
    order = [*content.batch_axes, *there, *([] if channels is None else [channels])]
    if there != sorted(there) or sorted(order) != [*range(content.values.ndim)]:
        raise UnsupportedFormatError(f"the picture has axes {axes}, but only Z, Y and X can be shown, in that order")
    lengths = content.values.shape
    shape = (
        prod(lengths[axis] for axis in content.batch_axes),
        *(1 if axis < 0 else lengths[axis] for axis in spatial),
        1 if channels is None else lengths[channels],
    )
    return content.values.transpose(order).reshape(shape)


def as_in(content: Content, values: np.ndarray) -> np.ndarray:
    """Arranged values in the order and shape of a content: `arranged` undone."""
    places = arranged(content.replaced(np.arange(content.values.size).reshape(content.values.shape)))
    found = np.empty(values.size, values.dtype)
    found[places.reshape(-1)] = values.reshape(-1)
    return found.reshape(content.values.shape)


def plane(values: np.ndarray, frame: int) -> np.ndarray:
    """One frame (Y, X, channels) of arranged values; frames count the planes of the first page, then of the next."""
    return values[np.unravel_index(frame, values.shape[:2])]


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (Y, X, ..) as people see them, by the number that EXIF has for it."""
    turned = stored.swapaxes(0, 1) if orientation > 4 else stored
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return turned[::rows, ::columns]


def as_stored(seen: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as people see them as they are stored: `upright` undone."""
    return upright(seen, {6: 8, 8: 6}.get(orientation, orientation))


def stored_place(row: int, column: int, shape: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Where a pixel that is seen at a place lies in stored pixels of a shape (Y, X)."""
    places = np.broadcast_arrays(*np.ogrid[: shape[0], : shape[1]])
    down, across = (int(upright(place, orientation)[row, column]) for place in places)
    return down, across


def window(values: np.ndarray) -> tuple[float, float]:
    """What is shown black and white: all of 8 bits; otherwise all but the farthest thousandth on each side."""
    if values.dtype == np.uint8:
        return 0.0, 255.0
    some = values.reshape(-1)[:: max(values.size // MOST, 1)].astype(float)
    low, high = np.quantile(some[np.isfinite(some)], (0.001, 0.999))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1)


def grey(picture: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values (.., channels) as 8 bits, grey or RGB: of many channels the first three; where one is NaN, in a colour."""
    shown = picture[..., :3].astype(np.float32)
    missing = ~np.isfinite(shown).all(-1)
    bytes_ = (255 * np.nan_to_num((shown - low) / (high - low)).clip(0, 1)).round().astype(np.uint8)
    if shown.shape[-1] == 1 and not missing.any():
        return bytes_[..., 0]
    if shown.shape[-1] == 1:
        bytes_ = bytes_.repeat(3, -1)
    none = np.zeros((*bytes_.shape[:-1], 3 - bytes_.shape[-1]), np.uint8)
    coloured = np.concatenate([bytes_, none], -1)
    coloured[missing] = MISSING
    return coloured


def histogram(values: np.ndarray) -> Histogram:
    """How many finite values lie in each of `BINS` equal parts of their range; all of 8 bits."""
    known = values[np.isfinite(values)].astype(float)
    low, high = (0.0, 255.0) if values.dtype == np.uint8 or not known.size else (known.min(), known.max())
    high = high if high > low else low + 1
    return Histogram(low=low, high=high, counts=np.histogram(known, BINS, (low, high))[0].tolist())


def heat(picture: np.ndarray, high: float) -> np.ndarray:
    """Values (.., channels), their mean over channels as colours from black (0) to bright (high and above)."""
    import matplotlib  # which takes long, and jobs do without

    # NaN, of pages that were not restored, is grey.
    colours = matplotlib.colormaps["magma"].with_extremes(bad="0.5")(picture.mean(-1) / max(high, 1e-30), bytes=True)
    return colours[..., :3].copy()  # as views of a single pixel, though contiguous, cannot be encoded


def png(image: np.ndarray) -> bytes:
    """An 8-bit picture as a file."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(image), level=3))
