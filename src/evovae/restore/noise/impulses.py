"""Impulses: hot and dead pixels, salt and pepper, cosmic rays, and values that stand for "no data", found in the image.

An impulse is no part of a picture: optics and filters spread what is over some pixels.  So each group of up to 4 x 4
pixels that stands out of the frames around it is hidden, and predicted from what is left, in two ways:

* by **the picture itself**.  Its windows y of D pixels are a scale mixture of Gaussians, y | q ~ N(mean, q C), C learnt
  from them.  With the precision L = 1 / C, the mean deviation of pixels G from what the rest of the window predicts is

      away = 1_G' L y / 1_G' L 1_G,    with variance q / 1_G' L 1_G    and q = y' L y / D, where G is as predicted.

  Where the neighbourhood is textured this variance is large; nowhere is it smaller than that of the noise.
* by **the sharpest spot** that optics give, a Gaussian of 1.5 pixels across at half its height (stars, beads): next to
  h pixels with the sum s, their neighbours have at least rho(h) s.  Hot pixels leave their neighbours as they were.

Sharp groups beyond a strength t are impulses if there are many more of them than texture alone gives.  How many that
are is estimated from blunt groups, none of which are impulses, but as many of which come from texture.  The least such
t is the limit; where there is none, there are no impulses.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Reach = tuple[int, int]  # of the window around a pixel
PLANE, SIGNAL = (4, 4), (0, 8)
SIDE = 4  # pixels along each axis of the largest impulse
CANDIDATE, MEMBER = 4.0, 3.0  # noise levels above the frames: a group's peak, its other pixels
MOST = 20_000  # candidates of each sign, the strongest; a hundred times fewer are common
PASSES = 3  # what is found uncovers more
ENOUGH = 0.05  # of what is found: a pass that adds less is the last
WINDOWS = 20_000  # that the model is learnt from
CALM = 0.2  # the scale q that no window is below, so that flat ones do not make the model alone
RIDGE = 0.05  # noise levels squared, for pictures that have next to no noise

# Least rho(h) of Gaussian spots from 1.5 to 4.6 pixels wide anywhere between pixels, h those above half the height.
SPOT = {PLANE: (1.167, 0.668, 0.397, 0.17), SIGNAL: (0.58, 0.085)}
WIDER = {PLANE: 0.3, SIGNAL: 0.05}  # of more pixels, and of four that make no square
MARGIN = 0.95  # no spot is exactly Gaussian
# Standard deviations by which groups are sharper than any spot: to be counted, to be taken, and to be blunt at most.
SURE, SHARP, BLUNT = 3.0, 1.5, 1.0

# Of the crops of BSD400 with noise of 2 to 50, white or correlated, 99 % have no more sharp groups beyond a strength t
# than (FEW + blunt groups) SHARE (t / CANDIDATE)^-FALL: for surprise, blunt ones that are far away count, for away all.
STRENGTHS = np.geomspace(CANDIDATE, 20, 12)
FEW, SHARE, FALL = (1, 5), {PLANE: (1.0, 0.3), SIGNAL: (4.0, 1.2)}, (3.0, 4.0)
CROWDED = 0.15  # candidates among all pixels, above which they are no exceptions: high tones
TOLERATED = (0.3, 0.12)  # so many of what is found may be the picture's, by surprise and away, if it has as many as any
LARGE = 0.4  # the larger groups are, the fewer of them have pictures: by this power of their sizes they count more
LEVELS, OFTEN = 16, 4  # distinct values that make a picture; equal ones that are no chance


@dataclass(frozen=True)
class _Groups:
    """Candidates: peaks (n, 3), their members within the windows around (n, h, w), and what is strange about them."""

    peak: np.ndarray
    members: np.ndarray
    away: np.ndarray  # from the prediction, in standard deviations
    surprise: np.ndarray  # the same over the unrest once more
    sharp: np.ndarray  # beyond the sharpest spot, in standard deviations

    def paint(self, chosen: np.ndarray, reach: Reach, shape: tuple[int, ...]) -> np.ndarray:
        """True at the members of the chosen."""
        wide = np.zeros((shape[0], shape[1] + 2 * reach[0], shape[2] + 2 * reach[1]), bool)
        which, row, column = np.nonzero(self.members[chosen])
        plane, top, left = self.peak[chosen][which].T
        wide[plane, top + row, left + column] = True
        return wide[:, reach[0] : reach[0] + shape[1], reach[1] : reach[1] + shape[2]]


def find(values: np.ndarray, observed: np.ndarray) -> np.ndarray:
    r"""Where impulses are: pixels, and groups of up to 4 x 4, that no picture has.

    In a picture without any nothing at all is found, but for 2 % of them at most.  Each channel is judged by itself;
    of three axes, the planes of the last two are, by one model.

    Parameters
    ----------
    values
        (\*spatial, C) with noise of standard deviation about 1, white or not.  Counts of few photons must be made even
        before: single ones are impulses here.
    observed
        Of the same shape, False where missing.

    Returns
    -------
    Of the same shape, True where an impulse is; never where missing.

    References
    ----------
    van Dokkum 2001, "Cosmic-Ray Rejection by Laplacian Edge Detection" (sharper than optics allow);
    Wainwright & Simoncelli 2000, "Scale Mixtures of Gaussians and the Statistics of Natural Images".
    """
    *lead, rows, columns = (1, *values.shape[:-1]) if values.ndim == 2 else values.shape[:-1]
    reach = SIGNAL if values.ndim == 2 else PLANE
    found = np.zeros(values.shape, bool)
    if rows <= 2 * reach[0] or columns <= 2 * reach[1]:
        return found
    for c in range(values.shape[-1]):
        planes, seen = (a[..., c].reshape(-1, rows, columns) for a in (values, observed))
        found[..., c] = _find(planes, seen, reach).reshape(values.shape[:-1])
    return found


def _find(planes: np.ndarray, seen: np.ndarray, reach: Reach) -> np.ndarray:
    """Impulses of one channel, searched for again without those found as long as there are more."""
    found = np.zeros(planes.shape, bool)
    groups = _groups(_filled(planes, seen), seen, reach)
    limits = _limits(groups, reach, planes.shape)
    for _ in range(PASSES):
        strange = (groups.surprise > limits[0]) | (groups.away > limits[1])
        more = groups.paint(strange & (groups.sharp > SHARP), reach, planes.shape) & seen & ~found
        found |= more
        if more.sum() <= ENOUGH * found.sum():
            break
        groups = _groups(_filled(planes, seen & ~found), seen & ~found, reach)
    return found


def _limits(groups: _Groups, reach: Reach, shape: tuple[int, ...]) -> list[float]:
    """Limits of surprise and away beyond which groups are impulses; infinite where there are no more than by chance.

    The outermost pixels, which have few neighbours, are not counted.
    """
    if len(groups.peak) > CROWDED * np.prod(shape):
        return [np.inf, np.inf]
    edge, limits = 2 * np.minimum(reach, 1), []
    inner = ((groups.peak[:, 1:] >= edge) & (groups.peak[:, 1:] < shape[1:] - edge)).all(1)
    sharp, blunt = inner & (groups.sharp > SURE), inner & (groups.sharp < BLUNT)
    blunts = (blunt & (groups.away > CANDIDATE)).sum(), blunt.sum()
    scores = (groups.surprise, groups.away)
    for score, few, own, share, fall, most in zip(scores, FEW, blunts, SHARE[reach], FALL, TOLERATED, strict=True):
        natural = (few + own) * share * (STRENGTHS / CANDIDATE) ** -fall
        number = (score[sharp, None] > STRENGTHS).sum(0)
        least = np.maximum(natural / most, np.floor(natural + 3 * np.sqrt(natural) + 1.2))
        limits.append(min(STRENGTHS[number >= least], default=np.inf))
    return limits


def _groups(filled: np.ndarray, known: np.ndarray, reach: Reach) -> _Groups:
    """All candidates, bright and dark."""
    above, below = filled - _frames(filled, reach), -filled - _frames(-filled, reach)
    base = filled - np.where(above > MEMBER, above, 0) + np.where(below > MEMBER, below, 0)
    precision, parts = _precision(base, reach), []
    for sign, excess in ((1, above), (-1, below)):
        peak, members = _connected(np.where(known, excess, 0), reach)
        around, own = (sign * _windows(a, reach)[tuple(peak.T)] for a in (base, filled))
        mean = around.mean((1, 2), keepdims=True)
        parts.append((peak, members, *_judged(around - mean, own - mean, members, precision, reach)))
    return _Groups(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _judged(
    around: np.ndarray, own: np.ndarray, members: np.ndarray, precision: np.ndarray, reach: Reach
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far away, surprising and sharp groups are, from windows (n, h, w) without and with them."""
    rise = np.where(members, own - around, 0)
    high = members & (rise > rise.max((1, 2), keepdims=True, initial=0) / 2)
    ring = (_grown(high, corners=False) & ~high).reshape(len(high), precision.shape[0])
    rho = MARGIN * _least(high, reach)
    y, high = (a.reshape(ring.shape) for a in (np.where(members, own, around), high))
    scores, size, information = (
        y @ precision,
        np.maximum(high.sum(1), 1),
        np.maximum(((high @ precision) * high).sum(1), 1e-9),
    )
    away = (scores * high).sum(1) / information
    y = y - away[:, None] * high
    q = ((y @ precision) * y).mean(1)
    unrest = np.sqrt(np.maximum(q * size / information, 1))
    excess = _excess(scores, high | ring, precision)
    short = rho * (excess * high).sum(1) - (excess * ring).sum(1)
    surprise = away / unrest**2 * size**LARGE
    return away / unrest, surprise, short / np.sqrt((ring.sum(1) + rho**2 * size) * np.maximum(q, 1))


def _least(high: np.ndarray, reach: Reach) -> np.ndarray:
    """rho of each group."""
    size, spot = high.sum((1, 2)), SPOT[reach]
    square = (high[:, 1:, 1:] & high[:, 1:, :-1] & high[:, :-1, 1:] & high[:, :-1, :-1]).any((1, 2))
    known = (size <= len(spot)) & ((size < 4) | square)
    return np.where(known, np.array(spot)[np.minimum(size, len(spot)) - 1], WIDER[reach])


def _excess(scores: np.ndarray, hidden: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """How far all hidden pixels are together from their prediction by the rest, (L_SS)^-1 (L y)_S; zero elsewhere."""
    excess, width = np.zeros_like(scores), hidden.sum(1).max(initial=0)
    for part in np.array_split(np.arange(len(scores)), len(scores) // 2000 + 1):
        index = np.argsort(~hidden[part], 1, kind="stable")[:, :width]
        real = np.take_along_axis(hidden[part], index, 1)
        both = real[:, :, None] & real[:, None]
        matrix = np.where(both, precision[index[:, :, None], index[:, None]], np.eye(width))
        right = np.where(real, scores[part[:, None], index], 0)
        excess[part[:, None], index] = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    return excess


def _frames(x: np.ndarray, reach: Reach) -> np.ndarray:
    """For each pixel: of all boxes of up to SIDE pixels that hold it, the least maximum over the frame around the box.

    What goes on crosses every frame: lines, edges and corners are not above this, what is small and by itself is.
    Mirrored at the ends.  The frames of a signal are three deep, as it has few neighbours.
    """
    axes, depth = [axis for axis in (1, 2) if reach[axis - 1]], 1 if reach[0] else 3
    least = np.full_like(x, np.inf)
    for b in range(1, SIDE + 1):
        wide, sides = _padded(x, [b + depth - 1 if r else 0 for r in reach]), []
        for axis in axes:
            side = reduce(lambda a, other: _slide(a, other, b + 2, np.maximum), [o for o in axes if o != axis], wide)
            side = _slide(side, axis, depth, np.maximum).swapaxes(0, axis)
            sides.append(np.maximum(side[: -b - depth], side[b + depth :]).swapaxes(0, axis))
        frame = reduce(np.maximum, sides)
        least = np.minimum(least, reduce(lambda a, axis: _slide(a, axis, b, np.minimum), axes, frame))
    return least


def _slide(x: np.ndarray, axis: int, length: int, of: np.ufunc) -> np.ndarray:
    """`of` every `length` pixels on end."""
    n = x.shape[axis] - length + 1
    return reduce(of, [x[(slice(None),) * axis + (slice(k, k + n),)] for k in range(length)])


def _padded(x: np.ndarray, by: Reach | list[int]) -> np.ndarray:
    return np.pad(x, [(0, 0), *((r, r) for r in by)], mode="reflect")


def _windows(x: np.ndarray, reach: Reach) -> np.ndarray:
    """A view of the window around every pixel, mirrored at the ends."""
    return sliding_window_view(_padded(x, reach), [2 * r + 1 for r in reach], (1, 2))


def _precision(base: np.ndarray, reach: Reach) -> np.ndarray:
    """L of a scale mixture fitted to windows of base (Tyler 1987), without means; with the symmetries of a square."""
    windows, some = _windows(base, reach), np.random.default_rng(0).integers(0, base.size, WINDOWS)
    x = windows[np.unravel_index(some, base.shape)].reshape(WINDOWS, -1)
    x, weight = x - x.mean(1, keepdims=True), np.ones((WINDOWS, 1))
    for _ in range(4):
        c = ((x * weight).T @ x / WINDOWS).reshape(windows.shape[3:] * 2)
        c = (c + c[::-1, :, ::-1]) / 2
        c = (c + c[:, ::-1, :, ::-1]) / 2
        c = (c + c.transpose(1, 0, 3, 2)) / 2 if reach[0] else c
        c = c.reshape(x.shape[1], -1) + RIDGE * np.eye(x.shape[1])
        precision = np.linalg.inv(c + 10 * c.trace() / len(c))
        weight = 1 / (CALM + ((x @ precision) * x).mean(1, keepdims=True))
    return precision


def _connected(excess: np.ndarray, reach: Reach) -> tuple[np.ndarray, np.ndarray]:
    """Peaks beyond CANDIDATE (n, 3), and what touches them beyond MEMBER, in windows around; none that is too large."""
    top = _padded(excess, [min(r, 1) for r in reach])
    top = reduce(lambda a, axis: _slide(a, axis, 3, np.maximum), [axis for axis in (1, 2) if reach[axis - 1]], top)
    peak = np.argwhere((excess > CANDIDATE) & (excess >= top))
    peak = peak[np.argsort(-excess[tuple(peak.T)], kind="stable")[:MOST]]
    window = _windows(excess, reach)[tuple(peak.T)]
    members = np.zeros(window.shape, bool)
    members[:, reach[0], reach[1]] = True
    for _ in range(2 * SIDE):
        members = _grown(members, corners=True) & (window > MEMBER)
    highest = (window * members).max((1, 2), initial=0) <= excess[tuple(peak.T)]
    sides = [np.any(members, axis=axis) for axis in (1, 2)]
    small = [a.shape[1] - a.argmax(1) - a[:, ::-1].argmax(1) <= SIDE for a in sides]
    keep = highest & small[0] & small[1]
    return peak[keep], members[keep]


def _grown(members: np.ndarray, corners: bool) -> np.ndarray:
    """With all that share a side, or a corner, with a member."""
    grown = members.copy()
    for axis in (1, 2):
        a = (grown if corners else members).swapaxes(0, axis).copy()
        b = grown.swapaxes(0, axis)
        b[1:] |= a[:-1]
        b[:-1] |= a[1:]
    return grown


def _filled(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """x, with means of what is next to it where it is not known, step by step."""
    total, count = np.where(known, x, 0), known.astype(float)
    for _ in range(2 * SIDE):
        if count.all():
            return total
        wide = [np.pad(a, [(0, 0), (1, 1), (1, 1)]) for a in (total, count)]
        near, number = (reduce(lambda a, axis: _slide(a, axis, 3, np.add), (1, 2), a) for a in wide)
        fill = (count == 0) & (number > 0)
        total[fill], count[fill] = near[fill] / number[fill], 1
    return np.where(count > 0, total, total.sum() / max(count.sum(), 1))


def sentinels(values: np.ndarray, observed: np.ndarray) -> np.ndarray:
    r"""Where raw values stand for "no data": -32768 among 0 .. 4000, 2^32 - 1 among small numbers, NaN.

    The greatest or least value of a channel is one where it is further from all others than these are from each other,
    and the limit of the type or often the same.  Zero never is, nor is any value of 8 bits: borders are made of those.

    Parameters
    ----------
    values
        (\*spatial, C), as they were stored.
    observed
        Of the same shape, False where missing.

    Returns
    -------
    Of the same shape, True where a value is none.
    """
    real = observed & np.isfinite(values)
    if values.dtype.itemsize == 1:
        return observed & ~real
    limits = np.finfo(values.dtype) if values.dtype.kind == "f" else np.iinfo(values.dtype)
    for c in range(values.shape[-1]):
        rest, channel = real[..., c], values[..., c]
        for end in (np.max, np.min) * 2:
            last = end(channel[rest]) if rest.any() else 0
            same = rest & (channel == last)
            others = channel[rest & ~same].astype(float)
            if not last or len(np.unique(others)) < LEVELS:
                continue
            apart = abs(float(last) - float(end(others))) > np.ptp(others)
            if apart and (last in (limits.min, limits.max) or same.sum() >= OFTEN):
                rest &= ~same  # a view of real
    return observed & ~real
