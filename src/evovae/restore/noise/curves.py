"""How the variance of noise depends on the signal, the map that makes it even, and the exact unbiased way back.

Values y of a pixel with the clean signal m have noise of standard deviation s(m).  `forward` is a map T with
T'(y) about 1 / s, so that T(y) has noise of standard deviation 1 for every m.  As T bends, E[T(y) | m] is not T(m):
`inverse` is therefore the signal m for which E[T(y) | m] is the given value (Makitalo & Foi 2013), from a table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evovae.restore.noise.stabilise import Table, numerical, photons, rice, root, speckle

Clip = tuple[float | None, float | None] | None


@dataclass(frozen=True)
class Curve(ABC):
    """The standard deviation of noise against the clean signal, and the map to values with even noise."""

    @abstractmethod
    def forward(self, values: ArrayLike) -> np.ndarray:
        """Even values: those with noise of standard deviation 1.

        Parameters
        ----------
        values
            In image units, of any shape.

        Returns
        -------
        ndarray
            Of the same shape, double.
        """

    @abstractmethod
    def inverse(self, even: ArrayLike) -> np.ndarray:
        """The signal whose values are, after `forward`, the given ones on average.

        Parameters
        ----------
        even
            Means of even values, of any shape.

        Returns
        -------
        ndarray
            In image units, of the same shape; rises with `even`, and goes on beyond the range of plausible signals.
        """

    @abstractmethod
    def slope(self, even: ArrayLike) -> np.ndarray:
        """By how many image units `inverse` changes per unit of its argument.

        Parameters
        ----------
        even
            Even values, of any shape.

        Returns
        -------
        ndarray
            Of the same shape, positive.
        """

    @abstractmethod
    def std(self, signal: ArrayLike) -> np.ndarray:
        """The standard deviation of the noise, before any clipping.

        Parameters
        ----------
        signal
            The clean signal, in image units, of any shape.

        Returns
        -------
        ndarray
            In image units, of the same shape.
        """

    @abstractmethod
    def scaled(self, factor: float) -> Curve:
        """The curve of noise that is stronger.

        Parameters
        ----------
        factor
            How many times its standard deviation is.

        Returns
        -------
        Curve
            Of the same kind.
        """

    @abstractmethod
    def describe(self) -> str:
        """What the noise is like, in words.

        Returns
        -------
        str
            A part of a sentence, such as "grows with the signal (gain 2.5)".
        """

    def config(self) -> dict[str, Any]:
        """The kind and its settings, in what JSON can hold.

        Returns
        -------
        dict
            What makes the same curve again.
        """
        return {"kind": type(self).__name__.lower(), **asdict(self)}


class _Tabulated(Curve):
    """A curve whose inverse is a table."""

    @property
    @abstractmethod
    def _table(self) -> Table:
        """From E[T(y) | m] to m."""

    def inverse(self, even: ArrayLike) -> np.ndarray:
        return self._table(even)

    def slope(self, even: ArrayLike) -> np.ndarray:
        return self._table.slope(even)


@dataclass(frozen=True)
class Flat(Curve):
    """Noise that is the same everywhere: y = m + N(0, sigma^2).

    Parameters
    ----------
    sigma
        Its standard deviation, in image units, positive.

    Examples
    --------
    >>> from evovae.noise import Flat
    >>> Flat(10.0).forward([20.0, 50.0])
    array([2., 5.])
    """

    sigma: float

    def __post_init__(self) -> None:
        _check_positive("sigma", self.sigma)

    def forward(self, values: ArrayLike) -> np.ndarray:
        return np.asarray(values, np.float64) / self.sigma

    def inverse(self, even: ArrayLike) -> np.ndarray:
        return np.asarray(even, np.float64) * self.sigma

    def slope(self, even: ArrayLike) -> np.ndarray:
        return np.full(np.shape(even), float(self.sigma))

    def std(self, signal: ArrayLike) -> np.ndarray:
        return np.full(np.shape(signal), float(self.sigma))

    def scaled(self, factor: float) -> Flat:
        return Flat(self.sigma * factor)

    def describe(self) -> str:
        return f"the same everywhere (standard deviation {self.sigma:.3g})"


@dataclass(frozen=True)
class Line(_Tabulated):
    """Photons and read noise: the variance is gain * m + offset (generalised Anscombe transform).

    y = gain * Poisson((m - dark) / gain) + dark + N(0, offset + gain * dark).  In counts above the signal where the
    line is zero, x = (y + offset / gain) / gain, the transform is T = 2 sqrt(x + 3/8); below x = 0, where photons alone
    never are, T goes on with the slope T(1) - T(0) that E[T] has there, so that nothing is cut off.  The signal without
    photons is dark = max(-offset / gain, min(low, 0)); signals below it have Gaussian noise of the line's variance, or
    none.

    Parameters
    ----------
    gain
        Image units per count, positive.
    offset
        Variance where the signal is zero, in squared image units; negative on a pedestal.
    low
        The smallest plausible signal, in image units.
    high
        The largest plausible signal, in image units.  The inverse is unbiased far beyond.
    clip
        The smallest and largest value that can be stored, in image units; None: no limit.

    References
    ----------
    Makitalo & Foi, "Optimal inversion of the generalized Anscombe transformation for Poisson-Gaussian noise", IEEE
    Transactions on Image Processing 22, 91-103, 2013.

    Examples
    --------
    >>> from evovae.noise import Line
    >>> Line(gain=2.0, offset=9.0, low=0.0, high=1000.0).std([0.0, 8.0])  # sqrt(gain * signal + offset)
    array([3., 5.])
    """

    gain: float
    offset: float
    low: float
    high: float
    clip: Clip = None

    def __post_init__(self) -> None:
        _check_positive("gain", self.gain)

    def forward(self, values: ArrayLike) -> np.ndarray:
        return root(self._counts(values))

    def std(self, signal: ArrayLike) -> np.ndarray:
        return np.sqrt(np.maximum(self.gain * np.asarray(signal, np.float64) + self.offset, 0))

    def scaled(self, factor: float) -> Line:
        return replace(self, gain=self.gain * factor**2, offset=self.offset * factor**2)

    def describe(self) -> str:
        return f"grows with the signal (gain {self.gain:.3g})"

    def _counts(self, values: ArrayLike) -> np.ndarray:
        # above the level where the line is zero
        return (np.asarray(values, np.float64) + self.offset / self.gain) / self.gain

    @cached_property
    def _table(self) -> Table:
        read = max(float(self._counts(min(self.low, 0))), 0)  # the variance of noise other than photons'
        counts = photons(read, 1e4 * float(self._counts(self.high)), self._counts(_limits(self.clip)))
        return Table(counts.x, self.gain * counts.y - self.offset / self.gain)


@dataclass(frozen=True)
class Monotone(_Tabulated):
    """Gaussian noise of any positive standard deviation s(m): the variance is linear between knots, constant beyond.

    The slope of the transform T is 1 / s, divided a few times by the standard deviation that T(y) still has (in the
    spirit of Foi).  Values may have been clipped: y = min(max(N(m, s(m)^2), lowest), highest).

    Parameters
    ----------
    signal
        Knots, rising, in image units.
    spread
        The standard deviation at each, of noise before clipping, in image units; positive.
    low
        The smallest plausible signal, in image units.
    high
        The largest plausible signal, in image units.
    clip
        The smallest and largest value that can be stored, in image units; None: no limit.

    References
    ----------
    Foi, "Practical denoising of clipped or overexposed noisy images", EUSIPCO, 2008.

    Examples
    --------
    >>> from evovae.noise import Monotone
    >>> Monotone(signal=(0.0, 100.0), spread=(1.0, 7.0), low=0.0, high=100.0).std([0.0, 50.0, 200.0])
    array([1., 5., 7.])
    """

    signal: tuple[float, ...]
    spread: tuple[float, ...]
    low: float
    high: float
    clip: Clip = None

    def __post_init__(self) -> None:
        if len(self.signal) != len(self.spread) or not len(self.signal) or np.any(np.diff(self.signal) <= 0):
            raise ValueError("a curve needs a standard deviation for each signal, and signals that rise")
        _check_positive("the least spread", min(self.spread))

    def forward(self, values: ArrayLike) -> np.ndarray:
        return self._both[0](values)

    def std(self, signal: ArrayLike) -> np.ndarray:
        return np.sqrt(np.interp(np.asarray(signal, np.float64), self.signal, np.square(self.spread)))

    def scaled(self, factor: float) -> Monotone:
        return replace(self, spread=tuple(s * factor for s in self.spread))

    def describe(self) -> str:
        return f"changes with the signal (standard deviation {min(self.spread):.3g} to {max(self.spread):.3g})"

    @cached_property
    def _both(self) -> tuple[Table, Table]:
        return numerical(np.unique([*self.signal, self.low, self.high]), self.std, _limits(self.clip))

    @property
    def _table(self) -> Table:
        return self._both[1]


@dataclass(frozen=True)
class Log(Curve):
    """Speckle: y = m G, where G has a gamma distribution with mean 1 and shape `looks`.

    T(y) = log(max(y, floor)) / sqrt(trigamma(looks)), and E[log max(y, floor)] = log(floor) + E[max(log G - a, 0)] with
    a = log(floor / m); where the floor plays no part this is log(m) + digamma(looks) - log(looks).

    Parameters
    ----------
    looks
        The number of independent looks averaged, positive: 1 / (relative standard deviation)^2.
    floor
        In image units, positive: smaller values, zero included, count as this.  Best the smallest positive value.

    Examples
    --------
    >>> from evovae.noise import Log
    >>> Log(looks=4.0).std([10.0, 100.0])  # half of the signal
    array([ 5., 50.])
    """

    looks: float
    floor: float = 1e-6

    def __post_init__(self) -> None:
        _check_positive("the least of looks and floor", min(self.looks, self.floor))

    def forward(self, values: ArrayLike) -> np.ndarray:
        return np.log(np.maximum(np.asarray(values, np.float64), self.floor)) / speckle(self.looks)[0]

    def inverse(self, even: ArrayLike) -> np.ndarray:
        std, table = speckle(self.looks)
        log_signal = np.log(self.floor) + table(std * np.asarray(even, np.float64) - np.log(self.floor))
        return np.exp(np.clip(log_signal, -600, 600))  # finite for any even value

    def slope(self, even: ArrayLike) -> np.ndarray:
        std, table = speckle(self.looks)
        return std * self.inverse(even) * table.slope(std * np.asarray(even, np.float64) - np.log(self.floor))

    def std(self, signal: ArrayLike) -> np.ndarray:
        return np.maximum(np.asarray(signal, np.float64), 0) / np.sqrt(self.looks)

    def scaled(self, factor: float) -> Log:
        return replace(self, looks=self.looks / factor**2)

    def describe(self) -> str:
        return f"in proportion to the signal (speckle of {self.looks:.3g} looks)"


@dataclass(frozen=True)
class Rician(Curve):
    """Magnitudes: y = sqrt((m + n1)^2 + n2^2), with n1 and n2 normal and of standard deviation sigma.

    The transform is numerical, as that of `Monotone`.  The inverse starts like a square root, with `slope` held
    constant from m = sigma / 2 downwards, and is 0 below.

    Parameters
    ----------
    sigma
        Standard deviation of n1 and of n2, in image units, positive.

    References
    ----------
    .. [1] Koay & Basser, "Analytically exact correction scheme for signal extraction from noisy magnitude MR signals",
       Journal of Magnetic Resonance 179, 317-322, 2006.
    .. [2] Foi, "Noise estimation and removal in MR imaging: the variance-stabilization approach", ISBI,
       1809-1814, 2011.

    Examples
    --------
    >>> from evovae.noise import Rician
    >>> float(Rician(3.0).std(1000.0).round(2))  # where the signal is strong, the noise is nearly normal
    3.0
    """

    sigma: float

    def __post_init__(self) -> None:
        _check_positive("sigma", self.sigma)

    def forward(self, values: ArrayLike) -> np.ndarray:
        return rice()[0](np.asarray(values, np.float64) / self.sigma)

    def inverse(self, even: ArrayLike) -> np.ndarray:
        return self.sigma * np.maximum(rice()[1](even), 0)

    def slope(self, even: ArrayLike) -> np.ndarray:
        table = rice()[1]
        return self.sigma * table.slope(np.maximum(even, np.interp(0.5, table.y, table.x)))

    def std(self, signal: ArrayLike) -> np.ndarray:
        return self.sigma * rice()[2](np.maximum(signal, 0) / self.sigma)

    def scaled(self, factor: float) -> Rician:
        return Rician(self.sigma * factor)

    def describe(self) -> str:
        return f"that of magnitudes (Rician, standard deviation {self.sigma:.3g} of each part)"


def from_config(config: dict[str, Any]) -> Curve:
    """The curve that gave this `config`, which may have been through JSON."""
    kinds: dict[str, type[Curve]] = {kind.__name__.lower(): kind for kind in (Flat, Line, Monotone, Log, Rician)}
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    if settings["kind"] not in kinds:
        raise ValueError(f"no curve is called {settings['kind']!r}; there are {', '.join(kinds)}")
    return kinds[str(settings.pop("kind"))](**settings)


def _limits(clip: Clip) -> np.ndarray:
    """The smallest and largest value, infinite where there is none."""
    lowest, highest = clip or (None, None)
    return np.array([-np.inf if lowest is None else lowest, np.inf if highest is None else highest])


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be positive, and is {value}")
