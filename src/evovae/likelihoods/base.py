"""The methods that every likelihood has, with defaults for one that has no parameters."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Generator, Tensor, nn


class Likelihood(nn.Module, ABC):
    """The base of all likelihoods p(x | z); shapes are those of `evovae.likelihoods`.

    Attributes
    ----------
    support
        In words, which values have a density.
    """

    support = "real numbers"

    @property
    def coordinates(self) -> int:
        """How many coordinates data points may have behind their D values, of which the decoder says nothing."""
        return 0

    def admits(self, values: Tensor) -> bool:
        """Whether all of some observed values are in the support.

        Parameters
        ----------
        values
            Of any shape.

        Returns
        -------
        bool
            True, by default.
        """
        return True

    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, but for what ``state_dict()`` holds.

        Returns
        -------
        dict
            By name; what JSON can hold.
        """
        return {}

    @abstractmethod
    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        """The log density log p(x_n | z_ns) of the observed values.

        Parameters
        ----------
        x
            Data (N, D).
        mean
            The decoder's output for z, (N, S, D).
        observed
            Which values are seen, (N, D) bool.
        z
            States (N, S, H), bool.

        Returns
        -------
        Tensor
            (N, S), in nats, constants included.
        """

    @abstractmethod
    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        """A draw of x from p(x | z).

        Parameters
        ----------
        mean
            The decoder's output for z, (..., D).
        generator
            Source of the draws.
        z
            States (..., H), bool.

        Returns
        -------
        Tensor
            (..., D).
        """

    def expectation(self, mean: Tensor, z: Tensor) -> Tensor:
        """The mean of the data for a state, E[x | z].

        Parameters
        ----------
        mean
            The decoder's output for z, (..., D).
        z
            States (..., H), of bool or numbers.

        Returns
        -------
        Tensor
            (..., D); the decoder's output itself, by default.
        """
        return mean

    def restore(
        self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance of the data without its noise, given x and z.

        Parameters
        ----------
        x, mean, observed, z
            As in `log_prob`.
        readout
            A matrix (D, E): what is asked for is the data times this.  Default: the data as they are, E = D.

        Returns
        -------
        mean : Tensor
            (N, S, E).
        variance : Tensor
            (N, S, E); zero where z tells the data but for their noise.
        """
        values = through(self.expectation(mean, z), readout)
        return values, torch.zeros_like(values)

    def responses(self, means: Tensor) -> Tensor:
        """How data move when each latent is switched on: the directions that belong to it.

        Parameters
        ----------
        means
            By how much the decoder's mean moves with each latent, (H, D).

        Returns
        -------
        Tensor
            (H, R, D): R directions of each latent.  The first is the change of the mean; where latents own subspaces,
            the others are their principal axes, longest first, each one standard deviation long.
        """
        return means[:, None]

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor, z: Tensor) -> Tensor:
        """The sums over data points that `update` needs; those of several batches add.

        Parameters
        ----------
        x, mean, observed
            As in `log_prob`.
        q
            The weights of the states, (N, S), with rows that sum to one.
        z
            States (N, S, H), bool.

        Returns
        -------
        Tensor
            Flat, in double precision; empty where there are no parameters.
        """
        return x.new_zeros(0, dtype=torch.float64)

    def update(self, stats: Tensor) -> None:  # noqa: B027 - nothing to maximise is an identity
        """The M-step: set the parameters to the maximiser of the bound.

        Parameters
        ----------
        stats
            The sum of the `stats` of all data.
        """


def through(values: Tensor, readout: Tensor | None) -> Tensor:
    """Values (..., D) times a matrix (D, E), or values themselves where there is none."""
    return values if readout is None else values @ readout


def check_support(likelihood: Likelihood, values: Tensor, they_have: str) -> None:
    """Raise a ValueError where observed values cannot come from the likelihood; they_have says whose they are."""
    if not likelihood.admits(values):
        name = type(likelihood).__name__
        raise ValueError(f"a {name} likelihood is for {likelihood.support}, but {they_have} other values")
