"""What a file holds, whatever its format, and what its axes mean."""

from collections.abc import Mapping, Sequence
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
    """The error for an animation that nobody asked to take for a stack."""
    return UnsupportedFormatError(
        f"is an animation of {frames} frames; "
        "take them for a stack with axes = TYX (grey) or TYXC, or choose one as a page"
    )


@dataclass(frozen=True)
class Content:
    """What a file holds: values, a letter for each axis where they are known, and the alpha channel, if any.

    Z, Y and X are spatial, and so is W, the samples of a sound.  S (samples of a colour) and C are channels.  Every
    other letter (T, I, Q, R, P, ...) is a batch axis, along which images are restored one by one; but T is the time of
    a film where there are Y and X and 5 frames at least.

    Parameters
    ----------
    values
        The array, of the type that the file stores.
    axes
        A letter for each axis of values; None where the file does not tell.
    alpha
        The alpha channel, which is no part of values; None where there is none.
    metadata
        What else the file said, for the writers alone.
    planes
        Brightness and colours as the file stores them, where values were computed from these (as in JPEG).
    asked
        Whether T is the time of a film however few frames there are; see `as_film`.

    Examples
    --------
    >>> import numpy as np
    >>> from evovae.io import Content
    >>> stack = Content(np.zeros((7, 64, 64, 3), np.uint8), "ZYXC")
    >>> stack.channel_axis, stack.batch_axes, stack.page(0).axes
    (3, (), 'YXC')
    """

    values: np.ndarray
    axes: str | None = None
    alpha: np.ndarray | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    planes: Planes | None = None
    asked: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @property
    def channel_axis(self) -> int | None:
        """Which axis is one of channels: of S and C the one that has several, and S where both do.

        Returns
        -------
        int or None
            None where there are no channels.
        """
        found = [axis for axis in map((self.axes or "").find, CHANNELS) if axis >= 0]
        return min(found, key=lambda axis: self.values.shape[axis] == 1, default=None)

    @property
    def crowd(self) -> int:
        """How many channels there are, if so many that they may be planes of a stack, which some programs store so.

        Returns
        -------
        int
            0 where there are no more than 12.
        """
        axes = self.axes or ""
        axis = axes.find("C")
        alone = axis == self.channel_axis and "X" in axes and "Z" not in axes
        return self.values.shape[axis] if alone and self.values.shape[axis] > CROWD else 0

    @property
    def film(self) -> bool:
        """Whether T is the time of a film, whose frames are restored together.

        Returns
        -------
        bool
            True where it is.
        """
        axes = self.axes or ""
        frames = "T" in axes and {letter for letter in axes if letter in SPATIAL} == {"Y", "X"}
        return frames and (self.asked or self.values.shape[axes.index("T")] >= FRAMES)

    @property
    def batch_axes(self) -> tuple[int, ...]:
        """Which axes count images that are restored one by one.

        Returns
        -------
        tuple of int
            Numbers of axes.
        """
        return tuple(axis for axis in self._apart if not self.film or self.axes[axis] != "T")  # type: ignore[index]

    @property
    def _apart(self) -> tuple[int, ...]:
        """Which axes are neither spatial nor of channels."""
        letters, channels = enumerate(self.axes or ""), self.channel_axis
        return tuple(axis for axis, letter in letters if letter not in SPATIAL and axis != channels)

    def as_film(self) -> "Content":
        """The same with frames that belong together, however few they are.

        Returns
        -------
        Content
            A film.

        Raises
        ------
        ValueError
            Where there is no axis of time, or not two spatial ones.
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
        """How many pages there are: along the batch axes or, without any, along the first axis of a stack.

        Returns
        -------
        int
            1 at least.
        """
        return int(np.prod([self.values.shape[axis] for axis in self._page_axes]))

    @property
    def _page_axes(self) -> tuple[int, ...]:
        if self._apart:
            return self._apart
        stacked = self.axes[:1] in ("Z", "C") if self.axes else self.values.ndim > 2
        return (0,) if stacked and self.values.ndim > 1 else ()

    @property
    def alpha_axis(self) -> int:
        """Which axis the alpha channel belongs to: that of the samples of the colour, or else the last one.

        Returns
        -------
        int
            Number of the axis in the values with their alpha channel.
        """
        samples = (self.axes or "").find("S")
        channels = self.channel_axis
        return samples if samples >= 0 else -1 if channels is None else channels

    def replaced(self, values: np.ndarray) -> "Content":
        """The same with other values.

        Parameters
        ----------
        values
            Of the same axes.

        Returns
        -------
        Content
            With all else as it is.
        """
        return replace(self, values=values, planes=None)

    def whole(self) -> "Content":
        """The same with the alpha channel among the values again.

        Returns
        -------
        Content
            Without an alpha channel of its own.
        """
        if self.alpha is None:
            return self
        if self.values.ndim == self.alpha.ndim:
            axes = self.axes and self.axes + "S"
            return replace(self, values=np.stack([self.values, self.alpha], -1), axes=axes, alpha=None)
        axis = self.alpha_axis
        values = np.concatenate([self.values, np.expand_dims(self.alpha, axis)], axis)
        return replace(self, values=values, alpha=None)

    def drawn(self) -> np.ndarray:
        """The brightness of a mask that was drawn: of colours their mean; of a layer in one colour its alpha channel.

        Returns
        -------
        ndarray
            Without the axis of colours.
        """
        values, samples = self.values, (self.axes or "").find("S")
        if samples >= 0:
            values = values.mean(samples, dtype=float)
        if self.alpha is None or not np.ptp(self.alpha):
            return values
        painted = values[self.alpha > 0]
        return self.alpha if not np.ptp(painted) else np.where(self.alpha > 0, values, painted.min())

    def page(self, number: int) -> "Content":
        """One page alone.

        Parameters
        ----------
        number
            From 0, counted through all batch axes or, without any, along the first axis of a stack.

        Returns
        -------
        Content
            Without these axes.

        Raises
        ------
        ValueError
            Where there is no such page.
        """
        if not 0 <= number < self.pages:
            raise ValueError(f"page {number} is not there; there are {self.pages} pages, from 0 to {self.pages - 1}")
        taken = self._page_axes
        index = places(self.values.shape, taken)[number]
        axes = self.axes and "".join(letter for axis, letter in enumerate(self.axes) if axis not in taken)
        alpha = self.alpha
        if alpha is not None and alpha.ndim < self.values.ndim:
            beside = self.alpha_axis % self.values.ndim
            alpha = alpha[tuple(at for axis, at in enumerate(index) if axis != beside)]
        return replace(self, values=self.values[index], axes=axes, alpha=alpha, planes=None)

    def with_axes(self, axes: str) -> "Content":
        """The same with other letters for its axes.

        Parameters
        ----------
        axes
            One letter for each axis.

        Returns
        -------
        Content
            With the same values, but with the alpha channel among them where axes make it one of other axes.

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


def places(shape: Sequence[int], axes: Sequence[int]) -> list[tuple[int | slice, ...]]:
    """An index for each position along some axes, that takes all of the others."""
    found = []
    for place in np.ndindex(*(shape[axis] for axis in axes)):
        at: dict[int, int] = dict(zip(axes, place, strict=True))
        found.append(tuple(at.get(axis, slice(None)) for axis in range(len(shape))))
    return found


def spread(values: np.ndarray, axes: str | None, full: str) -> tuple[np.ndarray, str]:
    """Values with axes of length 1 for those of the full ones that they lack; as they are, if the order is another."""
    if not axes or [letter for letter in full if letter in axes] != [*axes]:
        return values, axes or ""
    sizes = dict(zip(axes, values.shape, strict=True))
    return values.reshape([sizes.get(letter, 1) for letter in full]), full
