"""The compiled engine for `LowRankGaussian` with a silent decoder: closed forms all the way.

Where no pixel is missing, data points share all inner products of directions; a state then costs a
Cholesky factor of the size of its coefficients.  Gains of flips are estimated for all latents, and exact for
the most promising ones, side by side in vectors; children are solved only if they are kept, or have children.
"""

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Generator, Tensor

from evovae import operators
from evovae.decoders import Silent
from evovae.engines.base import Totals
from evovae.engines.compiled import Compiled, arrays, seed_of
from evovae.engines.plans import MOST_DIMS, NO_SEARCH, needs, planned
from evovae.evolve import Search
from evovae.likelihoods import LowRankGaussian
from evovae.likelihoods.base import through
from evovae.model import TVAE
from evovae.priors import Bernoulli
from evovae.states import States

BLOCK = 4096  # data points whose projections are held at once
LEAST_FREE = 1e-3  # what a latent keeps beside others at least, where short lists are made
PARTS = 4  # sums are kept apart for this many shares of a block, so that results do not depend on threads


class NumbaSubspaces(Compiled):
    """One batch of EM for a `LowRankGaussian` with a silent decoder and a Bernoulli prior; see `Compiled`.

    States with more than `MOST_DIMS` coefficients have no weight: they are left out of the bound.
    """

    @classmethod
    def _model_needs(cls, model: TVAE) -> dict[str, bool]:
        likelihood, fits = model.likelihood, True
        if isinstance(likelihood, LowRankGaussian):
            fits = len(likelihood.always) + len(likelihood.directions) <= MOST_DIMS
        return super()._model_needs(model) | {
            "a silent decoder": type(model.decoder) is Silent,
            "a LowRankGaussian": type(likelihood) is LowRankGaussian,
            "a Bernoulli prior": type(model.prior) is Bernoulli,
            f"no more than {MOST_DIMS} directions, common ones and those of a latent": fits,
        }

    @classmethod
    def _search_needs(cls, search: Search) -> dict[str, bool]:
        return needs(search, operators.exactly_informed_flip)

    def step(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> Totals:
        model, kept = self._model(x, states)
        total = self._em(model, x, observed, rows, states, search, generator, self.q_min)
        elbo, substitutions, square = total.scalars
        usage = total.usage[model.place]
        sums = [len(rows) * x.shape[1], float(model.noise) * square], usage, *self._everywhere(total, usage, kept)
        return Totals(
            count=len(rows),
            elbo=torch.tensor(elbo),
            substitutions=torch.tensor(int(substitutions)),
            likelihood=torch.from_numpy(np.concatenate(sums)),
            prior=torch.from_numpy(np.append(usage, len(rows))),
        )

    def search(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, search: Search, generator: Generator
    ) -> int:
        model, _ = self._model(x, states)  # no state counts for sums
        return int(self._em(model, x, observed, rows, states, search, generator, np.inf).scalars[1])

    def _em(
        self,
        model: Any,  # a named tuple of numba
        x: Tensor,
        observed: Tensor,
        rows: Tensor,
        states: States,
        search: Search,
        generator: Generator,
        q_min: float,
    ) -> "_Sums":
        from evovae.engines.subspace_chunks import em_chunk
        from evovae.engines.subspace_kernels import make_workspace

        plan = planned(search, operators.exactly_informed_flip, q_min, states.n_latents)
        seed, data = seed_of(generator), arrays(x, observed, states)
        sums = [_Sums.zero(model) for _ in range(PARTS)]

        def work(share: Tensor, mine: _Sums) -> None:
            onto, space = _onto(x, observed, share, model), make_workspace(data[2], plan, model)
            em_chunk(share.numpy(), seed, onto, *data, states.lpj.numpy(), plan, model, space, *mine)

        for block in rows.split(BLOCK):
            self.workers.run(em_chunk, work, block.tensor_split(PARTS), sums)
        with np.errstate(invalid="ignore", over="ignore"):
            for other in sums[1:]:
                for mine, more in zip(sums[0], other, strict=True):
                    mine += more
        return sums[0]

    def moments(
        self, x: Tensor, observed: Tensor, rows: Tensor, states: States, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        from evovae.engines.subspace_chunks import moments_chunk
        from evovae.engines.subspace_kernels import make_workspace

        model, _ = self._model(x, states)
        data, q_min = arrays(x, observed, states), np.float32(self.q_min)
        seen = through(torch.from_numpy(model.rows), readout).contiguous()  # what coefficients say in the end
        result = torch.empty(2, len(rows), seen.shape[1])

        def work(share: Tensor, out: Tensor) -> None:
            onto, space = _onto(x, observed, share, model), make_workspace(data[2], NO_SEARCH, model)
            moments_chunk(share.numpy(), onto, *data, q_min, model, seen.numpy(), space, *out.numpy())

        for block, out in zip(rows.split(BLOCK), result.split(BLOCK, dim=1), strict=True):
            self.workers.run(moments_chunk, work, block.tensor_split(PARTS), out.tensor_split(PARTS, dim=1))
        mean, variance = result
        return mean * float(model.noise) ** 0.5, variance * float(model.noise)

    def _model(self, x: Tensor, states: States) -> tuple[Any, np.ndarray]:
        """The parameters as the loops want them, and which of `LowRankGaussian.rows` they have, in the order of sums.

        Sizes are checked, as loops go where they are told.
        """
        from evovae.engines.subspace_gains import complete
        from evovae.engines.subspace_kernels import Model, Products, make_lanes

        p, prior = cast(LowRankGaussian, self.model.likelihood), cast(Bernoulli, self.model.prior)
        J, H, D = p.directions.shape
        if D != x.shape[1] or not H == states.n_latents == prior.n_latents:
            raise ValueError(
                f"directions of {D} values for {H} latents and a prior of {prior.n_latents} latents do not fit "
                f"data of {x.shape[1]} values and states of {states.n_latents} bits"
            )
        noise, A = p.sigma2.item(), len(p.always)
        ranks = _ranks(p.directions[: p.rank])
        bits = np.argsort(-ranks, kind="stable")
        count = np.array([*(np.arange(p.rank)[:, None] < ranks).sum(1), *[H] * (J - p.rank)], int)
        ranks = ranks[bits]
        kept = np.concatenate([np.arange(A), *(A + j * H + bits[:n] for j, n in enumerate(count))])
        rows = (p.rows[kept] / noise**0.5).contiguous()
        gram = (rows @ rows.T).numpy()
        start = A + np.cumsum([0, *count])[:J]
        blocks = _blocks(gram, start, count, H)
        free = _free(p.subspaces[bits] / noise**0.5, p.always / noise**0.5, ranks)
        owner = np.concatenate([np.full(A, -1), *map(np.arange, count)])
        pi = prior.pi.numpy().astype(float)[bits]
        model = Model(
            rows=rows.numpy(),
            columns=rows.T.contiguous().numpy(),
            products=Products(gram, blocks, np.empty_like(blocks), np.empty(H, np.float32)),
            always=A,
            rank=p.rank,
            offsets=J - p.rank,
            bits=bits,
            place=np.argsort(bits),
            start=start,
            count=count,
            owner=owner,
            slot=np.argsort(np.argsort(owner, kind="stable")),
            ranks=ranks,
            free=free,
            shared=-0.5 * ranks.astype(np.float32) * np.log(free),
            odds=np.log(pi / (1 - pi)).astype(np.float32),
            noise=np.float32(noise),
            constant=np.log1p(-pi).sum(),
        )
        complete(model.products, model, make_lanes(model))
        return model, kept[np.argsort(model.slot)]

    def _everywhere(self, total: "_Sums", usage: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sums u t' and u u' of all directions, flat: where one is zero, its s is as the prior has it."""
        p = cast(LowRankGaussian, self.model.likelihood)
        K, D = p.rows.shape
        cross, inner = np.zeros((K, D)), np.zeros((K, K))
        cross[kept] = total.cross
        half = total.inner  # may overflow: whoever asked looks whether parameters stay finite
        with np.errstate(invalid="ignore", over="ignore"):
            whole = half + half.T
            np.fill_diagonal(whole, half.diagonal())
            inner[np.ix_(kept, kept)] = whole
        idle = np.setdiff1d(np.arange(K), kept)
        inner[idle, idle] = usage[(idle - len(p.always)) % len(usage)]
        return cross.ravel(), inner.ravel()


def _ranks(directions: Tensor) -> np.ndarray:
    """How many of each latent's directions (rank, H, D) come before those that are all zero: (H,)."""
    places = np.arange(1, len(directions) + 1)[:, None] * (directions != 0).any(2).numpy()
    return places.max(axis=0, initial=0)


def _blocks(gram: np.ndarray, start: np.ndarray, count: np.ndarray, H: int) -> np.ndarray:
    """Inner products within latents (J (J + 1) / 2, H), for pairs of directions a >= b, in the order of places."""
    pairs = [(a, b) for a in range(len(count)) for b in range(a + 1)]
    blocks = np.zeros((len(pairs), H), gram.dtype)
    for block, (a, b) in zip(blocks, pairs, strict=True):
        n = min(count[a], count[b])
        block[:n] = gram[start[a] + np.arange(n), start[b] + np.arange(n)]
    return blocks


def _free(subspaces: Tensor, always: Tensor, ranks: np.ndarray) -> np.ndarray:
    """Which share of a latent's (H, rank, D) directions another one leaves it, or A (always, D): (H + 1, H).

    With white rows w (rank, D) of what each adds, the squared canonical correlations of two of them are on average
    |w w'|^2 / rank.
    """
    H, rank, _ = subspaces.shape
    white, common = _white(subspaces).flatten(0, 1), _white(always)
    among = (white @ white.T).square().view(H, rank, H, rank).sum((1, 3))
    both = torch.cat([among, (common @ white.T).square().view(len(common), H, rank).sum((0, 2))[None]])
    return (1 - both.numpy() / ranks.clip(1)).clip(LEAST_FREE).astype(np.float32)


def _white(rows: Tensor) -> Tensor:
    """F^-1 rows (.., n, D), where F F' = I + rows rows', which single precision could not tell from a singular one."""
    rows = rows.double()
    inner = torch.eye(rows.shape[-2], dtype=rows.dtype) + rows @ rows.transpose(-2, -1)
    return torch.linalg.solve_triangular(torch.linalg.cholesky_ex(inner)[0], rows, upper=False).float()


class _Sums(NamedTuple):
    """The sums of one share: cross and half of inner, usage of bits, and [elbo, substitutions, square]."""

    cross: np.ndarray
    inner: np.ndarray
    usage: np.ndarray
    scalars: np.ndarray

    @classmethod
    def zero(cls, model: Any) -> "_Sums":  # see `_model`
        K = len(model.rows)
        return cls(np.zeros(model.rows.shape), np.zeros((K, K)), np.zeros(len(model.odds)), np.zeros(3))


def _onto(x: Tensor, observed: Tensor, rows: Tensor, model: Any) -> np.ndarray:
    """Projections of some rows of the data on all directions, in units of the noise: (len(rows), K)."""
    seen = torch.where(observed[rows], x[rows], 0) / float(model.noise) ** 0.5
    return (seen @ torch.from_numpy(model.columns)).numpy()
