"""How a picture is cut to be worked on: not at all, or into crops to train on and tiles to restore.

A patch is used in the same way wherever it was cut, so that tiles need no blending: each reaches so far
into its neighbours that every pixel is covered by the same patches as anywhere else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Generator

from evovae.restore.ensemble import Estimate
from evovae.restore.estimates import restore
from evovae.restore.fitted_patches import FittedPatches
from evovae.restore.image import Image
from evovae.restore.memory import MemoryBudgetError, in_gib, of_pixels
from evovae.restore.patch_models import PatchModel
from evovae.states import WORD

if TYPE_CHECKING:
    from evovae.restore.learner import Learner

MOST = 2**18  # patches to train on: as many as 512 x 512 pixels have; more teach little
FEWEST = 2**12  # patches below which training makes no sense
CROP = 2**8  # patches of one crop: small ones, as what they show matters more than how much of it
ALONE = 4  # places of a tile along axes in which patches are one wide, as the frames of a film
PER_VALUE = 40  # bytes for each value of a patch: itself, whether it is seen, moments, and copies on the way


class Sampling(ABC):
    """Which patches to train on."""

    size: tuple[int, ...]
    """The size of patches in the image."""
    passes: float
    """What an estimate costs where training has left none, in passes over the training data."""

    @abstractmethod
    def sample(self, image: Image, generator: Generator) -> tuple[Image, tuple[int, ...]]:
        """What to train on, and the size of patches in it."""

    @abstractmethod
    def glimpse(self, learner: Learner) -> list[Estimate]:
        """A learner's estimates of the picture during training: one, or none where that would take long."""

    @abstractmethod
    def learnt(self, learner: Learner, image: Image, tick: Callable[[float], object]) -> Estimate:
        """A trained learner's estimate of the picture; `tick` is called with the work done, `passes` in all."""


class Tiling(Sampling):
    """The same for one picture, and how to go through all of its patches."""

    @abstractmethod
    def estimate(
        self, fitted: FittedPatches, image: Image, generator: Generator, tick: Callable[[float], object]
    ) -> Estimate:
        """A model's estimate of a picture that it was not trained on; `tick` is called with the work done, 1 in all."""


@dataclass(frozen=True)
class Whole(Tiling):
    """All patches at once."""

    size: tuple[int, ...]
    passes = 0.0

    def sample(self, image: Image, generator: Generator) -> tuple[Image, tuple[int, ...]]:
        return image, self.size

    def glimpse(self, learner: Learner) -> list[Estimate]:
        return [learner.glimpse()]

    def learnt(self, learner: Learner, image: Image, tick: Callable[[float], object]) -> Estimate:
        return learner.estimate()

    def estimate(
        self, fitted: FittedPatches, image: Image, generator: Generator, tick: Callable[[float], object]
    ) -> Estimate:
        estimate = restore(fitted, image, generator)
        tick(1)
        return estimate


@dataclass(frozen=True)
class Tiles(Tiling):
    """At most `most` patches to train on, in crops from all over the picture, and tiles of such edges to restore."""

    size: tuple[int, ...]
    most: int
    edges: tuple[int, ...]
    passes: float

    def sample(self, image: Image, generator: Generator) -> tuple[Image, tuple[int, ...]]:
        return Several(self.size, (image,), self.most).sample(image, generator)

    def glimpse(self, learner: Learner) -> list[Estimate]:
        return []

    def learnt(self, learner: Learner, image: Image, tick: Callable[[float], object]) -> Estimate:
        return self.estimate(learner.learnt, image, learner.generator, lambda share: tick(share * self.passes))

    def estimate(
        self, fitted: FittedPatches, image: Image, generator: Generator, tick: Callable[[float], object]
    ) -> Estimate:
        values, std = np.empty(image.values.shape), np.empty(image.values.shape)
        tiles = list(product(*(_spans(*axis) for axis in zip(image.shape, self.size, self.edges, strict=False))))
        for tile in tiles:
            outer = tuple(slice(*span[:2]) for span in tile)
            inner = tuple(slice(*span[2:]) for span in tile)
            within = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
            estimate = restore(fitted, image.crop(outer), generator)
            values[inner], std[inner] = estimate.image[within], estimate.std[within]
            tick(1 / len(tiles))
        return Estimate(values, std)


def _spans(n: int, w: int, edge: int) -> list[tuple[int, int, int, int]]:
    """Start and stop of each tile along an axis, with and without its overlap with neighbouring tiles.

    It starts at an even place, as every other patch is used, and its outermost patches, which all are, end outside.
    Patches of one value need no overlap.
    """
    reach = w if w > 1 else 0
    count = -(-n // (edge - 2 * reach - (w > 1))) if n > edge else 1
    cuts = [n * i // count for i in range(count + 1)]
    starts = [max(a - reach, 0) // 2 * 2 if reach else a for a in cuts[:-1]]
    return [(start, min(b + reach, n), a, b) for start, a, b in zip(starts, cuts[:-1], cuts[1:], strict=True)]


@dataclass(frozen=True)
class Several(Sampling):
    """At most `most` patches to train on, in crops from all over several pictures; nothing is restored."""

    size: tuple[int, ...]
    images: tuple[Image, ...]
    most: int
    passes = 0.0

    @classmethod
    def of(cls, images: tuple[Image, ...], patch_model: PatchModel, memory: float) -> Several:
        """For pictures and a patch model, as memory allows."""
        smallest = min(images, key=lambda image: prod(image.shape))
        size = smallest.patch(patch_model.patch)
        positions = sum(_positions(image, size) for image in images)
        pixels = sum(image.values.size for image in images)
        return cls(size, images, min(_most(size, patch_model, pixels, positions, memory), positions))

    def sample(self, image: Image, generator: Generator) -> tuple[Image, tuple[int, ...]]:
        """Where that is all patches of a single picture, it is the picture itself."""
        if len(self.images) == 1 and _positions(self.images[0], self.size) <= self.most:
            return self.images[0], self.size
        shape = [min(lengths) for lengths in zip(*(image.shape for image in self.images), strict=True)]
        each = max(self.most // len(self.images), 1)
        width = round(min(CROP, each) ** (1 / len(shape)))
        edges = [min(width + w - 1, n) for w, n in zip(self.size, shape, strict=False)]
        steps = [e - w + 1 for e, w in zip(edges, self.size, strict=False)]
        crops = [self._crops(image, edges, steps, max(each // prod(steps), 1), generator) for image in self.images]
        return Image.stacked([crop for some in crops for crop in some]), (1, *self.size)

    @staticmethod
    def _crops(image: Image, edges: list[int], steps: list[int], most: int, generator: Generator) -> list[Image]:
        """Crops in which something is observed."""
        corners = _corners(image.shape, edges, steps, generator)
        windows = (tuple(slice(c, c + e) for c, e in zip(corner, edges, strict=True)) for corner in corners)
        return [image.crop(window) for window in islice((w for w in windows if image.observed[w].any()), most)]

    def glimpse(self, learner: Learner) -> list[Estimate]:
        return []

    def learnt(self, learner: Learner, image: Image, tick: Callable[[float], object]) -> Estimate:
        return Estimate(np.zeros(0), np.zeros(0))


def _corners(shape: tuple[int, ...], edges: list[int], steps: list[int], generator: Generator) -> list[tuple[int, ...]]:
    """Corners of all crops, in random order: crops share pixels, but no patches; those at the far edges do, and come
    last.
    """
    along = [range(0, n - e + 1, step) for n, e, step in zip(shape, edges, steps, strict=True)]
    corners = list(product(*along))
    ends = product(*({*places, n - e} for places, n, e in zip(along, shape, edges, strict=True)))
    order = torch.randperm(len(corners), generator=generator).tolist()
    return [*(corners[i] for i in order), *sorted(set(ends) - set(corners))]


def _positions(image: Image, size: tuple[int, ...]) -> int:
    """How many patches of a size a picture has."""
    return prod(n - w + 1 for n, w in zip(image.shape, size, strict=False))


def plan(
    image: Image, patch_model: PatchModel, tile: int | None, memory: float, size: tuple[int, ...] | None = None
) -> Tiling:
    """The tiling for a picture and a patch model: whole where it fits, and is no larger than pays.

    Patches are as large as the model asks for, or of a given size.

    Raises
    ------
    MemoryBudgetError
        Before anything is allocated, if there is too little memory even for tiles.
    """
    size = image.patch(patch_model.patch) if size is None else size
    positions = _positions(image, size)
    most = _most(size, patch_model, image.values.size, positions, memory)
    widest = max(size[: len(image.shape)])
    narrowest = 2 * widest + 2
    if tile is not None and tile < narrowest:
        raise ValueError(f"tile is {tile}, but patches of {widest} need tiles of {narrowest} at least")
    if positions <= most and (tile is None or tile >= max(image.shape)):
        return Whole(size)
    widths = size[: len(image.shape)]
    alone = [min(ALONE, n) for n, w in zip(image.shape, widths, strict=True) if w == 1]
    fitting = int((most / prod(alone)) ** (1 / max(len(widths) - len(alone), 1)))
    edge = max(fitting if tile is None else min(tile, fitting), narrowest)
    return Tiles(
        size,
        min(most, positions),
        tuple(ALONE if w == 1 else edge for w in widths),
        passes(patch_model, max(positions, most), most),
    )


def passes(patch_model: PatchModel, positions: int, most: int = MOST) -> float:
    """What it costs to restore an image of so many patches, in passes over those that are trained on."""
    return patch_model.settling * positions / most / 2


def _most(size: tuple[int, ...], patch_model: PatchModel, pixels: int, positions: int, memory: float) -> int:
    """How many patches of a size can be worked on at once, beside so many values of pictures."""
    each = PER_VALUE * prod(size) + 3 * patch_model.states * (8 * -(-patch_model.latents // WORD) + 4)
    base = of_pixels(pixels)
    most = min(int((memory - base) / each), MOST)
    if most < min(FEWEST, positions):
        needed = in_gib(base + each * min(FEWEST, positions))
        raise MemoryBudgetError(
            f"patches of {prod(size)} values in images of {pixels} values need {needed} of memory, of which "
            f"{in_gib(memory)} may be used; restore parts of them, or allow more"
        )
    return most
