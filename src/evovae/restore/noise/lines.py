"""Lines: offsets of whole rows and columns, as amplifiers and shutters of sensors leave them, found in the image.

Of values y with rows i, every pixel is predicted by the mean of the REACH pixels above and below it.  A picture is
smooth enough for that in most places, so that along row i

    y - prediction = d_i + noise,    d = A r,    A = 1 - prediction,

where r are the offsets: an offset is the same along all of its row, and structure is not.  Each row is cut into
segments; d_i is the median of their medians, and its error e_i follows from how far they disagree.  Lines are there
where the mean of min(t^2, 9), t = d / e, over all rows is more than natural pictures have: few of their rows have d at
all.  Then

    r = argmin  sum_i w_i (d_i - (A r)_i)^2 + lambda |r|^2,    w_i ~ 1 / e_i^2,    lambda ~ noise over lines in d,

which leaves what is smooth across the lines (A r = 0 there) to the picture, and removes no more than is significant.
"""

import numpy as np

REACH = 2  # rows above and below
SEGMENT = 16  # pixels of a line, at most: fewer where that would leave less than SEGMENTS
SEGMENTS = 10
LEAST = 4  # pixels of a segment, at least
SHORTEST = 32  # pixels along and across lines, below which nothing is said
OF_MEDIAN = 1.2533  # standard error of a median over that of a mean
MAD = 1.4826
# Of BSD400 with white noise of 2 to 50, along both axes, 1 % have a mean of min(t^2, 9) above 2.0 to 2.4, water above
# 2.7; with rows of 6 beside white noise of 10, 1 % have less than 3.3.  The median |t| of white noise is 0.67.
CLIP = 3.0
MOST, MOST_SPREAD = 2.6, 3.0  # and so many over the root of the number of lines
MEDIAN = 0.8
SHRINK = 0.3  # noise over lines in d; more leaves lines, less brings noise (rows of 6 beside white 2 and 10)
FAR = 3.5  # mean |d| beyond which a line is structure
_KERNEL = np.r_[[-0.5 / REACH] * REACH, 1.0, [-0.5 / REACH] * REACH]  # A
STEPS = 400  # of descent; far more than A needs, but for what it hardly sees


def find(values: np.ndarray, observed: np.ndarray) -> np.ndarray:
    r"""Offsets of rows and of columns, to be subtracted.

    Parameters
    ----------
    values
        (\*spatial, C) with noise of standard deviation about 1.
    observed
        Of the same shape, False where missing.

    Returns
    -------
    Of the same shape: the sum of offsets along the last two spatial axes, in every plane of three axes and in every
    channel; zero where none are significant, and for signals of one axis.

    References
    ----------
    Tendero, Landeau & Gilles 2012, "Non-uniformity Correction of Infrared Images by Midway Equalization" (why columns
    alone tell); Huber 1964, "Robust Estimation of a Location Parameter".
    """
    offsets = np.zeros(values.shape)
    if values.ndim < 3:
        return offsets
    for c in range(values.shape[-1]):
        planes = values[..., c].reshape(-1, *values.shape[-3:-1])
        seen = observed[..., c].reshape(planes.shape)
        rows = _rows(planes, seen)[:, :, None]
        columns = _rows(planes.swapaxes(1, 2), seen.swapaxes(1, 2))[:, None, :]
        offsets[..., c] = (rows + columns).reshape(values.shape[:-1])
    return offsets


def _rows(planes: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Offsets (P, h) of the rows of planes (P, h, w); zeros where they are not significant in all planes together."""
    if min(planes.shape[1:]) < SHORTEST:
        return np.zeros(planes.shape[:2])
    deviation, error = _deviations(planes, seen)
    t = np.abs(deviation / error)
    strength = np.minimum(t, CLIP) ** 2
    if strength.mean() < MOST + MOST_SPREAD / np.sqrt(strength.size) or np.median(t) < MEDIAN:
        return np.zeros(planes.shape[:2])
    share = SHRINK / (strength.mean() - 1)
    limit = FAR * np.abs(deviation).mean(1, keepdims=True)
    weight = np.where(np.abs(deviation) > limit, 0, np.minimum(np.median(error) / error, 1) ** 2)
    return _offsets(np.where(weight > 0, deviation, 0), weight, share)


def _offsets(deviation: np.ndarray, weight: np.ndarray, share: float) -> np.ndarray:
    """r (P, h) of d, w and lambda, by descent."""
    r = np.zeros_like(deviation)
    step = 1 / (np.abs(np.fft.rfft(_KERNEL, 64)).max() ** 2 + share)
    for _ in range(STEPS):
        r += step * (_across(weight * (deviation - _across(r))) - share * r)
    return r


def _across(x: np.ndarray) -> np.ndarray:
    """A x along axis 1, mirrored at the ends."""
    wide = np.pad(x, [(0, 0), (REACH, REACH)] + [(0, 0)] * (x.ndim - 2), mode="reflect")
    return sum(k * wide[:, i : i + x.shape[1]] for i, k in enumerate(_KERNEL))


def _deviations(planes: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """d and its standard errors, (P, h) each."""
    width = planes.shape[2]
    length = int(np.clip(width // SEGMENTS, LEAST, SEGMENT))
    whole = width // length * length
    apart = np.where(seen, _across(_filled(planes, seen)), np.nan)[:, :, :whole]
    segments = _median(apart.reshape(*apart.shape[:2], -1, length))
    deviation = _median(segments)
    number = np.isfinite(segments).sum(2)
    spread = MAD * _median(np.abs(segments - deviation[:, :, None]))
    pixels = np.isfinite(apart).sum(2)
    noise = OF_MEDIAN * np.sqrt((_KERNEL**2).sum() / np.maximum(pixels, 1))
    error = np.maximum(OF_MEDIAN * spread / np.sqrt(np.maximum(number, 1)), noise)
    known = np.isfinite(deviation)
    return np.where(known, deviation, 0), np.where(known, error, np.inf)


def _median(x: np.ndarray) -> np.ndarray:
    """Over the last axis, of what is not NaN; NaN where all is."""
    x = np.sort(x, -1)
    n = np.isfinite(x).sum(-1, keepdims=True)
    low, high = (np.take_along_axis(x, np.maximum(i, 0), -1) for i in ((n - 1) // 2, n // 2 - (n == x.shape[-1]) * 0))
    return ((low + high) / 2)[..., 0]


def _filled(planes: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Where values are missing, the mean of those around in the same row, as its offset is in them."""
    if seen.all():
        return planes
    total, count = (
        np.cumsum(np.pad(a, [(0, 0), (0, 0), (SEGMENT + 1, SEGMENT)]), 2) for a in (np.where(seen, planes, 0), seen)
    )
    near, number = (a[:, :, 2 * SEGMENT + 1 :] - a[:, :, : -2 * SEGMENT - 1] for a in (total, count))
    mean = np.where(seen, planes, 0).sum() / max(seen.sum(), 1)
    return np.where(seen, planes, np.where(number > 0, near / np.maximum(number, 1), mean))
