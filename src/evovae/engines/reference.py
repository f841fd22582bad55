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

ROWS_AT_ONCE = 512  # bounds the memory of what is decoded together; changes no result


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
        proposed = states.words.flatten(0, 1)[search.migrate(states, rows, generator)]
        model, x, observed, generator = self.model, x[rows], observed[rows], on(x.device, generator)
        log_joint = partial(model.lpj, x, observed=observed)
        batch, substitutions = evolve(states[rows], log_joint, search, generator, proposed)
        states[rows] = batch
        z = batch.z
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

    def moments(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Engine.moments`."""
        parts = [
            moments(self.model, x[part], states[part].z, observed[part], readout) for part in rows.split(ROWS_AT_ONCE)
        ]
        mean, variance = zip(*parts, strict=True)
        return torch.cat(mean), torch.cat(variance)
