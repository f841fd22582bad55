"""Neighbouring frames of a film, moved to where their content is in a frame, as further channels of it.

What frames have in common then lies in the same patch, whatever moves: patches follow the motion.  Motion is found by
block matching from coarse to fine (a pyramid), from one frame to the next, and added up along time; frames are moved by
whole pixels, so that noise that is white stays so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise, product

import numpy as np
from scipy.ndimage import uniform_filter

from evovae.restore.ensemble import Estimate
from evovae.restore.image import Image
from evovae.restore.tuned import TUNED

LEVELS = (8, 4, 2, 1)  # pixels that are one at each level of the pyramid
WINDOW = 15  # pixels around a place whose motion is taken for the same
SMALLEST = 16  # pixels of a frame at the coarsest level
USUAL = 5  # frames that patches reach through


@dataclass(frozen=True)
class Film:
    """Which frames each frame is stacked with, and how content moves between them; of no effect for images that are no
    films.

    Attributes
    ----------
    width
        How many frames a patch reaches through: with 1, frames are independent of each other.
    among
        (T, width): which frames each frame is stacked with, itself included.
    places
        (T, width, 2, Y, X): where the content of each pixel of each frame is in the frames that it is stacked with.
    """

    width: int = 1
    among: np.ndarray = field(default_factory=lambda: np.zeros((0, 1), int))
    places: np.ndarray = field(default_factory=lambda: np.zeros((0, 1, 2, 1, 1), np.int32))

    @classmethod
    def of(cls, even: Image, width: int | None) -> Film:
        """With a width for films, or the default one: `USUAL`, where frames have most of their detail in common, else
        1.
        """
        if not even.film or width == 1:
            return cls()
        frames = _brightness(even)
        ahead = [motion(one, other) for one, other in pairwise(frames)]
        if width is None and _shared(frames, ahead) < TUNED.common:
            return cls()
        width = min(USUAL if width is None else width, len(frames))
        back = [motion(other, one) for one, other in pairwise(frames)]
        # A frame is in the middle of those that it lies among, but at the ends of the film.
        first = np.clip(np.arange(len(frames)) - width // 2, 0, len(frames) - width)
        among = first[:, None] + np.arange(width)
        return cls(width, among, _followed(ahead, back, among))

    def around(self, frames: slice) -> Film:
        """Only the patches that reach some frames."""
        reach = self.width // 2
        near = slice(max(frames.start - reach, 0), frames.stop + reach)
        return replace(self, among=self.among[near], places=self.places[near])

    def middle(self) -> Film:
        """Without the patches of the first and last frames, which repeat others, if there are many others."""
        reach, count = self.width // 2, len(self.among)
        return self if count < 2 * self.width else self.around(slice(2 * reach, count - 2 * reach))

    def beside(self, even: Image) -> Image:
        """Each frame with those it is stacked with as channels, (T, Y, X, width C); with width 1, the image itself."""
        if self.width == 1:
            return even
        parts = (even.values, even.observed, np.broadcast_to(even.wanted, even.values.shape))
        values, observed, wanted = (self._moved(even.with_channels(part)) for part in parts)
        return replace(even, values=values, observed=observed, wanted=wanted, axis=-1, whole=values.shape)

    def _moved(self, values: np.ndarray) -> np.ndarray:
        T, (_, *shape, C) = len(self.among), values.shape
        moved = np.empty((T, *shape, self.width, C), values.dtype)
        for frame, among, places in zip(moved, self.among, self.places, strict=True):
            for j, (t, (y, x)) in enumerate(zip(among, places, strict=True)):
                frame[:, :, j] = values[t, y, x]
        return moved.reshape(T, *shape, self.width * C)

    def back(self, estimate: Estimate, seen: Image) -> Estimate:
        """The estimate of each frame from all stacks that it is in, moved back to its own pixels; the surer counts for
        more.

        Each frame that was seen keeps its mean, which its noise hardly moves, while others may be brighter.  Frames in
        no stack stay as they were seen.
        """
        if self.width == 1:
            return estimate
        C = estimate.image.shape[-1] // self.width
        weights = (1 / estimate.std**2).reshape(len(self.among), -1, self.width, C)
        parts = (weights * values.reshape(weights.shape) for values in (estimate.image, estimate.std**2))
        weight, image, variance = (self._gathered(part, len(seen.values)) for part in (weights, *parts))
        said, size = weight > 0, seen.values.shape
        weight = np.where(said, weight, 1)
        image = np.where(said.reshape(size), (image / weight).reshape(size), seen.values)
        off = np.where(seen.observed, seen.values - image, 0).sum((1, 2), keepdims=True)
        image = image + off / np.maximum(seen.observed.sum((1, 2), keepdims=True), 1)
        std = np.sqrt(np.where(said, TUNED.surer * variance / weight, 1))
        return Estimate(image, std.reshape(size))

    def _gathered(self, values: np.ndarray, count: int) -> np.ndarray:
        """Sums of values (T, Y X, width, C) where their content is, in so many frames: (.., Y X, C)."""
        _, N, _, C = values.shape
        total = np.zeros((count, N, C))
        row = self.places.shape[-1]
        for one, among, places in zip(values, self.among, self.places, strict=True):
            for j, (t, (y, x)) in enumerate(zip(among, places, strict=True)):
                there = (y * row + x).ravel()
                for c in range(C):
                    total[t, :, c] += np.bincount(there, one[:, j, c], N)
        return total


def _brightness(even: Image) -> np.ndarray:
    """(T, Y, X): the mean over channels, scaled to noise of 1; missing pixels are taken from frames before or after.

    Motion is the same in all channels.
    """
    values, seen = even.with_channels(even.values), even.with_channels(even.observed)
    mean = values[seen].mean()
    order = np.arange(len(values)).reshape(-1, 1, 1, 1)
    before = np.maximum.accumulate(np.where(seen, order, -1), 0)
    after = np.minimum.accumulate(np.where(seen, order, len(values))[::-1], 0)[::-1]
    known = np.where(before >= 0, before, np.where(after < len(values), after, 0))
    filled = np.where(seen.any(0), np.take_along_axis(values, known, 0), mean)
    flat = filled.reshape(-1, values.shape[-1])
    _, axes = np.linalg.eigh(np.cov(flat.T).reshape(values.shape[-1], values.shape[-1]))
    return filled @ axes[:, -1]


def _shared(frames: np.ndarray, ahead: list[np.ndarray]) -> float:
    """How much of the detail of frames the next ones share, where motion is undone."""
    here = np.indices(frames.shape[1:])
    limits = np.array(frames.shape[1:]).reshape(2, 1, 1) - 1
    places = (np.clip(here + step, 0, limits) for step in ahead)
    apart = [np.mean((one - other[y, x]) ** 2) for (one, other), (y, x) in zip(pairwise(frames), places, strict=True)]
    detail = np.mean((frames - uniform_filter(frames, (0, WINDOW, WINDOW))) ** 2) - 1
    return 1 - (float(np.mean(apart)) - 2) / (2 * max(float(detail), 1e-3))


def _followed(ahead: list[np.ndarray], back: list[np.ndarray], among: np.ndarray) -> np.ndarray:
    """Places (T, width, 2, Y, X) from motion to the next frame, and to the one before, by adding it up."""
    _, *shape = ahead[0].shape
    limits, here = np.array(shape).reshape(2, 1, 1) - 1, np.indices(shape)
    found = np.empty((*among.shape, 2, *shape), np.int32)
    for t, (first, *_, last) in enumerate(among):
        for steps, order in ((ahead, range(t, last + 1)), (back, range(t - 1, first - 1, -1))):
            place = here
            for at in order:
                if at != t:
                    step = steps[at - 1 if steps is ahead else at]
                    place = np.clip(place + step[:, place[0], place[1]], 0, limits)
                found[t, at - first] = place
    return found


def motion(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where the things of a frame (Y, X) are in another one, as steps from where they were (2, Y, X).

    First the frame as a whole is moved, from coarse to fine, and then what differs from that, place by place.
    """
    levels = [size for size in LEVELS if min(one.shape) // size >= SMALLEST] or [1]
    pyramid = [(size, _shrunk(one, size), _shrunk(other, size)) for size in levels]
    whole = np.zeros(2, int)
    for size, here, there in pyramid:
        steps = _around(2 * whole, 2 if size == levels[0] else 1)
        whole = steps[int(np.argmin([_apart(here, there, step) for step in steps]))]
    found = np.zeros((2, 1, 1), int)
    for size, here, there in pyramid:
        grid = np.indices(here.shape)
        same = np.round(whole / size).astype(int).reshape(2, 1, 1)
        if size == levels[0]:
            found = np.broadcast_to(same, grid.shape)
        else:
            found = _finer(found, here.shape)
        found = _refined(here, there, grid, found, same, size)
    return found


def _around(step: np.ndarray, reach: int) -> list[np.ndarray]:
    """Steps about one, the nearest first."""
    near = sorted(product(range(-reach, reach + 1), repeat=2), key=lambda s: abs(s[0]) + abs(s[1]))
    return [step + np.array(s) for s in near]


def _apart(here: np.ndarray, there: np.ndarray, step: np.ndarray) -> float:
    """How much a frame differs from another one that is moved, where both are."""
    if (np.abs(step) >= here.shape).any():
        return np.inf
    mine = tuple(slice(max(-d, 0), n - max(d, 0)) for d, n in zip(step, here.shape, strict=True))
    other = tuple(slice(max(d, 0), n - max(-d, 0)) for d, n in zip(step, here.shape, strict=True))
    return float(np.mean((here[mine] - there[other]) ** 2))


def _finer(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Motion at the next finer level."""
    found = 2 * found.repeat(2, 1).repeat(2, 2)
    pads = [(0, 0), *((0, max(n - m, 0)) for n, m in zip(shape, found.shape[1:], strict=True))]
    return np.pad(found, pads, "edge")[:, : shape[0], : shape[1]]


def _refined(
    here: np.ndarray, there: np.ndarray, grid: np.ndarray, found: np.ndarray, same: np.ndarray, size: int
) -> np.ndarray:
    """Motion that of the whole frame, or as found, or a step off, where that is better by more than chance."""
    limits = np.array(here.shape).reshape(2, 1, 1) - 1
    window = max(WINDOW // size, 3)

    def off(tried: np.ndarray) -> np.ndarray:
        place = np.clip(grid + tried, 0, limits)
        return uniform_filter((here - there[place[0], place[1]]) ** 2, window, mode="nearest")

    best = np.broadcast_to(same, grid.shape)
    least = off(best) - TUNED.better / size**2 * WINDOW / window
    for step in _around(np.zeros(2, int), 1):
        tried = found + step.reshape(2, 1, 1)
        apart = off(tried)
        better = apart < least
        best, least = np.where(better, tried, best), np.where(better, apart, least)
    return best


def _shrunk(frame: np.ndarray, size: int) -> np.ndarray:
    """Means of squares of so many pixels."""
    Y, X = (n // size * size for n in frame.shape)
    return frame[:Y, :X].reshape(Y // size, size, X // size, size).mean((1, 3))
