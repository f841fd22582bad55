"""What the engines have in common whose loops numba compiles: they are loaded with the first engine that runs them."""

from contextlib import AbstractContextManager
from importlib.util import find_spec

import numpy as np
import torch
from torch import Generator, Tensor

from evovae.engines.base import Engine, device_of, is_single
from evovae.engines.workers import Workers
from evovae.model import TVAE
from evovae.states import States


class Compiled(Engine):
    """One batch of EM by compiled loops; threads share it out in a way that does not depend on how many they are.

    Parameters
    ----------
    model
        In float32, on the CPU.
    q_min
        States with less posterior mass than this share of the best one's take no part in gradients and in the sums of
        the M-step; 0 is exact.
    threads
        How many work at once (default: as many as torch uses); changes nothing but the time.
    """

    def __init__(self, model: TVAE, q_min: float = 1e-3, threads: int | None = None) -> None:
        super().__init__(model)
        self.q_min, self.workers = q_min, Workers(threads)

    @classmethod
    def _model_needs(cls, model: TVAE) -> dict[str, bool]:
        return {
            "numba": find_spec("numba") is not None,
            "the CPU": device_of(model).type == "cpu",
            "float32": is_single(model),
        }

    def running(self) -> AbstractContextManager[None]:
        return self.workers.alone()


def arrays(x: Tensor, observed: Tensor, states: States) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Data, what is seen of them, and words, as the loops want them."""
    return x.numpy(), observed.numpy(), states.words.numpy().view(np.uint64)


def seed_of(generator: Generator) -> np.uint64:
    """That of the random numbers of one E-step."""
    return np.uint64(torch.randint(2**62, (), generator=generator).item())
