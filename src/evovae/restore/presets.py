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
    sizes, states S the population of each patch, learning_rate Adam's peak rate.  Where patches
    are centred, each has its own mean taken off and put back: a binary code has no amplitude, and
    spelling out brightness in bits costs more than the noise of the mean, unless that is high.
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
    centred: bool = False


Preset = Callable[[float, int], Settings]
"""Settings from the noise level over the picture's own standard deviation, and its number of pixels."""

CENTRED_BELOW = 0.42  # noise ratios; these two were chosen on house and cameraman
LARGE_PATCH_ABOVE = 0.6


def _epochs(epochs: int, pixels: int) -> int:
    """More passes over small pictures, so that the decoder gets enough steps (`epochs` are for 256 x 256)."""
    return round(epochs * min(max(1.0, (65536 / pixels) ** 0.5), 8.0))


def fast(noise: float, pixels: int) -> Settings:
    """Seconds: a first look."""
    if noise > LARGE_PATCH_ABOVE:
        return Settings(10, 64, (128,), 24, Search(6, 6), _epochs(6, pixels), 64, 0.005)
    centred = noise < CENTRED_BELOW
    return Settings(8, 64, (192,), 24, Search(6, 6), _epochs(7, pixels), 64, 0.005, centred=centred)


def balanced(noise: float, pixels: int) -> Settings:
    """About a minute for 256 x 256 on two cores."""
    if noise > LARGE_PATCH_ABOVE:
        return Settings(12, 64, (192,), 32, Search(6, 6), _epochs(30, pixels), 64, 0.005)
    centred = noise < CENTRED_BELOW
    return Settings(8, 64, (256,), 40, Search(8, 8), _epochs(26, pixels), 64, 0.005, centred=centred)


def best(noise: float, pixels: int) -> Settings:
    """Some minutes: the same with more time and larger populations."""
    if noise > LARGE_PATCH_ABOVE:
        return Settings(12, 96, (320,), 40, Search(8, 8), _epochs(80, pixels), 64, 0.005)
    centred = noise < CENTRED_BELOW
    return Settings(8, 96, (320,), 60, Search(8, 8), _epochs(80, pixels), 64, 0.005, centred=centred)


def paper(noise: float, pixels: int) -> Settings:
    """Table 3 of the paper, exactly; where noise is high, what stands there in parentheses for sigma = 50."""
    if noise > LARGE_PATCH_ABOVE:
        search = Search(5, 4, 1, select=by_fitness, mutate=uniform_flip)
        return Settings(12, 512, (512,), 64, search, 500, 32, 0.05, _cycle_to_0_05)
    search = Search(10, 9, 4, select=by_fitness, mutate=uniform_flip)
    return Settings(8, 64, (64,), 200, search, 500, 32, 0.01, cyclical)


def _cycle_to_0_05(epoch: float, epochs: int) -> float:
    return cyclical(epoch, epochs, low=0.0001 / 0.05)


PRESETS: dict[str, Preset] = {"fast": fast, "balanced": balanced, "best": best, "paper": paper}
