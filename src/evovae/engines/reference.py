"""The reference engine: plain torch, for any decoder, likelihood and prior, on any device.

Data x (N, D) and states z (N, S, H) have the log joints lpj = log p(x_n, z_ns), in nats.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from evovae.engines.base import Engine, Totals
from evovae.evolve import Search, evolve
from evovae.model import TVAE
from evovae.posterior import elbo, moments, weights
from evovae.rng import on
from evovae.states import States

# Bound the memory of what is decoded together, and change no result: data points, and values of all their states.
ROWS_AT_ONCE, VALUES = 512, 2**23


@dataclass(frozen=True)
class Reference(Engine):
    """The engine that runs any model, by torch and its automatic derivatives.

    The derivative of logsumexp(lpj) is exactly the q-weighted gradient of Eq. 4.

    Parameters
    ----------
    model
        The generative model.

    Examples
    --------
    >>> import torch
    >>> from evovae import Search, States
    >>> from evovae.datasets import bars_images, bars_model
    >>> from evovae.engines import Reference
    >>> generator = torch.Generator().manual_seed(0)
    >>> model, x = bars_model(), bars_images(50, generator)
    >>> states, observed = model.prior.populations(50, 8, generator), torch.ones_like(x, dtype=torch.bool)
    >>> totals = Reference(model).step(x, observed, torch.arange(50), states, Search(4, 4), generator)
    >>> totals.count, model.decoder.layers[0].weight.grad.shape
    (50, torch.Size([16, 8]))
    """

    model: TVAE

    def step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        substitutions = self._evolve(x, observed, rows, states, search, generator)
        model, x, observed, z = self.model, x[rows], observed[rows], states[rows].z
        mean = model.decode(z)
        lpj = model.likelihood.log_prob(x, mean, observed, z) + model.prior.log_prob(z)
        bound = elbo(lpj).sum()
        if bound.requires_grad:  # otherwise there is nothing to descend, and closed forms do all
            (-bound / len(rows)).backward()
        with torch.no_grad():
            q = weights(lpj)
            return Totals(
                count=len(rows),
                elbo=bound.detach().double(),
                substitutions=torch.as_tensor(substitutions, device=x.device),
                likelihood=model.likelihood.stats(x, mean, observed, q, z),
                prior=model.prior.stats(z, q),
            )

    def search(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> int:
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
        parts = [
            moments(self.model, x[part], states[part].z, observed[part], readout) for part in rows.split(ROWS_AT_ONCE)
        ]
        mean, variance = zip(*parts, strict=True)
        return torch.cat(mean), torch.cat(variance)
