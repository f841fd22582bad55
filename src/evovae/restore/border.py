"""The border between users' arrays and float32 tensors: checks, and dtypes on the way out."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor


def checked(image: ArrayLike, mask: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """The image as an array, and which of its pixels are observed (not NaN, not masked in any way)."""
    hidden = np.ma.getmaskarray(image) if isinstance(image, np.ma.MaskedArray) else False
    image = np.asarray(image)
    if image.dtype.kind not in "iuf":
        hint = {"b": "; cast it to float first", "c": "; restore its real and imaginary parts apart"}
        raise TypeError(
            f"image has dtype {image.dtype}, but integers or floats are needed{hint.get(image.dtype.kind, '')}"
        )
    if image.ndim != 2:
        raise ValueError(
            f"image has shape {image.shape}, but two axes are needed; restore channels or frames one by one"
        )
    if 0 in image.shape:
        raise ValueError(f"image has shape {image.shape}: axis {image.shape.index(0)} is empty")
    observed = ~(np.isnan(image) | hidden | _unknown(mask, image.shape))
    if not observed.any():
        raise ValueError("no observed pixels: every pixel is NaN or masked")
    infinite = np.argwhere(np.isinf(image) & observed)
    if len(infinite):
        raise ValueError(f"image has {len(infinite)} infinite pixels, the first at {tuple(map(int, infinite[0]))}")
    return image, observed


def _unknown(mask: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray:
    unknown = np.zeros(shape, bool) if mask is None else np.asarray(mask)
    if unknown.shape != shape:
        raise ValueError(f"mask has shape {unknown.shape}, the image {shape}")
    if not np.isin(unknown, (0, 1)).all():
        raise ValueError("mask holds values other than 0 (known) and 1 (unknown)")
    return unknown.astype(bool)


def check_sigma(sigma: float | None, span: float) -> None:
    """A noise level is a positive number no larger than the data's range."""
    if sigma is not None and not 0 < sigma <= span:
        raise ValueError(f"sigma is {sigma}, but a noise level lies between 0 and the image's range of {span:g}")


def torch_generator(rng: int | np.random.Generator | None) -> Generator:
    """A torch generator from a seed, a numpy generator, or fresh entropy."""
    if isinstance(rng, bool | float) or not isinstance(rng, int | np.integer | np.random.Generator | None):
        raise TypeError(f"rng is a {type(rng).__name__}, but an int, a numpy Generator or None is needed")
    return Generator().manual_seed(int(np.random.default_rng(rng).integers(2**62)))


def as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """values in dtype: integers are rounded and clipped, never wrapped."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.rint(values)
        inside = np.clip(values, limits.min, np.nextafter(float(limits.max) + 1, 0)).astype(dtype)
        return np.where(values >= limits.max, limits.max, inside).astype(dtype)
    return values.astype(dtype)


@dataclass(frozen=True)
class Scale:
    """The affine map from image units to those of training: zero mean, signal of standard deviation 0.2.

    Learning rates and starting values are made for that scale, and restoring a * x + b gives
    a * restored + b.
    """

    offset: float
    unit: float

    @classmethod
    def of(cls, pixels: np.ndarray, noise: float) -> "Scale":
        """The scale of an image with observed pixels and a noise level, both in image units."""
        variance = float(pixels.var(dtype=float))
        signal = max(variance - noise**2, 0.05 * variance) ** 0.5
        return cls(float(pixels.mean(dtype=float)), 5 * signal)

    def to_model(self, image: np.ndarray, observed: np.ndarray) -> Tensor:
        """The image in training units, float32, zero where not observed."""
        return torch.from_numpy(
            np.where(observed, (image.astype(float) - self.offset) / self.unit, 0).astype(np.float32)
        )

    def to_image(self, values: Tensor) -> np.ndarray:
        """Back to image units, in double precision."""
        return values.double().numpy() * self.unit + self.offset
