"""Compiled loops over data points for `LowRankGaussian`: E-step, sums of the M-step, moments."""

import math

from numba import uint64

from evovae.engines.draws import bits_at, f4
from evovae.engines.jit import kernel, part, section
from evovae.engines.kernels import copy, evolve, rank_states, store
from evovae.engines.simd import add_rows
from evovae.engines.subspace_gains import choose_flips, compare, make_child
from evovae.engines.subspace_kernels import fill, make_ready, on_places, set_state


@section
def find_seen(x, observed, model, space):
    """List the seen pixels; where some are missing, start this data point's own inner products.  Returns how many."""
    n_seen, H = 0, model.odds.shape[0]
    for d in range(x.shape[0]):
        space.where[n_seen] = d
        space.seen[d] = 1 if observed[d] else 0
        n_seen += 1 if observed[d] else 0
    for h in range(H):
        space.have[h] = n_seen == x.shape[0]
    if n_seen < x.shape[0]:
        for i in range(model.always):
            fill(i, n_seen, model, space)
    return n_seen


@section
def load(n, words, products, model, space):
    """Bring the population of data point n into the space, evaluated."""
    for s in range(words.shape[1]):
        copy(words[n, s], space.words[s])
        set_state(s, model, space)
        space.ready[s] = False
        make_ready(s, products, model, space)


@part
def invert(s, space, out):
    """The inverse of state s's factor: lower triangular."""
    k, factor = space.size[s], space.factor[s]
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
def second_moments(s, space, out):
    """E[u u'] of state s's coefficients, its lower triangle, from the inverse factor that is in space.tmp."""
    k, u, inverse = space.size[s], space.u[s], space.tmp
    for i in range(k + space.ones[s]):
        for j in range(i + 1):
            out[i, j] = u[i] * u[j]
    for t in range(k):
        row = inverse[t]
        for i in range(t + 1):
            mine, v = out[i], row[i]
            for j in range(i + 1):
                mine[j] += v * row[j]


@section
def add_sums(s, q, x, observed, n_seen, model, space, cross, inner, usage):
    """Add q times state s's part in the sums of the M-step; returns that of the missing pixels in the square."""
    k, dims, u, second, slots = space.size[s] + space.ones[s], space.dims[s], space.u[s], space.second, space.idx
    invert(s, space, space.tmp)
    second_moments(s, space, second)
    for i in range(on_places(space.words[s], model, space.idx)):
        usage[space.idx[i]] += q
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
def truncate(S, q_min, space):
    """Leave out the states with less weight than a share q_min of the best one's; returns how many are kept."""
    mass, kept = f4(0), 0
    for j in range(S):
        if space.q[j] > f4(0) and space.q[j] >= q_min * space.q[0] and space.size[space.order[j]] >= 0:
            mass += space.q[j]
            kept = j + 1
    for j in range(kept):
        space.q[j] /= mass
    return kept


@kernel
def em_chunk(rows, seed, onto, x, observed, words, lpj, plan, model, space, cross, inner, usage, sums):
    """One EM step of the data points `rows`, whose projections on all directions are onto (len(rows), K).

    Populations words and lpj are replaced; added to are cross (K, D) and one half of inner (K, K) in the order of
    slots, usage (H,) in that of places, and sums = [elbo, substitutions, square], as in `LowRankGaussian.stats`; the
    square is in units of the noise.
    """
    S = words.shape[1]
    for place, n in enumerate(rows):
        n_seen = find_seen(x[n], observed[n], model, space)
        products = model.products if n_seen == x.shape[1] else space.products
        if n_seen < x.shape[1] and not plan.uniform:
            compare(n_seen, model, space)
        copy(onto[place], space.onto)
        load(n, words, products, model, space)
        about = plan, products, n_seen, model
        found = evolve(S, bits_at(seed ^ bits_at(uint64(n))), choose_flips, make_child, about, space)
        energy = f4(0)
        for i in range(n_seen):
            energy += x[n, space.where[i]] ** 2
        square = energy / model.noise
        constant = model.constant - 0.5 * (square + n_seen * math.log(2 * math.pi * model.noise))
        sums[0] += rank_states(found, S, space) + constant
        sums[1] += store(S, constant, words[n], lpj[n], space)
        for j in range(truncate(S, plan.q_min, space)):
            s, q = space.order[j], space.q[j]
            make_ready(s, products, model, space)
            square += add_sums(s, q, x[n], observed[n], n_seen, model, space, cross, inner, usage)
        sums[2] += square


@kernel
def moments_chunk(rows, onto, x, observed, words, q_min, model, seen, space, mean, variance):
    """Posterior mean and variance of the data of `rows` without noise, through seen (K, E): each (len(rows), E)."""
    S = words.shape[1]
    for place, n in enumerate(rows):
        n_seen = find_seen(x[n], observed[n], model, space)
        products = model.products if n_seen == x.shape[1] else space.products
        copy(onto[place], space.onto)
        load(n, words, products, model, space)
        rank_states(S, S, space)
        m, v = mean[place], variance[place]
        kept, best, centre = truncate(S, q_min, space), space.order[0], space.val[: m.shape[0]]
        combine(space.u[best], space.size[best] + space.ones[best] if kept else 0, space.dims[best], seen, centre)
        for d in range(m.shape[0]):
            m[d] = v[d] = 0
        for j in range(kept):
            add_moments(space.order[j], space.q[j], centre, seen, space, m, v)
        for d in range(m.shape[0]):
            v[d] = max(v[d] - m[d] * m[d], f4(0))
            m[d] += centre[d]


@section
def add_moments(s, q, centre, seen, space, m, v):
    """Add q times the mean and the second moment of what state s says the data are, both about a centre.

    Those about zero would lose the variance of large values to rounding.
    """
    k, inverse, row = space.size[s], space.tmp, space.keys[: m.shape[0]]
    invert(s, space, inverse)
    combine(space.u[s], k + space.ones[s], space.dims[s], seen, row)
    for d in range(m.shape[0]):
        off = row[d] - centre[d]
        m[d] += q * off
        v[d] += q * off * off
    for t in range(k):
        combine(inverse[t], t + 1, space.dims[s], seen, row)
        for d in range(m.shape[0]):
            v[d] += q * row[d] * row[d]


@part
def combine(val, n, dims, rows, out):
    """out = the sum of val[i] rows[dims[i]] over i < n."""
    for d in range(out.shape[0]):
        out[d] = 0
    add_rows(out, rows, dims, val, n)
