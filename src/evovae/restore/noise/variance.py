"""How the variance of one channel's noise depends on the signal, from pairs of similar blocks at each level.

Pairs (`similar`) of all levels are sorted into bins; in each, those that are most similar in one half of their
coefficients tell, by the other half, how much stronger the noise is than on average.  Texture is in both halves,
so that it is not chosen; noise is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evovae.restore.noise.curves import Curve, Flat, Line, Monotone
from evovae.restore.noise.similar import Pairs, find_pairs, robust_variances

PER_BIN, MOST_BINS, FEWEST_BINS = 300, 20, 5
SHARE, LEAST = 0.15, 30  # of the pairs in a bin that are looked at
LOW = 3  # coefficients with a smaller sum of indices are left out, as most structure is there
UNSURE = 0.08  # relative error of a bin's variance beyond that of chance: texture, as seen on crops of BSD
GROWS = 1.35  # variances at the ends of the line, one over the other, from which on the noise is not the same everywhere
SIGNIFICANT = 3.5  # standard errors of the slope, likewise
BENT = 3.0  # mean square of a line's deviations, over those expected, from which on it is no line
ROUNDING = 1 / 12


@dataclass(frozen=True)
class Bins:
    """Levels, the noise's variance there, and the relative standard error of that, all (B,), in image units."""

    level: np.ndarray
    variance: np.ndarray
    error: np.ndarray


def fit_curve(values: np.ndarray, usable: np.ndarray, clip: tuple[float | None, float | None]) -> tuple[Curve, Bins]:
    """The curve of one channel, values (*spatial), and what it was fitted to; flat unless there is reason for more.

    clip is the least and the largest value that could be stored, where values are seen to end there.
    """
    unit = float(values[usable].std()) or 1.0
    offset = float(values[usable].mean())
    pairs = find_pairs(((values - offset) / unit)[..., None], usable)
    bins = _bins(pairs, clip, offset, unit)
    low, high = float(values[usable].min()), float(values[usable].max())
    if len(bins.level) < FEWEST_BINS:
        return Flat(_typical(pairs) * unit), bins
    return _choose(bins, low, high, clip, bool(np.isin(0, values[usable])) and low >= 0), bins


def _typical(pairs: Pairs) -> float:
    """Standard deviation of the noise over all levels."""
    return float(np.sqrt(robust_variances(pairs, 0.1).mean())) if len(pairs.coefficients) else 0.0


def _bins(pairs: Pairs, clip: tuple[float | None, float | None], offset: float, unit: float) -> Bins:
    """Variances in bins of level, without those that clipping may have touched."""
    level = pairs.level[:, 0]
    count = min(len(level) // PER_BIN, MOST_BINS)
    if count < FEWEST_BINS:
        return Bins(*np.zeros((3, 0)))
    whole = robust_variances(pairs, 0.1)[0]
    high_ones = np.indices(pairs.size).sum(0).ravel() >= min(LOW, sum(pairs.size) // 4)
    found = []
    for part in np.array_split(np.argsort(level, kind="stable"), count):
        energies, levels = [], []
        for half, index in enumerate(pairs.halves):
            blocks = pairs.best(half, SHARE, LEAST, part)
            used = high_ones[index]
            off = np.square(pairs.differences(half, blocks)[:, 0, used]) / np.maximum(whole[index][used], 1e-30)
            energies.append(off.mean(1) / (1 - 2 / (9 * used.sum())) ** 3)  # median of chi2 over its mean
            levels.append(level[blocks])
        energy = np.concatenate(energies)
        if len(energy):
            # overlapping blocks tell the same: one in four counts
            error = 1.25 * energy.std() / np.sqrt(len(energy) / 4) / max(float(np.median(energy)), 1e-30)
            found.append((np.mean(np.concatenate(levels)), np.median(energy) * whole.mean(), error))
    levels, variances, errors = np.array(found).T
    bins = Bins(levels * unit + offset, variances * unit**2, np.hypot(errors, UNSURE))
    return _unclipped(bins, clip)


def _unclipped(bins: Bins, clip: tuple[float | None, float | None]) -> Bins:
    """Without bins whose values, two standard deviations away, were clipped, or that have no noise at all."""
    low, high = (end if end is not None else sign * np.inf for end, sign in zip(clip, (-1, 1), strict=True))
    typical = np.sqrt(np.median(bins.variance))
    width = 2 * np.minimum(np.sqrt(bins.variance), typical)
    keep = (bins.level - width > low) & (bins.level + width < high) & (bins.variance > 1e-4 * typical**2)
    return Bins(bins.level[keep], bins.variance[keep], bins.error[keep])


def _choose(bins: Bins, low: float, high: float, clip: tuple[float | None, float | None], counts: bool) -> Curve:
    """Flat, a line, or any curve: the simplest that fits."""
    slope, height, error = _line(bins)
    flat = Flat(float(np.sqrt(np.average(bins.variance, weights=bins.error**-2 / bins.variance**2))))
    on_line = slope * bins.level + height
    deviates = np.mean(((bins.variance - on_line) / (bins.error * np.maximum(on_line, 1e-30))) ** 2)
    swing = bins.variance.max() / bins.variance.min()
    if on_line.min() > 0 and deviates < BENT:
        ratio = max(on_line[-1] / on_line[0], on_line[0] / on_line[-1])
        if ratio < GROWS or abs(slope) < SIGNIFICANT * error:
            return flat
        if slope > 0:
            return _photons(slope, height, low, high, clip, counts)
    elif slope > 0 and slope > 2 * SIGNIFICANT * error and deviates < 2 * BENT:
        return _photons(slope, height, low, high, clip, counts)
    smooth = _smooth(bins)
    if swing < GROWS**1.5 or smooth.max() / smooth.min() < GROWS:
        return flat
    knots, at = np.unique(bins.level, return_index=True)
    return Monotone(tuple(knots.tolist()), tuple(np.sqrt(smooth[at]).tolist()), low, high, _no_none(clip))


def _photons(slope: float, height: float, low: float, high: float, clip: tuple[float | None, float | None], counts: bool) -> Curve:
    """A line; of counts without read noise through the level of no photons, where it nearly goes through it anyway."""
    at_dark = slope * low + height
    if counts and abs(at_dark) < 2 * slope**2:
        height = -slope * low
    return Line(slope, height, low, high, _no_none(clip))


def _no_none(clip: tuple[float | None, float | None]) -> tuple[float | None, float | None] | None:
    return None if clip == (None, None) else clip


def _line(bins: Bins) -> tuple[float, float, float]:
    """Slope, height, and standard error of the slope: least squares of relative errors, reweighted for outliers."""
    x, y = bins.level, bins.variance
    weights = np.ones_like(y)
    scale = y * bins.error
    for _ in range(20):
        design = np.stack([x, np.ones_like(x)], 1) / scale[:, None]
        (slope, height), *_ = np.linalg.lstsq(design * weights[:, None], weights * y / scale, rcond=None)
        fit = np.maximum(slope * x + height, 0.1 * y)
        weights = (1 + ((y - slope * x - height) / (2 * scale)) ** 2) ** -0.5
        scale = fit * bins.error
    spread = np.linalg.inv((design * weights[:, None]).T @ (design * weights[:, None]) + 1e-300 * np.eye(2))[0, 0]
    return float(slope), float(height), float(np.sqrt(spread))


def _smooth(bins: Bins) -> np.ndarray:
    """Variances, each the weighted mean of those around it, in the logarithm."""
    order = np.arange(len(bins.level))
    weights = np.exp(-0.5 * ((order[:, None] - order) / 1.2) ** 2) / np.square(bins.error)
    return np.exp(weights @ np.log(bins.variance) / weights.sum(1))
