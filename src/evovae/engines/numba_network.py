"""The compiled engine for networks: MLP decoders with Bernoulli prior and a likelihood of independent values.

One call does the whole E-step of some data points, a chunk, and their sums of the M-step without
leaving the cache.  Threads work off the chunks; each chunk has its own sums, which are added in a
fixed order, and chunks follow from the batch alone, so that results are the same for any number of threads.
"""

import math
import threading
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Generator, Tensor

from evovae import operators
from evovae.decoders import MLP
from evovae.engines.base import Totals
from evovae.engines.compiled import Compiled, arrays, seed_of
from evovae.engines.plans import BERNOULLI, GAUSSIAN, LAPLACE, NO_SEARCH, POISSON, needs, planned
from evovae.engines.reference import Reference
from evovae.evolve import Search
from evovae.likelihoods import Bernoulli, Gaussian, Laplace, Likelihood, Poisson
from evovae.model import TVAE
from evovae.priors import Bernoulli as Bits
from evovae.states import States

# Data points in a chunk: few, so that small batches are work for several threads; each chunk has its own gradients.
LEAST, MOST, CHUNKS = 8, 32, 16
# What the loops want to know of a likelihood: kind, weight and normaliser of each value, as in `observations`.
KINDS: dict[type[Likelihood], Callable[[Any], tuple[int, float, float]]] = {
    Gaussian: lambda own: (GAUSSIAN, 0.5 / own.sigma2.item(), 0.5 * math.log(2 * math.pi * own.sigma2.item())),
    Laplace: lambda own: (LAPLACE, 1 / own.scale.item(), math.log(2 * own.scale.item())),
    Bernoulli: lambda own: (BERNOULLI, 1.0, 0.0),
    Poisson: lambda own: (POISSON, 1.0, 0.0),
}


class NumbaNetwork(Compiled):
    """One batch of EM for an MLP decoder with a likelihood of independent values and a Bernoulli prior; see `Compiled`.

    For a linear decoder with Gaussian noise the gains of `informed_flip` are exact; otherwise first order, as in the
    reference.  States of less mass than `q_min` give no decoder gradients; all other sums are exact.
    """

    @classmethod
    def _model_needs(cls, model: TVAE) -> dict[str, bool]:
        return super()._model_needs(model) | {
            "an MLP decoder": type(model.decoder) is MLP,
            f"a likelihood of {', '.join(kind.__name__ for kind in KINDS)}": type(model.likelihood) in KINDS,
            "a Bernoulli prior": type(model.prior) is Bits,
        }

    @classmethod
    def _search_needs(cls, search: Search) -> dict[str, bool]:
        return needs(search, operators.informed_flip)

    def step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        sums = self._em(x, observed, rows, states, search, generator, self.q_min)
        for i, layer in enumerate(cast(MLP, self.model.decoder).layers):  # of minus the mean; zero without data points
            weight, bias = reduce(np.add, [s.weights[i] for s in sums]), reduce(np.add, [s.biases[i] for s in sums])
            layer.weight.grad = torch.from_numpy(np.ascontiguousarray(weight.T) / -max(len(rows), 1))
            layer.bias.grad = torch.from_numpy(bias / -max(len(rows), 1))
        elbo, substitutions, *errors = np.sum([s.scalars for s in sums], axis=0)
        learns = len(self.model.likelihood.state_dict()) > 0  # then from its misfit and the number of values
        return Totals(
            count=len(rows),
            elbo=torch.tensor(elbo),
            substitutions=torch.tensor(int(substitutions)),
            likelihood=torch.tensor(errors if learns else [], dtype=torch.float64),
            prior=torch.from_numpy(np.append(sum(s.usage for s in sums), len(rows))),
        )

    def search(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> int:
        sums = self._em(x, observed, rows, states, search, generator, np.inf)  # no state counts for gradients
        return int(sum(s.scalars[1] for s in sums))

    def _em(
        self,
        x: Tensor,
        observed: Tensor,
        rows: Tensor,
        states: States,
        search: Search,
        generator: Generator,
        q_min: float,
    ) -> list["_Sums"]:
        from evovae.engines.chunks import em_chunk
        from evovae.engines.kernels import make_workspace

        net = self._net(x, states)
        plan = planned(search, operators.informed_flip, q_min, states.n_latents)
        seed, data = seed_of(generator), arrays(x, observed, states)
        chunks = _chunks(rows)
        sums = [_Sums.zero(net) for _ in chunks]

        own = threading.local()

        def work(chunk: np.ndarray, mine: _Sums) -> None:
            own.space = getattr(own, "space", None) or make_workspace(data[2], plan, net)
            em_chunk(chunk, seed, *data, states.lpj.numpy(), plan, net, own.space, *mine)

        self.workers.run(em_chunk, work, chunks, sums)
        return sums

    def moments(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        from evovae.engines.chunks import moments_chunk
        from evovae.engines.kernels import make_workspace

        net, data = self._net(x, states), arrays(x, observed, states)
        if readout is not None:  # asks for what each state says, which the loops add up at once
            return Reference(self.model).moments(x, observed, rows, states, readout)
        mean, variance = np.zeros((2, len(rows), x.shape[1]), np.float32)
        chunks = _chunks(rows)
        parts = (np.split(out, np.cumsum([*map(len, chunks)])[:-1]) for out in (mean, variance))

        def work(chunk: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
            moments_chunk(chunk, *data, net, make_workspace(data[2], NO_SEARCH, net), mean, variance)

        self.workers.run(moments_chunk, work, chunks, *parts)
        return torch.from_numpy(mean), torch.from_numpy(variance)

    def _net(self, x: Tensor, states: States) -> Any:  # a named tuple of numba
        """The model as the loops want it.  They read and write where they are told: sizes must fit together."""
        from evovae.engines.kernels import Net

        decoder, prior = cast(MLP, self.model.decoder), cast(Bits, self.model.prior)
        sizes = (states.n_latents, *decoder.sizes[1:-1], x.shape[1])
        if sizes != decoder.sizes or states.n_latents != prior.n_latents:
            raise ValueError(
                f"the decoder's sizes {decoder.sizes} and the prior's {prior.n_latents} latents do not fit "
                f"data of {x.shape[1]} values and states of {states.n_latents} bits"
            )
        weights = [layer.weight.detach().numpy() for layer in decoder.layers]
        pi = prior.pi.numpy().astype(float)
        kind, weight, each = KINDS[type(self.model.likelihood)](self.model.likelihood)
        return Net(
            fan_out=tuple(np.ascontiguousarray(w.T) for w in weights),
            fan_in=tuple(np.ascontiguousarray(w) for w in weights),
            bias=tuple(layer.bias.detach().numpy() for layer in decoder.layers),
            off=np.cumsum([0, *decoder.sizes[1:]]),
            leak=np.float32(decoder.slope),
            odds=np.log(pi / (1 - pi)).astype(np.float32),
            kind=kind,
            weight=np.float32(weight),
            each=each,
            constant=np.log1p(-pi).sum(),
        )


class _Sums(NamedTuple):
    """The sums of one chunk: gradients, [elbo, substitutions, misfit, observed values], and usage of bits."""

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    scalars: np.ndarray
    usage: np.ndarray

    @classmethod
    def zero(cls, net: Any) -> "_Sums":  # see `_net`
        weights, biases = (tuple(map(np.zeros_like, parts)) for parts in (net.fan_out, net.bias))
        return cls(weights, biases, np.zeros(4), np.zeros(len(net.odds)))


def _chunks(rows: Tensor) -> list[np.ndarray]:
    size = min(max(-(-len(rows) // CHUNKS), LEAST), MOST)
    return np.split(rows.numpy(), range(size, len(rows), size))
