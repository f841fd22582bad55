"""The fused CPU engine: MLP decoders with Gaussian likelihood and Bernoulli prior, compiled.

One call per `CHUNK` data points does their whole E-step and their sums of the M-step without
leaving the cache.  Threads work off the chunks; each chunk has its own sums, which are added in a
fixed order, so that results are the same for any number of threads.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numba.core.event import Event, Listener, install_listener
from torch import Generator, Tensor

from evovae import operators
from evovae.decoders import MLP
from evovae.engines.base import Totals
from evovae.engines.chunks import em_chunk, make_room, moments_chunk
from evovae.engines.kernels import Net, Plan
from evovae.evolve import Search
from evovae.likelihoods import Gaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli
from evovae.states import States

logger = logging.getLogger(__name__)
CHUNK = 32
SELECT: dict[Callable, tuple[int, float]] = {
    operators.gumbel_top: (0, 1 / 3),
    operators.uniformly: (0, 0.0),
    operators.by_fitness: (1, 0.0),
}
MUTATE: dict[Callable, tuple[int, float]] = {operators.informed_flip: (0, 1 / 2), operators.uniform_flip: (1, 0.0)}


def supports(model: TVAE, search: Search) -> bool:
    """Whether `Fused` can run this model and search."""
    return (
        _has_parts(model)
        and all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.decoder.parameters())
        and _knows(search)
    )


def _has_parts(model: TVAE) -> bool:
    return type(model.decoder) is MLP and type(model.likelihood) is Gaussian and type(model.prior) is Bernoulli


def _knows(search: Search) -> bool:
    return search.select in SELECT and search.mutate in MUTATE and search.cross is operators.no_cross


class Fused:
    """One batch of EM by compiled loops.

    For a linear decoder the gains of `informed_flip` are exact; otherwise first order, as in the reference.

    Parameters
    ----------
    model
        An MLP decoder with Gaussian likelihood and Bernoulli prior, all float32 on the CPU.
    q_min
        States with less posterior mass than this share of the best one's give no decoder gradients; 0 is
        exact.  All other sums always are.
    threads
        How many work at once (default: as many as torch uses); changes nothing but the time.
    """

    def __init__(self, model: TVAE, q_min: float = 1e-3, threads: int | None = None) -> None:
        self.model, self.q_min = _Parts.of(model), q_min
        self.pool = ThreadPoolExecutor(threads or torch.get_num_threads(), thread_name_prefix="evovae")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Torch works with one thread: its others would spin after each small optimiser step, and slow ours down."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    def step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        """See `Engine.step`."""
        self.model.check(x, states)
        if search.mutate is operators.informed_flip:
            operators.check_one_flip_each(search.children, states.n_latents)
        net, plan = _net(self.model), _plan(search, self.q_min)
        seed = np.uint64(torch.randint(2**62, (), generator=generator).item())
        chunks = _chunks(rows)
        sums = [_Sums(net) for _ in chunks]
        data = x.numpy(), observed.numpy(), states.words.numpy().view(np.uint64), states.lpj.numpy()

        def work(chunk: np.ndarray, mine: _Sums) -> None:
            room = make_room(states.words.shape[1], plan, net, data[2])
            em_chunk(chunk, seed, *data, plan, net, room, mine.weights, mine.biases, mine.scalars, mine.usage)

        self._run(work, chunks, sums)
        _set_gradients(self.model.decoder, sums, len(rows))
        elbo, substitutions, error, count = np.sum([s.scalars for s in sums], axis=0)
        return Totals(
            count=len(rows),
            elbo=float(elbo),
            substitutions=int(substitutions),
            likelihood=torch.tensor([error, count], dtype=torch.float64),
            prior=torch.from_numpy(np.append(sum(s.usage for s in sums), len(rows))),
        )

    def moments(self, x: Tensor, observed: Tensor, rows: Tensor, states: States) -> tuple[Tensor, Tensor]:
        """See `Engine.moments`."""
        self.model.check(x, states)
        net, no_search = _net(self.model), _plan(Search(0, 0, 0), self.q_min)
        chunks = _chunks(rows)
        data = x.numpy(), observed.numpy(), states.words.numpy().view(np.uint64)
        results = [np.empty((2, len(chunk), x.shape[1]), np.float32) for chunk in chunks]

        def work(chunk: np.ndarray, result: np.ndarray) -> None:
            moments_chunk(chunk, *data, net, make_room(states.words.shape[1], no_search, net, data[-1]), *result)

        self._run(work, chunks, results)
        mean, variance = torch.from_numpy(np.concatenate(results, axis=1))
        return mean, variance

    def _run(self, work: Callable[..., None], *items: Sequence[Any]) -> None:
        with _announced_compilation():
            jobs: list[Future[None]] = []
            try:
                for item in zip(*items, strict=True):
                    jobs.append(self.pool.submit(work, *item))
                for job in jobs:
                    job.result()
            finally:
                wait(jobs)  # also after an interrupt: nobody writes to the states behind our back


class _Sums:
    """The sums of one chunk: gradients, [elbo, substitutions, error, observed values], and usage of bits."""

    def __init__(self, net: Net) -> None:
        self.weights = tuple(np.zeros_like(w) for w in net.fan_out)
        self.biases = tuple(np.zeros_like(b) for b in net.bias)
        self.scalars, self.usage = np.zeros(4), np.zeros(len(net.odds))


def _chunks(rows: Tensor) -> list[np.ndarray]:
    return np.split(rows.numpy(), range(CHUNK, len(rows), CHUNK))


class _Parts(NamedTuple):
    """A model that can be compiled, by its parts."""

    decoder: MLP
    likelihood: Gaussian
    prior: Bernoulli

    @classmethod
    def of(cls, model: TVAE) -> "_Parts":
        if not _has_parts(model):
            raise TypeError("the fused engine needs an MLP decoder, Gaussian likelihood and Bernoulli prior")
        return cls(cast(MLP, model.decoder), cast(Gaussian, model.likelihood), cast(Bernoulli, model.prior))

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
    return Net(
        fan_out=tuple(np.ascontiguousarray(w.T) for w in weights),
        fan_in=tuple(np.ascontiguousarray(w) for w in weights),
        bias=tuple(layer.bias.detach().numpy() for layer in model.decoder.layers),
        off=np.cumsum([0, *model.decoder.sizes[1:]]),
        slope=np.float32(model.decoder.slope),
        odds=np.log(pi / (1 - pi)).astype(np.float32),
        variance=np.float32(model.likelihood.sigma2.item()),
        constant=np.log1p(-pi).sum(),
    )


def _plan(search: Search, q_min: float) -> Plan:
    if not _knows(search):
        raise TypeError(
            "the fused engine knows gumbel_top, uniformly, by_fitness, informed_flip, uniform_flip, no_cross"
        )
    fitness, beta_select = SELECT[search.select]
    uniform, beta_mutate = MUTATE[search.mutate]
    return Plan(
        search.parents,
        search.children,
        search.generations,
        fitness,
        np.float32(beta_select),
        uniform,
        np.float32(beta_mutate),
        np.float32(q_min),
    )


def _set_gradients(decoder: MLP, sums: list[_Sums], count: int) -> None:
    for i, layer in enumerate(decoder.layers):
        layer.weight.grad = torch.from_numpy(np.ascontiguousarray(sum(s.weights[i] for s in sums).T) / -count)
        layer.bias.grad = torch.from_numpy(sum(s.biases[i] for s in sums) / -count)


@cache
def _say_compiling() -> None:
    logger.warning("compiling the CPU kernels; this happens once and takes about half a minute")


class _Compilation(Listener):
    """Tells, once, that kernels are being compiled."""

    def on_start(self, event: Event) -> None:
        _say_compiling()

    def on_end(self, event: Event) -> None:
        pass


@contextmanager
def _announced_compilation() -> Iterator[None]:
    with install_listener("numba:compile", _Compilation()):
        yield
