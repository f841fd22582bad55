"""Denoising images as an estimator of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from evovae.estimators.checks import seed
from evovae.restore import FittedDenoiser, PatchModel, Restoration, denoise, fit_denoiser
from evovae.restore.kinds import in_memory, opened
from evovae.restore.noise.model import NoiseModel

BOTH = {"sigma", "channel_axis", "time_axis", "nonfinite", "max_memory", "device"}
LEARNING = BOTH | {"noise", "preset", "max_seconds", "time_width"}
RESTORING = BOTH | {"strength", "dtype", "tile"}
HIDDEN = 0.05  # share of the pixels by which images are scored that nobody knows without noise


class Denoiser(TransformerMixin, BaseEstimator):
    """`evovae.denoise` as an object, for pipelines, parameter searches and `skimage.restoration.calibrate_denoiser`.

    `fit` learns from an image, or from several; `predict` and `transform` restore others like them without training
    (see `evovae.FittedDenoiser`).  `fit_transform` restores the very image that it learns from, as `evovae.denoise`
    does, and so does a call.

    Parameters
    ----------
    sigma, channel_axis, time_axis, time_width, nonfinite, noise, preset
        As those of `evovae.denoise`.
    random_state
        Seed, `numpy.random.RandomState` or None; a seed is the `rng` of `evovae.denoise`.
    max_seconds, strength, dtype, tile, max_memory, device
        As those of `evovae.denoise`.

    Attributes
    ----------
    denoiser_
        The `evovae.FittedDenoiser`: what was learnt.
    sigma_
        The noise level that was found, in image units.

    Examples
    --------
    >>> import numpy as np
    >>> from evovae import MixturePatches
    >>> from evovae.estimators import Denoiser
    >>> noisy = np.random.default_rng(0).normal(100, 10, (3, 16, 16))
    >>> small = MixturePatches(patch=4, latents=4, epochs=3)  # in place of a preset, to be quick
    >>> denoiser = Denoiser(preset=small, random_state=0).fit(list(noisy[:2]))
    >>> denoiser.predict(noisy[2]).shape
    (16, 16)
    """

    denoiser_: FittedDenoiser
    sigma_: float

    def __init__(
        self,
        sigma: ArrayLike | None = None,
        *,
        channel_axis: int | None = None,
        time_axis: int | None = None,
        time_width: int | None = None,
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
        self.time_axis = time_axis
        self.time_width = time_width
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

    def fit(self, X: ArrayLike | Sequence[ArrayLike], y: object = None) -> Denoiser:
        """Learn from one image or several; see `evovae.fit_denoiser`, whose errors it raises.

        Parameters
        ----------
        X
            An image, or a list of images.
        y
            Takes no part.

        Returns
        -------
        Denoiser
            Itself.
        """
        self.denoiser_ = fit_denoiser(X, rng=seed(self.random_state), **self._options(LEARNING))
        self.sigma_ = self.denoiser_.members[0].level
        return self

    def _options(self, names: set[str]) -> dict[str, Any]:
        return {name: value for name, value in self.get_params(deep=False).items() if name in names}

    def predict(self, image: ArrayLike) -> np.ndarray:
        """Restore an image without training.

        Parameters
        ----------
        image
            Like those of `fit`.

        Returns
        -------
        ndarray
            Of the same shape and units, and of the same dtype if no other is set.
        """
        check_is_fitted(self)
        options = self._options(RESTORING)
        restoration = self.denoiser_.restore(image, rng=seed(self.random_state), full_output=True, **options)
        assert isinstance(restoration, Restoration)
        return restoration.image

    def transform(self, image: ArrayLike) -> np.ndarray:
        """Restore an image without training: as `predict`.

        Parameters
        ----------
        image
            Like those of `fit`.

        Returns
        -------
        ndarray
            Of the same shape and units, and of the same dtype if no other is set.
        """
        return self.predict(image)

    def fit_transform(self, image: ArrayLike, y: object = None) -> np.ndarray:
        """Learn from an image and restore it, as `evovae.denoise` does.

        Parameters
        ----------
        image
            The image.
        y
            Takes no part.

        Returns
        -------
        ndarray
            Of the same shape and units, and of the same dtype if no other is set.
        """
        settings = self.get_params(deep=False)
        restoration = denoise(image, rng=seed(settings.pop("random_state")), full_output=True, **settings)
        assert isinstance(restoration, Restoration)
        if restoration.fitted is not None:
            self.denoiser_, self.sigma_ = restoration.fitted, restoration.sigma
        return restoration.image

    def score(self, X: ArrayLike | Sequence[ArrayLike], y: ArrayLike | Sequence[ArrayLike] | None = None) -> float:
        """Peak signal-to-noise ratio in dB, more is better: 10 log10(R^2 / mean squared error), the mean over images.

        With clean images, it is that of the restored ones.  Without, a twentieth of the pixels of X (the same ones each
        time) are hidden from what was learnt, predicted from those around, and compared with what was measured there:
        that ranks what was learnt in much the same order where the noise of neighbours is independent, though its
        numbers are lower, as they count the noise.  It says nothing of `strength`, as hidden pixels are always filled.

        ``GridSearchCV(Denoiser(), {"preset": [...]}).fit(noisy_images, clean_images)`` finds what does best.

        Parameters
        ----------
        X
            A noisy image, or a list of them, as in `fit`; of an array, all axes are those of one image.
        y
            The clean image, or a list of them.  R, the range, is taken from them (without, from X): of integers, what
            their dtype holds (255 for uint8), as in scikit-image; of floats, the largest value less the smallest.
            NaN are left out.

        Returns
        -------
        float
            In dB.

        Raises
        ------
        ValueError
            For other numbers or shapes of images than in X, and where R is zero.

        Examples
        --------
        >>> import numpy as np
        >>> from evovae.estimators import Denoiser
        >>> clean = np.kron(np.arange(16.0).reshape(4, 4) % 5 * 50, np.ones((6, 6)))
        >>> noisy = clean + np.random.default_rng(0).normal(0, 20, clean.shape)
        >>> denoiser = Denoiser(preset="fast", random_state=0).fit(noisy)
        >>> bool(denoiser.score(noisy, clean) > 20 * np.log10(200 / 20))  # that of the noisy image
        True
        """
        check_is_fitted(self)
        images = _several(X)
        clean = images if y is None else _several(y)
        if not images or len(clean) != len(images):
            raise ValueError(f"there are {len(clean)} clean images for {len(images)} noisy ones; give one for each")
        return float(np.mean([self._ratio(*pair, y is None) for pair in zip(images, clean, strict=True)]))

    def _ratio(self, image: ArrayLike, truth: ArrayLike, hides: bool) -> float:
        """Of one image, in dB: of all of it, or of pixels that are hidden."""
        values = in_memory(opened(truth, None)[0])
        where = np.random.default_rng(0).random(values.shape) < (HIDDEN if hides else 1)
        options = self._options(RESTORING) | ({"mask": where} if hides else {})
        restored = self.denoiser_.restore(image, rng=seed(self.random_state), full_output=True, **options)
        assert isinstance(restored, Restoration)
        if values.shape != restored.image.shape:
            raise ValueError(f"a clean image has shape {values.shape}, but the noisy one {restored.image.shape}")
        known = where & np.isfinite(values) & ~np.ma.getmaskarray(values)
        if not known.any():
            raise ValueError("there is no pixel to compare; give images that have more")
        values = np.asarray(values)
        off = restored.image[known].astype(float) - values[known]
        with np.errstate(divide="ignore"):  # of images that are the same
            return float(20 * np.log10(_range(values, known) / np.sqrt(np.mean(np.square(off)))))

    def save(self, path: str | Path) -> None:
        """Write what `fit` has learnt to a file, without pickle; see `evovae.FittedDenoiser.load`.

        Parameters
        ----------
        path
            The file, of the ending .safetensors by convention; replaced as a whole, where there is one.
        """
        check_is_fitted(self)
        self.denoiser_.save(path)

    def __call__(self, image: ArrayLike, **parameters: object) -> np.ndarray:
        """`fit_transform` with some parameters replaced, which functions that compare denoisers call."""
        return clone(self).set_params(**parameters).fit_transform(image)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.allow_nan = tags.input_tags.three_d_array = True
        return tags


def _several(images: Any) -> Sequence[Any]:  # noqa: ANN401 - one image of any kind, or several
    """A list of images, as `fit_denoiser` takes it; an array is one image."""
    return images if not hasattr(images, "shape") and isinstance(images, Sequence) else [images]


def _range(values: np.ndarray, known: np.ndarray) -> float:
    """Of what integers of this dtype hold, from 0 on if they need no sign, or of the floats that are known."""
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        return float(limits.max) - (float(limits.min) if values.min() < 0 else 0.0)
    found = float(np.ptp(values[known]))
    if not found:
        raise ValueError("the image to compare with is constant, so that it has no range")
    return found
