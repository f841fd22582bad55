"""Tables of maps that make noise even, and of their exact unbiased inverses.

T' = 1 / s makes noise of standard deviation s about even; where s changes within the noise, a few rounds of
T' / std(T(y)) mend what is left (in the spirit of Foi, "Optimization of variance-stabilizing transformations", 2009).
Inverses run from E[T(y) | m] to the signal m.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike

Function = Callable[[np.ndarray], np.ndarray]
LEAST = 0.05  # where clipping leaves less than this share of T's slope, the signal cannot be told any more
ROUNDS = 5  # of making a map even: for Rician noise from 12 % to 5 %
BELOW = 2 * (1.375**0.5 - 0.375**0.5)  # slope of `root` below zero counts
# Trapezoids rather than Gauss-Hermite: as exact for smooth functions, and better at the corners that clipping makes.
NODES = np.linspace(-6, 6, 121)
WEIGHTS = np.exp(-(NODES**2) / 2) / np.exp(-(NODES**2) / 2).sum()


@dataclass(frozen=True, eq=False)
class Table:
    """A rising function, linear between points, and beyond them with its last slopes."""

    x: np.ndarray
    y: np.ndarray

    def __call__(self, x: ArrayLike) -> np.ndarray:
        x = np.asarray(x, np.float64)
        first, last = self._slopes[[0, -1]]
        beyond = first * np.minimum(x - self.x[0], 0) + last * np.maximum(x - self.x[-1], 0)
        return np.interp(x, self.x, self.y) + beyond

    def slope(self, x: ArrayLike) -> np.ndarray:
        """The derivative, made continuous."""
        return np.interp(np.asarray(x, np.float64), self.x, self._slopes)

    @cached_property
    def _slopes(self) -> np.ndarray:
        return np.gradient(self.y, self.x)


def root(x: ArrayLike) -> np.ndarray:
    """T of counts: 2 sqrt(x + 3/8); below 0, where photons alone never are, on with the slope of E[T] over none."""
    x = np.asarray(x, np.float64)
    return 2 * np.sqrt(np.maximum(x, 0) + 0.375) + BELOW * np.minimum(x, 0)


def photons(read: float, reach: float, limits: np.ndarray) -> Table:
    """The inverse of `root` for x = Poisson(m - read) + read + N(0, read), clipped to limits, for m up to reach.

    Below m = read, noise is normal and its variance m still, or none.
    """
    away = np.concatenate([np.linspace(0, 20, 1001), np.geomspace(20, max(float(root(reach)), 100), 3000)])
    near = [root(limit) + NODES for limit in limits if np.isfinite(limit)]
    plain = np.unique(np.round(np.concatenate([root(read) + away, root(read) - away, *near]), 3))
    start = float(root(0))
    plain = plain[plain > start - 1]
    m = np.maximum(plain, start) ** 2 / 4 - 0.375 + np.minimum(plain - start, 0) / BELOW

    def even(x: np.ndarray) -> np.ndarray:
        return root(np.clip(x, *limits))

    variance = np.maximum(m, 1e-12)
    skew = np.maximum(m - read, 0) / variance / 6  # of many photons, after Cornish & Fisher 1938
    expected = _expect(even, m, np.sqrt(variance), skew)
    few = (m >= read) & (m < read + 100)
    k = np.arange(250.0)
    given_count = _expect(even, k + read, np.full(250, np.sqrt(read)))
    expected[few] = _poisson(k, m[few] - read) @ given_count
    return _undo(expected, plain, m)


def numerical(knots: np.ndarray, std: Function, limits: np.ndarray) -> tuple[Table, Table]:
    """T and its inverse for N(m, std(m)^2), clipped to limits, if the variance is linear between knots.

    It has to be constant beyond them.
    """
    m = _spaced(np.union1d(knots, limits[np.isfinite(limits)]), std)
    noise = std(m)

    def spread(plain: Table) -> np.ndarray:
        mean = _expect(plain, m, noise)
        return np.sqrt(_expect(lambda y: np.square(plain(y) - mean[:, None]), m, noise))

    plain = _make_even(m, 1 / noise, m, spread)
    return plain, _undo(_expect(lambda y: plain(np.clip(y, *limits)), m, noise), plain(m), m)


@cache
def speckle(looks: float) -> tuple[float, Table]:
    """std(W), W the logarithm of a gamma variable of mean 1 and shape looks; from R(a) = E[max(W - a, 0)] to -a."""
    shape = torch.tensor(looks, dtype=torch.float64)
    mean, std = float(torch.digamma(shape) - shape.log()), float(torch.polygamma(1, shape).sqrt())
    w = np.linspace(mean - 8 * std - 36 / looks, np.log1p(8 / np.sqrt(looks) + 36 / looks), 10_001)
    log_density = looks * (w - np.exp(w))
    density = np.exp(log_density - log_density.max())
    above = 1 - _integral(w, density) / np.trapezoid(density, w)  # P(W > w), of which R is the integral from a
    expected = -_integral(w[::-1], above[::-1])
    told = above[::-1] > LEAST
    return std, Table(expected[told], -w[::-1][told])


@cache
def rice() -> tuple[Table, Table, Table]:
    """For y = sqrt((m + n1)^2 + n2^2), n1 and n2 of variance 1: T, its inverse, and std(y) at each m."""
    m = np.concatenate([np.linspace(0, 10, 251), np.geomspace(10, 1e3, 121)[1:]])
    half = NODES[60::2]
    y = np.hypot(np.add.outer(m, NODES[::2])[:, :, None], half).reshape(len(m), -1)
    weights = np.outer(WEIGHTS[::2], WEIGHTS[60::2] * np.where(half > 0, 2, 1)).ravel()
    weights /= weights.sum()

    def spread(plain: Function) -> np.ndarray:
        values = plain(y)
        return np.sqrt(np.square(values - (values @ weights)[:, None]) @ weights)

    mean, std = y @ weights, spread(np.asarray)
    plain = _make_even(m, 1 / np.interp(m, mean, std), mean, spread)
    return plain, Table(plain(y) @ weights, m), Table(m, std)


def _make_even(values: np.ndarray, slope: np.ndarray, mean: np.ndarray, spread: Callable[[Table], np.ndarray]) -> Table:
    """A map of this slope over values, mended: after it, noisy values with these means have the given spread."""
    plain = Table(values, _integral(values, slope))
    for _ in range(ROUNDS):
        slope = slope / np.interp(values, mean, spread(plain))
        plain = Table(values, _integral(values, slope))
    return plain


def _undo(expected: np.ndarray, plain: np.ndarray, signal: np.ndarray) -> Table:
    """From expectations to signals, where those rise enough beside plain = T(signal)."""
    # Itself where it rises, as it does unless std changes by more than the noise is wide.
    rising = (np.maximum.accumulate(expected) + np.minimum.accumulate(expected[::-1])[::-1]) / 2
    told = np.diff(rising) > LEAST * np.diff(plain)
    if not told.any():
        raise ValueError("noise and clipping leave no range in which values tell the signal")
    kept = np.append(False, told)
    kept[told.argmax()] = True
    return Table(rising[kept], signal[kept])


def _spaced(knots: np.ndarray, std: Function) -> np.ndarray:
    """Signals at regular distances after T' = 1 / std, closer together around knots."""
    noise = std(knots)
    plain = np.cumsum([0, *(2 * np.diff(knots) / (noise[1:] + noise[:-1]))])  # exact, as the variance is linear
    near = np.add.outer(plain, NODES[::2]).ravel()
    plain_of = np.unique(np.round(np.concatenate([np.linspace(-8, plain[-1] + 8, 1500), plain, near]), 3))
    signal = _integral(plain_of, np.interp(plain_of, plain, noise))  # std is linear in T
    return signal + knots[0] - np.interp(0, plain_of, signal)


def _expect(function: Function, mean: np.ndarray, std: np.ndarray, skew: np.ndarray | None = None) -> np.ndarray:
    """E[function(y)] for y = mean + std n + skew (n^2 - 1), n standard normal."""
    bent = np.zeros_like(mean) if skew is None else skew
    return function(mean[:, None] + std[:, None] * NODES + bent[:, None] * (NODES**2 - 1)) @ WEIGHTS


def _poisson(k: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The probability of each count 0, 1 .. for each mean."""
    log_factorial = np.cumsum(np.log(np.maximum(k, 1)))
    return np.exp(k * np.log(np.maximum(mean, 1e-300))[:, None] - mean[:, None] - log_factorial)


def _integral(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """From the first x on, by trapezoids."""
    return np.concatenate([[0], np.cumsum((y[1:] + y[:-1]) / 2 * np.diff(x))])
