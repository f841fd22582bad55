"""How noise of unit variance is correlated in space and over channels: whitening, draws, and what is missing.

Stationary: the covariance of two values depends on their channels and on the lag between their places alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

FLOOR = 0.02  # least eigenvalue of the covariance of a patch, over the mean one: less is not known, and divided by
STEPS, ENOUGH = 60, 1e-3  # of conjugate gradients at most, and of the first residual


@dataclass(frozen=True)
class Whitening:
    """The map from patches of values whose noise has the covariance R to patches with white noise, x R^-1/2, and back.

    Parameters
    ----------
    forward
        R^-1/2, (D, D); None where noise is white already.
    back
        R^1/2, (D, D); None where noise is white already.
    """

    forward: Tensor | None
    back: Tensor | None

    @property
    def is_identity(self) -> bool:
        """Whether patches stay as they are.

        Returns
        -------
        bool
            True where noise is white already.
        """
        return self.forward is None

    def __call__(self, patches: Tensor) -> Tensor:
        """Patches (N, D) with white noise."""
        return patches if self.forward is None else patches @ self.forward.to(patches)


WHITE = Whitening(None, None)


@dataclass(frozen=True)
class Covariance:
    """The autocovariance of stationary noise.

    Parameters
    ----------
    lags
        (C, C, ...), with 2 r + 1 lags -r .. r along each spatial axis (r may differ): E[n_c(p) n_d(p + lag)] of noise
        whose variance is 1 in each of the C channels; zero beyond.

    Examples
    --------
    Noise of a picture in one channel, of which neighbours along the second axis share half:

    >>> import numpy as np
    >>> from evovae.noise import Covariance
    >>> covariance = Covariance(np.array([0.5, 1.0, 0.5]).reshape(1, 1, 1, 3))
    >>> covariance.nearest, covariance.is_white
    (0.5, False)
    >>> covariance.draw((32, 32, 1), np.random.default_rng(0)).shape
    (32, 32, 1)
    """

    lags: np.ndarray

    @classmethod
    def white(cls, channels: int, axes: int) -> Covariance:
        """Noise that is independent in each value.

        Parameters
        ----------
        channels
            Number of channels.
        axes
            Number of spatial axes.

        Returns
        -------
        Covariance
            Without lags.
        """
        return cls(np.eye(channels).reshape(channels, channels, *(1,) * axes))

    @property
    def is_white(self) -> bool:
        """Whether noise is independent in each value.

        Returns
        -------
        bool
            True where it is.
        """
        return self.lags.size == len(self.lags) ** 2 and np.array_equal(
            self.lags.reshape(self.lags.shape[:2]), np.eye(len(self.lags))
        )

    @property
    def reach(self) -> tuple[int, ...]:
        """The largest lag along each spatial axis.

        Returns
        -------
        tuple of int
            In pixels.
        """
        return tuple(n // 2 for n in self.lags.shape[2:])

    @property
    def nearest(self) -> float:
        """The correlation between neighbours: the mean over channels and over those axes that have lags.

        Returns
        -------
        float
            From -1 to 1; 0 without lags.
        """
        found = [
            self.lags[(c, c, *(r + (axis == other) for other, r in enumerate(self.reach)))]
            for c in range(len(self.lags))
            for axis, reach in enumerate(self.reach)
            if reach
        ]
        return float(np.mean(found)) if found else 0.0

    def config(self) -> dict[str, Any]:
        """The settings, in what JSON can hold.

        Returns
        -------
        dict
            What `from_config` makes the same covariance of.
        """
        return {"lags": self.lags.tolist()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Covariance:
        """The inverse of `config`.

        Parameters
        ----------
        config
            What `config` returned.

        Returns
        -------
        Covariance
            The same as was described.
        """
        return cls(np.array(config["lags"]))

    def of_patch(self, size: tuple[int, ...]) -> np.ndarray:
        """The covariance matrix R of the noise of a patch.

        Parameters
        ----------
        size
            That of the patch, (..., C).

        Returns
        -------
        ndarray
            (D, D), for patches that are flattened with the channels last.
        """
        *spatial, C = size
        place = np.stack(np.meshgrid(*map(np.arange, spatial), indexing="ij"), -1).reshape(-1, len(spatial))
        lag = place[None] - place[:, None]
        reach = np.array(self.reach)
        inside = (np.abs(lag) <= reach).all(-1)
        index = tuple(np.moveaxis(np.clip(lag, -reach, reach) + reach, -1, 0))
        covariance = np.where(inside, self.lags[(slice(None), slice(None), *index)], 0)  # (C, C, P, P)
        return covariance.transpose(2, 0, 3, 1).reshape(len(place) * C, len(place) * C)

    def whitening(self, size: tuple[int, ...]) -> Whitening:
        """What makes the noise of patches white.

        Where a patch has several times the channels that the noise has, as one through several frames of a film, the
        noise of each frame is independent of that of the others.

        Parameters
        ----------
        size
            That of the patches, (..., C), which may have more axes in front than the noise, in which it is
            independent.

        Returns
        -------
        Whitening
            For patches that are flattened with the channels last.
        """
        if self.is_white:
            return WHITE
        several = Covariance(np.einsum("st,cd...->sctd...", np.eye(size[-1] // len(self.lags)), self.lags))
        several = Covariance(several.lags.reshape(size[-1], size[-1], *self.lags.shape[2:]))
        values, vectors = np.linalg.eigh(several.of_patch(size[len(size) - self.lags.ndim + 1 :]))
        values = np.maximum(values, FLOOR * values.mean())
        forward, back = (torch.from_numpy(vectors * values**power @ vectors.T).float() for power in (-0.5, 0.5))
        return Whitening(forward, back)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Draw noise with this covariance.

        It is periodic.  Lags that no spectrum has (one that would be negative somewhere) are met as well as possible.

        Parameters
        ----------
        shape
            That of the noise, (..., C).
        rng
            Source of the draws.

        Returns
        -------
        ndarray
            Of this shape, with variance 1.
        """
        white = rng.standard_normal(shape)
        if self.is_white:
            return white
        axes = tuple(range(len(shape) - 1))
        values, vectors = np.linalg.eigh(self._spectrum(shape[:-1]))
        # the symmetric root, which is the same whatever vectors eigh finds: opposite frequencies have to be conjugate
        root = (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ vectors.conj().swapaxes(-1, -2)
        mixed = (root @ np.fft.fftn(white, axes=axes)[..., None])[..., 0]
        return np.fft.ifftn(mixed, axes=axes).real

    def expected(self, noise: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The mean of noise everywhere, given its known values (kriging).

        That is C_mo C_oo^-1 n_o for the stationary covariance C of known values (o) and all others (m), found by
        conjugate gradients.

        Parameters
        ----------
        noise
            (.., ..., C); values that are not known may be anything.
        known
            Which values are known, of the same shape, bool.

        Returns
        -------
        ndarray
            Of the same shape; known values as they are.
        """
        if self.is_white or known.all():
            return np.where(known, noise, 0)
        axes = tuple(range(1 - self.lags.ndim, -1))
        shape = noise.shape[axes[0] : -1]
        spectrum = self._spectrum(tuple(n + 2 * r for n, r in zip(shape, self.reach, strict=True)))
        window: Any = (..., *map(slice, shape), slice(None))

        def together(values: np.ndarray) -> np.ndarray:
            wide = np.fft.fftn(values, s=spectrum.shape[: len(axes)], axes=axes)
            return np.fft.ifftn((spectrum @ wide[..., None])[..., 0], axes=axes).real[window]

        residual = np.where(known, noise, 0)
        weights, direction, power = np.zeros_like(residual), residual, np.sum(residual**2)
        enough = ENOUGH**2 * power
        for _ in range(STEPS):
            if power <= enough:
                break
            along = np.where(known, together(direction), 0) + FLOOR * direction
            step = power / np.sum(direction * along)
            weights, residual = weights + step * direction, residual - step * along
            before, power = power, np.sum(residual**2)
            direction = residual + power / before * direction
        return np.where(known, noise, together(weights))

    def _spectrum(self, shape: tuple[int, ...]) -> np.ndarray:
        """The matrix over channels at each frequency of a periodic picture: (..., C, C), Hermitian."""
        lags = np.moveaxis(self.lags, (0, 1), (-1, -2))
        kernel = np.zeros((*shape, *lags.shape[-2:]))
        for lag in product(
            *(range(-min(r, (n - 1) // 2), min(r, (n - 1) // 2) + 1) for r, n in zip(self.reach, shape, strict=True))
        ):
            kernel[lag] = lags[tuple(at + r for at, r in zip(lag, self.reach, strict=True))]
        return np.fft.fftn(kernel, axes=tuple(range(len(shape))))
