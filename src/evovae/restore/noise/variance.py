"""How the variance of one channel's noise depends on the signal, with texture told apart from noise.

Pairs of similar blocks (`similar`) are sorted into bins by their mean level.  In each bin, the strength of the noise is
measured on the pairs that are most similar in one half of their coefficients, by the other half: in four bands, from
coarse to fine.  Structure that the blocks of a pair do not share only adds to that, so that in bin b

    log energy_b = log variance(level_b) + N(0, error_b^2) + Exponential(mean t),

with t fitted, too: curves are lower envelopes.  They are polynomials of a low degree with positive Bernstein
coefficients, the simplest that the bins allow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import log_ndtr
from scipy.stats import binom, rice

from evovae.restore.noise.curves import Curve, Line, Log, Monotone, Rician
from evovae.restore.noise.similar import Pairs

Limits = tuple[float | None, float | None]

PER_BIN, MOST_BINS, FEWEST_BINS = 300, 20, 5
SHARE, LEAST = 0.15, 30  # of the pairs in a bin that are looked at
BANDS = {
    "coarse": (0.2, 0.3),
    "middle": (0.5, 0.58),
    "fine": (0.64, 1),
    "finest": (0.78, 1),
}  # of the largest index sum
CLOSE = 1e-3  # standard deviations of the values: as close to an end of the range as rounding allows
CUT = 2.0  # relative error of an energy, over the share of values at an end of the range
TOGETHER = 8  # blocks in a mean
UNSURE = 0.05  # relative error of an energy beyond that of chance
LEAST_TEXTURE = 0.02  # t, at least
# Gains in log likelihood from which on a curve is not flat, chosen on crops of BSD with white noise and photons (how
# often they err is in docs/explain/noise.md).  The more texture there is in the coarse band, and the more energies
# differ from pair to pair where variances are large, the more it takes; variances that fall must stand out twice as
# much.
GAIN, GAIN_PER_TEXTURE, NO_TEXTURE = 5.5, 12.0, 0.3
GAIN_PER_UNREST, NO_UNREST, AT_END = 60.0, 1.3, 5  # of so many bins at the end with the larger variance
SWING = 0.3  # log of the variances at both ends, one over the other, at least
BENT = 8.0  # gain of another degree
# Where many values are zero they may be counts of single photons, whose variance is a line through zero: if that fits
# so well (t) over so wide a range (of log levels).
PURE, RISE = 0.15, 0.7
# Noise is correlated where energies fall by so much (in logs) from the middle band to the finest, and from the coarse.
# Textures do, too, but differ more from pair to pair than noise does: beyond an unrest of RESTLESS (of the most similar
# pairs of all, and of those in bins) energies must fall the more.  Chosen on crops of BSD without noise, with white
# noise of 0.5 to 5 and with correlated noise of 5 to 20, and on wide-field pictures.  What channels do not share has
# little texture.
CORRELATED, FALL = 0.65, 2.8
RESTLESS, PER_UNREST = (1.2, 1.4), 4.0
MOST_SIMILAR = 0.05
COLOURS = 3  # channels from which on structure is mostly what they share
SHALLOWEST = 1.5  # p of grass
OFTEN, ABOVE = 1e-3, 10.0  # share of the values that makes an end of the range a limit, and over that of all beyond it
KNOTS = 24
LEVELS = 8, 4096  # distinct values: pictures of fewer are meant so, in those of more rounding is no matter


@dataclass(frozen=True)
class Bins:
    """Bins of level, in image units.

    level is their mean value (B,), energy and error what is in each band and how unsure that is, relatively (B, bands),
    cut the share of values at an end of the range (B,), unrest how much energies differ from pair to pair (B,).
    """

    level: np.ndarray
    energy: np.ndarray
    error: np.ndarray
    cut: np.ndarray
    unrest: np.ndarray

    @classmethod
    def of(cls, pairs: Pairs, offset: float, unit: float, ends: Limits) -> Bins:
        """Those of pairs in (values - offset) / unit, where values end at `ends`; there may be none."""
        level = pairs.level[:, 0]
        low, high = (
            sign * np.inf if end is None else (end - offset) / unit for end, sign in zip(ends, (-1, 1), strict=True)
        )
        number = min(max(len(level) // PER_BIN, min(len(level) // (2 * LEAST), FEWEST_BINS)), MOST_BINS)
        frequencies, found = pairs.frequencies, []
        for part in np.array_split(np.argsort(level, kind="stable"), number or 1):
            chosen = [pairs.best(half, SHARE, LEAST, part) for half in (0, 1)]
            if sum(map(len, chosen)) < LEAST:
                continue
            off = [pairs.differences(half, blocks)[:, 0] for half, blocks in enumerate(chosen)]
            squares = [np.square(each) for each in off]
            energy, error = zip(*(_middle(squares, frequencies, band) for band in BANDS.values()), strict=True)
            both = np.concatenate(chosen)
            values = pairs.coefficients[both, 0] @ pairs.basis
            cut = np.mean((values < low + CLOSE) | (values > high - CLOSE))
            unrest = np.mean([_unrest(each, f) for each, f in zip(off, frequencies, strict=True) if len(each)])
            found.append((level[both].mean() * unit + offset, np.array(energy) * unit**2, error, cut, unrest))
        if not found:
            none = np.zeros((0, len(BANDS)))
            return cls(np.zeros(0), none, none, np.zeros(0), np.zeros(0))
        bins = cls(*(np.array(part) for part in zip(*found, strict=True)))
        return bins.where((bins.energy > 1e-4 * np.median(bins.energy, 0)).all(1) & (bins.energy > 0).all(1))

    def where(self, keep: np.ndarray) -> Bins:
        """Some of them."""
        return Bins(*(getattr(self, part.name)[keep] for part in fields(self)))

    def band(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Log energies, and their errors."""
        index = list(BANDS).index(name)
        error = np.sqrt(self.error[:, index] ** 2 + UNSURE**2 + (CUT * self.cut) ** 2)
        return np.log(self.energy[:, index]), error

    @property
    def texture(self) -> float:
        """How much more there is in the coarse band than in the finest, in the logarithm: structure, or correlation."""
        return float(np.median(self.band("coarse")[0]) - np.median(self.band("finest")[0]))

    def lowest(self, *names: str) -> tuple[float, ...]:
        """Of each band the log energy that is the same in all of them: its lower envelope, without structure."""
        return tuple(float(_fit(*self.band(name), _flat, [0.0]).parameters[0]) for name in names)

    @property
    def strength(self) -> float:
        """The standard deviation of noise that is the same in all of them; 1 where there are none."""
        return float(np.exp(self.lowest("fine")[0] / 2)) if len(self.level) else 1.0

    @property
    def floor(self) -> float:
        """The standard deviation of white noise that is left where structure falls with frequency f as f^-p does.

        From the lower envelopes of three bands e(f) = level^2 + a f^-p, level and p are found; p is not less than that
        of grass.  It is `strength` where energies do not fall, 0 where they do as in pictures without noise.
        """
        coarse, middle, finest = map(float, np.exp(self.lowest("coarse", "middle", "finest")))
        if middle <= finest or coarse <= middle:
            return self.strength
        f = [sum(BANDS[name]) / 2 for name in ("coarse", "middle", "finest")]
        ratio = np.log(f[2] / f[1]) / np.log(f[1] / f[0])

        def beyond(level: float) -> float:
            return level + (middle - level) * ((middle - level) / (coarse - level)) ** ratio - finest

        steep = (f[2] / f[0]) ** SHALLOWEST
        least = max((steep * finest - coarse) / (steep - 1), 0.0)
        return float(np.sqrt(least if beyond(least) >= 0 else brentq(beyond, least, finest)))

    @property
    def falls(self) -> tuple[float, float]:
        """By how much energies fall to the finest band, in logs: from the middle and the coarse, without structure."""
        coarse, middle, finest = self.lowest("coarse", "middle", "finest")
        return middle - finest, coarse - finest


def correlated(pairs: Pairs) -> bool:
    """Whether noise of variance 1, in one channel or more, is correlated between neighbours."""
    own = _views(pairs)
    middle, coarse = _falls(own)
    if coarse <= FALL:
        return False
    if len(own) < COLOURS:
        return middle > CORRELATED + np.mean([_restless(*each) for each in own])
    return min(middle, _falls(_views(pairs.unlike))[0]) > CORRELATED


def _views(pairs: Pairs) -> list[tuple[Pairs, Bins]]:
    """Each channel that has bins, with these."""
    channels = [pairs.channel(c) for c in range(pairs.coefficients.shape[1])]
    views = [(channel, Bins.of(channel, 0.0, 1.0, (None, None))) for channel in channels]
    return [(channel, bins) for channel, bins in views if len(bins.level)]


def _falls(views: list[tuple[Pairs, Bins]]) -> np.ndarray:
    """By how much energies fall to the finest band, the mean over channels; zero where there are none."""
    return np.mean([bins.falls for _, bins in views], 0) if views else np.zeros(2)


def _restless(view: Pairs, bins: Bins) -> float:
    """By how much more energies must fall for noise to count as correlated, as they differ from pair to pair."""
    off = [view.differences(half, view.best(half, MOST_SIMILAR, LEAST))[:, 0] for half in (0, 1)]
    overall = np.mean([_unrest(each, f) for each, f in zip(off, view.frequencies, strict=True)])
    unrest = np.array([overall, np.median(bins.unrest)])
    return float(PER_UNREST * np.maximum(np.log(unrest / RESTLESS), 0).sum())


def _unrest(off: np.ndarray, frequencies: np.ndarray) -> float:
    """The variance of energies, from coarse to middle, over that of Gaussian noise with these correlations.

    1 for noise, but for blocks that overlap; more for structure, which is here and not there.  off are differences of
    pairs in one half of their coefficients (n, D / 2).
    """
    off = off[:, (frequencies >= BANDS["coarse"][0]) & (frequencies <= BANDS["middle"][1])].astype(float)
    if not off.size:
        return 1.0
    n, k = off.shape
    off /= np.maximum(np.sqrt(np.mean(off**2, 0)), 1e-300)
    squares = np.sum((off.T @ off / n) ** 2) - k * (k - 1) / n  # of the correlations, without those by chance
    return float(np.sum(off**2, 1).var() / max(2 * squares, 1e-300))


def _middle(
    squares: list[np.ndarray], frequencies: tuple[np.ndarray, np.ndarray], band: tuple[float, float]
) -> tuple[float, float]:
    """Energy of a band over blocks, and its relative error: a median of means, as single photons make medians small."""
    inside = [(f >= band[0]) & (f <= band[1]) for f in frequencies]
    if not any(map(np.any, inside)):  # small blocks have few frequencies: the nearest then
        away = [np.abs(f - sum(band) / 2) for f in frequencies]
        nearest = min(a.min(initial=np.inf) for a in away)
        inside = [a < nearest + 1e-9 for a in away]
    means = []
    for square, used in zip(squares, inside, strict=True):
        number = len(square) // TOGETHER
        if used.any() and number:
            means.append(square[: TOGETHER * number, used].mean(1).reshape(TOGETHER, number).mean(0))
    if not means:
        return 0.0, 1.0
    together = np.concatenate(means)
    median = float(np.median(together))
    error = 1.25 * together.std() / np.sqrt(len(together) / 4)  # overlapping blocks tell the same: one in four counts
    return median, float(error / max(median, 1e-300))


@dataclass(frozen=True)
class _Fit:
    """A lower envelope: minus the log likelihood, the curve's parameters, and t."""

    loss: float
    parameters: np.ndarray
    texture: float


def _fit(y: np.ndarray, error: np.ndarray, curve: Callable[[np.ndarray], np.ndarray], start: list[float]) -> _Fit:
    """The lower envelope curve(parameters) (B,) or scalar of y, from a start beside the lower quartile of y."""

    def loss(parameters: np.ndarray) -> float:
        t = LEAST_TEXTURE + np.exp(parameters[-1])
        over = y - curve(parameters[:-1])
        return float(np.sum(np.log(t) - error**2 / (2 * t**2) + over / t - log_ndtr(over / error - error / t)))

    low = np.quantile(y - curve(np.zeros(len(start))), 0.25)
    tries = [
        minimize(loss, [*(low + np.array(start)), t], method="Nelder-Mead", options={"maxiter": 800}) for t in (-3, -1)
    ]
    best = min(tries, key=lambda found: found.fun)
    return _Fit(best.fun, best.x[:-1], LEAST_TEXTURE + float(np.exp(best.x[-1])))


def _flat(parameters: np.ndarray) -> np.ndarray:
    return parameters[0]


def _bernstein(z: np.ndarray, degree: int) -> Callable[[np.ndarray], np.ndarray]:
    """The logarithm of a polynomial on 0 <= z <= 1 with the coefficients exp(parameters)."""
    basis = binom.pmf(np.arange(degree + 1), degree, np.clip(z, 0, 1)[:, None])
    return lambda parameters: np.log(basis @ np.exp(np.clip(parameters, -40, 40)))


def _best(y: np.ndarray, error: np.ndarray, z: np.ndarray, degree: int) -> _Fit:
    """Of several starts: level, rising and falling."""
    tilts = (0.0,) if degree == 0 else (0.0, 1.5, 4.0, -1.5)
    starts = [list(tilt * (np.arange(degree + 1) / max(degree, 1) - 0.7)) for tilt in tilts]
    return min((_fit(y, error, _bernstein(z, degree), start) for start in starts), key=lambda found: found.loss)


def limits(values: np.ndarray) -> Limits:
    """The least and the largest value that could be stored, where many of the values (n,) are, and few beyond."""
    found, times = np.unique(values, return_counts=True)
    share = times / len(values)
    low, high = (_pile(found[::step], share[::step]) for step in (1, -1))
    return low, high


def _pile(found: np.ndarray, share: np.ndarray) -> float | None:
    """The innermost of the values, from an end on, with a share far above that of all before it together."""
    before = np.cumsum(share) - share
    piles = np.flatnonzero((share > OFTEN) & (share > ABOVE * before) & (before < OFTEN * ABOVE))
    return float(found[piles[-1]]) if len(piles) else None


def step(values: np.ndarray) -> float:
    """The distance of which all differences between values (n,) are multiples; zero where there is none."""
    found = np.unique(values)
    if not LEVELS[0] <= len(found) <= LEVELS[1]:
        return 0.0
    apart = np.diff(found)
    number = apart / apart.min()
    return float(apart.min()) if np.allclose(number, np.rint(number), atol=0.01) else 0.0


def fit_curve(bins: Bins, values: np.ndarray, sure: bool) -> Curve | None:
    """The curve of one channel, None for one that is as good as flat; values (n,) are those that count.

    sure says that the noise is known to grow with the signal.
    """
    curve = _polynomial(bins, values, sure) if len(bins.level) >= FEWEST_BINS else None
    bright = bins.where(bins.level > 0)
    if curve is not None or limits(values)[0] != 0 or len(bright.level) < 2:
        return curve
    y, error = replace(bright, cut=0 * bright.cut).band("fine")
    photons = _fit(y - np.log(bright.level), error, _flat, [0.0])
    if not sure and (photons.texture > PURE or np.ptp(np.log(bright.level)) < RISE):
        return None
    return _line(float(np.exp(photons.parameters[0])), 0.0, values)


def _line(slope: float, height: float, values: np.ndarray) -> Line:
    """Values that end where there are no photons are not cut off."""
    low, high = limits(values)
    if low is not None and height + slope * low < slope**2:
        low = None
    return Line(slope, height, float(values.min()), float(values.max()), None if low is high is None else (low, high))


def _polynomial(bins: Bins, values: np.ndarray, sure: bool) -> Curve | None:
    """None where a level does; else a line, or a curve of more degrees where that does not fit."""
    y, error = bins.band("fine")
    first, span = bins.level.min(), max(float(np.ptp(bins.level)), 1e-300)
    z = (bins.level - first) / span
    flat, line = (_best(y, error, z, degree) for degree in (0, 1))
    swing = float(np.diff(line.parameters)[0])
    gain = (flat.loss - line.loss) * (1.0 if swing > 0 else 0.5)
    unrest = np.mean(bins.unrest[-AT_END:] if swing > 0 else bins.unrest[:AT_END])
    needed = GAIN + GAIN_PER_TEXTURE * max(bins.texture - NO_TEXTURE, 0)
    needed += GAIN_PER_UNREST * max(float(np.log(unrest / NO_UNREST)), 0)
    if not sure and (gain < needed or abs(swing) < SWING):
        return None
    fits = [line, _best(y, error, z, 2), _best(y, error, z, 3)]
    best = min(range(3), key=lambda more: fits[more].loss + BENT * more)
    at_first, at_last = np.exp(line.parameters)
    slope = float((at_last - at_first) / span)
    height = float(at_first - slope * first)
    if (best == 0 or sure) and slope > 0:
        return _line(slope, height, values)
    if sure:
        return None
    knots = np.linspace(0, 1, KNOTS)
    spread = np.exp(_bernstein(knots, best + 1)(fits[best].parameters) / 2)
    ends = limits(values)
    return Monotone(
        tuple((first + span * knots).tolist()),
        tuple(spread.tolist()),
        float(values.min()),
        float(values.max()),
        None if ends == (None, None) else ends,
    )


def fit_speckle(bins: Bins, values: np.ndarray) -> Curve | None:
    """Noise in proportion to the signal, if there is any signal."""
    positive = bins.where(bins.level > 0)
    if not len(positive.level):
        return None
    y, error = positive.band("fine")
    looks = float(np.exp(-_fit(y - 2 * np.log(positive.level), error, _flat, [0.0]).parameters[0]))
    return Log(looks, float(values[values > 0].min()))


def fit_rician(bins: Bins, values: np.ndarray) -> Curve | None:
    """Noise of magnitudes: that of a level without signal is smaller."""
    if not len(bins.level) or bins.level.max() <= 0:
        return None
    signal = np.linspace(0, 30, 301)
    mean, std = rice.mean(signal), rice.std(signal)
    y, error = bins.band("fine")

    def magnitudes(parameters: np.ndarray) -> np.ndarray:
        return parameters[0] + 2 * np.log(np.interp(bins.level / np.exp(parameters[0] / 2), mean, std))

    return Rician(float(np.exp(_fit(y, error, magnitudes, [0.0]).parameters[0] / 2)))
