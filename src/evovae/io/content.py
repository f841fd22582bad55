"""What a file holds, whatever its format, and what its axes mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from evovae.io.planes import Planes

SPATIAL = "ZYXW"
CHANNELS = "SC"
FRAMES = 5  # that make a film: as many as patches reach through
CROWD = 12  # channels, beyond which they may be planes


class UnsupportedFormatError(ValueError):
    """A file is of a kind that is not read or written here."""


class CorruptFileError(ValueError):
    """A file of a known kind cannot be read."""


def unasked_animation(frames: int) -> UnsupportedFormatError:
    """What to say of an animation that nobody asked to take for a stack."""
    return UnsupportedFormatError(
        f"is an animation of {frames} frames; "
        "take them for a stack with axes = TYX (grey) or TYXC, or choose one as a page"
    )


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Content:
    """What a file holds: values, a letter for each axis where they are known, and the alpha channel, if any.

    Z, Y and X are spatial, and so is W, the samples of a sound.  S (samples of a colour) and C are channels.  Every
    other letter (T, I, Q, R, P, ...) is a batch axis, whose members have nothing to do with each other; but T is the
    time of a film, where there are frames of Y and X, `FRAMES` of them at least or as many as may be if `asked`.
    `metadata` is what else the file said, for the writers alone.  `planes` are the same values as the file holds them,
    where it holds other ones.
    """

    values: np.ndarray
    axes: str | None = None
    alpha: np.ndarray | None = None
    metadata: Mapping[str, Any] = field(default_factory=_nothing)
    planes: Planes | None = None
    asked: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @property
    def channel_axis(self) -> int | None:
        """Which axis is one of channels; of S and C the one that has several, and S where both do."""
        found = [axis for axis in map((self.axes or "").find, CHANNELS) if axis >= 0]
        return min(found, key=lambda axis: self.values.shape[axis] == 1, default=None)

    @property
    def crowd(self) -> int:
        """How many channels, if so many that they may be planes of a stack, which some programs store so; else 0."""
        axes = self.axes or ""
        axis = axes.find("C")
        alone = axis == self.channel_axis and "X" in axes and "Z" not in axes
        return self.values.shape[axis] if alone and self.values.shape[axis] > CROWD else 0

    @property
    def film(self) -> bool:
        """Whether T is the time of a film, whose frames are restored together."""
        axes = self.axes or ""
        frames = "T" in axes and {letter for letter in axes if letter in SPATIAL} == {"Y", "X"}
        return frames and (self.asked or self.values.shape[axes.index("T")] >= FRAMES)

    @property
    def batch_axes(self) -> tuple[int, ...]:
        """Which axes count things to be restored one by one."""
        return tuple(axis for axis in self._apart if not self.film or self.axes[axis] != "T")  # type: ignore[index]

    @property
    def _apart(self) -> tuple[int, ...]:
        """Which axes are none of space or channels."""
        letters, channels = enumerate(self.axes or ""), self.channel_axis
        return tuple(axis for axis, letter in letters if letter not in SPATIAL and axis != channels)

    def as_film(self) -> "Content":
        """The same with frames that belong together, however few they are.

        Raises
        ------
        ValueError
            Where there is no axis of time, or not two of space.
        """
        asked = replace(self, asked=True, planes=None)
        if not asked.film:
            named = f"axes {self.axes}" if self.axes else "no names of axes"
            raise ValueError(
                f"there are {named}, but a film has T, Y and X; name them with axes = TYX, or leave time_width out"
            )
        return asked

    @property
    def pages(self) -> int:
        """How many pages there are: along the batch axes or, without any, along the first axis of a stack."""
        return int(np.prod([self.values.shape[axis] for axis in self._page_axes]))

    @property
    def _page_axes(self) -> tuple[int, ...]:
        if self._apart:
            return self._apart
        stacked = self.axes[:1] in ("Z", "C") if self.axes else self.values.ndim > 2
        return (0,) if stacked and self.values.ndim > 1 else ()

    @property
    def alpha_axis(self) -> int:
        """Where the alpha channel was: beside the samples of the colour, or else last."""
        samples = (self.axes or "").find("S")
        channels = self.channel_axis
        return samples if samples >= 0 else -1 if channels is None else channels

    def replaced(self, values: np.ndarray) -> "Content":
        """The same with other values."""
        return replace(self, values=values, planes=None)

    def whole(self) -> "Content":
        """The same with the alpha channel among the values again."""
        if self.alpha is None:
            return self
        if self.values.ndim == self.alpha.ndim:
            axes = self.axes and self.axes + "S"
            return replace(self, values=np.stack([self.values, self.alpha], -1), axes=axes, alpha=None)
        axis = self.alpha_axis
        values = np.concatenate([self.values, np.expand_dims(self.alpha, axis)], axis)
        return replace(self, values=values, alpha=None)

    def drawn(self) -> np.ndarray:
        """A mask as it was drawn: brightness in place of colours; of a layer in one colour, where it is painted."""
        values, samples = self.values, (self.axes or "").find("S")
        if samples >= 0:
            values = values.mean(samples, dtype=float)
        if self.alpha is None or not np.ptp(self.alpha):
            return values
        painted = values[self.alpha > 0]
        return self.alpha if not np.ptp(painted) else np.where(self.alpha > 0, values, painted.min())

    def page(self, number: int) -> "Content":
        """One page alone, counted from 0 through all batch axes."""
        if not 0 <= number < self.pages:
            raise ValueError(f"page {number} is not there; there are {self.pages} pages, from 0 to {self.pages - 1}")
        taken = self._page_axes
        index: list[int | slice] = [slice(None)] * self.values.ndim
        for axis, at in zip(taken, np.unravel_index(number, [self.values.shape[axis] for axis in taken]), strict=True):
            index[axis] = int(at)
        axes = self.axes and "".join(letter for axis, letter in enumerate(self.axes) if axis not in taken)
        alpha = self.alpha
        if alpha is not None and alpha.ndim < self.values.ndim:
            beside = self.alpha_axis % self.values.ndim
            alpha = alpha[tuple(at for axis, at in enumerate(index) if axis != beside)]
        return replace(self, values=self.values[tuple(index)], axes=axes, alpha=alpha, planes=None)

    def with_axes(self, axes: str) -> "Content":
        """The same with other letters for its axes.

        Raises
        ------
        ValueError
            Where there is not one letter for each axis, a letter is unknown or repeated, or none is spatial.
        """
        letters = axes.upper()
        shape = self.values.shape
        hint = f"name each of the {len(shape)} axes of shape {shape} once, such as TZYX, ZYXC or WC"
        if not letters.isascii() or not letters.isalpha():
            raise ValueError(f"axes {axes!r} are not all letters from A to Z; {hint}")
        if len(letters) != len(shape):
            raise ValueError(f"axes {axes!r} have {len(letters)} letters; {hint}")
        if len({*letters}) < len(letters):
            raise ValueError(f"axes {axes!r} repeat a letter; {hint}")
        if not {*letters} & {*SPATIAL}:
            raise ValueError(
                f"axes {axes!r} have none of Z, Y, X and W, along which values are near each other; {hint}"
            )
        if self.alpha is not None and letters[self.alpha_axis] not in CHANNELS:
            return replace(self.whole(), axes=letters, planes=None)
        return replace(self, axes=letters, planes=None)


def spread(values: np.ndarray, axes: str | None, full: str) -> tuple[np.ndarray, str]:
    """Values with axes of length 1 for those of the full ones that they lack; as they are, if the order is another."""
    if not axes or [letter for letter in full if letter in axes] != [*axes]:
        return values, axes or ""
    sizes = dict(zip(axes, values.shape, strict=True))
    return values.reshape([sizes.get(letter, 1) for letter in full]), full


def check_dtype(content: Content, name: str, held: tuple[type[np.generic], ...], others: str) -> None:
    """Fail if a format cannot hold the type of the values; `others` are the formats that might."""
    dtype = content.values.dtype
    if dtype.newbyteorder("=") not in held:
        types = ", ".join(np.dtype(kind).name for kind in held)
        raise UnsupportedFormatError(f"{name} cannot hold {dtype}, which is not one of {types}; write {others}")


def check_picture(content: Content, name: str, held: tuple[type[np.generic], ...], samples: int) -> None:
    """Fail if a format of single pictures, with up to so many samples in a pixel, cannot hold the content."""
    check_dtype(content, name, held, ".tif or .npy")
    shape = content.values.shape
    channel_axis = content.channel_axis
    if content.axes is None and len(shape) == 3 and shape[2] in (3, 4):
        channel_axis = 2
    if len(shape) - (channel_axis is not None) != 2 or channel_axis not in (None, 2):
        axes = f" with axes {content.axes}" if content.axes else ""
        raise UnsupportedFormatError(
            f"{name} holds single pictures, with colours as the last axis, not shape {shape}{axes}; write .tif or .npy"
        )
    found = (1 if channel_axis is None else shape[2]) + (content.alpha is not None)
    if found > samples:
        alpha = ", with the alpha channel," if content.alpha is not None else ""
        raise UnsupportedFormatError(f"{name} cannot hold the {found}{alpha} channels there are; write .tif or .npy")
