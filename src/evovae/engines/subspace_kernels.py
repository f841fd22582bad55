"""Compiled parts for `LowRankGaussian`: one data point at a time, in units of the noise.

A state's coefficients are the always-on ones and those of each bit that is on, which vary, and then
those of the offsets of these bits, which are one.  Directions that are zero have none: latents stand
in places, those with most directions first, so that the ones that have a j-th direction come first and
lie together.  Where all pixels are seen, all inner products of directions (`gram`) are shared by all
data points and a state costs a small Cholesky factor; elsewhere each data point has its own, which is
filled in where it is needed.
"""

import math
from collections import namedtuple

from numba import uint64

from evovae.engines.draws import add_gumbel, f4, top, uniform_at
from evovae.engines.jit import part
from evovae.engines.kernels import copy, on_bits, select, tag_of, twin
from evovae.engines.simd import add_rows

MOST_DIMS = 64  # coefficients of one state; states with more have no weight
NEVER = f4(-1e30)

# The model over its noise: rows (K, D) directions and columns (D, K), gram (K, K) of all pixels, and
# blocks (J (J + 1) / 2, H) those within latents, for the J = rank + offsets directions of each.  always,
# rank and offsets (0 or 1) are counts.  bits (H,) says which latent stands in a place, place (H,) where one
# stands.  The j-th directions are those of the first count[j] places, from start[j] on; owner (K,) is the
# place of each direction, or -1.  In the order of places: ranks (H,), how many directions each has, and
# odds (H,), the prior's log-odds.  constant as in kernels.Net.
Model = namedtuple(
    "Model",
    "rows columns gram blocks always rank offsets bits place start count owner ranks odds noise constant",
)
# Room for the states that one data point may see in a step, and their factors.
Room = namedtuple(
    "Room",
    "words tags lpj prior size ones dims factor y u gram blocks have where onto left v c gain keys idx val "
    "order chosen flips pool q tmp seen",
)


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
    out = room.gram[row]
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
            row, out = model.rows[dims[i]], room.gram[dims[i]]
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
def condition(s, gram, room):
    """What state s leaves over: v (k, K), so that directions have inner products gram - v' v, and projections c."""
    k, ones, dims, factor, c = room.size[s], room.ones[s], room.dims[s], room.factor[s], room.c
    for i in range(k):
        room.order[i] = i
    for i in range(k):
        v = room.v[i]
        copy(gram[dims[i]], v)
        for j in range(i):
            room.val[j] = -factor[i, j]
        add_rows(v, room.v, room.order, room.val, i)
        for d in range(v.shape[0]):
            v[d] *= factor[i, i]
    copy(room.onto, c)
    for i in range(k):
        room.val[i] = -room.y[s, i]
    add_rows(c, room.v, room.order, room.val, k)
    for i in range(ones):
        room.val[i] = -1
    add_rows(c, gram, dims[k:], room.val, ones)


@part
def take_offsets_off(k, blocks, model, room):
    """What the offset of each latent gains by itself, and its part in the projections c on the latent's directions."""
    J, first = model.rank, model.start[model.rank]
    last = room.left[J * (J + 1) // 2 + J]
    for b in range(J + 1):
        n = model.count[b]
        cb = room.c[model.start[b] : model.start[b] + n]
        copy(blocks[J * (J + 1) // 2 + b], last)
        for i in range(k):
            vo, vb = room.v[i, first : first + n], room.v[i, model.start[b] : model.start[b] + n]
            for h in range(n):
                last[h] -= vo[h] * vb[h]
        for h in range(n):
            room.gain[h] += cb[h] - f4(0.5) * last[h] if b == J else f4(0)
            cb[h] -= last[h]


@part
def added_gains(k, blocks, model, room):
    """How much lpj grows with each latent, in the order of places, given a state of k coefficients.

    A latent that is added takes off its offset, and then has a Cholesky factor of its own block of what is left.
    """
    gain, c, left, det, quad = room.gain, room.c, room.left, room.tmp[0], room.tmp[1]
    copy(model.odds, gain)
    for h in range(gain.shape[0]):
        det[h], quad[h] = 1, 0
    if model.offsets:
        take_offsets_off(k, blocks, model, room)
    for a in range(model.rank):
        n, first = model.count[a], model.start[a]
        ca = c[first : first + n]
        for b in range(a + 1):
            mine, other = left[a * (a + 1) // 2 + b, :n], model.start[b]
            copy(blocks[a * (a + 1) // 2 + b, :n], mine)
            for i in range(k):
                va, vb = room.v[i, first : first + n], room.v[i, other : other + n]
                for h in range(n):
                    mine[h] -= va[h] * vb[h]
            for t in range(b):
                la, lb = left[a * (a + 1) // 2 + t, :n], left[b * (b + 1) // 2 + t, :n]
                for h in range(n):
                    mine[h] -= la[h] * lb[h]
            if b < a:
                inverse, cb = left[b * (b + 1) // 2 + b, :n], c[other : other + n]
                for h in range(n):
                    mine[h] *= inverse[h]
                    ca[h] -= mine[h] * cb[h]
            else:
                for h in range(n):
                    pivot = max(f4(1) + mine[h], f4(1))
                    det[h] *= pivot
                    mine[h] = f4(1) / math.sqrt(pivot)
                    ca[h] *= mine[h]
                    quad[h] += ca[h] * ca[h]
        if a % 4 == 3 or a == model.rank - 1:  # a product of a few pivots at a time overflows nothing
            for h in range(model.count[a - a % 4]):
                gain[h] -= f4(0.5) * math.log(det[h])
                det[h] = 1
    for h in range(gain.shape[0]):
        gain[h] += f4(0.5) * quad[h]


@part
def flip_gains(s, free, gram, blocks, model, room):
    """Exactly how much lpj changes when each bit of state s flips; uses slot `free` for states without a bit."""
    H, gain, by_place = model.odds.shape[0], room.gain, room.tmp[0]
    condition(s, gram, room)
    added_gains(room.size[s], blocks, model, room)
    copy(gain, by_place)
    free_dims = MOST_DIMS - room.size[s] - room.ones[s] - model.offsets
    for h in range(H):
        bit = model.bits[h]
        gain[bit] = NEVER if model.ranks[h] > free_dims else by_place[h]
        if (room.words[s, bit >> 6] >> uint64(bit & 63)) & uint64(1):
            copy(room.words[s], room.words[free])
            room.words[free, bit >> 6] ^= uint64(1) << uint64(bit & 63)
            enter(free, model, room)
            solve(free, gram, room)
            gain[bit] = room.lpj[free] - room.lpj[s]


@part
def choose_flips(s, free, plan, counter, gram, blocks, n_seen, model, room):
    """One bit for each of C children of state s: Gumbel-top-C on the gains, or independent draws."""
    H = room.gain.shape[0]
    if plan.uniform or room.size[s] < 0:
        for c in range(plan.C):
            room.flips[c] = min(int(uniform_at(counter + uint64(c)) * H), H - 1)
        return
    need(s, n_seen, model, room)
    flip_gains(s, free, gram, blocks, model, room)
    add_gumbel(room.gain, H, plan.beta_mutate, counter, room.keys)
    top(room.keys, H, plan.C, room.flips)


@part
def bear(parent, h, n, gram, model, room):
    """The child of `parent` with bit h flipped, as state n; its place, or that of an earlier twin."""
    copy(room.words[parent], room.words[n])
    room.words[n, h >> 6] ^= uint64(1) << uint64(h & 63)
    room.tags[n] = tag_of(room.words[n])
    s = twin(n, room)
    if s >= 0:
        return s
    enter(n, model, room)
    pair(n, model, room)
    solve(n, gram, room)
    return n


@part
def evolve(S, plan, counter, gram, blocks, n_seen, model, room):
    """As `kernels.evolve`: add children of the S states; returns how many distinct states there are."""
    H, pool, n, size = room.gain.shape[0], room.pool, S, S
    for s in range(S):
        pool[s] = s
    for _ in range(plan.G):
        select(size, plan, counter, room)
        counter += uint64(size + plan.P)
        for p in range(plan.P):
            room.chosen[p] = pool[room.chosen[p]]
        for p in range(plan.P):
            choose_flips(room.chosen[p], n, plan, counter, gram, blocks, n_seen, model, room)
            counter += uint64(H + plan.C)
            for c in range(plan.C):
                s = bear(room.chosen[p], room.flips[c], n, gram, model, room)
                pool[p * plan.C + c] = s
                n += 1 if s == n else 0
        size = plan.P * plan.C
    return n
