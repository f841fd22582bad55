"""Compiled parts of the fused CPU engine: states of one data point at a time, everything in cache.

A row of `act` holds the outputs of all decoder layers for one state one after another, layer l in
``off[l]:off[l + 1]``; the last is its mean.  Bits are sparse, so layer 0 is a sum of a few rows,
a one-bit child is its parent plus or minus one row, and units that a ReLU switched off are skipped.
"""

from collections import namedtuple

from llvmlite import ir
from numba import types, uint64
from numba.extending import intrinsic

from evovae.engines.draws import add_gumbel, f4, top, uniform_at
from evovae.engines.jit import part
from evovae.engines.observations import GAUSSIAN, misfit, slope
from evovae.engines.simd import add_rows

# The decoder with L layers, and the rest of the model.  fan_out[l] (n_in, n_out) and bias[l] carry
# a state down to the data, fan_in[l] (n_out, n_in) carries slopes back; odds (H,) are the prior's
# log-odds; kind, weight and each are the likelihood (see `observations`; each is its normaliser for one value),
# constant the part of the log prior that is the same for all states.
Net = namedtuple("Net", "fan_out fan_in bias off leak odds kind weight each constant")
# Room for the K = S + P C G states that one data point may see in a step.
Room = namedtuple("Room", "act words tags lpj misfit prior delta gain keys idx val order chosen flips pool seen q")


@intrinsic
def trailing_zeros(typingctx, v):
    """How many low bits of an unsigned integer are zero before its first one."""

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


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
def enter(s, net, room):
    """Layer 0 and log prior (but for a constant) of state s from its bits, and its tag."""
    words = room.words[s]
    first = room.act[s, : net.off[1]]
    copy(net.bias[0], first)
    log_prior = f4(0)
    n = on_bits(words, room.idx)
    for j in range(n):
        room.val[j] = 1
        log_prior += net.odds[room.idx[j]]
    add_rows(first, net.fan_out[0], room.idx, room.val, n)
    room.prior[s] = log_prior
    room.tags[s] = tag_of(words)


@part
def tag_of(words):
    """A hash of a state; the state itself where that is one word."""
    tag = words[0]
    for w in range(1, words.shape[0]):
        tag = (tag * uint64(0xD1B54A32D192ED03)) ^ words[w]
    return tag


@part
def twin(n, room):
    """The earlier state that equals state n, or -1.  Tags are compared first."""
    tag, hits = room.tags[n], 0
    for s in range(n):
        hits += 1 if room.tags[s] == tag else 0
    if hits == 0:
        return -1
    for s in range(n):
        same = True
        for w in range(room.words.shape[1]):
            same = same and room.words[s, w] == room.words[n, w]
        if same:
            return s
    return -1


@part
def decode(s, net, room):
    """Fill in the outputs of layers 1..L-1 of state s, whose layer 0 is there."""
    off, act = net.off, room.act[s]
    for layer in range(1, len(net.fan_out)):
        n = active(act[off[layer - 1] : off[layer]], net.leak, room.idx, room.val)
        out = act[off[layer] : off[layer + 1]]
        copy(net.bias[layer], out)
        add_rows(out, net.fan_out[layer], room.idx, room.val, n)


@part
def evaluate(s, x, net, room):
    """Decode state s and set its misfit to the observed values and its lpj (but for a constant)."""
    decode(s, net, room)
    room.misfit[s] = misfit(net.kind, x, room.act[s, net.off[-2] :], room.seen)
    room.lpj[s] = room.prior[s] - net.weight * room.misfit[s]


@part
def slopes(s, x, scale, net, room):
    """delta = -scale * d misfit / d(output) for every layer of state s, before its ReLU."""
    off, act, delta = net.off, room.act[s], room.delta
    slope(net.kind, x, act[off[-2] :], room.seen, scale, delta[off[-2] :])
    for layer in range(len(net.fan_in) - 1, 0, -1):
        above, below = delta[off[layer] : off[layer + 1]], delta[off[layer - 1] : off[layer]]
        for m in range(below.shape[0]):
            below[m] = 0
        add_rows(below, net.fan_in[layer], room.idx, room.val, nonzero(above, room.idx, room.val))
        a = act[off[layer - 1] : off[layer]]
        for m in range(a.shape[0]):
            below[m] *= f4(1) if a[m] > f4(0) else net.leak


@part
def flip_gains(s, x, net, room):
    """About how much lpj changes when each bit of state s flips; exactly for a linear decoder with Gaussian noise."""
    slopes(s, x, net.weight, net, room)
    n = nonzero(room.delta[: net.off[1]], room.idx, room.val)
    gain, words = room.gain, room.words[s]
    copy(net.odds, gain)
    add_rows(gain, net.fan_in[0], room.idx, room.val, n)
    for j in range(on_bits(words, room.idx)):
        gain[room.idx[j]] = -gain[room.idx[j]]
    if len(net.fan_in) == 1 and net.kind == GAUSSIAN:
        rows = net.fan_out[0]
        for h in range(gain.shape[0]):
            curvature = f4(0)
            for d in range(x.shape[0]):
                curvature += rows[h, d] * rows[h, d] * room.seen[d]
            gain[h] -= net.weight * curvature


@part
def select(n, plan, counter, room):
    """Choose P of the n places of the pool: Gumbel-top-P on lpj, or fitness-proportional draws."""
    lpj, pool, keys = room.lpj, room.pool, room.keys
    if plan.fitness == 0:
        for k in range(n):
            room.val[k] = lpj[pool[k]]
        add_gumbel(room.val, n, plan.beta_select, counter, keys)
        top(keys, n, plan.P, room.chosen)
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
        room.chosen[p] = k


@part
def has(words, h):
    """Whether bit h is on."""
    return (words[h >> 6] >> uint64(h & 63)) & uint64(1) == uint64(1)


@part
def flip(s, h, n, room):
    """Make the bits of state n those of state s with bit h flipped."""
    copy(room.words[s], room.words[n])
    room.words[n, h >> 6] ^= uint64(1) << uint64(h & 63)


@part
def begin(parent, h, n, room):
    """Bits and tag of the child of `parent` with bit h flipped, as state n; the place of an earlier twin, or -1."""
    flip(parent, h, n, room)
    room.tags[n] = tag_of(room.words[n])
    return twin(n, room)


@part
def draw_flips(plan, counter, room):
    """One bit for each of C children, drawn independently."""
    H = room.gain.shape[0]
    for c in range(plan.C):
        room.flips[c] = min(int(uniform_at(counter + uint64(c)) * H), H - 1)


@part
def choose_flips(s, counter, about, room):
    """One bit for each of C children of state s: Gumbel-top-C on the gains, or independent draws."""
    plan, x, net = about
    if plan.uniform:
        draw_flips(plan, counter, room)
        return
    H = room.gain.shape[0]
    flip_gains(s, x, net, room)
    add_gumbel(room.gain, H, plan.beta_mutate, counter, room.keys)
    top(room.keys, H, plan.C, room.flips)


@part
def bear(parent, c, n, about, room):
    """The c-th child of `parent` as state n; its place, or that of an earlier twin."""
    _, x, net = about
    h = room.flips[c]
    s = begin(parent, h, n, room)
    if s >= 0:
        return s
    sign = f4(1) if has(room.words[n], h) else f4(-1)
    row = net.fan_out[0][h]
    for m in range(net.off[1]):
        room.act[n, m] = room.act[parent, m] + sign * row[m]
    room.prior[n] = room.prior[parent] + sign * net.odds[h]
    evaluate(n, x, net, room)
    return n


@part
def evolve(S, counter, choose_flips, bear, about, room):
    """Add children of the S states, for G generations; returns how many distinct states there are.

    choose_flips(s, counter, about, room) puts the bits to flip into room.flips, bear(parent, c, n, about, room)
    evaluates a child; about starts with the plan, and holds what else the two want.  Twins are not evaluated again,
    but keep their places in the pool of the next generation.
    """
    plan, H, pool, n, size = about[0], room.gain.shape[0], room.pool, S, S
    for s in range(S):
        pool[s] = s
    for _ in range(plan.G):
        select(size, plan, counter, room)
        counter += uint64(size + plan.P)
        for p in range(plan.P):
            room.chosen[p] = pool[room.chosen[p]]
        for p in range(plan.P):
            choose_flips(room.chosen[p], counter, about, room)
            counter += uint64(H + plan.C)
            for c in range(plan.C):
                s = bear(room.chosen[p], c, n, about, room)
                pool[p * plan.C + c] = s
                n += 1 if s == n else 0
        size = plan.P * plan.C
    return n
