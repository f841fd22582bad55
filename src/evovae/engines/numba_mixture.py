"""The compiled engine for `FullGaussian` with a `OneHot` prior: mixtures whose populations hold a few components.

A component costs a data point one product for each axis of its signal and value.  Sums of the M-step are matrix
products, component by component.
"""

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Generator, Tensor

from evovae.decoders import Silent
from evovae.engines.base import Totals
from evovae.engines.compiled import Compiled
from evovae.evolve import Search
from evovae.likelihoods import FullGaussian
from evovae.likelihoods.base import through
from evovae.model import TVAE
from evovae.priors import OneHot
from evovae.states import States

PARTS = 4  # sums are kept apart for this many shares, so that results do not depend on threads
PAD = 8  # values are that many at a time in vectors
# Deviations that are held at once, or those of one component; and how many of them take the room of a product.
AT_ONCE, PRODUCT = 2048, 128

Data = tuple[np.ndarray, np.ndarray, np.ndarray, bool]


class NumbaMixture(Compiled):
    """One batch of EM for a `FullGaussian` with a silent decoder and a OneHot prior; see `Compiled`."""

    @classmethod
    def _model_needs(cls, model: TVAE) -> dict[str, bool]:
        return super()._model_needs(model) | {
            "a silent decoder": type(model.decoder) is Silent,
            "a FullGaussian": type(model.likelihood) is FullGaussian,
            "a OneHot prior": type(model.prior) is OneHot,
        }

    @classmethod
    def _search_needs(cls, search: Search) -> dict[str, bool]:
        return {"generations of 0, as all that is tried comes from migration": not search.generations}

    def step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        rows = rows.sort().values  # neighbours share components, which are then at hand
        model, data = self._model(), self._data(x, observed)
        kept, lpj, (elbo, substitutions) = self._searched(model, data, rows, states, search, generator)
        q = lpj.softmax(1)
        return Totals(
            count=len(rows),
            elbo=torch.tensor(elbo),
            substitutions=torch.tensor(int(substitutions)),
            likelihood=self._stats(model, data, rows, kept, q),
            prior=torch.bincount(kept.flatten(), q.flatten().double(), states.n_latents),
        )

    def search(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> int:
        rows = rows.sort().values
        *_, (_, substitutions) = self._searched(self._model(), self._data(x, observed), rows, states, search, generator)
        return int(substitutions)

    def _searched(
        self,
        model: Any,  # a named tuple of numba
        data: Data,
        rows: Tensor,
        states: States,
        search: Search,
        generator: Generator,
    ) -> tuple[Tensor, Tensor, np.ndarray]:
        """Better populations of rows, in place: their components and log joints, and [elbo, substitutions]."""
        from evovae.engines.mixture_kernels import make_workspace, search_chunk

        if search.generations:
            raise TypeError("this engine searches by migration alone, so that generations must be 0")
        every = components(states.words)
        proposed, kept = every.flatten()[search.migrate(states, rows, generator)].numpy(), every[rows]
        lpj = torch.empty(kept.shape)
        sums = np.zeros((PARTS, 2))

        def work(share: np.ndarray, proposed: np.ndarray, kept: Tensor, lpj: Tensor, sums: np.ndarray) -> None:
            space = make_workspace(model, kept.shape[1], 0)
            search_chunk(share, *data, proposed, kept.numpy(), lpj.numpy(), model, space, sums)

        parts = (np.array_split(rows.numpy(), PARTS), np.array_split(proposed, PARTS))
        self.workers.run(search_chunk, work, *parts, kept.tensor_split(PARTS), lpj.tensor_split(PARTS), list(sums))
        states.words[rows], states.lpj[rows] = States.one_hot(kept, states.n_latents).words, lpj
        return kept, lpj, sums.sum(0)

    def moments(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        from evovae.engines.mixture_kernels import make_workspace, moments_chunk

        model, data = self._model(), self._data(x, observed)
        told = self._readout(model, readout)
        kept = components(states.words[rows])
        mean, variance = torch.empty(2, len(rows), told.mean.shape[1])

        def work(share: np.ndarray, kept: Tensor, mean: Tensor, variance: Tensor) -> None:
            space = make_workspace(model, kept.shape[1], mean.shape[1])
            out = mean.numpy(), variance.numpy()
            moments_chunk(share, *data, kept.numpy(), np.float32(self.q_min), model, told, space, *out)

        shares = (part.tensor_split(PARTS) for part in (kept, mean, variance))
        self.workers.run(moments_chunk, work, np.array_split(rows.numpy(), PARTS), *shares)
        return mean, variance

    @property
    def _likelihood(self) -> FullGaussian:
        return cast(FullGaussian, self.model.likelihood)

    def _model(self) -> Any:  # a named tuple of numba
        """The parameters as the loops want them."""
        from evovae.engines.mixture_kernels import Mixture

        p = self._likelihood
        K, D = p.means.shape
        noise, keep = float(p.sigma2), p.shrinkage
        signal = keep > 0
        wide = -(-D // PAD) * PAD
        axes = np.zeros((int(signal.sum()), wide), np.float32)
        axes[:, :D] = p.axes[signal].numpy()
        mean = np.zeros((K, wide), np.float32)
        mean[:, :D] = p.means.numpy()
        constant = D * math.log(2 * math.pi) + p.lengths.double().log().sum(1)
        area = torch.logdet(p.areas.double()) + p.centres.shape[1] * math.log(2 * math.pi)
        return Mixture(
            mean=mean,
            axes=axes,
            weight=keep[signal].numpy(),
            start=np.append(0, signal.sum(1).cumsum(0).numpy()),
            bias=(cast(OneHot, self.model.prior).pi.double().log() - 0.5 * constant).numpy(),
            centre=p.centres.double().numpy(),
            precision=torch.linalg.inv(p.areas.double()).numpy(),
            area=area.numpy(),
            values=D,
            scale=np.float32(noise**-0.5),
            seen=math.log(2 * math.pi * noise),
        )

    def _data(self, x: Tensor, observed: Tensor) -> Data:
        """x, observed, coordinates (N, P), and whether there are any."""
        D, P = self._likelihood.means.shape[1], self._likelihood.centres.shape[1]
        if x.shape[1] not in (D, D + P):
            raise ValueError(f"data of {x.shape[1]} values do not fit components of {D}, with {P} coordinates")
        told = observed[:, D:]
        placed = x.shape[1] == D + P and bool(told.all())
        if not placed and told.any():
            raise ValueError("coordinates are known for some data points only; this engine needs all of them, or none")
        places = x[:, D:].numpy() if placed else np.zeros((len(x), P), np.float32)
        return x.numpy(), observed.numpy(), places, placed

    def _readout(self, model: Any, readout: Tensor | None) -> Any:
        from evovae.engines.mixture_kernels import Readout

        p = self._likelihood
        owner = (p.shrinkage > 0).nonzero()[:, 0]
        axes = through(p.axes[p.shrinkage > 0], readout).div_(float(model.scale))
        variance = axes.new_zeros(len(p.means), axes.shape[1])
        variance.index_add_(0, owner, axes.square().mul_(torch.from_numpy(model.weight)[:, None]))
        return Readout(*(part.contiguous().numpy() for part in (through(p.means, readout), axes, variance)))

    def _stats(self, model: Any, data: Data, rows: Tensor, kept: Tensor, q: Tensor) -> Tensor:
        """The sums of `FullGaussian.stats`."""
        from evovae.engines.mixture_kernels import deviations_chunk, make_workspace

        p = self._likelihood
        K, E = len(p.means), p.means.shape[1] + p.centres.shape[1]
        used = (q >= self.q_min * q.amax(1, keepdim=True)).flatten().nonzero()[:, 0]
        of = kept.flatten()[used]
        order = used[of.argsort(stable=True)]
        counts = of.bincount(minlength=K)
        ends = np.append(0, counts.cumsum(0).numpy())
        at, whose = rows[order // kept.shape[1]].numpy(), kept.flatten()[order].numpy()
        weight = q.flatten()[order].numpy()
        sums = torch.zeros(K, 1 + E + E * E, dtype=torch.float64)
        count, first, square = sums[:, :1], sums[:, 1 : 1 + E], sums[:, 1 + E :].view(K, E, E)

        def work(some: np.ndarray) -> None:
            ks, mine = slice(some[0], some[-1] + 1), slice(ends[some[0]], ends[some[-1] + 1])
            points, space = (at[mine], whose[mine], weight[mine]), make_workspace(model, 1, 0)
            deviations, products = sums.new_empty(len(points[0]), E + 1), sums.new_empty(len(some), E + 1, E + 1)
            deviations_chunk(*points, *data, model, space, deviations.numpy(), square.numpy())
            for product, its in zip(products, deviations.split(counts[ks].tolist()), strict=True):
                torch.mm(its.T, its, out=product)  # by torch, which has one thread here
            count[ks], first[ks] = products[:, E, E:], products[:, E, :E]
            square[ks] += square[ks].tril(-1).mT + products[:, :E, :E]

        block = (counts + PRODUCT).cumsum(0).numpy() // AT_ONCE  # of each component: that in which it ends
        self.workers.run(deviations_chunk, work, np.split(np.arange(K), np.diff(block).nonzero()[0] + 1))
        self._about_zero(count, first, square, data[-1])
        return sums.flatten()

    def _about_zero(self, count: Tensor, first: Tensor, square: Tensor, placed: bool) -> None:
        """Make sums of what deviates from means, in units of the noise, those of `FullGaussian.stats`, in place."""
        p = self._likelihood
        D, P = p.means.shape[1], p.centres.shape[1]
        unit = torch.cat([p.sigma2.double().sqrt().expand(D), torch.ones(P)])
        first.mul_(unit)
        square.mul_(unit).mul_(unit[:, None])
        if not placed:
            square[:, D:, D:] = count[..., None] * p.areas
        m = torch.cat([p.means, p.centres], 1).double()
        middle = first + 0.5 * count * m
        square.baddbmm_(m[:, :, None], middle[:, None]).baddbmm_(middle[:, :, None], m[:, None])
        first.add_(count * m)


def components(words: Tensor) -> Tensor:
    """The numbers of the bits that are on, of packed states (..., W)."""
    from evovae.engines.mixture_kernels import find_bits

    found = torch.empty(words.shape[:-1], dtype=torch.int64)
    find_bits(words.contiguous().view(-1, words.shape[-1]).numpy().view(np.uint64), found.view(-1).numpy())
    if (found < 0).any():
        raise ValueError("states of a mixture have one bit on; start from `States.one_hot`")
    return found
