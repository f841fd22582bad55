"""What noise does to an image, as one object that goes there and back.

The values of an image become *even* ones, whose noise has a standard deviation of 1 in every place and channel, and
patches of those become *white* ones, whose noise is independent in each value.  What is then restored comes back the
same way, without bias.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evovae.restore.image import Image
from evovae.restore.noise import curves
from evovae.restore.noise.covariance import Covariance, Whitening
from evovae.restore.noise.curves import Curve, Flat


class NoiseModel(ABC):
    """The noise of an image.  Frozen: found in one, or made by a user and passed as `noise`."""

    @abstractmethod
    def forward(self, image: Image) -> Image:
        """Even values; what noise has destroyed is not observed any more."""

    @abstractmethod
    def evened(self, signal: np.ndarray) -> np.ndarray:
        """Even values of a clean signal, in image units: about what `inverse` goes back from."""

    @abstractmethod
    def inverse(self, even: np.ndarray) -> np.ndarray:
        """The signal, in image units, whose even values are these on average."""

    @abstractmethod
    def slope(self, even: np.ndarray) -> np.ndarray:
        """How many image units a small step of the even values is, where they are these."""

    @abstractmethod
    def whitening(self, size: tuple[int, ...]) -> Whitening:
        """What makes the noise of even patches of a size (*spatial, C) white."""

    @abstractmethod
    def expected(self, noise: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The even noise (*spatial, C) to expect everywhere, given that of the known values."""

    @property
    @abstractmethod
    def kept(self) -> np.ndarray:
        """True where values of the image come back as they are: an array that fits it, or False."""

    @abstractmethod
    def anywhere(self) -> NoiseModel:
        """The same noise without what belongs to places of one image, for patches from any place."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What was found, in words ("summary") and numbers that JSON can hold."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What makes `anywhere()` again, in what JSON can hold."""


@dataclass(frozen=True, eq=False)
class Noise(NoiseModel):
    """Parts, each the identity where it is not needed; arrays fit the values of the image, or are single numbers.

    Parameters
    ----------
    curves
        One for all channels, or for each its own: how the variance depends on the signal.
    covariance
        Of the noise in even values.
    level
        By how much it is stronger than the curves say, by place.
    lines
        Offsets of rows and columns, in even units, which are taken off.
    impulses
        True where a value says nothing, and is filled: impulses, and values that stand for "no data".
    apart
        True where values come back as they are, and have no part in what is learnt: regions of one value, such as
        borders, and values that are very far from all others.
    exact
        True where values are known to be without noise.
    notes
        What there is to say about how sure all this is, in sentences.
    """

    curves: tuple[Curve, ...]
    covariance: Covariance
    level: np.ndarray = field(default_factory=lambda: np.ones(()))
    lines: np.ndarray = field(default_factory=lambda: np.zeros(()))
    impulses: np.ndarray = field(default_factory=lambda: np.zeros((), bool))
    apart: np.ndarray = field(default_factory=lambda: np.zeros((), bool))
    exact: np.ndarray = field(default_factory=lambda: np.zeros((), bool))
    notes: tuple[str, ...] = ()

    @classmethod
    def white(cls, sigma: ArrayLike, channels: int, axes: int) -> Noise:
        """Noise of one standard deviation, in image units, or of one for each channel."""
        return cls(tuple(Flat(float(s)) for s in np.ravel(sigma)), Covariance.white(channels, axes))

    def forward(self, image: Image) -> Image:
        return replace(
            image,
            values=self.even(image.values.astype(float)),
            observed=image.observed & ~self.impulses & ~self.apart,
            wanted=image.wanted & ~self.apart,
        )

    def typical(self, values: np.ndarray) -> float:
        """The noise's standard deviation at values with the channels in the last axis, the mean over them."""
        return float(np.sqrt(np.mean(np.square(self._by_channel("std", values) * self.level))))

    def even(self, values: np.ndarray) -> np.ndarray:
        """Even values, of values with the channels in the last axis."""
        return self._by_channel("forward", values) / self.level - self.lines

    def evened(self, signal: np.ndarray) -> np.ndarray:
        return self.even(signal)

    def inverse(self, even: np.ndarray) -> np.ndarray:
        return self._by_channel("inverse", even * self.level)

    def slope(self, even: np.ndarray) -> np.ndarray:
        return self._by_channel("slope", even * self.level) * self.level

    def whitening(self, size: tuple[int, ...]) -> Whitening:
        return self.covariance.whitening(size)

    def expected(self, noise: np.ndarray, known: np.ndarray) -> np.ndarray:
        return self.covariance.expected(noise, known)

    @property
    def kept(self) -> np.ndarray:
        return self.apart | self.exact

    def anywhere(self) -> Noise:
        return Noise(self.curves, self.covariance, np.array(np.median(self.level)), notes=self.notes)

    def _by_channel(self, verb: str, values: np.ndarray) -> np.ndarray:
        if len(self.curves) == 1:
            return getattr(self.curves[0], verb)(values)
        parts = [getattr(curve, verb)(values[..., c]) for c, curve in enumerate(self.curves)]
        return np.stack(parts, -1)

    def describe(self) -> dict[str, Any]:
        lines, impulses = float(np.sqrt(np.mean(self.lines**2))), int(self.impulses.sum())
        words = [" / ".join(dict.fromkeys(curve.describe() for curve in self.curves))]
        words.append(
            "white" if self.covariance.is_white else f"correlated ({self.covariance.nearest:.2f} between neighbours)"
        )
        words += [f"{impulses} impulse{'s' * (impulses > 1)}"] * (impulses > 0)
        words += [f"offsets of lines ({lines:.2g} of its standard deviation)"] * (lines > 0)
        return {
            "summary": ", ".join(words),
            "curves": [curve.config() for curve in self.curves],
            "correlation": self.covariance.nearest,
            "lines": lines,
            "impulses": impulses,
            "notes": list(self.notes),
        }

    def config(self) -> dict[str, Any]:
        plain = self.anywhere()
        return {
            "curves": [curve.config() for curve in plain.curves],
            "covariance": plain.covariance.config(),
            "level": float(plain.level),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Noise:
        """The inverse of `config`."""
        kinds = tuple(curves.from_config(curve) for curve in config["curves"])
        return cls(kinds, Covariance.from_config(config["covariance"]), np.array(config["level"]))
