"""All overlapping patches of an image, and the image again from patches.  Any number of axes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from evovae.restore.interpolate import smooth
from evovae.restore.noise.covariance import Whitening

COLUMNS = 16  # of patches that are added up at once, which bounds memory
AT_ONCE = 2**15  # patches of a band, about


def extract(image: Tensor, size: tuple[int, ...]) -> Tensor:
    """Every patch of `size` in image, flattened: (N, D) with N the number of positions, D = prod(size)."""
    windows = image
    for axis, width in enumerate(size):
        windows = windows.unfold(axis, width, 1)
    return windows.reshape(-1, torch.Size(size).numel())


def add_up(patches: Tensor, shape: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """The sum, at each pixel of an image of `shape`, of all patches (N, D) that cover it: the adjoint of `extract`."""
    positions = tuple(n - width + 1 for n, width in zip(shape, size, strict=True))
    total, corners = patches.new_zeros(shape), [*product(*map(range, size))]
    for first in range(0, len(corners), COLUMNS):
        some = slice(first, first + COLUMNS)
        for corner, values in zip(corners[some], patches[:, some].T.contiguous(), strict=True):  # in order: faster
            window = tuple(slice(start, start + n) for start, n in zip(corner, positions, strict=True))
            total[window] += values.view(positions)
    return total


def merge(patches: Tensor, weights: Tensor, shape: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """The weighted mean, at each pixel of an image of `shape`, of all patches that cover it.

    patches (N, D) as from `extract`, weights (N, D) or anything that broadcasts to it, positive.
    `merge(extract(image, size), 1, image.shape, size)` is the image.
    """
    weights = weights.expand_as(patches)
    return add_up(patches * weights, shape, size) / add_up(weights, shape, size)


@dataclass(frozen=True)
class Band:
    """Patches that begin on neighbouring lines of an image, so that not all have to be held at once.

    rows are the numbers of those that are used, among is which of the band's patches these are, window which lines of
    the image they cover, and shape that of these lines.
    """

    rows: Tensor
    among: Tensor
    window: slice
    shape: tuple[int, ...]
    size: tuple[int, ...]

    def add_up(self, values: Tensor) -> Tensor:
        """The sums, at each pixel of the band's lines, of values (len(rows), D) of the patches that cover it."""
        every = values.new_zeros(len(self.among), values.shape[1])
        return add_up(every.masked_scatter_(self.among[:, None], values), self.shape, self.size)


@dataclass(frozen=True)
class Patches:
    """An image in training units, and all its patches of a size, whose noise is white.

    x (N, D) are the patches less their levels (N, 1), whitened; observed (N, D) tells which of their values are known,
    used (N,) which patches the image is made of, and wanted which of its pixels matter.  Whitened patches are sums of
    many pixels: where noise is correlated, image holds a guess at each pixel that is not known (see `refill`), and all
    of x counts as observed.  Where noise is white, image is zero there, and those values take no part.
    """

    image: Tensor
    known: Tensor
    size: tuple[int, ...]
    centred: bool
    whitening: Whitening
    x: Tensor
    level: Tensor
    observed: Tensor
    used: Tensor
    wanted: Tensor

    @classmethod
    def of(
        cls,
        image: Tensor,
        known: Tensor,
        size: tuple[int, ...],
        centred: bool,
        whitening: Whitening,
        wanted: Tensor | None = None,
    ) -> "Patches":
        """All are used; levels are the means of what is known, or zero.  image is zero, or a guess, where not known."""
        x, seen = extract(image, size), extract(known if whitening.is_identity else torch.ones_like(known), size)
        level = centred * x.sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
        used = torch.ones(len(x), dtype=torch.bool, device=x.device)
        white = whitening((x - level).contiguous())
        wanted = torch.ones_like(known) if wanted is None else wanted
        return cls(image, known, size, centred, whitening, white, level, seen.contiguous(), used, wanted)

    def again(self, image: Tensor, known: Tensor) -> "Patches":
        """Those of another image of the same shape."""
        return replace(Patches.of(image, known, self.size, self.centred, self.whitening, self.wanted), used=self.used)

    def refill(self, image: Tensor) -> None:
        """Take another image, with new guesses at what is not known, in place."""
        fresh = self.again(image, self.known)
        for mine, new in ((self.image, fresh.image), (self.x, fresh.x), (self.level, fresh.level)):
            mine.copy_(new)

    def filled(self, spatial: int) -> Tensor:
        """All patches (N, D) with a smooth guess at what is not known; `spatial` axes come before those of channels."""
        if self.observed.all():
            return self.x
        return self.again(guess(self.image, self.known, self.size, spatial), torch.ones_like(self.known)).x

    def common(self) -> Tensor:
        """(D,): what a patch of ones is when it is whitened."""
        return self.whitening(torch.ones_like(self.x[:1]))[0]

    @property
    def grid(self) -> tuple[int, ...]:
        """How many patches there are along each axis; their product is N."""
        return tuple(n - w + 1 for n, w in zip(self.image.shape, self.size, strict=True))

    @property
    def axes(self) -> tuple[int, ...]:
        """Those along which patches have places: none if they come from crops, which may lie anywhere."""
        if any(w == 1 < n for w, n in zip(self.size, self.grid, strict=True)):
            return ()
        return tuple(axis for axis, n in enumerate(self.grid) if n > 1)

    @property
    def places(self) -> Tensor:
        """Where each patch lies along `axes`, in pixels: (N, len(axes))."""
        indices = torch.meshgrid(*(torch.arange(n, device=self.x.device) for n in self.grid), indexing="ij")
        return torch.stack([indices[axis].flatten() for axis in self.axes], 1)

    def every_other(self) -> "Patches":
        """With half of them used, like the squares of one colour on a chessboard, and those at the rim."""
        places = torch.meshgrid(*map(torch.arange, self.grid), indexing="ij")
        rim = [(place % max(n - 1, 1) == 0) & (n > 1) for place, n in zip(places, self.grid, strict=True)]
        overlap = torch.tensor(self.size) > 1  # where patches are one wide, each pixel has its own
        even = torch.tensordot(overlap.long(), torch.stack(places), 1) % 2 == 0
        used = torch.stack([even, *rim]).any(0)
        return replace(self, used=used.flatten().to(self.x.device))

    def coarse(self, apart: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Numbers of patches that are so far apart along each axis, and for each patch which of these is nearest."""
        steps = [torch.arange(n, device=self.x.device) // a for n, a in zip(self.grid, apart, strict=True)]
        rows, near, stride, count = *(torch.zeros(1, dtype=torch.int64, device=self.x.device) for _ in range(2)), 1, 1
        for n, a, step in reversed([*zip(self.grid, apart, steps, strict=True)]):
            chosen = torch.arange(0, n, a, device=self.x.device)
            rows = (stride * chosen[:, None] + rows).flatten()
            near = (count * step[:, None] + near).flatten()
            stride, count = stride * n, count * len(chosen)
        return rows, near

    def bands(self) -> Iterator[Band]:
        """All patches, a band after the other; bands overlap in the lines that they cover."""
        lines, *others = self.grid
        line = torch.Size(others).numel()
        for some in torch.arange(lines).split(max(AT_ONCE // line, 1)):
            first, last = int(some[0]), int(some[-1]) + 1
            among = self.used[first * line : last * line]
            window = slice(first, last + self.size[0] - 1)
            shape = (window.stop - window.start, *self.image.shape[1:])
            yield Band(first * line + among.nonzero()[:, 0], among, window, shape, self.size)


def guess(image: Tensor, known: Tensor, size: tuple[int, ...], spatial: int) -> Tensor:
    """The image with a smooth guess at what is not known, along the spatial axes in which patches are wide.

    It starts from the channels that are known there: all there is to go by in a frame of which nothing is.
    """
    wide = tuple(axis for axis in range(spatial) if size[axis] > 1)
    return smooth(image, known, wide, _alike(image, known, spatial))


def _alike(image: Tensor, known: Tensor, spatial: int) -> Tensor:
    """What each value is, if channels differ by their means alone."""
    seen, places = known.to(image.dtype), tuple(range(spatial))
    mean = (seen * image).sum() / seen.sum()
    count = seen.sum(places, keepdim=True)
    level = torch.where(count > 0, (seen * image).sum(places, keepdim=True) / count.clamp(min=1), mean)
    channels = tuple(range(spatial, image.ndim))
    if not channels:
        return level.expand_as(image)
    detail = (seen * (image - level)).sum(channels, keepdim=True) / seen.sum(channels, keepdim=True).clamp(min=1)
    return level + detail
