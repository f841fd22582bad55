"""A film too long to be worked on as a whole, read piece by piece."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from evovae.files import let_go
from evovae.notes import Note, warn
from evovae.restore.image import Image, as_asked, check_axes, check_sigma, check_values, masked_out
from evovae.restore.kinds import in_memory
from evovae.settings import RAISE

LONG = 2**23  # values, as 32 frames of 512 x 512 have, from which on films are restored in blocks
BLOCK = 2**22  # values of a block
WIDEST, RIM = 512, 32  # pixels of a block along each axis of a frame, and beyond, where things come from
RUNS, FRAMES, WINDOW = 8, 12, 256  # what is learnt from: runs of so many frames, of so many pixels along each axis

Block = tuple[slice, ...]


def is_long(image: object, channel_axis: int | None, time_axis: int | None) -> bool:
    """Whether an array is a film that is restored in blocks."""
    shape = getattr(image, "shape", ())
    if time_axis is None or np.prod(shape) <= LONG:
        return False
    check_axes(shape, channel_axis, time_axis)
    channel = () if channel_axis is None else (channel_axis % len(shape),)
    return all(n > 1 for axis, n in enumerate(shape) if axis not in channel)


@dataclass(frozen=True)
class LongFilm:
    """An array of a film, and what belongs to it, of which pieces are read when they are asked for.

    Pieces are windows (t, y, x) of frames and their pixels; `of` checks all that can be wrong with the whole.
    """

    image: Any
    mask: np.ndarray | None
    sigma: ArrayLike | None
    channel_axis: int | None
    time_axis: int
    nonfinite: str

    @classmethod
    def of(
        cls,
        image: Any,  # noqa: ANN401 - anything with a shape that gives arrays for slices
        mask: ArrayLike | None,
        sigma: ArrayLike | None,
        channel_axis: int | None,
        time_axis: int,
        nonfinite: str,
    ) -> LongFilm:
        """Read it once, so that nothing fails on the way that could have been known before."""
        check_values(np.zeros(0, image.dtype))
        hidden = None if mask is None else masked_out(mask, image.shape, channel_axis)
        film = cls(image, hidden, sigma, channel_axis, time_axis % len(image.shape), nonfinite)
        infinite = missing = 0
        low, high = np.inf, -np.inf
        for block in film.blocks(BLOCK):
            values = film.read(film.image, block)
            if values.dtype.kind == "f":
                missing, infinite = missing + int(np.isnan(values).sum()), infinite + int(np.isinf(values).sum())
            finite = values[np.isfinite(values)]
            if finite.size:
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
            let_go(image)
        if infinite and nonfinite == RAISE:
            raise ValueError(f"image has {infinite} infinite pixels; nonfinite = mask fills them")
        if missing:
            warn(f"{missing} pixels are NaN; they are taken for missing and filled")
        first = next((block for block in film.blocks(BLOCK) if film.observed(block)), None)
        if first is None:
            raise ValueError("no observed pixels: every pixel is NaN, infinite or masked")
        film.piece(first, high - low)
        return film

    @property
    def spatial(self) -> list[int]:
        """Which axes are those of a frame."""
        channel = None if self.channel_axis is None else self.channel_axis % len(self.image.shape)
        return [axis for axis in range(len(self.image.shape)) if axis not in (channel, self.time_axis)]

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, Y, X)."""
        return tuple(self.image.shape[axis] for axis in (self.time_axis, *self.spatial))

    def dtype(self, asked: DTypeLike | None) -> np.dtype:
        """That of the result."""
        return as_asked(np.dtype(self.image.dtype), asked)

    @property
    def places(self) -> int:
        """How many pixels all frames have."""
        return int(np.prod(self.shape))

    def observed(self, block: Block) -> bool:
        """Whether anything is known of a block."""
        values = self.read(self.image, block)
        known = np.isfinite(values) & ~np.ma.getmaskarray(values)
        return bool((known if self.mask is None else known & ~self.mask[self.index(block)]).any())

    def index(self, block: Block) -> Block:
        """Where a block is in the array."""
        index = [slice(None)] * len(self.image.shape)
        for axis, place in zip((self.time_axis, *self.spatial), block, strict=True):
            index[axis] = place
        return tuple(index)

    def read(self, array: Any, block: Block) -> np.ndarray:  # noqa: ANN401 - of the film's shape
        """A block of an array."""
        return in_memory(array[self.index(block)])

    def part(self, levels: ArrayLike | None, block: Block) -> ArrayLike | None:
        """What of sigma belongs to a block: of a map a part, otherwise all of it."""
        if levels is None or np.ndim(levels) < 2:
            return levels
        index = [*self.index(block)]
        if np.ndim(levels) < len(index) and self.channel_axis is not None:
            del index[self.channel_axis]
        return np.asarray(levels)[tuple(index)]

    def piece(self, block: Block, span: float = np.inf) -> tuple[Image, np.ndarray | None]:
        """A block as an image, and its noise levels, none of which is larger than the range of all values."""
        mask = None if self.mask is None else self.mask[self.index(block)]
        values = self.read(self.image, block)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Note)  # which has been said of the whole
            image = Image.of(values, mask, self.channel_axis, self.nonfinite, np.inf, self.time_axis)
        return check_sigma(image, self.part(self.sigma, block), span)

    def blocks(self, room: int) -> Iterator[Block]:
        """Blocks that make up the film, one after another in time, of about so many values."""
        T, *frame = self.shape
        edges = [min(n, WIDEST) for n in frame]
        values = np.prod(edges) * np.prod(self.image.shape) // np.prod(self.shape)
        cuts = [_cuts(n, e) for n, e in zip((T, *frame), (max(room // int(values), 4), *edges), strict=True)]
        yield from product(*cuts)

    def around(self, block: Block, frames: int) -> Block:
        """A block with so many frames before and after it, and its rim."""
        reach = (frames, *(RIM,) * len(self.spatial))
        return tuple(
            slice(max(place.start - r, 0), min(place.stop + r, n))
            for place, r, n in zip(block, reach, self.shape, strict=True)
        )

    def runs(self, rng: np.random.Generator) -> list[Block]:
        """Blocks to learn from: short runs of frames, spread over the film, at random places in the frames."""
        T, *frame = self.shape
        count = min(RUNS, max(T // FRAMES, 1))
        starts = [
            int(rng.integers(T * n // count, max(T * (n + 1) // count - FRAMES, T * n // count) + 1))
            for n in range(count)
        ]
        found = []
        for start in starts:
            corner = [int(rng.integers(max(n - WINDOW, 0) + 1)) for n in frame]
            found.append(
                (
                    slice(start, min(start + FRAMES, T)),
                    *(slice(c, min(c + WINDOW, n)) for c, n in zip(corner, frame, strict=True)),
                )
            )
        return found

    def samples(self, rng: np.random.Generator) -> list[tuple[Image, np.ndarray | None]]:
        """Those of the `runs` in which anything is known, as pieces."""
        return [self.piece(run) for run in self.runs(rng) if self.observed(run)]

    def digest(self) -> str:
        """A hash of all of it."""
        digest = hashlib.sha256(f"{self.image.dtype} {self.image.shape} {self.channel_axis} {self.time_axis}".encode())
        for block in self.blocks(BLOCK):
            for array in (self.image, self.mask):
                digest.update(b"" if array is None else np.ascontiguousarray(self.read(array, block)).data)
            let_go(self.image)
        return digest.hexdigest()


def _cuts(n: int, width: int) -> list[slice]:
    """Parts of about the same length, none longer than a width."""
    count = -(-n // width)
    places = [n * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in zip(places[:-1], places[1:], strict=True)]
