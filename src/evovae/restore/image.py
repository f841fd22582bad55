"""Users' arrays as float32 tensors: checks on the way in, and dtypes on the way out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike
from scipy.ndimage import distance_transform_edt
from torch import Generator, Tensor

from evovae.masks import missing
from evovae.notes import warn
from evovae.restore.kinds import in_memory
from evovae.restore.memory import check_room
from evovae.settings import NONFINITE, RAISE

CHANNELS = 32  # in a last axis that is much shorter than the others, which may be meant
SIGNAL = 0.2  # deviation of the signal in the units of training
GRAIN = 0.05  # least noise to work with, over the picture's own deviation


@dataclass(frozen=True)
class Image:
    """A user's array in the form that restoration works on: floats or integers, channels (if any) in the last axis.

    observed is True where a value is neither missing (NaN, infinite, masked in any way) nor to be ignored. Spatial axes
    of length 1 are left out; whole is the shape with them, axis where the channels were.  wanted is False where the
    clean value is not needed; it is of the shape of values, or one for all.  The first axis of a film is time, which
    was at `time`.
    """

    values: np.ndarray
    observed: np.ndarray
    axis: int | None
    whole: tuple[int, ...]
    wanted: np.ndarray = field(default_factory=lambda: np.ones((), bool))
    time: int | None = None

    @classmethod
    def of(
        cls,
        image: ArrayLike,
        mask: ArrayLike | None,
        channel_axis: int | None,
        nonfinite: str,
        memory: float,
        time_axis: int | None = None,
    ) -> "Image":
        """Check an array and all that belongs to it."""
        if nonfinite not in NONFINITE:
            raise ValueError(f"nonfinite is {nonfinite!r}, but it is one of {', '.join(NONFINITE)}")
        if isinstance(image, str | PathLike):
            raise TypeError(f"image is a path; read the file first: evovae.io.read({str(image)!r}).values is its array")
        check_room(getattr(image, "shape", ()), memory)  # before it is read, if it lies in a file
        image = in_memory(image)
        hidden = np.ma.getmaskarray(image) if isinstance(image, np.ma.MaskedArray) else False
        image = np.asarray(image)
        check_room(image.shape, memory)
        check_values(image)
        check_axes(image.shape, channel_axis, time_axis)
        given = ~(hidden | masked_out(mask, image.shape, channel_axis))
        nan, infinite = given & np.isnan(image), given & np.isinf(image)
        observed = given & ~nan & ~infinite
        if nonfinite == RAISE:
            _check_finite(infinite)
        if not observed.any():
            raise ValueError("no observed pixels: every pixel is NaN, infinite or masked")
        for unknown, kind in ((nan, "NaN"), (infinite, "infinite")):
            if unknown.any():
                warn(f"{unknown.sum()} pixels are {kind}; they are taken for missing and filled")
        if channel_axis is not None:
            image, observed = np.moveaxis(image, channel_axis, -1), np.moveaxis(observed, channel_axis, -1)
        if time_axis is not None:
            among = _without(given.shape, channel_axis, time_axis)
            image, observed, time_axis = np.moveaxis(image, among, 0), np.moveaxis(observed, among, 0), among
        spatial = image.shape if channel_axis is None else image.shape[:-1]
        shape = (*_long(spatial), *image.shape[len(spatial) :])
        values, observed = (
            np.ascontiguousarray(a.reshape(shape)) for a in (image, observed)
        )  # sums depend on the order
        return cls(values, observed, channel_axis, image.shape, time=time_axis)

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the spatial axes."""
        return self.values.shape if self.axis is None else self.values.shape[:-1]

    @property
    def film(self) -> bool:
        """Whether the first axis is time."""
        return self.time is not None and self.whole[0] > 1 and len(self.shape) == 3

    def frame(self, t: int) -> "Image":
        """One frame of a film."""
        wanted = np.broadcast_to(self.wanted, self.values.shape)[t]
        values, observed = self.values[t], self.observed[t]
        return replace(self, values=values, observed=observed, whole=values.shape, wanted=wanted, time=None)

    @property
    def flat(self) -> bool:
        """Whether it is constant, so that there is nothing to learn from."""
        return bool(self.span < np.finfo(np.float32).tiny)

    @property
    def span(self) -> float:
        """The range of what is observed."""
        return float(np.ptp(self.values[self.observed].astype(float)))

    def digest(self) -> str:
        """A hash of values, dtype and what is observed, to tell pictures apart."""
        about = f"{self.values.dtype.str} {self.whole} {self.axis}"
        digest = hashlib.sha256(about.encode())
        for array in (self.values, self.observed):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def channels(self) -> int:
        """How many values a pixel has."""
        return 1 if self.axis is None else self.values.shape[-1]

    def with_channels(self, values: np.ndarray) -> np.ndarray:
        """Values with the channels as their last axis, of length one where there are none."""
        return values if self.axis is not None else values[..., None]

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Values in double precision, zero where not observed, and observed."""
        values = np.where(self.observed, self.values, 0).astype(float)
        return torch.from_numpy(values), torch.from_numpy(self.observed)

    def patch(self, width: int | tuple[int, ...]) -> tuple[int, ...]:
        """The size of patches of this width: cut to the picture, and through all channels."""
        spatial = self.whole[: len(self.whole) - (self.axis is not None)]
        widths = (width,) * len(self.shape) if isinstance(width, int) else width
        if len(widths) == len(spatial) > len(self.shape):
            widths = tuple(width for width, n in zip(widths, spatial, strict=True) if n > 1)
        if len(widths) != len(self.shape):
            raise ValueError(f"patches of {len(widths)} axes do not fit an image with {len(self.shape)} spatial axes")
        if any(width > n for width, n in zip(widths, self.shape, strict=True)):
            warn(f"the image of shape {self.shape} is narrower than a patch of {width}; patches are cut to it")
        return *map(min, widths, self.shape), *self.values.shape[len(self.shape) :]

    def crop(self, window: tuple[slice, ...]) -> "Image":
        """A part of it."""
        wanted = np.broadcast_to(self.wanted, self.values.shape)[window]
        return replace(self, values=self.values[window], observed=self.observed[window], wanted=wanted)

    def part(self, pixels: int, rng: np.random.Generator) -> "Image":
        """A random window of about so many pixels; all of it if it has no more."""
        share = min((pixels / np.prod(self.shape)) ** (1 / len(self.shape)), 1.0)
        edges = [max(round(share * n), 1) for n in self.shape]
        corner = [int(rng.integers(n - e + 1)) for n, e in zip(self.shape, edges, strict=True)]
        return self.crop(tuple(slice(c, c + e) for c, e in zip(corner, edges, strict=True)))

    @staticmethod
    def stacked(parts: Sequence["Image"]) -> "Image":
        """Images of the same shape, one after another along a first axis."""
        values, observed = np.stack([p.values for p in parts]), np.stack([p.observed for p in parts])
        wanted = np.stack([np.broadcast_to(p.wanted, p.values.shape) for p in parts])
        return replace(parts[0], values=values, observed=observed, wanted=wanted)

    def hiding(self, share: float, generator: Generator) -> tuple["Image", np.ndarray]:
        """The picture with a random share of its observed values hidden, and where."""
        if not 0 <= share < 1:
            raise ValueError(f"held_out is {share}, but a share of the pixels lies in [0, 1)")
        if not share:
            return self, np.zeros(self.values.shape, bool)
        hidden = self.observed & (torch.rand(self.values.shape, generator=generator) < share).numpy()
        if hidden.sum() == self.observed.sum():
            raise ValueError(f"held_out is {share}, which hides all of the few pixels that there are; hide fewer")
        return replace(self, observed=self.observed & ~hidden), hidden

    def grainy(self, generator: Generator) -> "Image":
        """Even values with a little more noise, where there is next to none beside the signal.

        Pictures without any teach directions that coincide, which single precision cannot tell apart.
        """
        least = GRAIN * float(self.values[self.observed].std(dtype=float))
        if least <= 1:
            return self
        grain = torch.randn(self.values.shape, generator=generator, dtype=torch.float64).numpy()
        return replace(self, values=self.values + (least**2 - 1) ** 0.5 * grain)

    def outside(self, values: np.ndarray) -> np.ndarray:
        """values with their axes as the user has them."""
        values = values.reshape(self.whole)
        values = values if self.time is None else np.moveaxis(values, 0, self.time)
        return values if self.axis is None else np.moveaxis(values, -1, self.axis)


def _long(spatial: tuple[int, ...]) -> tuple[int, ...]:
    """The axes along which there are neighbours; one at least."""
    return tuple(n for n in spatial if n > 1) or (1,)


def check_values(image: np.ndarray) -> None:
    """Refuse values that are not numbers, or such as double precision does not hold."""
    if image.dtype.kind not in "iuf":
        hint = {"b": "; cast it to float first", "c": "; restore its real and imaginary parts apart"}
        raise TypeError(
            f"image has dtype {image.dtype}, but integers or floats are needed{hint.get(image.dtype.kind, '')}"
        )
    if image.dtype.kind in "iu" and image.dtype.itemsize == 8 and image.size and _beyond(image, 2**53):
        raise ValueError("image holds integers beyond 2^53, which floats cannot tell apart; subtract an offset first")


def _check_finite(infinite: np.ndarray) -> None:
    if infinite.any():
        first = tuple(map(int, np.argwhere(infinite)[0]))
        raise ValueError(
            f"image has {infinite.sum()} infinite pixels, the first at {first}; nonfinite = mask fills them"
        )


def _beyond(image: np.ndarray, limit: int) -> bool:
    return int(image.max()) > limit or int(image.min()) < -limit


def _without(shape: tuple[int, ...], channel_axis: int | None, time_axis: int) -> int:
    """Where the time axis is among those that are left when the channels have gone last."""
    time = time_axis % len(shape)
    return time - (channel_axis is not None and channel_axis % len(shape) < time)


def check_axes(shape: tuple[int, ...], channel_axis: int | None, time_axis: int | None) -> None:
    """Refuse axes that are not there, or not of an image; warn of those that look as if they were channels."""
    if not shape:
        raise ValueError("image is a single number; an array with at least one axis is needed")
    if 0 in shape:
        raise ValueError(f"image has shape {shape}: axis {shape.index(0)} is empty")
    if time_axis is not None:
        frames = len(shape) - (channel_axis is not None) - 1
        if not -len(shape) <= time_axis < len(shape) or frames != 2:
            raise ValueError(
                f"time_axis is {time_axis}, but an image of shape {shape} needs that axis, and two of space beside it"
            )
        if channel_axis is not None and channel_axis % len(shape) == time_axis % len(shape):
            raise ValueError(f"time_axis and channel_axis are both {channel_axis}; they are different axes")
        if channel_axis is None:
            return
    if channel_axis is None:
        colours = len(shape) == 3 and shape[-1] in (3, 4) and min(shape[:2]) > 4
        if colours or (len(shape) == 3 and 2 <= shape[-1] <= CHANNELS and min(shape[:2]) > 4 * shape[-1]):
            few = "looks like RGB" if colours else f"may hold {shape[-1]} channels"
            warn(f"shape {shape} {few}; pass channel_axis=-1, or it is restored as a stack of 3-D")
        return
    if not -len(shape) <= channel_axis < len(shape) or len(shape) == 1:
        raise ValueError(
            f"channel_axis is {channel_axis}, but an image of shape {shape} "
            + ("needs an axis beside it" if len(shape) == 1 else f"has axes {-len(shape)} to {len(shape) - 1}")
        )


def masked_out(mask: ArrayLike | None, shape: tuple[int, ...], channel_axis: int | None) -> np.ndarray:
    """The mask as bool, of `shape`; without an axis for the channels it counts for all of them."""
    unknown = np.zeros(shape, bool) if mask is None else missing(mask)
    if channel_axis is not None and unknown.shape == tuple(np.delete(shape, channel_axis)):
        unknown = np.broadcast_to(np.expand_dims(unknown, channel_axis), shape)
    if unknown.shape != shape:
        without = "" if channel_axis is None else ", with or without its channels"
        raise ValueError(f"mask has shape {unknown.shape}, but the image {shape}; give a mask of its size{without}")
    return unknown


def check_time(time_axis: int | None, time_width: int | None) -> None:
    """Patches reach through one frame at least, and through several only of a film."""
    if time_width is None:
        return
    if isinstance(time_width, bool) or not isinstance(time_width, int | np.integer):
        raise TypeError(f"time_width is a {type(time_width).__name__}, but a number of frames is needed")
    if time_width < 1:
        raise ValueError(f"time_width is {time_width}, but patches reach through 1 frame at least")
    if time_axis is None:
        raise ValueError(f"time_width is {time_width}, but no time_axis says which axis is time")


def check_levels(levels: np.ndarray, span: float) -> None:
    """Refuse noise levels that are not positive, or larger than the range of the data."""
    if not ((levels > 0) & (levels <= span)).all():
        raise ValueError(
            f"sigma is {levels.tolist()}, but a noise level lies between 0 and the image's range of {span:g}"
        )


def check_sigma(image: Image, sigma: ArrayLike | None, span: float | None = None) -> tuple[Image, np.ndarray | None]:
    """The image without pixels whose level is NaN, and levels: one (), one a channel (C,), or a map (..., C).

    No level is beyond the span of the values: that of the image, or of a larger one that it is a part of.
    """
    if sigma is None or image.flat:
        return image, None
    try:
        levels = np.asarray(sigma, float)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"sigma is a {type(sigma).__name__}, but a number, a list or an array of them is needed"
        ) from error
    spatial = tuple(np.delete(image.whole, image.axis)) if image.axis is not None else image.whole
    if levels.ndim == 1 and image.axis is not None and len(levels) == image.channels or not levels.ndim:
        check_levels(levels, image.span if span is None else span)
        return image, levels
    if levels.shape == image.whole:
        wide = levels if image.axis is None else np.moveaxis(levels, image.axis, -1)
    elif levels.shape == spatial:
        wide = np.broadcast_to(levels[..., None], (*spatial, image.channels))
    else:
        few = f"{image.channels} channels" if image.axis is not None else "no channels"
        raise ValueError(
            f"sigma has shape {levels.shape}; a number, one for each channel, or a map is needed: "
            f"the image has shape {image.whole} and {few}"
        )
    if (wide < 0).any() or np.isinf(wide).any():
        raise ValueError("sigma holds values below 0 or infinite; NaN says that a pixel is missing, 0 that it is exact")
    wide = wide.reshape(image.with_channels(image.values).shape)
    known = ~np.isnan(wide)
    observed = image.observed & known.reshape(image.values.shape)
    if not observed.any():
        raise ValueError("sigma is NaN wherever the image is observed, so that there is nothing to work on")
    return replace(image, observed=observed), nearest(wide, known)


def nearest(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """values (..., C); where not known, the nearest ones that are, or in a channel without any their median."""
    filled = np.where(known, values, np.median(values[known]))
    for c in range(values.shape[-1]):
        if known[..., c].any():
            place = distance_transform_edt(~known[..., c], return_distances=False, return_indices=True)
            filled[..., c] = values[(*place, c)]
    return filled


def seed_of(rng: int | np.random.Generator | None) -> int:
    """A seed for torch from one, from a numpy generator, or from fresh entropy."""
    if isinstance(rng, bool | float) or not isinstance(rng, int | np.integer | np.random.Generator | None):
        raise TypeError(f"rng is a {type(rng).__name__}, but an int, a numpy Generator or None is needed")
    return int(np.random.default_rng(rng).integers(2**62))


def dtype_of(image: Image, dtype: DTypeLike | None) -> np.dtype:
    """That of the result: integers or floats, by default as those of the image."""
    return as_asked(image.values.dtype, dtype)


def as_asked(own: np.dtype, dtype: DTypeLike | None) -> np.dtype:
    """A dtype, or the one that was asked for in its place."""
    found = own if dtype is None else np.dtype(dtype)
    if found.kind not in "iuf":
        raise TypeError(f"dtype is {found}, but that of integers or floats is needed")
    return found


def as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """values in dtype: integers are rounded and clipped, never wrapped."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.rint(values)
        inside = np.clip(values, limits.min, np.nextafter(float(limits.max) + 1, 0)).astype(dtype)
        return np.where(values >= limits.max, limits.max, inside).astype(dtype)
    limit = np.finfo(dtype).max
    if (np.abs(values) > limit).any():
        warn(f"some values are beyond what {dtype} holds and were clipped")
    return np.clip(values, -limit, limit).astype(dtype)


@dataclass(frozen=True)
class Scale:
    """The affine map from even values, whose noise is 1, to those of training: zero mean, signal of deviation `SIGNAL`.

    offset is a number, or one for each channel.  Learning rates and starting values are made for that scale.
    """

    offset: np.ndarray
    unit: float

    @classmethod
    def of(cls, *images: Image) -> "Scale":
        """The scale of images with even values."""
        axes = tuple(range(len(images[0].shape)))
        seen = sum(image.observed.sum(axes) for image in images).clip(1)
        offset = sum(np.where(image.observed, image.values, 0).sum(axes) for image in images) / seen
        left = [np.square((image.values - offset)[image.observed]) for image in images]
        variance = sum(float(values.sum()) for values in left) / sum(values.size for values in left)
        return cls(offset, max(variance - 1, 0.05 * variance) ** 0.5 / SIGNAL or 1.0)

    def to_model(self, values: np.ndarray, observed: np.ndarray) -> Tensor:
        """Even values (.., ...) in training units, float32, zero where not observed."""
        return torch.from_numpy(np.where(observed, (values - self.offset) / self.unit, 0).astype(np.float32))

    def to_even(self, values: Tensor) -> np.ndarray:
        """Back to even values, in double precision."""
        return values.double().numpy() * self.unit + self.offset
