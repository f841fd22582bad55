"""The engine for CUDA devices: any decoder, data whose pixels are independent given z, and nothing that waits.

States stay packed; the search's own steps are one launch each (`cuda_kernels`), decoding is left to torch.  Children
are proposed in low precision, and the most promising ones scored again in full before they compete with the population:
no bound ever falls by rounding.  A step of one size is recorded as a CUDA graph, and is a single launch from then on.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial, reduce
from importlib.util import find_spec
from operator import add
from typing import Any

import torch
from torch import Generator, Tensor

from evovae import operators
from evovae.engines.base import Engine, Support, Totals, device_of, is_single
from evovae.engines.plans import Plan, needs, planned
from evovae.engines.reference import Reference
from evovae.evolve import Search
from evovae.likelihoods import FullGaussian, LowRankGaussian
from evovae.model import TVAE
from evovae.posterior import elbo, weights
from evovae.states import States

logger = logging.getLogger(__name__)

BY_STATE = FullGaussian | LowRankGaussian  # likelihoods that look at states of bool
Work = Callable[[Tensor], Totals]
"""A step on the data points of some numbers (n,), which lie on the device."""


class Cuda(Engine):
    """One batch of EM by few launches.

    Parameters
    ----------
    model
        In float32, on a CUDA device; or on the CPU, where Triton interprets the kernels.
    proposals
        The precision of matrix products in scoring children, and in the gradients that tell which bits to flip.
    shortlist
        How many children of each data point, at most, are scored again in full precision.
    tile
        Data points that are worked on at once; halved where memory runs out.  Changes nothing but time.
    """

    def __init__(
        self, model: TVAE, proposals: torch.dtype = torch.bfloat16, shortlist: int = 16, tile: int = 4096
    ) -> None:
        from evovae.engines import cuda_kernels

        super().__init__(model)
        self.kernels = cuda_kernels
        self.proposals, self.shortlist, self.tile = proposals, shortlist, tile
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        device = self.parameters[0].device
        self.gradients = torch.zeros(sum(parameter.numel() for parameter in self.parameters), device=device)
        self.seed = torch.zeros(1, dtype=torch.int64, device=device)
        self.launch: Eager | Recorded = Recorded(device) if device.type == "cuda" else Eager()

    @classmethod
    def supports(cls, model: TVAE, search: Search) -> Support:
        here = {"triton": find_spec("triton") is not None, "a CUDA device": device_of(model).type != "cpu"}
        return Support(here | dict(super().supports(model, search).needs))

    @classmethod
    def _model_needs(cls, model: TVAE) -> dict[str, bool]:
        return {
            "float32": is_single(model),
            "a likelihood of the decoder's output alone": not isinstance(model.likelihood, BY_STATE),
            "parameters with gradients": any(parameter.requires_grad for parameter in model.parameters()),
        }

    @classmethod
    def _search_needs(cls, search: Search) -> dict[str, bool]:
        return needs(search, operators.informed_flip)

    def step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        with torch.cuda.device_of(x):
            totals = self._step(x, observed, rows, states, search, generator)  # which are not waited for
            means = self.gradients / -max(totals.count, 1)
            for parameter, mean in zip(self.parameters, means.split([p.numel() for p in self.parameters]), strict=True):
                parameter.grad = mean.view_as(parameter)
            return totals

    def _step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        plan = planned(search, operators.informed_flip, 0, states.n_latents)
        work = partial(self._work, x, observed, states, plan)
        self.seed.copy_(torch.randint(2**62, (1,), generator=generator, device=generator.device), non_blocking=True)
        self.gradients.zero_()
        memory = (x, observed, states.words, states.lpj, *self.model.parameters(), *self.model.buffers())
        place = (plan, *((tensor.data_ptr(), tensor.shape, tensor.dtype) for tensor in memory))
        return reduce(add, self._tiles(partial(self.launch, work, place), rows))

    def search(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> int:
        with torch.cuda.device_of(x):  # steps are recorded with their gradients, which are left alone here
            return int(self._step(x, observed, rows, states, search, generator).substitutions)

    def moments(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return Reference(self.model).moments(x, observed, rows, states, readout)

    def _tiles(self, work: Work, rows: Tensor) -> Iterator[Totals]:
        """Work on all rows, tile by tile: smaller ones once memory ran out, which leaves no trace of a tile."""
        while True:
            tile = rows[: self.tile]
            try:
                done = work(tile)
            except torch.OutOfMemoryError:
                if len(tile) <= 1:
                    raise
                done = None  # what failed holds memory until here
            if done is None:
                self.tile = -(-len(tile) // 2)
                self.launch.forget()
                continue
            yield done
            rows = rows[len(tile) :]
            if not len(rows):
                return

    def _work(self, x: Tensor, observed: Tensor, states: States, plan: Plan, rows: Tensor) -> Totals:
        """The E-step of some data points; the gradients of their bound are added to `gradients`."""
        model, x, observed = self.model, x[rows], observed[rows]
        words, substitutions = self._searched(x, observed, rows, states, plan)
        z = self.kernels.unpack(words, states.n_latents)
        mean = model.decode(z)
        lpj = model.likelihood.log_prob(x, mean, observed, z) + model.prior.log_prob(z)
        bound = elbo(lpj).sum()
        gradients = torch.autograd.grad(bound, self.parameters, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            q = weights(lpj)
            likelihood, prior = model.likelihood.stats(x, mean, observed, q, z), model.prior.stats(z, q)
            # From here on, little memory is taken.
            self.gradients += torch.cat([gradient.flatten() for gradient in gradients])
            states[rows] = States(words, lpj, states.n_latents)
            return Totals(len(rows), bound.detach().double(), substitutions, likelihood, prior)

    @torch.no_grad()
    def _searched(self, x: Tensor, observed: Tensor, rows: Tensor, states: States, plan: Plan) -> tuple[Tensor, Tensor]:
        """Better populations (n, S, W), and how many states are new."""
        H, words, kernels = states.n_latents, states.words[rows], self.kernels
        S = words.shape[1]

        def lpj(z: Tensor) -> Tensor:
            return self.model.lpj(x, z, observed)

        def proposed_lpj(z: Tensor) -> Tensor:
            with _precision(self.proposals, x.device.type):
                return lpj(z).float()

        def gains(parents: Tensor) -> Tensor:
            if plan.uniform:
                return x.new_empty(0)
            return operators.gradient_gains(kernels.unpack(parents, H), proposed_lpj)

        own = lpj(kernels.unpack(words, H))
        pool, fitness = words, own
        pools, fitnesses = [words[:, :0]], [own[:, :0]]
        for generation in range(plan.G):
            draws = kernels.Draws(rows, self.seed, 2 * generation)
            parents = kernels.select(pool, fitness, plan.P, plan.fitness, plan.beta_select, draws)
            draws = kernels.Draws(rows, self.seed, 2 * generation + 1)
            pool = kernels.mutate(parents, gains(parents), plan.C, H, plan.uniform, plan.beta_mutate, draws)
            fitness = proposed_lpj(kernels.unpack(pool, H))
            pools.append(pool)
            fitnesses.append(fitness)
        children, proposed = torch.cat(pools, 1), torch.cat(fitnesses, 1)
        promising, *_ = kernels.best(children, proposed, min(self.shortlist, children.shape[1]))
        exact = lpj(kernels.unpack(promising, H))
        kept, _, which = kernels.best(torch.cat([words, promising], 1), torch.cat([own, exact], 1), S)
        return kept, (which >= S).sum()


def _precision(dtype: torch.dtype, device: str) -> AbstractContextManager[object]:
    """Matrix products in this precision; nothing is cached, as casts belong into the recording that needs them."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype, cache_enabled=False)


class Eager:
    """How work on a tile is started: one operation after the other."""

    def __call__(self, work: Work, place: tuple, rows: Tensor) -> Totals:
        """Do it for some data points; `place` is the same for work of the same kind on the same memory."""
        return work(rows)

    def forget(self) -> None:
        """Give back what memory can be given back."""
        torch.cuda.empty_cache()


class Recorded:
    """For each size of tiles: as it is at first, then recorded as a CUDA graph, which is replayed from then on."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)
        self.place: tuple = ()
        self.forget()

    def forget(self) -> None:
        self.recordings: dict[int, Recording] = {}
        self.pool = torch.cuda.graph_pool_handle()
        torch.cuda.empty_cache()

    def __call__(self, work: Work, place: tuple, rows: Tensor) -> Totals:
        if place != self.place:  # recordings hold memory, and those of other data will hardly be asked for again
            self.place = place
            self.forget()
        if len(rows) not in self.recordings:
            self.recordings[len(rows)] = Recording(len(rows), self.device, self.stream, self.pool)
        return self.recordings[len(rows)](work, rows)


class Recording:
    """Work on tiles of one size: run once, so that compilers and libraries make ready what they need; then recorded.

    Where that fails, as it does for models that look at values, it is run as it is each time.
    """

    def __init__(self, size: int, device: torch.device, stream: torch.cuda.Stream, pool: Any) -> None:
        self.rows = torch.zeros(size, dtype=torch.int64, device=device)
        self.stream, self.pool, self.graph = stream, pool, torch.cuda.CUDAGraph()
        self.ready = self.refused = False
        self.totals: Totals | None = None

    def __call__(self, work: Work, rows: Tensor) -> Totals:
        """Work on the data points rows (size,)."""
        self.rows.copy_(rows)
        if self.ready and not self.refused and self.totals is None:
            self._record(work)
        if self.totals is None:
            done = self._aside(work)
            self.ready = True
            return done
        self.graph.replay()
        done = self.totals
        sums = (part.clone() for part in (done.elbo, done.substitutions, done.likelihood, done.prior))
        return Totals(done.count, *sums)

    def _record(self, work: Work) -> None:
        current = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(self.graph, pool=self.pool, stream=self.stream):
                totals = work(self.rows)
            self.totals = totals
        except RuntimeError as error:
            torch.cuda.set_stream(current)  # which a recording that fails does not always do
            self.refused = True
            logger.warning("steps are not recorded, which costs time: %s", error)

    def _aside(self, work: Work) -> Totals:
        """On the stream that it will be recorded on."""
        self.stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self.stream):
                return work(self.rows)
        finally:
            torch.cuda.current_stream().wait_stream(self.stream)
