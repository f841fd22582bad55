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

from evovae.engines.draws import f4
from evovae.engines.jit import part
from evovae.engines.kernels import on_bits, tag_of
from evovae.engines.simd import add_rows

MOST_DIMS = 64  # coefficients of one state; states with more have no weight
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
# Room for the states that one data point may see in a step, and their factors.
Room = namedtuple(
    "Room",
    "words tags lpj prior size ones ready dims factor y u products have where seen onto c parts gain keys short lanes "
    "free idx val order chosen flips gains pool q second tmp",
)
# Room for LANES latents side by side: (.., LANES), or (.. J LANES) for those of all their directions.
Lanes = namedtuple("Lanes", "start count dims there c v left det parts gain")


@part
def on_places(words, model, idx):
    """List the places of the bits that are on; returns how many."""
    n = on_bits(words, idx)
    for i in range(n):
        idx[i] = model.place[idx[i]]
    return n


@part
def enter(s, model, room):
    """List the coefficients of state s from its bits, and set its log prior (but for a constant) and tag."""
    words, dims = room.words[s], room.dims[s]
    n = on_places(words, model, room.idx)
    room.tags[s] = tag_of(words)
    room.prior[s] = f4(0)
    k, ones = model.always, n * model.offsets
    for i in range(n):
        room.prior[s] += model.odds[room.idx[i]]
        k += model.ranks[room.idx[i]]
    room.size[s], room.ones[s] = (k, ones) if k + ones <= MOST_DIMS else (-1, 0)
    if room.size[s] < 0:
        return
    for i in range(model.always):
        dims[i] = i
    k = model.always
    for i in range(n):
        for j in range(model.ranks[room.idx[i]]):
            dims[k] = model.start[j] + room.idx[i]
            k += 1
    for i in range(ones):
        dims[k + i] = model.start[model.rank] + room.idx[i]
        room.u[s, k + i] = 1


@part
def fill(row, n_seen, model, room):
    """Row `row` of the gram matrix of the seen pixels."""
    for i in range(n_seen):
        room.val[i] = model.rows[row, room.where[i]]
    out = room.products.gram[row]
    for k in range(out.shape[0]):
        out[k] = 0
    add_rows(out, model.columns, room.where, room.val, n_seen)


@part
def need(s, n_seen, model, room):
    """Fill in the whole rows of the gram matrix that the gains of state s need and that are not there yet."""
    for i in range(on_places(room.words[s], model, room.idx)):
        h = room.idx[i]
        if not room.have[h]:
            room.have[h] = True
            for j in range(model.ranks[h]):
                fill(model.start[j] + h, n_seen, model, room)
            for j in range(model.rank, model.rank + model.offsets):
                fill(model.start[j] + h, n_seen, model, room)


@part
def pair(s, model, room):
    """Fill in the entries of the gram matrix that state s itself needs, in rows that are not there."""
    dims = room.dims[s]
    for i in range(room.size[s] + room.ones[s]):
        if model.owner[dims[i]] >= 0 and not room.have[model.owner[dims[i]]]:
            row, out = model.rows[dims[i]], room.products.gram[dims[i]]
            for j in range(room.size[s] + room.ones[s]):
                other, v = model.rows[dims[j]], f4(0)
                for d in range(row.shape[0]):
                    v += row[d] * other[d] * room.seen[d]
                out[dims[j]] = v


@part
def solve(s, gram, room):
    """Factor of state s's precision (inverse on its diagonal), posterior mean u of its coefficients, and its lpj."""
    k = room.size[s]
    if k < 0:
        room.lpj[s] = NEVER
        return
    dims, factor, y, u, ones = room.dims[s], room.factor[s], room.y[s], room.u[s], room.ones[s]
    log_det = explained = f4(0)
    for i in range(k, k + ones):
        row = gram[dims[i]]
        explained += f4(2) * room.onto[dims[i]]
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
        pivot, v = f4(1) + mine[i], room.onto[dims[i]]
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
    room.lpj[s] = room.prior[s] + f4(0.5) * (explained - log_det)


@part
def make_ready(s, products, model, room):
    """Solve state s, if that has not been done."""
    if not room.ready[s]:
        pair(s, model, room)
        solve(s, products.gram, room)
        room.ready[s] = True
