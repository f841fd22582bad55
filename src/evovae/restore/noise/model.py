"""The noise of an image, as one object that maps values to those with white noise and back.

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
    """The base of all models of the noise of an image; found in one, or made by a user and passed as `noise`."""

    @abstractmethod
    def forward(self, image: Image) -> Image:
        """An image of even values: those whose noise has a standard deviation of 1.

        Parameters
        ----------
        image
            Values in image units, and which of them are observed.

        Returns
        -------
        Image
            Of even values; where noise has destroyed the signal, as impulses do, values are not observed any more.
        """

    @abstractmethod
    def evened(self, signal: np.ndarray) -> np.ndarray:
        """The even values of a clean signal: about the inverse of `inverse`.

        Parameters
        ----------
        signal
            In image units, (..., C).

        Returns
        -------
        ndarray
            Of the same shape.
        """

    @abstractmethod
    def inverse(self, even: np.ndarray) -> np.ndarray:
        """The clean signal whose even values are the given ones on average.

        Parameters
        ----------
        even
            Means of even values, (..., C).

        Returns
        -------
        ndarray
            In image units, of the same shape.
        """

    @abstractmethod
    def slope(self, even: np.ndarray) -> np.ndarray:
        """By how many image units the signal changes per unit of the even values.

        Parameters
        ----------
        even
            Even values, (..., C).

        Returns
        -------
        ndarray
            Of the same shape, positive.
        """

    @abstractmethod
    def whitening(self, size: tuple[int, ...]) -> Whitening:
        """What makes the noise of patches of even values white.

        Parameters
        ----------
        size
            That of the patches, (..., C).

        Returns
        -------
        Whitening
            For patches that are flattened with the channels last.
        """

    @abstractmethod
    def expected(self, noise: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The mean of the noise of even values everywhere, given that of the known values.

        Parameters
        ----------
        noise
            (..., C); values that are not known may be anything.
        known
            Which values are known, of the same shape, bool.

        Returns
        -------
        ndarray
            Of the same shape.
        """

    @property
    @abstractmethod
    def kept(self) -> np.ndarray:
        """Which values of the image come back as they are.

        Returns
        -------
        ndarray of bool
            An array that broadcasts to the values of the image.
        """

    @abstractmethod
    def anywhere(self) -> NoiseModel:
        """The same noise without what belongs to places of one image, for patches from any place.

        Returns
        -------
        NoiseModel
            Of the same kind.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the noise is like, in words and numbers.

        Returns
        -------
        dict
            What JSON can hold: a "summary" in words, and details that depend on the kind.
        """

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """What makes `anywhere` again, in what JSON can hold.

        Returns
        -------
        dict
            Settings.
        """


@dataclass(frozen=True, eq=False)
class Noise(NoiseModel):
    """Noise that is made of a curve, a covariance, lines, impulses and a level for each place.

    Each part is the identity where it is not needed.  Arrays are of the shape of the values of the image, with the
    channels in the last axis, or single numbers.

    Parameters
    ----------
    curves
        How the variance depends on the signal: one curve for all channels, or one for each.
    covariance
        Of the noise in even values, between neighbours and channels.
    level
        How many times stronger the noise is than the curves say, at each place.
    lines
        Offsets of rows and columns, in even units, which are taken off.
    impulses
        True where a value tells nothing of the signal, and is filled: impulses, and values that stand for "no data".
    apart
        True where values come back as they are, and take no part in training: regions of one value, such as borders,
        and values that are very far from all others.
    exact
        True where values are known to be without noise.
    notes
        How sure all this is, in sentences.

    Examples
    --------
    >>> from evovae.noise import Noise
    >>> noise = Noise.white(10.0, channels=1, axes=2)
    >>> noise.describe()["summary"]
    'the same everywhere (standard deviation 10), white'
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
        """Noise of one standard deviation, or of one for each channel, that is independent in each value.

        Parameters
        ----------
        sigma
            The standard deviation, in image units: a number, or one for each channel.
        channels
            Number of channels.
        axes
            Number of spatial axes.

        Returns
        -------
        Noise
            White noise.
        """
        return cls(tuple(Flat(float(s)) for s in np.ravel(sigma)), Covariance.white(channels, axes))

    def forward(self, image: Image) -> Image:
        return replace(
            image,
            values=self.even(image.values.astype(float)),
            observed=image.observed & ~self.impulses & ~self.apart,
            wanted=image.wanted & ~self.apart,
        )

    def typical(self, values: np.ndarray) -> float:
        """The standard deviation of the noise at some values, the root mean square over them.

        Parameters
        ----------
        values
            In image units, with the channels in the last axis.

        Returns
        -------
        float
            In image units.
        """
        return float(np.sqrt(np.mean(np.square(self._by_channel("std", values) * self.level))))

    def even(self, values: np.ndarray) -> np.ndarray:
        """Even values: those whose noise has a standard deviation of 1.

        Parameters
        ----------
        values
            In image units, with the channels in the last axis.

        Returns
        -------
        ndarray
            Of the same shape.
        """
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
        """The inverse of `config`.

        Parameters
        ----------
        config
            What `config` returned.

        Returns
        -------
        Noise
            The same as was described.
        """
        kinds = tuple(curves.from_config(curve) for curve in config["curves"])
        return cls(kinds, Covariance.from_config(config["covariance"]), np.array(config["level"]))
