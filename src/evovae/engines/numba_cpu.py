"""The fused CPU engine: MLP decoders with Bernoulli prior and a likelihood of independent values, compiled.

One call does the whole E-step of some data points, a chunk, and their sums of the M-step without
leaving the cache.  Threads work off the chunks; each chunk has its own sums, which are added in a
fixed order, and chunks follow from the batch alone, so that results are the same for any number of threads.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Generator, Tensor

from evovae import operators
from evovae.decoders import MLP
from evovae.engines.base import Totals
from evovae.engines.chunks import em_chunk, make_room, moments_chunk
from evovae.engines.kernels import Net
from evovae.engines.observations import BERNOULLI, GAUSSIAN, LAPLACE, POISSON
from evovae.engines.plans import knows
from evovae.engines.plans import plan as plan_of
from evovae.engines.reference import Reference
from evovae.engines.workers import Workers
from evovae.evolve import Search
from evovae.likelihoods import Bernoulli, Gaussian, Laplace, Likelihood, Poisson
from evovae.model import TVAE
from evovae.priors import Bernoulli as Bits
from evovae.states import States

# Data points in a chunk: few, so that small batches are work for several threads; each chunk has its own gradients.
LEAST, MOST, CHUNKS = 8, 32, 16
# What the kernels want to know of a likelihood: kind, weight and normaliser of each value, as in `observations`.
KINDS: dict[type[Likelihood], Callable[[Any], tuple[int, float, float]]] = {
    Gaussian: lambda own: (GAUSSIAN, 0.5 / own.sigma2.item(), 0.5 * math.log(2 * math.pi * own.sigma2.item())),
    Laplace: lambda own: (LAPLACE, 1 / own.scale.item(), math.log(2 * own.scale.item())),
    Bernoulli: lambda own: (BERNOULLI, 1.0, 0.0),
    Poisson: lambda own: (POISSON, 1.0, 0.0),
}


def supports(model: TVAE, search: Search) -> bool:
    """Whether `Fused` can run this model and search."""
    return (
        _has_parts(model)
        and all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.decoder.parameters())
        and knows(search, operators.informed_flip)
    )


def _has_parts(model: TVAE) -> bool:
    return type(model.decoder) is MLP and type(model.likelihood) in KINDS and type(model.prior) is Bits


class Fused:
    """One batch of EM by compiled loops.

    For a linear decoder with Gaussian noise the gains of `informed_flip` are exact; otherwise first order, as in the
    reference.

    Parameters
    ----------
    model
        An MLP decoder with a likelihood of independent values and a Bernoulli prior, all float32 on the CPU.
    q_min
        States with less posterior mass than this share of the best one's give no decoder gradients; 0 is
        exact.  All other sums always are.
    threads
        How many work at once (default: as many as torch uses); changes nothing but the time.
    """

    def __init__(self, model: TVAE, q_min: float = 1e-3, threads: int | None = None) -> None:
        self.model, self.q_min, self._whole = _Parts.of(model), q_min, model
        self.workers = Workers(threads)

    def running(self) -> AbstractContextManager[None]:
        """See `Engine.running`."""
        return self.workers.alone()

    def step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        """See `Engine.step`."""
        sums = self._em(x, observed, rows, states, search, generator, self.q_min)
        _set_gradients(self.model.decoder, sums, len(rows))
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
        """See `Engine.search`: no state counts for gradients."""
        sums = self._em(x, observed, rows, states, search, generator, np.inf)
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
        self.model.check(x, states)
        net = _net(self.model)
        plan = plan_of(search, operators.informed_flip, q_min, states.n_latents)
        seed = np.uint64(torch.randint(2**62, (), generator=generator).item())
        chunks = _chunks(rows)
        sums = [_Sums(net) for _ in chunks]
        data = x.numpy(), observed.numpy(), states.words.numpy().view(np.uint64), states.lpj.numpy()

        def work(chunk: np.ndarray, mine: _Sums) -> None:
            room = make_room(states.words.shape[1], plan, net, data[2])
            em_chunk(chunk, seed, *data, plan, net, room, mine.weights, mine.biases, mine.scalars, mine.usage)

        self.workers.run(work, chunks, sums)
        return sums

    def moments(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Engine.moments`."""
        self.model.check(x, states)
        if readout is not None:  # asks for what each state says, which the kernels add up at once
            return Reference(self._whole).moments(x, observed, rows, states, readout)
        net, no_search = (
            _net(self.model),
            plan_of(Search(0, 0, 0), operators.informed_flip, self.q_min, states.n_latents),
        )
        chunks = _chunks(rows)
        data = x.numpy(), observed.numpy(), states.words.numpy().view(np.uint64)
        results = [np.empty((2, len(chunk), x.shape[1]), np.float32) for chunk in chunks]

        def work(chunk: np.ndarray, result: np.ndarray) -> None:
            moments_chunk(chunk, *data, net, make_room(states.words.shape[1], no_search, net, data[-1]), *result)

        self.workers.run(work, chunks, results)
        mean, variance = torch.from_numpy(np.concatenate(results, axis=1))
        return mean, variance


class _Sums:
    """The sums of one chunk: gradients, [elbo, substitutions, misfit, observed values], and usage of bits."""

    def __init__(self, net: Net) -> None:
        self.weights = tuple(np.zeros_like(w) for w in net.fan_out)
        self.biases = tuple(np.zeros_like(b) for b in net.bias)
        self.scalars, self.usage = np.zeros(4), np.zeros(len(net.odds))


def _chunks(rows: Tensor) -> list[np.ndarray]:
    size = min(max(-(-len(rows) // CHUNKS), LEAST), MOST)
    return np.split(rows.numpy(), range(size, len(rows), size))


class _Parts(NamedTuple):
    """A model that can be compiled, by its parts."""

    decoder: MLP
    likelihood: Likelihood
    prior: Bits

    @classmethod
    def of(cls, model: TVAE) -> "_Parts":
        if not _has_parts(model):
            names = ", ".join(kind.__name__ for kind in KINDS)
            raise TypeError(f"the fused engine needs an MLP decoder, a Bernoulli prior, and a likelihood of {names}")
        return cls(cast(MLP, model.decoder), model.likelihood, cast(Bits, model.prior))

    def check(self, x: Tensor, states: States) -> None:
        """Kernels read and write where they are told: sizes must fit together."""
        sizes = (states.n_latents, *self.decoder.sizes[1:-1], x.shape[1])
        if sizes != self.decoder.sizes or states.n_latents != self.prior.n_latents:
            raise ValueError(
                f"the decoder's sizes {self.decoder.sizes} and the prior's {self.prior.n_latents} latents do not fit "
                f"data of {x.shape[1]} values and states of {states.n_latents} bits"
            )


def _net(model: _Parts) -> Net:
    weights = [layer.weight.detach().numpy() for layer in model.decoder.layers]
    pi = model.prior.pi.numpy().astype(float)
    kind, weight, each = KINDS[type(model.likelihood)](model.likelihood)
    return Net(
        fan_out=tuple(np.ascontiguousarray(w.T) for w in weights),
        fan_in=tuple(np.ascontiguousarray(w) for w in weights),
        bias=tuple(layer.bias.detach().numpy() for layer in model.decoder.layers),
        off=np.cumsum([0, *model.decoder.sizes[1:]]),
        leak=np.float32(model.decoder.slope),
        odds=np.log(pi / (1 - pi)).astype(np.float32),
        kind=kind,
        weight=np.float32(weight),
        each=each,
        constant=np.log1p(-pi).sum(),
    )


def _set_gradients(decoder: MLP, sums: list[_Sums], count: int) -> None:
    """Those of the mean bound of so many data points, with the sign of a loss; zero if there are none."""
    count = max(count, 1)
    for i, layer in enumerate(decoder.layers):
        layer.weight.grad = torch.from_numpy(np.ascontiguousarray(sum(s.weights[i] for s in sums).T) / -count)
        layer.bias.grad = torch.from_numpy(sum(s.biases[i] for s in sums) / -count)
