"""Settings of a restoration, chosen from the picture's size and the noise found in it.

Nothing here sees a clean image or the true noise level.
"""

from collections.abc import Callable
from math import prod

from evovae.evolve import Search
from evovae.operators import by_fitness, exactly_informed_flip, uniform_flip
from evovae.restore.patch_models import LowRankPatches, NetworkPatches, PatchModel
from evovae.schedules import cyclical

Preset = Callable[[float, tuple[int, ...]], tuple[PatchModel, ...]]
"""Patch models from the noise level over the picture's own standard deviation, and the lengths of its spatial axes."""

# The noise ratio from which on larger patches and smaller subspaces do better; chosen on house and cameraman.
HIGH = 0.6
# Patches in all for each latent (8 at least), and for each dimension of its subspace (2 at least), or they learn noise
# by heart; chosen on crops of BSD of 24 to 96 pixels, sigma 25.
PER_LATENT, PER_DIRECTION = 200, 100


def _epochs(epochs: int, shape: tuple[int, ...]) -> int:
    """More passes over small pictures, so that the models get enough steps (`epochs` are for 256 x 256)."""
    return round(epochs * min(max(1.0, (65536 / prod(shape)) ** 0.5), 8.0))


def _width(width: int, shape: tuple[int, ...]) -> int:
    """The width of patches that hold about as many pixels as square ones of `width`, in as many axes as there are.

    It is a third of the picture at most, so that there are some patches to learn from.
    """
    return min(round(width ** (2 / len(shape))), max(max(shape) // 3, 1))


def _subspaces(
    patch: int,
    rank: int,
    noise: float,
    shape: tuple[int, ...],
    *,
    epochs: int,
    look: tuple[int, int],
    states: int,
    parents: int = 2,
) -> LowRankPatches:
    """Larger patches hold more, noise hides more, and small pictures have little to learn from."""
    latents = 96 if noise > HIGH else 128
    search = Search(parents, 5, mutate=exactly_informed_flip)
    width = _width(patch, shape)
    patches = prod(max(n - width + 1, 1) for n in shape)
    latents, rank = min(latents, max(patches // PER_LATENT, 8)), min(rank, max(patches // PER_DIRECTION, 2))
    epochs, restored, again = (_epochs(n, shape) for n in (epochs, *look))
    return LowRankPatches(width, latents, states, search, epochs, centred=False, rank=rank, look=(restored, again))


def _network(
    noise: float, shape: tuple[int, ...], *, latents: int, width: int, states: int, search: Search, epochs: int
) -> NetworkPatches:
    """Small codes with wide decoders; centred patches where noise is low."""
    patch, centred = (12 if noise > HIGH else 8), noise < 0.42
    return NetworkPatches(
        _width(patch, shape), latents, states, search, _epochs(epochs, shape), centred, (width,), 64, 0.005
    )


def fast(noise: float, shape: tuple[int, ...]) -> tuple[PatchModel, ...]:
    """Seconds: one size of patches."""
    return (_subspaces(12 if noise > HIGH else 8, 6, noise, shape, epochs=3, look=(2, 1), states=6),)


def balanced(noise: float, shape: tuple[int, ...]) -> tuple[PatchModel, ...]:
    """About a minute for 256 x 256 on two cores: two sizes of patches, and a network where noise is high."""
    sizes = (8, 10), (12, 8)  # patch, rank
    subspaces = (_subspaces(*size, noise, shape, epochs=4, look=(2, 1), states=8) for size in sizes)
    network = (_network(noise, shape, latents=64, width=192, states=32, search=Search(6, 6), epochs=16),)
    return (*subspaces, *(network if noise > HIGH else ()))


def best(noise: float, shape: tuple[int, ...]) -> tuple[PatchModel, ...]:
    """Some minutes: three sizes of patches, and a network beside the subspaces."""
    sizes = (8, 12), (12, 12), (16, 8)  # patch, rank
    look = (2, 3)
    subspaces = (_subspaces(*size, noise, shape, epochs=8, look=look, states=12, parents=4) for size in sizes)
    network = _network(noise, shape, latents=96, width=256, states=40, search=Search(8, 8), epochs=60)
    return (*subspaces, network)


def paper(noise: float, shape: tuple[int, ...]) -> tuple[PatchModel, ...]:
    """Table 3 of the paper, exactly; where noise is high, what stands there in parentheses for sigma = 50."""
    if noise > HIGH:
        search = Search(5, 4, 1, select=by_fitness, mutate=uniform_flip)
        return (NetworkPatches(_width(12, shape), 512, 64, search, 500, False, (512,), 32, 0.05, _cycle_to_0_05),)
    search = Search(10, 9, 4, select=by_fitness, mutate=uniform_flip)
    return (NetworkPatches(_width(8, shape), 64, 200, search, 500, False, (64,), 32, 0.01, cyclical),)


def _cycle_to_0_05(epoch: float, epochs: int) -> float:
    return cyclical(epoch, epochs, low=0.0001 / 0.05)


PRESETS: dict[str, Preset] = {"fast": fast, "balanced": balanced, "best": best, "paper": paper}
