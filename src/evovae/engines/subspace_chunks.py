"""Compiled loops over data points for `LowRankGaussian`: E-step, sums of the M-step, moments."""

import math

import numpy as np
from numba import uint64

from evovae.engines.chunks import weigh
from evovae.engines.draws import bits_at, f4
from evovae.engines.jit import kernel, part
from evovae.engines.kernels import copy, evolve
from evovae.engines.plans import Plan
from evovae.engines.simd import LANES, add_rows
from evovae.engines.subspace_gains import bear, choose_flips, compare, complete
from evovae.engines.subspace_kernels import MOST_DIMS, Lanes, Model, Products, Room, enter, fill, make_ready, on_places


def make_room(n_states: int, plan: Plan, model: Model, words: np.ndarray) -> Room:
    """Scratch space for one thread: the population, all the children that one step can bring, and one more."""
    slots, W, H = n_states + plan.P * plan.C * plan.G + 1, words.shape[-1], len(model.odds)
    K, D = model.rows.shape
    wide = max(slots, H, K, D, MOST_DIMS) + 1  # K is less than H where most directions are zero
    listed = min(-(-2 * plan.C // LANES) * LANES, H)
    return Room(
        words=np.empty((slots, W), np.uint64),
        tags=np.empty(slots, np.uint64),
        lpj=np.empty(slots, f4),
        prior=np.empty(slots, f4),
        size=np.empty(slots, np.int64),
        ones=np.empty(slots, np.int64),
        ready=np.empty(slots, np.bool_),
        dims=np.empty((slots, MOST_DIMS), np.int64),
        factor=np.empty((slots, MOST_DIMS, MOST_DIMS), f4),
        y=np.empty((slots, MOST_DIMS), f4),
        u=np.empty((slots, MOST_DIMS), f4),
        products=Products(*map(np.zeros_like, model.products)),  # zero where latents have no such direction
        have=np.empty(H, np.bool_),
        where=np.empty(D + 1, np.int64),
        seen=np.empty(D, f4),
        onto=np.empty(K, f4),
        c=np.empty(K, f4),
        parts=np.empty((model.rank, H), f4),
        gain=np.empty(H, f4),
        free=np.empty(H, f4),
        keys=np.empty(wide, f4),
        short=np.empty(listed, np.int64),
        lanes=make_lanes(model),
        idx=np.empty(wide, np.int64),
        val=np.empty(wide, f4),
        order=np.empty(max(n_states, H + 1, MOST_DIMS), np.int64),
        chosen=np.empty(plan.P, np.int64),
        flips=np.empty(plan.C, np.int64),
        gains=np.empty(plan.C, f4),
        pool=np.empty(max(n_states, plan.P * plan.C), np.int64),
        q=np.empty(n_states, f4),
        second=np.empty((MOST_DIMS, MOST_DIMS), f4),
        tmp=np.empty((MOST_DIMS + 2, max(H, D, MOST_DIMS)), f4),
    )


def make_lanes(model: Model) -> Lanes:
    """Scratch space for latents side by side."""
    J = model.rank + model.offsets
    return Lanes(
        start=np.arange(J) * LANES,
        count=np.full(J, LANES),
        dims=np.empty(J * LANES, np.int64),
        there=np.empty(J * LANES, f4),
        c=np.empty(J * LANES, f4),
        v=np.empty((MOST_DIMS, J * LANES), f4),
        left=np.empty((len(model.products.blocks), LANES), f4),
        det=np.empty(LANES, f4),
        parts=np.empty((model.rank, LANES), f4),
        gain=np.empty(LANES, f4),
    )


@kernel
def prepare(model, lanes):
    """Fill in what inner products over all pixels have beside them."""
    complete(model.products, model, lanes)


@part
def look(x, observed, model, room):
    """List the seen pixels; where some are missing, start this data point's own inner products.  Returns how many."""
    n_seen, H = 0, model.odds.shape[0]
    for d in range(x.shape[0]):
        room.where[n_seen] = d
        room.seen[d] = 1 if observed[d] else 0
        n_seen += 1 if observed[d] else 0
    for h in range(H):
        room.have[h] = n_seen == x.shape[0]
    if n_seen < x.shape[0]:
        for i in range(model.always):
            fill(i, n_seen, model, room)
    return n_seen


@part
def load(n, words, products, model, room):
    """Bring the population of data point n into the room, evaluated."""
    for s in range(words.shape[1]):
        copy(words[n, s], room.words[s])
        enter(s, model, room)
        room.ready[s] = False
        make_ready(s, products, model, room)


@part
def invert(s, room, out):
    """The inverse of state s's factor: lower triangular."""
    k, factor = room.size[s], room.factor[s]
    for i in range(k):
        mine, pivot = out[i], factor[i, i]
        for j in range(i):
            mine[j] = 0
        for t in range(i):
            other, v = out[t], factor[i, t] * pivot
            for j in range(t + 1):
                mine[j] -= v * other[j]
        mine[i] = pivot


@part
def second_moments(s, room, out):
    """E[u u'] of state s's coefficients, its lower triangle, from the inverse factor that is in room.tmp."""
    k, u, inverse = room.size[s], room.u[s], room.tmp
    for i in range(k + room.ones[s]):
        for j in range(i + 1):
            out[i, j] = u[i] * u[j]
    for t in range(k):
        row = inverse[t]
        for i in range(t + 1):
            mine, v = out[i], row[i]
            for j in range(i + 1):
                mine[j] += v * row[j]


@part
def add_sums(s, q, x, observed, n_seen, model, room, cross, inner, usage):
    """Add q times state s's part in the sums of the M-step; returns that of the missing pixels in the square."""
    k, dims, u, second, slots = room.size[s] + room.ones[s], room.dims[s], room.u[s], room.second, room.idx
    invert(s, room, room.tmp)
    second_moments(s, room, second)
    for i in range(on_places(room.words[s], model, room.idx)):
        usage[room.idx[i]] += q
    for i in range(k):
        slots[i] = model.slot[dims[i]]
    for i in range(k):
        out, row, amount = cross[slots[i]], inner[slots[i]], q * u[i]
        for d in range(x.shape[0]):
            out[d] += amount * x[d]
        for j in range(i + 1):
            row[slots[j]] += q * second[i, j]
    missing = x.shape[0] - n_seen
    if missing == 0:
        return f4(0)
    square = f4(missing)
    unit = math.sqrt(model.noise)
    for i in range(k):
        out, mine = cross[slots[i]], model.rows[dims[i]]
        for j in range(k):
            other, amount = model.rows[dims[j]], second[max(i, j), min(i, j)]
            for d in range(x.shape[0]):
                value = f4(0) if observed[d] else amount * other[d]
                out[d] += q * unit * value
                square += value * mine[d]
    return q * square


@part
def drop_small(S, q_min, room):
    """Leave out the states with less weight than a share q_min of the best one's; returns how many are kept."""
    mass, kept = f4(0), 0
    for j in range(S):
        if room.q[j] > f4(0) and room.q[j] >= q_min * room.q[0] and room.size[room.order[j]] >= 0:
            mass += room.q[j]
            kept = j + 1
    for j in range(kept):
        room.q[j] /= mass
    return kept


@kernel
def em_chunk(rows, seed, onto, x, observed, words, lpj, plan, model, room, cross, inner, usage, sums):
    """One EM step of the data points `rows`, whose projections on all directions are onto (len(rows), K).

    Populations words and lpj are replaced; added to are cross (K, D) and one half of inner (K, K) in the order of
    slots, usage (H,) in that of places, and sums = [elbo, substitutions, square], as in `LowRankGaussian.stats`; the
    square is in units of the noise.
    """
    S = words.shape[1]
    for place, n in enumerate(rows):
        n_seen = look(x[n], observed[n], model, room)
        products = model.products if n_seen == x.shape[1] else room.products
        if n_seen < x.shape[1] and not plan.uniform:
            compare(n_seen, model, room)
        copy(onto[place], room.onto)
        load(n, words, products, model, room)
        about = plan, products, n_seen, model
        found = evolve(S, bits_at(seed ^ bits_at(uint64(n))), choose_flips, bear, about, room)
        energy = f4(0)
        for i in range(n_seen):
            energy += x[n, room.where[i]] ** 2
        square = energy / model.noise
        constant = model.constant - 0.5 * (square + n_seen * math.log(2 * math.pi * model.noise))
        sums[0] += weigh(found, S, room) + constant
        for j in range(S):
            s = room.order[j]
            copy(room.words[s], words[n, j])
            lpj[n, j] = room.lpj[s] + constant
            sums[1] += 1 if s >= S else 0
        for j in range(drop_small(S, plan.q_min, room)):
            s, q = room.order[j], room.q[j]
            make_ready(s, products, model, room)
            square += add_sums(s, q, x[n], observed[n], n_seen, model, room, cross, inner, usage)
        sums[2] += square


@kernel
def moments_chunk(rows, onto, x, observed, words, q_min, model, seen, room, mean, variance):
    """Posterior mean and variance of the data of `rows` without noise, through seen (K, E): each (len(rows), E)."""
    S = words.shape[1]
    for place, n in enumerate(rows):
        n_seen = look(x[n], observed[n], model, room)
        products = model.products if n_seen == x.shape[1] else room.products
        copy(onto[place], room.onto)
        load(n, words, products, model, room)
        weigh(S, S, room)
        m, v = mean[place], variance[place]
        kept, best, centre = drop_small(S, q_min, room), room.order[0], room.val[: m.shape[0]]
        combine(room.u[best], room.size[best] + room.ones[best] if kept else 0, room.dims[best], seen, centre)
        for d in range(m.shape[0]):
            m[d] = v[d] = 0
        for j in range(kept):
            add_moments(room.order[j], room.q[j], centre, seen, room, m, v)
        for d in range(m.shape[0]):
            v[d] = max(v[d] - m[d] * m[d], f4(0))
            m[d] += centre[d]


@part
def add_moments(s, q, centre, seen, room, m, v):
    """Add q times the mean and the second moment of what state s says the data are, both about a centre.

    Those about zero would lose the variance of large values to rounding.
    """
    k, inverse, row = room.size[s], room.tmp, room.keys[: m.shape[0]]
    invert(s, room, inverse)
    combine(room.u[s], k + room.ones[s], room.dims[s], seen, row)
    for d in range(m.shape[0]):
        off = row[d] - centre[d]
        m[d] += q * off
        v[d] += q * off * off
    for t in range(k):
        combine(inverse[t], t + 1, room.dims[s], seen, row)
        for d in range(m.shape[0]):
            v[d] += q * row[d] * row[d]


@part
def combine(val, n, dims, rows, out):
    """out = the sum of val[i] rows[dims[i]] over i < n."""
    for d in range(out.shape[0]):
        out[d] = 0
    add_rows(out, rows, dims, val, n)
