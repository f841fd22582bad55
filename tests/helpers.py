"""What several files of tests share: generators with seeds, small models and tables, pictures and films."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import skimage
import torch
from torch import Generator

import evovae
from evovae import LowRankPatches, NetworkPatches, Search
from evovae.decoders import MLP
from evovae.likelihoods import Gaussian
from evovae.model import TVAE
from evovae.operators import exactly_informed_flip
from evovae.priors import Bernoulli

# Tests


def slow(*values: object) -> object:
    """A parameter whose case is one of those that `make test-all` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)


def python(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    """What a new process of Python says to some code."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, **options)


# Models and tables


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def small_model(H: int = 5, *hidden: int, D: int = 6, seed: int = 0, slope: float = 0.0) -> TVAE:
    """A random model with weights large enough that posteriors are not flat, and an uneven prior."""
    decoder = MLP(H, *(hidden or (7,)), D, slope=slope, generator=seeded(seed))
    prior = Bernoulli(H)
    with torch.no_grad():
        for layer in decoder.layers:
            layer.bias.normal_(0, 0.3, generator=seeded(seed + 1))
        prior.pi.copy_(0.1 + 0.6 * torch.rand(H, generator=seeded(seed + 2)))
    return TVAE(decoder, Gaussian(0.2), prior)


def data(N: int = 20, D: int = 6, seed: int = 3) -> torch.Tensor:
    return torch.randn(N, D, generator=seeded(seed))


def holes(x: torch.Tensor, seed: int = 4) -> torch.Tensor:
    """observed: about a third of x is missing."""
    return torch.rand(x.shape, generator=seeded(seed)) > 0.3


# Patch models that are trained in a fraction of a second

QUICK = NetworkPatches(4, 16, 10, Search(3, 4), 15, False, (32,), 16, 0.01)
SUBSPACES = LowRankPatches(
    5, 16, 8, Search(2, 4, mutate=exactly_informed_flip), 10, False, rank=2, batches=4, look=(0, 0)
)
TINY = {"preset": LowRankPatches(4, 8, 4, Search(2, 4), 2, rank=1, look=(0, 0)), "noise": "white", "rng": 0}


def quick(image: object, **options: object) -> object:
    return evovae.denoise(image, preset=QUICK, rng=0, **options)


def subspaces(image: object, *told: object, **options: object) -> object:
    """Which takes a third of the time."""
    return evovae.denoise(image, *told, preset=SUBSPACES, rng=0, **options)


# Pictures


def rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(a))))


def white(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Noise of standard deviation 1."""
    return np.random.default_rng(seed).standard_normal(shape)


def blocks(n: int = 40) -> np.ndarray:
    """A picture of flat blocks between 40 and 200."""
    levels = np.random.default_rng(1).uniform(40, 200, (4, 4))
    return np.kron(levels, np.ones((n // 4, n // 4)))


def noisy(sigma: float = 15.0, seed: int = 0, n: int = 40) -> np.ndarray:
    return blocks(n) + sigma * white((n, n), seed)


def quarters(seed: int = 0) -> np.ndarray:
    """Four flat squares of 12 x 12 pixels with noise of 15."""
    return np.kron([[60.0, 180], [120, 90]], np.ones((12, 12))) + 15 * white((24, 24), seed)


def scene(n: int = 128) -> np.ndarray:
    """Part of a photograph, 5 to 230."""
    return skimage.data.camera()[100 : 100 + n, 200 : 200 + n].astype(float)


def one_channel(find: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """What finds in (*spatial, C) with what is observed there, for values of (*spatial) that all are unless told."""

    def found(values: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
        seen = np.ones(values.shape, bool) if observed is None else observed
        return find(values[..., None], seen[..., None])[..., 0]

    return found


# Films

SIGMA = 25.0


def texture(shape: tuple[int, int] = (64, 160), seed: int = 0) -> np.ndarray:
    """Blocks of many levels with fine stripes, which is still where nothing moves."""
    y, x = np.indices(shape)
    levels = np.random.default_rng(seed).uniform(40, 200, (shape[0] // 8 + 1, shape[1] // 8 + 1))[y // 8, x // 8]
    return levels + 20 * np.sin(0.9 * x + 0.7 * y)


def pan(step: int, frames: int = 10, width: int = 64) -> np.ndarray:
    """A camera that moves over a texture by so many pixels per frame."""
    still = texture((64, width + abs(step) * frames + 8))
    return np.stack([still[:, step * t : step * t + width] for t in range(frames)])


def noisy_film(film: np.ndarray, seed: int = 0) -> np.ndarray:
    return film + SIGMA * white(film.shape, seed)
