"""Numbers as PNG pictures that a browser shows."""

from base64 import b64encode

import imagecodecs
import numpy as np

Window = tuple[float, float]
MOST = 2**20  # values that are looked at to find out what is black and white


def window(values: np.ndarray) -> Window:
    """What is shown black and white: all of 8 bits; otherwise all but the farthest thousandth on each side."""
    if values.dtype == np.uint8:
        return 0.0, 255.0
    some = values.reshape(-1)[:: max(values.size // MOST, 1)].astype(float)
    low, high = np.quantile(some[np.isfinite(some)], (0.001, 0.999))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1)


def grey(picture: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values (.., channels) as 8 bits, grey or RGB: of many channels the first three; NaN is black."""
    share = np.nan_to_num((picture.astype(np.float32) - low) / (high - low))
    bytes_ = (255 * share.clip(0, 1)).round().astype(np.uint8)
    if picture.shape[-1] == 1:
        return bytes_[..., 0]
    missing = np.zeros((*picture.shape[:-1], max(3 - picture.shape[-1], 0)), np.uint8)
    return np.concatenate([bytes_[..., :3], missing], -1)


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
