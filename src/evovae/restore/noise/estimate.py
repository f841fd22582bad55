"""What the noise of an image is: found, or taken as told.

Values that are no part of the picture -> curves -> lines -> correlation -> impulses.  All arrays are (..., C).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.ndimage import maximum_filter, median_filter, minimum_filter, uniform_filter

from evovae.notes import warn
from evovae.restore.image import Image, nearest
from evovae.restore.noise import impulses, level, lines
from evovae.restore.noise.covariance import Covariance
from evovae.restore.noise.curves import Curve, Flat
from evovae.restore.noise.model import Noise, NoiseModel
from evovae.restore.noise.similar import autocovariance, covariances, find_pairs
from evovae.restore.noise.variance import (
    FEWEST_BINS,
    Bins,
    Limits,
    correlated,
    fit_curve,
    fit_rician,
    fit_speckle,
    limits,
    step,
)
from evovae.settings import NOISE

CONSTANT = {1: 65, 2: 9, 3: 5}  # width of the smallest region of one value that is left out, by axes
OFTEN = 0.5  # share of the other pixels with that value from which on it is a value like any
NOISELESS = 1e-3  # noise over the deviation of the image, below which regions of one value are part of it
OUTLIER = 8.0  # typical deviations from the median around, beyond which a pixel is left out at first
FAR = 20.0  # ranges of 98 % of the values, beyond which others have nothing to do with them
ALIKE = 1.25  # noise levels of channels that differ by less are one
# Noise over the deviation of the image, below which structure may be as strong; in small images that have more texture
# than PLAIN, twice that.  There, told levels from SMALL on improved 48 x 48 and 64 x 64 crops of BSD by 0.6 to 4.4 dB
# (sigma 5), lower ones by -1.6 to 5 (sigma 2); grass without noise has a texture of 2.3 and more.
SMALL, PLAIN = 0.05, 2.0
LITTLE = 0.01  # the same where there is texture: less is its own
TEXTURED = 1.5  # texture beyond which it may be in the finest band, too; crops of BSD have less beside noise of 15
LEAST = 1e-6  # noise level over the deviation of the image
ROUNDING = 12**-0.5  # deviation of what rounding takes off, over its steps
STRONGER = 1.1  # correlated noise, than is found: less would leave some; chosen on a wide-field picture
FEW = 2  # bins that tell nothing
EMPTY = 0.3  # share of values without a photon, from which on even values have less noise than others
MOST_LINES = 0.5  # share of lines in the variance from which on they are the picture
BROAD = 15  # pixels: what is broader is no line
SMOOTHEST = 0.9  # correlation of neighbours, beyond which it is structure: cameras have up to 0.89
ENOUGH = 1000  # blocks that tell correlated noise from structure
SHARE = 0.05  # of the pairs that correlations are found from
MOST_FRAMES = 5  # of a film, in which noise is looked for
PLACED = ("level", "lines", "impulses", "apart", "exact")  # what belongs to places

FITS: dict[str, Callable[[Bins, np.ndarray], Curve | None]] = {
    "white": lambda bins, values: None,
    "auto": partial(fit_curve, sure=False),
    "poisson": partial(fit_curve, sure=True),
    "speckle": fit_speckle,
    "rician": fit_rician,
}


@dataclass(frozen=True)
class Found:
    """A noise model, the least noise level that patch models may find (over its own), and which values are void.

    Values that are void hold a number that stands for no data.
    """

    model: NoiseModel
    least: float
    void: np.ndarray = field(default_factory=lambda: np.zeros((), bool))


@dataclass(frozen=True)
class _Values:
    """The values of an image (..., C), and which of them noise is measured on.

    `void` values stand for no data, `apart` ones belong to no picture, and `calm` are the values without outliers.
    """

    values: np.ndarray
    observed: np.ndarray
    usable: np.ndarray
    void: np.ndarray
    apart: np.ndarray
    calm: np.ndarray

    @classmethod
    def of(cls, image: Image) -> _Values:
        stored, observed = image.with_channels(image.values), image.with_channels(image.observed)
        void = impulses.sentinels(stored, observed)
        if void.any():
            warn(f"{void.sum()} pixels hold {stored[void].flat[0]}, which stands for no data; they are filled")
        observed = observed & ~void
        values = np.where(observed, stored, 0).astype(float)
        apart = _constant(values, observed) | _far(values, observed)
        usable = observed & ~apart
        if not usable.any():
            apart, usable = np.zeros_like(apart), observed
        return cls(values, observed, usable, void, apart, _calm(values, usable))

    @classmethod
    def stacked(cls, frames: Sequence[_Values]) -> _Values:
        """Frames of a film, one after another along a first axis."""
        return cls(*(np.stack([getattr(frame, each.name) for frame in frames]) for each in fields(cls)))

    def placed(self, model: Noise, image: Image, *, impulsive: bool) -> Noise:
        """The noise with what belongs to places of the image: impulses, if there may be any, and values apart."""
        found = np.zeros((), bool)
        if impulsive and model.typical(self.calm) > NOISELESS * self.values[self.usable].std():
            found = impulses.find(model.even(self.values), self.usable)
        model = replace(model, impulses=found | self.void, apart=self.apart)
        shaped: dict[str, Any] = {name: _shaped(getattr(model, name), image.values.shape) for name in PLACED}
        return replace(model, **shaped)


def find(image: Image, noise: str | NoiseModel, sigma: np.ndarray | None) -> Found:
    """The noise of an image, of a kind (one of `NOISE`) and a level (see `evovae.denoise`), where these are given."""
    if isinstance(noise, NoiseModel):
        return Found(noise, 1.0)
    seen = _Values.of(image)
    found = _stationary(seen, noise, sigma)
    model = seen.placed(found, image, impulsive=noise != "white")
    return Found(model, _least(found, sigma), seen.void.reshape(image.values.shape))


def find_in_film(film: Image, noise: str | NoiseModel, sigma: np.ndarray | None) -> Found:
    """The noise of a film: that of a typical one of its frames is the same in all, so that none flickers."""
    if isinstance(noise, NoiseModel):
        return Found(noise, 1.0)
    known = np.flatnonzero(film.observed.reshape(film.shape[0], -1).any(axis=1))
    some = sorted({int(known[len(known) * number // MOST_FRAMES]) for number in range(MOST_FRAMES)})
    frames = [_Values.of(film.frame(t)) for t in range(film.shape[0])]
    maps = sigma if sigma is not None and sigma.ndim > 1 else None
    models = [_stationary(frames[t], noise, sigma if maps is None else maps[t]) for t in some]
    looked_at = np.stack([frames[t].calm for t in some])
    typical = [model.typical(looked_at) for model in models]
    middle = models[sorted(range(len(some)), key=lambda n: typical[n])[len(some) // 2]]
    return replace(_in_frames(film, frames, middle, sigma, noise), least=_least(middle, sigma))


def find_places(film: Image, noise: NoiseModel, sigma: np.ndarray | None, kind: str | NoiseModel) -> Found:
    """The noise of a film, of which all but what belongs to places is known, if it is of a kind that is found."""
    if not isinstance(noise, Noise) or isinstance(kind, NoiseModel):
        return Found(noise, 1.0)
    return _in_frames(film, [_Values.of(film.frame(t)) for t in range(film.shape[0])], noise, sigma, kind)


def _in_frames(film: Image, frames: Sequence[_Values], noise: Noise, sigma: np.ndarray | None, kind: str) -> Found:
    """The same noise in all frames, with what belongs to places of each."""
    seen, noise = _Values.stacked(frames), noise.anywhere()
    if sigma is not None and sigma.ndim > 1:
        assert isinstance(noise.curves[0], Flat)
        noise = replace(noise, level=_relative(sigma, noise.curves[0].sigma), exact=sigma == 0)
    if kind != "white":
        noise = replace(noise, lines=_lines(noise.even(seen.calm), seen.usable))
    model = seen.placed(noise, film, impulsive=kind != "white")
    return Found(model, 1.0, seen.void.reshape(film.values.shape))


def _least(model: Noise, sigma: np.ndarray | None) -> float:
    """The least noise to find, over that of a model: none is too little, if it is plain and was not told."""
    plain = model.covariance.is_white and all(isinstance(curve, Flat) for curve in model.curves)
    return 0.0 if plain and sigma is None else 1.0


def _shaped(part: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One number where all are the same, else as the values of the image are."""
    return np.array(part.flat[0]) if (part == part.flat[0]).all() else part.reshape(shape)


def _told(sigma: np.ndarray, shape: tuple[int, ...]) -> Noise:
    """A level for all, for each channel, or for each value: where that is zero, values are exact."""
    axes = len(shape) - 1
    if sigma.ndim <= 1:
        return Noise.white(sigma.tolist(), shape[-1], axes)
    known = sigma[sigma > 0]
    typical = float(np.median(known)) if len(known) else 1.0
    return replace(Noise.white(typical, shape[-1], axes), level=_relative(sigma, typical), exact=sigma == 0)


def _relative(levels: np.ndarray, typical: float) -> np.ndarray:
    """Over the typical level; where values are exact, as beside."""
    return nearest(levels, levels > 0) / typical if (levels > 0).any() else np.ones(levels.shape)


def _stationary(seen: _Values, kind: str, sigma: np.ndarray | None) -> Noise:
    """All but impulses."""
    if kind not in NOISE:
        raise ValueError(f"noise is {kind!r}, but it is a NoiseModel or one of {', '.join(NOISE)}")
    calm, usable = seen.calm, seen.usable
    model = _even(calm, usable, seen.observed, kind) if sigma is None else _told(sigma, seen.values.shape)
    return model if kind == "white" else _beyond(model, calm, usable, sigma is not None)


def _even(values: np.ndarray, usable: np.ndarray, observed: np.ndarray, kind: str) -> Noise:
    """The curve of each channel; one level for all, where levels differ little."""
    *spatial, C = values.shape
    curves = tuple(_curve(values[..., c], usable[..., c], observed[..., c], kind) for c in range(C))
    levels = [curve.sigma for curve in curves if isinstance(curve, Flat)]
    if len(levels) == C and max(levels) <= ALIKE * min(levels):
        return Noise.white(float(np.sqrt(np.mean(np.square(levels)))), C, len(spatial))
    return Noise(curves, Covariance.white(C, len(spatial)))


def _curve(values: np.ndarray, usable: np.ndarray, observed: np.ndarray, kind: str) -> Curve:
    """That of one channel (...), from all that is observed where there is next to nothing that is usable.

    Among single photons, similar blocks are those with little noise, which makes it look weaker than it is: how strong
    it is shows once more in even values.
    """
    if not usable.any():
        return Flat(1.0)
    seen = values[usable]
    bins = _bins(values, usable, limits(seen))
    if len(bins.level) < FEW:
        bins = _bins(values, observed, limits(values[observed]))
    curve = FITS[kind](bins, seen)
    if curve is None:
        return Flat(max(_level(bins, values, usable), step(seen) * ROUNDING, LEAST * float(seen.std())) or 1.0)
    if kind in ("speckle", "rician"):
        return curve
    low, high = (None if end is None else float(curve.forward(end)) for end in limits(seen))
    even = _bins(curve.forward(values), usable, (low, high))
    return curve.scaled(even.where(even.cut < EMPTY).strength)


def _level(bins: Bins, values: np.ndarray, usable: np.ndarray) -> float:
    """Of noise that is the same everywhere; where structure may be as strong, of what is noise for sure."""
    if not len(bins.level):
        return level.estimate(torch.from_numpy(values), torch.from_numpy(usable), values.ndim)
    found, spread = bins.strength, values[usable].std()
    few, textured = len(bins.level) <= FEWEST_BINS, bins.texture > TEXTURED
    if few or textured or found < SMALL * spread:
        found = min(found, bins.floor)
    least = SMALL if bins.texture < PLAIN else 2 * SMALL
    return 0.0 if few and found < least * spread or textured and found < LITTLE * spread else found


def _bins(values: np.ndarray, usable: np.ndarray, ends: Limits) -> Bins:
    seen = values[usable]
    offset, unit = float(seen.mean()), float(seen.std()) or 1.0
    return Bins.of(find_pairs(((values - offset) / unit)[..., None], usable), offset, unit, ends)


def _beyond(model: Noise, values: np.ndarray, usable: np.ndarray, told: bool) -> Noise:
    """With lines, and with correlation, by which noise is stronger than fine structure alone shows."""
    C = values.shape[-1]
    even = model.even(values)
    model = replace(model, lines=_lines(even, usable))
    pairs = find_pairs(even - model.lines, np.all(usable, -1))
    if len(pairs.coefficients) < ENOUGH or not correlated(pairs):
        return model
    lags = autocovariance(pairs, covariances(pairs, SHARE))
    middle = tuple(n // 2 for n in lags.shape[2:])
    deviation = np.sqrt([lags[(c, c, *middle)] for c in range(C)])
    if not deviation.all():  # as where rounding leaves nothing of a channel's noise
        return model
    covariance = Covariance(lags / np.multiply.outer(deviation, deviation).reshape(lags.shape[:2] + (1,) * len(middle)))
    if covariance.nearest > SMOOTHEST:
        return model
    stronger = np.ones(C) if told else STRONGER * deviation
    every = model.curves if len(model.curves) == C else model.curves * C
    curves = tuple(curve.scaled(factor) for curve, factor in zip(every, stronger, strict=True))
    return replace(model, curves=curves, covariance=covariance, lines=model.lines / stronger)


def _lines(even: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Offsets of rows and columns, where these are not the picture."""
    return np.zeros(()) if _made_of_lines(even) else lines.find(even, usable)


def _made_of_lines(even: np.ndarray) -> bool:
    """Whether rows or columns that differ from those around are most of the picture: then they are no noise."""
    for along, across in ((-2, -3), (-3, -2)) if even.ndim > 2 else ():
        profile = even.mean(along, keepdims=True)
        size = [BROAD if axis == even.ndim + across else 1 for axis in range(even.ndim)]
        if (profile - median_filter(profile, size)).var() > MOST_LINES * even.var():
            return True
    return False


def _constant(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Regions of one value: borders, what was cut off at the ends of the range; none where there is no noise."""
    size = (*(CONSTANT[min(values.ndim - 1, 3)],) * (values.ndim - 1), 1)
    inside = maximum_filter(values, size, mode="nearest") == minimum_filter(values, size, mode="nearest")
    constant = maximum_filter(inside, size, mode="nearest") & usable
    for c in range(values.shape[-1]):
        channel, here = values[..., c], constant[..., c]
        other = usable[..., c] & ~here
        noise = level.estimate(torch.from_numpy(channel), torch.from_numpy(other), channel.ndim)
        if not here.any() or noise <= NOISELESS * channel[usable[..., c]].std():
            here[:] = False
            continue
        found, times = np.unique(channel[other], return_counts=True)
        common = found[times > OFTEN * other.sum()]
        here &= ~np.isin(channel, common)
    return constant


def _calm(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """With medians in place of pixels that stand out of what is around them, so that they hide nothing else."""
    if not usable.any():
        return values
    narrow, wide = ((width,) * (values.ndim - 1) + (1,) for width in (3, 7))
    middle = median_filter(values, narrow)
    off = np.abs(values - middle) * usable
    number = np.prod(wide)
    typical = np.maximum((uniform_filter(off, wide) * number - off) / (number - 1), np.median(off[usable]))
    return np.where((off > OUTLIER * typical) & (typical > 0), middle, values)


def _far(values: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Values that are so far from all others that they are of another kind."""
    far = np.zeros(values.shape, bool)
    for c in range(values.shape[-1]):
        seen = values[..., c][usable[..., c]]
        if len(seen):
            low, middle, high = np.quantile(seen, (0.01, 0.5, 0.99))
            far[..., c] = usable[..., c] & (np.abs(values[..., c] - middle) > FAR * (high - low)) & (high > low)
    return far
