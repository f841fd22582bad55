"""Settings of a restoration, chosen from the picture's size and the noise found in it.

Nothing here sees a clean image or the true noise level.
"""

from collections.abc import Callable

from evovae.evolve import Search
from evovae.operators import by_fitness, exactly_informed_flip, uniform_flip
from evovae.restore.experts import Expert, Network, Subspaces
from evovae.schedules import cyclical

Preset = Callable[[float, int], tuple[Expert, ...]]
"""Experts from the noise level over the picture's own standard deviation, and its number of pixels."""

LARGE_PATCH_ABOVE = 0.6  # a noise ratio, chosen on house and cameraman


def _epochs(epochs: int, pixels: int) -> int:
    """More passes over small pictures, so that the models get enough steps (`epochs` are for 256 x 256)."""
    return round(epochs * min(max(1.0, (65536 / pixels) ** 0.5), 8.0))


def _subspaces(patch: int, latents: int, rank: int, epochs: int, pixels: int, search: Search, states: int) -> Subspaces:
    return Subspaces(patch, latents, states, search, _epochs(epochs, pixels), centred=False, rank=rank)


LIGHT = Search(2, 5, mutate=exactly_informed_flip)
THOROUGH = Search(4, 5, mutate=exactly_informed_flip)


def fast(noise: float, pixels: int) -> tuple[Expert, ...]:
    """Seconds: a first look."""
    if noise > LARGE_PATCH_ABOVE:
        return (_subspaces(12, 96, 6, 4, pixels, LIGHT, 6),)
    return (_subspaces(8, 128, 6, 4, pixels, LIGHT, 6),)


def balanced(noise: float, pixels: int) -> tuple[Expert, ...]:
    """About a minute for 256 x 256 on two cores."""
    return (
        _subspaces(8, 128, 6, 8, pixels, THOROUGH, 10),
        _subspaces(12, 128, 8, 8, pixels, THOROUGH, 8),
    )


def best(noise: float, pixels: int) -> tuple[Expert, ...]:
    """Some minutes: more models, and a network beside the subspaces."""
    network = Network(
        12 if noise > LARGE_PATCH_ABOVE else 8,
        64,
        40,
        Search(8, 8),
        _epochs(40, pixels),
        noise < 0.42,
        (256,),
        64,
        0.005,
    )
    return (*balanced(noise, pixels), network)


def paper(noise: float, pixels: int) -> tuple[Expert, ...]:
    """Table 3 of the paper, exactly; where noise is high, what stands there in parentheses for sigma = 50."""
    if noise > LARGE_PATCH_ABOVE:
        search = Search(5, 4, 1, select=by_fitness, mutate=uniform_flip)
        return (Network(12, 512, 64, search, 500, False, (512,), 32, 0.05, _cycle_to_0_05),)
    search = Search(10, 9, 4, select=by_fitness, mutate=uniform_flip)
    return (Network(8, 64, 200, search, 500, False, (64,), 32, 0.01, cyclical),)


def _cycle_to_0_05(epoch: float, epochs: int) -> float:
    return cyclical(epoch, epochs, low=0.0001 / 0.05)


PRESETS: dict[str, Preset] = {"fast": fast, "balanced": balanced, "best": best, "paper": paper}
