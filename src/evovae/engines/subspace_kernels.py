"""Compiled parts for `LowRankGaussian`: one data point at a time, in units of the noise.

A state's coefficients are the always-on ones and those of each bit that is on, which vary, and then
those of the offsets of these bits, which are one.  Directions that are zero have none: latents stand
in places, those with most directions first, so that the ones that have a j-th direction come first and
lie together.  Where all pixels are seen, inner products of directions are shared by all data points and
a state costs a small Cholesky factor; elsewhere each data point has its own, which are filled in where
they are needed.
"""

import math
from collections import namedtuple
from collections.abc import Callable

import numpy as np

from evovae.engines.draws import f4
from evovae.engines.jit import allocated, part, section
from evovae.engines.kernels import on_bits
from evovae.engines.plans import MOST_DIMS
from evovae.engines.simd import LANES, add_rows

NEVER = f4(-1e30)

# Inner products of directions over the noise: gram (K, K), blocks (J (J + 1) / 2, H) those within latents, and their
# `factor`s with what is left of the prior's log-odds in base (H,); of all pixels, or of those that are seen.
Products = namedtuple("Products", "gram blocks factors base")
# The model over its noise: rows (K, D) directions and columns (D, K), and their inner products over all pixels, for
# the J = rank + offsets directions of each latent.  always, rank and offsets (0 or 1) are counts.  bits (H,) says
# which latent stands in a place, place (H,) where one stands.  The j-th directions are those of the first count[j]
# places, from start[j] on.  Of each direction, owner (K,) is the place of its latent, or -1, and slot (K,) where its
# sums are: those of one latent lie together, which spares caches.  In the order of places: ranks (H,), how many
# directions each has, and odds (H,), the prior's log-odds; free (H + 1, H) is which share of what a latent adds is
# left beside another one, or beside what is always there (the last row), over all pixels, and shared what that spares
# of its determinant.  constant as in kernels.Net.
Model = namedtuple(
    "Model",
    "rows columns products always rank offsets bits place start count owner slot ranks odds free shared noise constant",
)
# What one data point needs in a step: N states that it may see, with up to M coefficients each, and lists.
SHAPES: dict[type, dict[str, str]] = {
    np.float32: {"lpj": "N", "prior": "N", "factor": "N M M", "y": "N M", "u": "N M", "gain": "H", "free": "H"}
    | {"parts": "rank H", "onto": "K", "c": "K", "seen": "D", "keys": "any", "val": "any", "gains": "C", "q": "S"}
    | {"second": "M M", "tmp": "M+2 HDM"},
    np.int64: {"size": "N", "ones": "N", "dims": "N M", "where": "D+1", "short": "short", "idx": "any"}
    | {"order": "any", "chosen": "P", "flips": "C", "pool": "pool"},
    np.uint64: {"words": "N W"},
    np.bool_: {"ready": "N", "have": "H"},
}
Workspace: Callable = namedtuple("Workspace", [*sum(map(list, SHAPES.values()), []), "products", "lanes"])  # type: ignore[misc]
# The same for L latents side by side, with all their J directions.
LANE_SHAPES: dict[type, dict[str, str]] = {
    np.float32: {"there": "JL", "c": "JL", "v": "M JL", "left": "pairs L", "det": "L", "parts": "rank L", "gain": "L"},
    np.int64: {"dims": "JL"},
}
Lanes: Callable = namedtuple("Lanes", [*sum(map(list, LANE_SHAPES.values()), []), "start", "count"])  # type: ignore[misc]


def make_workspace(words, plan, model):
    """For one thread: the population, all the children that one step can bring, and one more state."""
    (_, S, W), H, (K, D), M, P, C = words.shape, len(model.odds), model.rows.shape, MOST_DIMS, plan.P, plan.C
    N = S + P * C * plan.G + 1
    sizes = {"N": N, "S": S, "W": W, "H": H, "K": K, "D": D, "M": M, "P": P, "C": C, "rank": model.rank}
    sizes |= {"D+1": D + 1, "M+2": M + 2, "HDM": max(H, D, M), "pool": max(S, P * C)}
    sizes |= {"any": max(N, H, K, D, M) + 1, "short": min(-(-2 * C // LANES) * LANES, H)}
    own = Products(*map(np.zeros_like, model.products))  # zero where latents have no such direction
    return Workspace(*allocated(SHAPES, sizes), own, make_lanes(model))


def make_lanes(model):
    """For one thread."""
    J, L = model.rank + model.offsets, LANES
    sizes = {"JL": J * L, "L": L, "M": MOST_DIMS, "pairs": len(model.products.blocks), "rank": model.rank}
    return Lanes(*allocated(LANE_SHAPES, sizes), np.arange(J) * L, np.full(J, L))


@part
def on_places(words, model, idx):
    """List the places of the bits that are on; returns how many."""
    n = on_bits(words, idx)
    for i in range(n):
        idx[i] = model.place[idx[i]]
    return n


@part
def set_state(s, model, space):
    """List the coefficients of state s from its bits, and set its log prior (but for a constant)."""
    words, dims = space.words[s], space.dims[s]
    n = on_places(words, model, space.idx)
    space.prior[s] = f4(0)
    k, ones = model.always, n * model.offsets
    for i in range(n):
        space.prior[s] += model.odds[space.idx[i]]
        k += model.ranks[space.idx[i]]
    space.size[s], space.ones[s] = (k, ones) if k + ones <= MOST_DIMS else (-1, 0)
    if space.size[s] < 0:
        return
    for i in range(model.always):
        dims[i] = i
    k = model.always
    for i in range(n):
        for j in range(model.ranks[space.idx[i]]):
            dims[k] = model.start[j] + space.idx[i]
            k += 1
    for i in range(ones):
        dims[k + i] = model.start[model.rank] + space.idx[i]
        space.u[s, k + i] = 1


@part
def fill(row, n_seen, model, space):
    """Row `row` of the gram matrix of the seen pixels."""
    for i in range(n_seen):
        space.val[i] = model.rows[row, space.where[i]]
    out = space.products.gram[row]
    for k in range(out.shape[0]):
        out[k] = 0
    add_rows(out, model.columns, space.where, space.val, n_seen)


@section
def fill_rows(s, n_seen, model, space):
    """Fill in the whole rows of the gram matrix that the gains of state s need and that are not there yet."""
    for i in range(on_places(space.words[s], model, space.idx)):
        h = space.idx[i]
        if not space.have[h]:
            space.have[h] = True
            for j in range(model.rank + model.offsets):
                if j < model.ranks[h] or j >= model.rank:
                    fill(model.start[j] + h, n_seen, model, space)


@part
def fill_pairs(s, model, space):
    """Fill in the entries of the gram matrix that state s itself needs, in rows that are not there."""
    dims = space.dims[s]
    for i in range(space.size[s] + space.ones[s]):
        if model.owner[dims[i]] >= 0 and not space.have[model.owner[dims[i]]]:
            row, out = model.rows[dims[i]], space.products.gram[dims[i]]
            for j in range(space.size[s] + space.ones[s]):
                other, v = model.rows[dims[j]], f4(0)
                for d in range(row.shape[0]):
                    v += row[d] * other[d] * space.seen[d]
                out[dims[j]] = v


@part
def solve(s, gram, space):
    """Factor of state s's precision (inverse on its diagonal), posterior mean u of its coefficients, and its lpj."""
    k = space.size[s]
    if k < 0:
        space.lpj[s] = NEVER
        return
    dims, factor, y, u, ones = space.dims[s], space.factor[s], space.y[s], space.u[s], space.ones[s]
    log_det = explained = f4(0)
    for i in range(k, k + ones):
        row = gram[dims[i]]
        explained += f4(2) * space.onto[dims[i]]
        for j in range(k, k + ones):
            explained -= row[dims[j]]
    for i in range(k):
        row, mine = gram[dims[i]], factor[i]
        for j in range(i + 1):
            mine[j] = row[dims[j]]
        for j in range(i):
            other = factor[j]
            v = mine[j]
            for t in range(j):
                v -= mine[t] * other[t]
            mine[j] = v * other[j]
        pivot, v = f4(1) + mine[i], space.onto[dims[i]]
        for j in range(k, k + ones):
            v -= row[dims[j]]
        for t in range(i):
            pivot -= mine[t] * mine[t]
            v -= mine[t] * y[t]
        pivot = max(pivot, f4(1))  # it is, but for rounding: the matrix is the identity plus squares
        mine[i] = f4(1) / math.sqrt(pivot)
        log_det += math.log(pivot)
        y[i] = v * mine[i]
        explained += y[i] * y[i]
    for i in range(k - 1, -1, -1):
        v = y[i]
        for t in range(i + 1, k):
            v -= factor[t, i] * u[t]
        u[i] = v * factor[i, i]
    space.lpj[s] = space.prior[s] + f4(0.5) * (explained - log_det)


@part
def make_ready(s, products, model, space):
    """Solve state s, if that has not been done."""
    if not space.ready[s]:
        fill_pairs(s, model, space)
        solve(s, products.gram, space)
        space.ready[s] = True
