"""What an engine does, and the sums it returns."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Generator, Tensor

from evovae.evolve import Search
from evovae.states import States


@dataclass(frozen=True)
class Totals:
    """Sums over data points, which add over batches and over processes.

    Parameters
    ----------
    count
        How many data points.
    elbo
        The sum of their bounds, in nats: a tensor without axes, double, so that a device need not be waited for.
    substitutions
        How many of their states are new: a tensor without axes.
    likelihood
        The `stats` of the likelihood, flat.
    prior
        The `stats` of the prior, flat.
    """

    count: int
    elbo: Tensor
    substitutions: Tensor
    likelihood: Tensor
    prior: Tensor

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.count + other.count,
            self.elbo + other.elbo,
            self.substitutions + other.substitutions,
            self.likelihood + other.likelihood,
            self.prior + other.prior,
        )

    def scaled(self, factor: float) -> Totals:
        """The same with the sums that M-steps are made from times a factor.

        Parameters
        ----------
        factor
            For `likelihood` and `prior`.

        Returns
        -------
        Totals
            With all else as it is.
        """
        return replace(self, likelihood=factor * self.likelihood, prior=factor * self.prior)

    def without_sums(self) -> Totals:
        """The same without the sums that M-steps are made from, which may be large.

        Returns
        -------
        Totals
            With empty ones.
        """
        return replace(self, likelihood=self.likelihood[:0], prior=self.prior[:0])


class Engine(Protocol):
    """What does the work of one batch of EM, for one model.

    x (N, D) and observed (N, D) are always those of all data points; `rows` are the numbers of those in the batch.
    """

    def running(self) -> AbstractContextManager[None]:
        """A context that surrounds the batches of an epoch, such as one that gives all threads to the engine.

        Returns
        -------
        AbstractContextManager
            To be entered before `step` or `search`.
        """
        ...

    def step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        """An E-step on a batch, and the gradients and sums of its M-step.

        Gradients of minus the mean bound go into ``.grad`` of the decoder's parameters.

        Parameters
        ----------
        x
            All data (N, D), zero where missing.
        observed
            Which values are seen, (N, D) bool.
        rows
            Numbers of the data points of the batch.
        states
            All populations; those of the batch are improved in place.
        search
            Settings of the E-step.
        generator
            Source of the draws.

        Returns
        -------
        Totals
            Sums over the batch.
        """
        ...

    def search(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> int:
        """An E-step on a batch, alone.

        Parameters
        ----------
        x
            All data (N, D), zero where missing.
        observed
            Which values are seen, (N, D) bool.
        rows
            Numbers of the data points of the batch.
        states
            All populations; those of the batch are improved in place.
        search
            Settings of the E-step.
        generator
            Source of the draws.

        Returns
        -------
        int
            How many states are new.
        """
        ...

    def moments(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Posterior mean and variance of the data without their noise; see `evovae.posterior.moments`.

        Parameters
        ----------
        x
            All data (N, D), zero where missing.
        observed
            Which values are seen, (N, D) bool.
        rows
            Numbers of the data points that are asked for.
        states
            All populations.
        readout
            A matrix (D, E): what is asked for is the data times this.  Default: the data as they are, E = D.

        Returns
        -------
        mean : Tensor
            (len(rows), E).
        variance : Tensor
            (len(rows), E).
        """
        ...
