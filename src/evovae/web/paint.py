"""Numbers as PNG pictures that a browser shows."""

from base64 import b64encode

import imagecodecs
import numpy as np

Window = tuple[float, float]
BINS = 64
MISSING = (200, 0, 110)  # a red that pictures hardly have, and most people tell from grey
MOST = 2**20  # values that are looked at to find out what is black and white


def window(values: np.ndarray) -> Window:
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


def histogram(values: np.ndarray) -> tuple[np.ndarray, Window]:
    """How many finite values lie in each of `BINS` equal parts of their range, and that range; all of 8 bits."""
    known = values[np.isfinite(values)].astype(float)
    low, high = (0.0, 255.0) if values.dtype == np.uint8 or not known.size else (known.min(), known.max())
    high = high if high > low else low + 1
    return np.histogram(known, BINS, (low, high))[0], (float(low), float(high))


def heat(picture: np.ndarray, high: float) -> np.ndarray:
    """Values (.., channels), their mean over channels as colours from black (0) to bright (high and above)."""
    import matplotlib  # which takes long, and jobs do without

    # NaN, of pages that were not restored, is grey.
    colours = matplotlib.colormaps["magma"].with_extremes(bad="0.5")(picture.mean(-1) / max(high, 1e-30), bytes=True)
    return colours[..., :3].copy()  # as views of a single pixel, though contiguous, cannot be encoded


def png(image: np.ndarray) -> bytes:
    """An 8-bit picture as a file."""
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(image), level=3))


def data_url(file: bytes) -> str:
    """A PNG file as an address that holds all of it."""
    return "data:image/png;base64," + b64encode(file).decode()


def sheet(patches: np.ndarray) -> np.ndarray:
    """Patches (rows, columns, Y, X, ..) in one picture, side by side without gaps."""
    rows, columns, height, width, *colours = patches.shape
    return patches.swapaxes(1, 2).reshape(rows * height, columns * width, *colours)
