"""Shared by all tests: seeded generators, small models, and the folder with test pictures."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from torch import Generator

from evovae.decoders import MLP
from evovae.likelihoods import Gaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # some versions warn where it is not set
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports the kernels


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


def scene(n: int = 128) -> np.ndarray:
    """Part of a photograph, 5 to 230."""
    return skimage.data.camera()[100 : 100 + n, 200 : 200 + n].astype(float)


def white(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Noise of standard deviation 1."""
    return np.random.default_rng(seed).standard_normal(shape)


def one_channel(find: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """What finds in (*spatial, C) with what is observed there, for values of (*spatial) that all are unless told."""

    def found(values: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
        seen = np.ones(values.shape, bool) if observed is None else observed
        return find(values[..., None], seen[..., None])[..., 0]

    return found


@pytest.fixture
def pictures() -> Path:
    """The folder of test pictures named by EVOVAE_DATA."""
    folder = os.environ.get("EVOVAE_DATA")
    if not folder:
        pytest.skip("EVOVAE_DATA does not name a folder with the test pictures")
    return Path(folder)


def slow(*values: object) -> object:
    """A parameter whose case is one of those that `make test-all` runs."""
    return pytest.param(*values, marks=pytest.mark.slow)
