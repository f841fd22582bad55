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
    """Sums over data points.  They add over batches (and over processes) alike.

    Bound (double) and substitutions are tensors without axes: where a device works them out, nobody need wait for them.
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
        """With the sums that updates are made from times a factor."""
        return replace(self, likelihood=factor * self.likelihood, prior=factor * self.prior)


class Engine(Protocol):
    """One batch of EM for one model.  x (N, D) and observed (N, D) are all data, `rows` the batch."""

    def running(self) -> AbstractContextManager[None]:
        """Surrounds the steps of an epoch; what the engine needs of its surroundings holds inside."""
        ...

    def step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        """E-step on states[rows], in place; gradients of minus the mean bound into .grad; sums returned."""
        ...

    def search(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> int:
        """The E-step alone, on states[rows], in place: how many states are new."""
        ...

    def moments(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Posterior mean and variance of the data points `rows`, each (len(rows), D); see `posterior.moments`."""
        ...
