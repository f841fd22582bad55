"""Pairs of similar blocks of one image, which differ by their noise and by as little else as possible.

Blocks are compared by one half of their cosine coefficients, and the noise is measured in the other: of stationary
noise the two halves are uncorrelated (those of even and of odd index sum are symmetric and antisymmetric about the
middle of the block), so that choosing similar blocks does not choose blocks of little noise.  Structure, in contrast,
is in both.  Blocks of a pair are so far apart that their noise is taken to be independent.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from math import prod

import numpy as np

WIDTHS = {1: (32,), 2: (8, 8), 3: (4, 6, 6)}  # of blocks, for so many axes that are wide enough
FEWEST = 300  # pairs that a block size must give; below, blocks are half as wide
MOST = 70_000  # blocks to look at: more take time and tell little
QUARTILE = 0.4549364231195724  # the median of a squared standard normal


@dataclass(frozen=True)
class Pairs:
    """Blocks of one image, and for each half of the coefficients its most similar ones.

    Attributes
    ----------
    size
        Of blocks, along each spatial axis.
    coefficients
        (N, C, D): orthonormal cosine coefficients of all blocks that count.
    halves
        For each half, the indices of its coefficients.
    partner, distance
        (2, N): the block that is most similar in the other half, and how far they differ there, as the mean square over
        what noise gives (infinite where there is no partner).
    """

    size: tuple[int, ...]
    coefficients: np.ndarray
    halves: tuple[np.ndarray, np.ndarray]
    partner: np.ndarray
    distance: np.ndarray

    @property
    def level(self) -> np.ndarray:
        """The mean value of each block in each channel: (N, C)."""
        return self.coefficients[:, :, 0] / np.sqrt(self.coefficients.shape[2])

    def channel(self, c: int) -> Pairs:
        """The same pairs, of one channel."""
        return replace(self, coefficients=self.coefficients[:, c : c + 1])

    @property
    def unlike(self) -> Pairs:
        """The same pairs, in all principal components of the channels but the one that holds most of the structure."""
        detail = self.coefficients[:, :, 1:].transpose(1, 0, 2).reshape(self.coefficients.shape[1], -1)
        _, axes = np.linalg.eigh(detail @ detail.T)
        return replace(self, coefficients=np.einsum("ncd,ck->nkd", self.coefficients, axes[:, :-1]))

    def best(self, half: int, share: float, least: int, among: np.ndarray | None = None) -> np.ndarray:
        """The blocks with the most similar partners, a share of all (or of those among)."""
        among = np.arange(self.distance.shape[1]) if among is None else among
        among = among[np.isfinite(self.distance[half, among])]
        count = min(max(int(share * len(among)), least), len(among))
        return among[np.argsort(self.distance[half, among], kind="stable")[:count]]

    def differences(self, half: int, blocks: np.ndarray) -> np.ndarray:
        """Of blocks and their partners, over sqrt 2, in this half of the coefficients: (n, C, D / 2)."""
        mine = self.coefficients[blocks][:, :, self.halves[half]]
        other = self.coefficients[self.partner[half, blocks]][:, :, self.halves[half]]
        return (mine - other) / np.sqrt(2)

    @cached_property
    def frequencies(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the coefficients of each half, their index sums over the largest of all."""
        frequency = np.indices(self.size).sum(0).ravel() / max(sum(self.size) - len(self.size), 1)
        return frequency[self.halves[0]], frequency[self.halves[1]]

    @cached_property
    def basis(self) -> np.ndarray:
        """Row i is the block that coefficient i stands for: (D, D)."""
        return _basis(self.size)


def find_pairs(values: np.ndarray, usable: np.ndarray) -> Pairs:
    """Pairs in values (..., C); blocks count where all of their values (...) are usable.

    There may be none (N = 0).
    """
    size = _size(values.shape[:-1], usable)
    steps = _steps(values.shape[:-1], size)
    blocks, grid = _blocks(values, usable, size, steps)
    halves = _halves(size)
    weights = np.ones(blocks.shape[1:], np.float32)
    for _ in range(2):  # first with all coefficients alike, then each by its noise
        compared = [
            (blocks[:, :, index] * np.sqrt(weights[:, index])).reshape(len(blocks), blocks.shape[1] * len(index))
            for index in halves
        ]
        with ThreadPoolExecutor(2) as pool:
            found = [*pool.map(partial(_partners, grid, size, steps), reversed(compared))]
        pairs = Pairs(size, blocks, halves, *(np.stack(part) for part in zip(*found, strict=True)))
        if len(blocks) < FEWEST:
            break
        variances = robust_variances(pairs, 0.05)
        weights = (1 / np.maximum(variances, 1e-3 * variances.mean(axis=1, keepdims=True) + 1e-30)).astype(np.float32)
    return pairs


def robust_variances(pairs: Pairs, share: float) -> np.ndarray:
    """The noise's variance in each coefficient (C, D), from medians over a share of the best pairs."""
    variances = np.zeros(pairs.coefficients.shape[1:])
    for half, index in enumerate(pairs.halves):
        chosen = pairs.differences(half, pairs.best(half, share, FEWEST))
        variances[:, index] = np.median(np.square(chosen), axis=0) / QUARTILE
    return variances


def covariances(pairs: Pairs, share: float) -> np.ndarray:
    """The noise's covariance of all coefficients, (C D, C D), zero between the halves.

    Its correlations are those over a share of the best pairs, its variances come from medians, as structure is rare.
    """
    C, D = pairs.coefficients.shape[1:]
    whole = np.zeros((C, D, C, D))
    for half, index in enumerate(pairs.halves):
        chosen = pairs.differences(half, pairs.best(half, share, FEWEST)).astype(float)
        n = len(chosen)
        flat = chosen.reshape(n, -1)
        moments = flat.T @ flat / n
        middle = np.median(np.square(flat), axis=0) / QUARTILE
        factor = np.sqrt(middle / np.maximum(moments.diagonal(), 1e-300))
        part = (factor[:, None] * moments * factor).reshape(C, len(index), C, len(index))
        whole[np.ix_(np.arange(C), index, np.arange(C), index)] = part
    return whole.reshape(C * D, C * D)


def autocovariance(pairs: Pairs, covariance: np.ndarray) -> np.ndarray:
    """E[n_c(p) n_d(p + lag)], (C, C, *(2 w - 1)), from a covariance of coefficients (C D, C D)."""
    C, D = pairs.coefficients.shape[1:]
    basis = pairs.basis
    pixels = np.einsum("ip,cidj,jq->cdpq", basis, covariance.reshape(C, D, C, D), basis, optimize=True)
    place = np.stack(np.meshgrid(*map(np.arange, pairs.size), indexing="ij"), -1).reshape(D, -1)
    lag = tuple(np.moveaxis(place[None] - place[:, None], -1, 0) + np.array(pairs.size).reshape(-1, 1, 1) - 1)
    shape = tuple(2 * w - 1 for w in pairs.size)
    count = np.zeros(shape)
    np.add.at(count, lag, 1)
    lags = np.zeros((C, C, *shape))
    for c, d in product(range(C), repeat=2):
        np.add.at(lags[c, d], lag, pixels[c, d])
    return lags / count


def _size(shape: tuple[int, ...], usable: np.ndarray) -> tuple[int, ...]:
    """As many pixels wide as there is room for, half of that where few blocks are whole."""
    full = WIDTHS.get(len(shape), (3,) * len(shape))
    size = tuple(min(w, max(n // 4, 1)) for w, n in zip(full, shape, strict=True))
    if _whole(usable, size).sum() < 4 * FEWEST:
        size = tuple(max(w // 2, 1) for w in size)
    return size


def _steps(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, ...]:
    """Between blocks along each axis: 2 at least where blocks overlap, and more in large images."""
    steps = [min(2, w) for w in size]
    while prod((n - w) // s + 1 for n, w, s in zip(shape, size, steps, strict=True)) > MOST:
        steps[int(np.argmin([s / w for s, w in zip(steps, size, strict=True)]))] += 1
    return tuple(steps)


def _whole(usable: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Where blocks start of which all values are usable."""
    whole = usable
    for axis, w in enumerate(size):
        whole = np.asarray(np.lib.stride_tricks.sliding_window_view(whole, w, axis).all(-1))
    return whole


def _blocks(
    values: np.ndarray, usable: np.ndarray, size: tuple[int, ...], steps: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (N, C, D) of blocks, in the order of the grid, and which is where on it (-1: none)."""
    axes = tuple(range(len(size)))
    every = tuple(slice(None, None, step) for step in steps)
    whole = _whole(usable, size)[every]
    windows = np.lib.stride_tricks.sliding_window_view(values, size, axes)[every]
    places = np.argwhere(whole)
    grid = np.full(whole.shape, -1)
    grid[tuple(places.T)] = np.arange(len(places))
    taken = windows[tuple(places.T)].astype(np.float32).reshape(len(places), values.shape[-1], prod(size))
    return taken @ _basis(size).T.astype(np.float32), grid


def _partners(
    grid: np.ndarray, size: tuple[int, ...], steps: tuple[int, ...], compared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each block the one at a distance that is most similar in compared (N, K), and how far they differ."""
    K = max(compared.shape[1], 1)
    partner, distance = np.zeros(grid.shape, int), np.full(grid.shape, np.inf, np.float32)
    there = np.full((*grid.shape, compared.shape[1]), np.nan, np.float32)  # next to which nothing is more similar
    there[grid >= 0] = compared
    off = np.empty_like(there)
    for shift in _shifts(size, steps):
        if (np.abs(shift) >= grid.shape).any():
            continue
        mine = tuple(slice(max(-d, 0), n - max(d, 0)) for d, n in zip(shift, grid.shape, strict=True))
        other = tuple(slice(max(d, 0), n - max(-d, 0)) for d, n in zip(shift, grid.shape, strict=True))
        apart = np.subtract(there[mine], there[other], out=off[mine])
        square = np.einsum("...k,...k->...", apart, apart) / (2 * K)
        better = square < distance[mine]
        distance[mine][better], partner[mine][better] = square[better], grid[other][better]
    return partner[grid >= 0], distance[grid >= 0]


def _shifts(size: tuple[int, ...], steps: tuple[int, ...]) -> Iterator[np.ndarray]:
    """On the grid: just beyond a block along some axis, and not much further along any; one of each two opposite."""
    reach = [range(-(-(w + 2) // s) * -1, -(-(w + 2) // s) + 1) for w, s in zip(size, steps, strict=True)]
    for shift in product(*reach):
        far = any(abs(d) * s >= 0.75 * w for d, s, w in zip(shift, steps, size, strict=True))
        if far and shift > (0,) * len(shift):
            yield np.array(shift)


def _halves(size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    parity = np.indices(size).sum(0).ravel() % 2
    return np.flatnonzero(parity == 0), np.flatnonzero(parity == 1)


def _basis(size: tuple[int, ...]) -> np.ndarray:
    """The orthonormal cosine transform of blocks, (D, D): row i is the block that coefficient i stands for."""
    basis = np.ones((1, 1))
    for w in size:
        k, x = np.indices((w, w))
        one = np.sqrt(2 / w) * np.cos(np.pi * (2 * x + 1) * k / (2 * w))
        one[0] /= np.sqrt(2)
        basis = np.kron(basis, one)
    return basis
