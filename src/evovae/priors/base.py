"""The methods that every prior has."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Generator, Tensor, nn

from evovae.states import States


class Prior(nn.Module, ABC):
    """The base of all priors: a distribution over states of H bits, whose M-step has a closed form."""

    @property
    @abstractmethod
    def n_latents(self) -> int:
        """H, the number of bits of a state.

        Returns
        -------
        int
            H.
        """

    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, but for what ``state_dict()`` holds.

        Returns
        -------
        dict
            By name; what JSON can hold.  H alone, by default.
        """
        return {"H": self.n_latents}

    def populations(self, N: int, S: int, generator: Generator, dtype: torch.dtype = torch.float32) -> States:
        """Random populations to start a search from, with states that are possible under the prior: any, by default.

        Parameters
        ----------
        N
            Number of data points.
        S
            Distinct states of each.
        generator
            Source of the draws.
        dtype
            That of the log joints, which is the one of the data.

        Returns
        -------
        States
            N populations of S states, with log joints of -inf.

        Raises
        ------
        ValueError
            If there are fewer than S states.
        """
        return States.random(N, S, self.n_latents, generator, dtype=dtype)

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """The log probability log p(z).

        Parameters
        ----------
        z
            States (..., H).

        Returns
        -------
        Tensor
            (...), in nats; -inf for states that are impossible.
        """

    @abstractmethod
    def stats(self, z: Tensor, q: Tensor) -> Tensor:
        """The sums over data points that `update` needs; those of several batches add.

        Parameters
        ----------
        z
            States (N, S, H).
        q
            Their weights (N, S), with rows that sum to one.

        Returns
        -------
        Tensor
            Flat, in double precision.
        """

    @abstractmethod
    def update(self, stats: Tensor) -> None:
        """The M-step: set the parameters to the maximiser of the bound.

        Parameters
        ----------
        stats
            The sum of the `stats` of all data.
        """

    @abstractmethod
    def sample(self, n: int, generator: Generator) -> Tensor:
        """Draw states.

        Parameters
        ----------
        n
            How many.
        generator
            Source of the draws.

        Returns
        -------
        Tensor
            (n, H), bool.
        """
