"""Noise that grows with the signal, as counts of photons do: found in the image, made even, and undone."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from torch import Tensor

BINS = 16
WINDOW = 8  # pixels along each axis that share a level


class Stabiliser(ABC):
    """A map to values with noise of the same variance everywhere, and back to expectations."""

    gain: float

    @abstractmethod
    def forward(self, values: np.ndarray) -> np.ndarray:
        """From image units to values with even noise."""

    @abstractmethod
    def inverse(self, values: np.ndarray) -> np.ndarray:
        """The signal whose noisy values are `values` on average, after `forward`."""

    @abstractmethod
    def slope(self, signal: np.ndarray) -> np.ndarray:
        """By how many image units the signal changes per unit of `forward`."""

    @abstractmethod
    def settings(self) -> dict[str, float]:
        """What makes another one like it; empty for `Even`."""


@dataclass(frozen=True)
class Even(Stabiliser):
    """Noise is even already: the identity."""

    gain = 0.0

    def forward(self, values: np.ndarray) -> np.ndarray:
        return values

    def inverse(self, values: np.ndarray) -> np.ndarray:
        return values

    def slope(self, signal: np.ndarray) -> np.ndarray:
        return np.ones_like(signal)

    def settings(self) -> dict[str, float]:
        return {}


@dataclass(frozen=True)
class Anscombe(Stabiliser):
    """The generalised Anscombe transform for noise of variance gain * signal + offset (Starck et al. 1998).

    y = gain * Poisson((m - dark) / gain) + dark + N(0, offset + gain * dark) becomes
    2 / gain * sqrt(gain * y + 3/8 gain^2 + offset), with noise of about unit variance.  The inverse is
    the exact unbiased one (Makitalo & Foi 2013): the m at which this has the given expectation, from a
    table up to the signal `top`.

    Parameters
    ----------
    gain
        Image units per count, positive.
    offset
        Variance of the noise where the signal is zero; negative where dark is not.
    dark
        The smallest signal, with gain * dark + offset >= 0.
    top
        The largest signal.
    """

    gain: float
    offset: float
    dark: float
    top: float

    def forward(self, values: np.ndarray) -> np.ndarray:
        return 2 / self.gain * np.sqrt(np.maximum(self.gain * values + 0.375 * self.gain**2 + self.offset, 0))

    def inverse(self, values: np.ndarray) -> np.ndarray:
        expected, signal = self._table
        return np.interp(values, expected, signal)

    def slope(self, signal: np.ndarray) -> np.ndarray:
        expected, known = self._table
        return np.interp(signal, known, np.gradient(known, expected))

    def settings(self) -> dict[str, float]:
        return asdict(self)

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """E[forward(y)] and the signal m that has it, both rising."""
        counts = np.linspace(0, np.sqrt(max(1.3 * (self.top - self.dark) / self.gain, 20)), 500) ** 2
        width = np.sqrt(max(self.offset + self.gain * self.dark, 0))
        nodes, weights = np.polynomial.hermite_e.hermegauss(15)
        weights = weights / weights.sum()
        few = counts[counts < 100]
        k = np.arange(250)
        log_factorial = torch.lgamma(torch.from_numpy(k + 1.0)).numpy()
        log_p = k * np.log(np.maximum(few[:, None], 1e-300)) - few[:, None] - log_factorial
        y = self.gain * k[:, None] + self.dark + width * nodes
        exact = np.exp(log_p) @ (self.forward(y) @ weights)
        many = counts[len(few) :, None]  # where counts are about normal
        y = self.gain * (many + np.sqrt(many + (width / self.gain) ** 2) * nodes) + self.dark
        expected = np.concatenate([exact, self.forward(y) @ weights])
        return expected, self.gain * counts + self.dark


def find(image: Tensor, observed: Tensor, spatial: int) -> Stabiliser:
    """How noise grows with the signal in an image whose first axes are `spatial`: by a line, where it does grow.

    Windows all over the image are sorted by their means into bins of equal size; of the mean squares of
    the finest diagonal differences in them, each bin's median is taken, as edges are rare; these are
    fitted by a line over the bins' means, robustly and relative to its height.
    """
    axes = [axis for axis in range(spatial) if image.shape[axis] >= WINDOW]
    if not axes:
        return Even()
    level, square = _levels_and_squares(image.double(), observed, axes)
    if len(level) < BINS:
        return Even()
    parts = level.argsort().tensor_split(BINS)
    means = np.array([level[part].mean().item() for part in parts])
    # the median of means of as many squares as if 4.4 along each axis were independent (Wilson & Hilferty 1931)
    of_mean = 1 - 2 / (3 * 4.4 ** len(axes))
    variances = np.array([square[part].median().item() for part in parts]) / of_mean
    noisy = variances > 0  # at the ends of the range values may be clipped, and have none
    if noisy.sum() < BINS / 2:
        return Even()
    gain, offset = _line(means[noisy], variances[noisy])
    if gain <= 0 or gain * means[0] + offset <= 0:
        return Even()
    return Anscombe(gain, offset, max(-offset / gain, float(level.min())), float(image[observed].max()))


def _levels_and_squares(image: Tensor, observed: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    """In each window: the mean of its values, and the mean square of white noise in its cells of 2 along the axes."""
    seen = observed.to(image.dtype)
    total, count = torch.where(observed, image, 0), seen
    for axis in axes:
        total, count = total.unfold(axis, WINDOW, 1).sum(-1), count.unfold(axis, WINDOW, 1).sum(-1)
    detail, whole = torch.zeros(()), torch.ones(())
    for corner in product((0, 1), repeat=len(axes)):
        cell = [slice(None)] * image.ndim
        for axis, offset in zip(axes, corner, strict=True):
            cell[axis] = slice(offset, image.shape[axis] - 1 + offset)
        detail = detail + (-1) ** sum(corner) * image[tuple(cell)]
        whole = whole * seen[tuple(cell)]
    square = torch.where(whole > 0, detail.square() / 2 ** len(axes), 0)
    for axis in axes:
        square, whole = square.unfold(axis, WINDOW - 1, 1).sum(-1), whole.unfold(axis, WINDOW - 1, 1).sum(-1)
    used = whole > (WINDOW - 1) ** len(axes) / 2
    return (total / count.clamp(min=1))[used], (square / whole.clamp(min=1))[used]


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and height of a line through most of the points: least squares of relative errors, reweighted."""
    design = np.stack([x, np.ones_like(x)], 1) / y[:, None]
    weights = np.ones_like(y)
    for _ in range(20):
        (slope, height), *_ = np.linalg.lstsq(design * weights[:, None], weights)
        weights = (1 + ((design @ [slope, height] - 1) / 0.1) ** 2) ** -0.5
    return float(slope), float(height)
