"""The reference engine: plain torch, any decoder, likelihood and prior, any device."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from evovae.engines.base import Totals
from evovae.evolve import Search, evolve
from evovae.model import TVAE
from evovae.posterior import elbo, moments, weights
from evovae.rng import on
from evovae.states import States

# Bound the memory of what is decoded together, and change no result: data points, and values of all their states.
ROWS_AT_ONCE, VALUES = 512, 2**23


@dataclass(frozen=True)
class Reference:
    """One batch of EM by torch and its autograd."""

    model: TVAE

    def running(self) -> AbstractContextManager[None]:
        """Nothing to arrange."""
        return nullcontext()

    def step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        """See `Engine.step`.  Autograd of logsumexp(lpj) is exactly the q-weighted gradient of Eq. 4."""
        substitutions = self._evolve(x, observed, rows, states, search, generator)
        model, x, observed, z = self.model, x[rows], observed[rows], states[rows].z
        mean = model.decode(z)
        lpj = model.likelihood.log_prob(x, mean, observed, z) + model.prior.log_prob(z)
        bound = elbo(lpj).sum()
        (-bound / len(rows)).backward()
        with torch.no_grad():
            q = weights(lpj)
            return Totals(
                count=len(rows),
                elbo=bound.detach().double(),
                substitutions=torch.as_tensor(substitutions),
                likelihood=model.likelihood.stats(x, mean, observed, q, z),
                prior=model.prior.stats(z, q),
            )

    def search(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> int:
        """See `Engine.search`."""
        tried = states.lpj.shape[1] + search.parents * search.children
        parts = rows.split(max(VALUES // (tried * x.shape[1]), 1))
        return sum(self._evolve(x, observed, part, states, search, generator) for part in parts)

    def _evolve(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> int:
        proposed = states.words.flatten(0, 1)[search.migrate(states, rows, generator)]
        log_joint = partial(self.model.lpj, x[rows], observed=observed[rows])
        states[rows], substitutions = evolve(states[rows], log_joint, search, on(x.device, generator), proposed)
        return substitutions

    def moments(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Engine.moments`."""
        parts = [
            moments(self.model, x[part], states[part].z, observed[part], readout) for part in rows.split(ROWS_AT_ONCE)
        ]
        mean, variance = zip(*parts, strict=True)
        return torch.cat(mean), torch.cat(variance)
