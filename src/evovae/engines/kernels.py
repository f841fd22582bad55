"""Compiled parts of the fused CPU engine: states of one data point at a time, everything in cache.

A row of `act` holds the outputs of all decoder layers for one state one after another, layer l in
``off[l]:off[l + 1]``; the last is its mean.  Bits are sparse, so layer 0 is a sum of a few rows,
a one-bit child is its parent plus or minus one row, and units that a ReLU switched off are skipped.
"""

import math
from collections import namedtuple
from collections.abc import Callable

import numpy as np
from numba import uint64

from evovae.engines.draws import add_gumbel, f4, top, top_of_sorted, uniform_at
from evovae.engines.jit import allocated, part, section
from evovae.engines.observations import misfit, slope
from evovae.engines.plans import GAUSSIAN
from evovae.engines.simd import add_rows, trailing_zeros

# The decoder with L layers, and the rest of the model.  fan_out[l] (n_in, n_out) and bias[l] carry
# a state down to the data, fan_in[l] (n_out, n_in) carries slopes back; odds (H,) are the prior's
# log-odds; kind, weight and each are the likelihood (see `observations`; each is its normaliser for one value),
# constant the part of the log prior that is the same for all states.
Net = namedtuple("Net", "fan_out fan_in bias off leak odds kind weight each constant")
# What one data point needs in a step: K = S + P C G states that it may see, with the outputs of all units (act), slopes
# of one state (delta), and lists.
SHAPES: dict[type, dict[str, str]] = {
    np.float32: {"act": "K units", "lpj": "K", "misfit": "K", "prior": "K", "delta": "units", "gain": "H"}
    | {"keys": "any", "val": "any", "seen": "D", "q": "S"},
    np.int64: {"idx": "any", "order": "S", "chosen": "P", "flips": "C", "pool": "pool"},
    np.uint64: {"words": "K W"},
}
Workspace: Callable = namedtuple("Workspace", sum(map(list, SHAPES.values()), []))  # type: ignore[misc]


def make_workspace(words, plan, net):
    """For one thread."""
    (_, S, W), H, P, C, units = words.shape, len(net.odds), plan.P, plan.C, net.off[-1]
    K = S + P * C * plan.G
    sizes = {"K": K, "S": S, "W": W, "H": H, "P": P, "C": C, "units": units, "D": units - net.off[-2]}
    return Workspace(*allocated(SHAPES, sizes | {"any": max(K, H, units) + 1, "pool": max(S, P * C)}))


@part
def copy(a, out):
    """out = a."""
    for d in range(a.shape[0]):
        out[d] = a[d]


@part
def add_outer(total, idx, val, n, row):
    """total[idx[j]] += val[j] * row."""
    for j in range(n):
        v, i = val[j], idx[j]
        for d in range(row.shape[0]):
            total[i, d] += v * row[d]


@part
def active(a, leak, idx, val):
    """List the units of a that pass the (leaky) ReLU, and what they pass on; returns how many."""
    if leak == f4(0):
        n = 0
        for m in range(a.shape[0]):
            idx[n], val[n] = m, a[m]
            n += 1 if a[m] > f4(0) else 0
        return n
    for m in range(a.shape[0]):
        idx[m], val[m] = m, a[m] * (f4(1) if a[m] > f4(0) else leak)
    return a.shape[0]


@part
def nonzero(a, idx, val):
    """List the nonzero entries of a; returns how many."""
    n = 0
    for m in range(a.shape[0]):
        idx[n], val[n] = m, a[m]
        n += 1 if a[m] != f4(0) else 0
    return n


@part
def on_bits(words, idx):
    """List the bits that are on; returns how many."""
    n = 0
    for w in range(words.shape[0]):
        v = words[w]
        while v != uint64(0):
            idx[n] = w * 64 + trailing_zeros(v)
            n += 1
            v &= v - uint64(1)
    return n


@part
def set_state(s, net, space):
    """Layer 0 and log prior (but for a constant) of state s from its bits."""
    words = space.words[s]
    first = space.act[s, : net.off[1]]
    copy(net.bias[0], first)
    log_prior = f4(0)
    n = on_bits(words, space.idx)
    for j in range(n):
        space.val[j] = 1
        log_prior += net.odds[space.idx[j]]
    add_rows(first, net.fan_out[0], space.idx, space.val, n)
    space.prior[s] = log_prior


@part
def find_duplicate(n, space):
    """The earlier state that equals state n, or -1.  First words are compared first."""
    words, hits = space.words, 0
    for s in range(n):
        hits += 1 if words[s, 0] == words[n, 0] else 0
    if hits == 0:
        return -1
    for s in range(n):
        same = True
        for w in range(words.shape[1]):
            same = same and words[s, w] == words[n, w]
        if same:
            return s
    return -1


@part
def decode(s, net, space):
    """Fill in the outputs of layers 1..L-1 of state s, whose layer 0 is there."""
    off, act = net.off, space.act[s]
    for layer in range(1, len(net.fan_out)):
        n = active(act[off[layer - 1] : off[layer]], net.leak, space.idx, space.val)
        out = act[off[layer] : off[layer + 1]]
        copy(net.bias[layer], out)
        add_rows(out, net.fan_out[layer], space.idx, space.val, n)


@part
def evaluate(s, x, net, space):
    """Decode state s and set its misfit to the observed values and its lpj (but for a constant)."""
    decode(s, net, space)
    space.misfit[s] = misfit(net.kind, x, space.act[s, net.off[-2] :], space.seen)
    space.lpj[s] = space.prior[s] - net.weight * space.misfit[s]


@part
def slopes(s, x, scale, net, space):
    """delta = -scale * d misfit / d(output) for every layer of state s, before its ReLU."""
    off, act, delta = net.off, space.act[s], space.delta
    slope(net.kind, x, act[off[-2] :], space.seen, scale, delta[off[-2] :])
    for layer in range(len(net.fan_in) - 1, 0, -1):
        above, below = delta[off[layer] : off[layer + 1]], delta[off[layer - 1] : off[layer]]
        for m in range(below.shape[0]):
            below[m] = 0
        add_rows(below, net.fan_in[layer], space.idx, space.val, nonzero(above, space.idx, space.val))
        a = act[off[layer - 1] : off[layer]]
        for m in range(a.shape[0]):
            below[m] *= f4(1) if a[m] > f4(0) else net.leak


@part
def flip_gains(s, x, net, space):
    """About how much lpj changes when each bit of state s flips; exactly for a linear decoder with Gaussian noise."""
    slopes(s, x, net.weight, net, space)
    n = nonzero(space.delta[: net.off[1]], space.idx, space.val)
    gain, words = space.gain, space.words[s]
    copy(net.odds, gain)
    add_rows(gain, net.fan_in[0], space.idx, space.val, n)
    for j in range(on_bits(words, space.idx)):
        gain[space.idx[j]] = -gain[space.idx[j]]
    if len(net.fan_in) == 1 and net.kind == GAUSSIAN:
        rows = net.fan_out[0]
        for h in range(gain.shape[0]):
            curvature = f4(0)
            for d in range(x.shape[0]):
                curvature += rows[h, d] * rows[h, d] * space.seen[d]
            gain[h] -= net.weight * curvature


@section
def select(n, plan, counter, space):
    """Choose P of the n places of the pool: Gumbel-top-P on lpj, or fitness-proportional draws."""
    lpj, pool, keys = space.lpj, space.pool, space.keys
    if plan.fitness == 0:
        for k in range(n):
            space.val[k] = lpj[pool[k]]
        add_gumbel(space.val, n, plan.beta_select, counter, keys)
        top(keys, n, plan.P, space.chosen)
        return
    low = lpj[pool[0]]
    for k in range(n):
        low = min(low, lpj[pool[k]])
    total = f4(0)
    for k in range(n):
        total += lpj[pool[k]] - low
        keys[k] = total
    for p in range(plan.P):
        u = uniform_at(counter + uint64(p))
        k = min(int(u * n), n - 1)
        if total > f4(0):
            k = 0
            while k < n - 1 and keys[k] <= u * total:
                k += 1
        space.chosen[p] = k


@part
def has(words, h):
    """Whether bit h is on."""
    return (words[h >> 6] >> uint64(h & 63)) & uint64(1) == uint64(1)


@part
def flip(s, h, n, space):
    """Make the bits of state n those of state s with bit h flipped."""
    copy(space.words[s], space.words[n])
    space.words[n, h >> 6] ^= uint64(1) << uint64(h & 63)


@section
def place_child(parent, h, n, space):
    """Bits of the child of `parent` with bit h flipped, as state n; that of an earlier duplicate, or -1."""
    flip(parent, h, n, space)
    return find_duplicate(n, space)


@part
def draw_flips(plan, counter, space):
    """One bit for each of C children, drawn independently."""
    H = space.gain.shape[0]
    for c in range(plan.C):
        space.flips[c] = min(int(uniform_at(counter + uint64(c)) * H), H - 1)


@part
def choose_flips(s, counter, about, space):
    """One bit for each of C children of state s: Gumbel-top-C on the gains, or independent draws."""
    plan, x, net = about
    if plan.uniform:
        draw_flips(plan, counter, space)
        return
    H = space.gain.shape[0]
    flip_gains(s, x, net, space)
    add_gumbel(space.gain, H, plan.beta_mutate, counter, space.keys)
    top(space.keys, H, plan.C, space.flips)


@part
def make_child(parent, c, n, about, space):
    """The c-th child of `parent` as state n; its place, or that of an earlier duplicate."""
    _, x, net = about
    h = space.flips[c]
    s = place_child(parent, h, n, space)
    if s >= 0:
        return s
    sign = f4(1) if has(space.words[n], h) else f4(-1)
    row = net.fan_out[0][h]
    for m in range(net.off[1]):
        space.act[n, m] = space.act[parent, m] + sign * row[m]
    space.prior[n] = space.prior[parent] + sign * net.odds[h]
    evaluate(n, x, net, space)
    return n


@section
def evolve(S, counter, choose_flips, make_child, about, space):
    """Add children of the S states, for G generations; returns how many distinct states there are.

    choose_flips(s, counter, about, space) puts the bits to flip into space.flips, and make_child(parent, c, n, about,
    space) evaluates a child; about starts with the plan, and holds what else the two want.  Duplicates are not
    evaluated again, but keep their places in the pool of the next generation.
    """
    plan, H, pool, n, size = about[0], space.gain.shape[0], space.pool, S, S
    for s in range(S):
        pool[s] = s
    for _ in range(plan.G):
        select(size, plan, counter, space)
        counter += uint64(size + plan.P)
        for p in range(plan.P):
            space.chosen[p] = pool[space.chosen[p]]
        for p in range(plan.P):
            choose_flips(space.chosen[p], counter, about, space)
            counter += uint64(H + plan.C)
            for c in range(plan.C):
                s = make_child(space.chosen[p], c, n, about, space)
                pool[p * plan.C + c] = s
                n += 1 if s == n else 0
        size = plan.P * plan.C
    return n


@section
def rank_states(n, S, space):
    """Put the S best of n states into space.order, best first, and their q; returns the log-sum-exp of lpj."""
    top_of_sorted(space.lpj, n, S, space.order)
    best = space.lpj[space.order[0]]
    mass = f4(0)
    for j in range(S):
        space.q[j] = math.exp(space.lpj[space.order[j]] - best)
        mass += space.q[j]
    for j in range(S):
        space.q[j] /= mass
    return best + math.log(mass)


@section
def store(S, constant, words, lpj, space):
    """Make the S best states the population, whose lpj lack a constant; returns how many of them are new."""
    new = 0
    for j in range(S):
        s = space.order[j]
        copy(space.words[s], words[j])
        lpj[j] = space.lpj[s] + constant
        new += 1 if s >= S else 0
    return new
