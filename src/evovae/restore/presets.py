"""Settings of a restoration, chosen from the picture's size and the noise found in it.

Nothing here sees a clean image or the true noise level.
"""

from collections.abc import Callable
from dataclasses import dataclass

from evovae.evolve import Search
from evovae.operators import by_fitness, uniform_flip
from evovae.schedules import Schedule, cyclical, warm_up_decay


@dataclass(frozen=True)
class Settings:
    """All that `denoise` decides before it starts.

    patch is the width of the square patches in pixels, latents H and hidden the decoder's layer
    sizes, states S the population of each patch, learning_rate Adam's peak rate.
    """

    patch: int
    latents: int
    hidden: tuple[int, ...]
    states: int
    search: Search
    epochs: int
    batch_size: int
    learning_rate: float
    schedule: Schedule = warm_up_decay


Preset = Callable[[float], Settings]


def fast(noise: float) -> Settings:
    """Seconds: a first look.  `noise` is the noise level over the picture's own standard deviation."""
    return Settings(8, 64, (96,), 24, Search(4, 8), 6, 64, 0.007)


def balanced(noise: float) -> Settings:
    """About a minute for 256 x 256 on two cores."""
    if noise > 0.8:
        return Settings(12, 192, (192,), 32, Search(6, 6), 20, 64, 0.005)
    return Settings(8, 128, (128,), 40, Search(8, 8), 20, 64, 0.005)


def best(noise: float) -> Settings:
    """Some minutes: the same, with more latents and more time."""
    if noise > 0.8:
        return Settings(12, 192, (192,), 48, Search(8, 8), 80, 64, 0.005)
    return Settings(8, 256, (192,), 48, Search(8, 8), 80, 64, 0.005)


def paper(noise: float) -> Settings:
    """Table 3 of the paper, exactly; its settings in parentheses, for sigma = 50, where noise is high."""
    if noise > 0.8:
        search = Search(5, 4, 1, select=by_fitness, mutate=uniform_flip)
        return Settings(12, 512, (512,), 64, search, 500, 32, 0.05, _cycle_to_0_05)
    search = Search(10, 9, 4, select=by_fitness, mutate=uniform_flip)
    return Settings(8, 64, (64,), 200, search, 500, 32, 0.01, cyclical)


def _cycle_to_0_05(epoch: float, epochs: int) -> float:
    return cyclical(epoch, epochs, low=0.0001 / 0.05)


PRESETS: dict[str, Preset] = {"fast": fast, "balanced": balanced, "best": best, "paper": paper}
