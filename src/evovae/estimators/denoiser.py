"""Denoising as an object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from evovae.estimators.checks import seed
from evovae.restore import PatchModel, Restoration, denoise
from evovae.restore.noise.model import NoiseModel


class Denoiser(TransformerMixin, BaseEstimator):
    """`evovae.denoise` as an object, for pipelines, parameter searches and `skimage.restoration.calibrate_denoiser`.

    A model is trained on the very image that it restores, so nothing carries over from one to the next:
    `predict` and `transform` train anew on what they are given, need no `fit`, and leave what was fitted as
    it is.  `fit` restores an image too, and keeps all that was learnt.

    Parameters
    ----------
    sigma, channel_axis, nonfinite, noise, preset, max_seconds, strength, dtype, tile, max_memory, device
        See `evovae.denoise`.
    random_state
        Seed, `numpy.random.RandomState` or None; a seed is the `rng` of `evovae.denoise`.

    Attributes
    ----------
    restoration_
        The `evovae.Restoration` of the image that `fit` was given.
    sigma_
        The noise level that was found in it, in image units.

    Examples
    --------
    >>> import numpy as np
    >>> from evovae.estimators import Denoiser
    >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
    >>> Denoiser(preset="fast", random_state=0).predict(noisy).shape
    (16, 16)
    """

    restoration_: Restoration
    sigma_: float

    def __init__(
        self,
        sigma: ArrayLike | None = None,
        *,
        channel_axis: int | None = None,
        nonfinite: str = "raise",
        noise: str | NoiseModel = "auto",
        preset: str | PatchModel | Sequence[PatchModel] = "balanced",
        random_state: int | np.random.RandomState | None = None,
        max_seconds: float | None = None,
        strength: float = 1.0,
        dtype: DTypeLike | None = None,
        tile: int | None = None,
        max_memory: float | None = None,
        device: str | None = None,
    ) -> None:
        self.sigma = sigma
        self.channel_axis = channel_axis
        self.nonfinite = nonfinite
        self.noise = noise
        self.preset = preset
        self.random_state = random_state
        self.max_seconds = max_seconds
        self.strength = strength
        self.dtype = dtype
        self.tile = tile
        self.max_memory = max_memory
        self.device = device

    def fit(self, image: ArrayLike, y: object = None) -> Denoiser:
        """Restore an image, and keep its restoration.  Raises what `evovae.denoise` does."""
        settings = self.get_params(deep=False)
        rng = seed(settings.pop("random_state"))
        restoration = denoise(image, rng=rng, full_output=True, **settings)
        assert isinstance(restoration, Restoration)
        self.restoration_, self.sigma_ = restoration, restoration.sigma
        return self

    def predict(self, image: ArrayLike) -> np.ndarray:
        """The restored image, of the same shape and units, and the same dtype if no other is set."""
        return clone(self).fit(image).restoration_.image

    def transform(self, image: ArrayLike) -> np.ndarray:
        """As `predict`."""
        return self.predict(image)

    def fit_transform(self, image: ArrayLike, y: object = None) -> np.ndarray:
        """`fit`, and the restored image: one training for both."""
        return self.fit(image).restoration_.image

    def save(self, folder: str | Path) -> None:
        """Write what `fit` has learnt to a new folder, without pickle; see `Restoration.save`."""
        check_is_fitted(self)
        self.restoration_.save(folder)

    def __call__(self, image: ArrayLike, **parameters: object) -> np.ndarray:
        """`predict` with some parameters replaced: what functions that compare denoisers call."""
        return clone(self).set_params(**parameters).predict(image)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit, tags.no_validation = False, True
        tags.input_tags.allow_nan = tags.input_tags.three_d_array = True
        return tags
