"""Compiled loops over data points: the E-step, the sums of the M-step, and posterior moments."""

import math

import numpy as np
from numba import uint64

from evovae.engines.draws import bits_at, f4, top_of_sorted
from evovae.engines.jit import kernel, part
from evovae.engines.kernels import (
    Net,
    Room,
    active,
    add_outer,
    bear,
    choose_flips,
    copy,
    enter,
    evaluate,
    evolve,
    on_bits,
    slopes,
)
from evovae.engines.observations import expect, normaliser
from evovae.engines.plans import Plan


def make_room(n_states: int, plan: Plan, net: Net, words: np.ndarray) -> Room:
    """Scratch space for one thread: the population and all the children that one step can bring."""
    K, W, H = n_states + plan.P * plan.C * plan.G, words.shape[-1], len(net.odds)
    units, D = net.off[-1], net.off[-1] - net.off[-2]
    wide = max(K, H, units)
    return Room(
        act=np.empty((K, units), f4),
        words=np.empty((K, W), np.uint64),
        tags=np.empty(K, np.uint64),
        lpj=np.empty(K, f4),
        misfit=np.empty(K, f4),
        prior=np.empty(K, f4),
        delta=np.empty(units, f4),
        gain=np.empty(H, f4),
        keys=np.empty(wide, f4),
        idx=np.empty(wide + 1, np.int64),
        val=np.empty(wide + 1, f4),
        order=np.empty(n_states, np.int64),
        chosen=np.empty(plan.P, np.int64),
        flips=np.empty(plan.C, np.int64),
        pool=np.empty(max(n_states, plan.P * plan.C), np.int64),
        seen=np.empty(D, f4),
        q=np.empty(n_states, f4),
    )


@part
def load(n, words, x, observed, net, room):
    """Bring data point n and its population into the room, evaluated."""
    for d in range(x.shape[1]):
        room.seen[d] = f4(1) if observed[n, d] else f4(0)
    for s in range(words.shape[1]):
        copy(words[n, s], room.words[s])
        enter(s, net, room)
        evaluate(s, x[n], net, room)


@part
def weigh(n, S, room):
    """Put the S best of n states into room.order, best first, and their q; returns the log-sum-exp of lpj."""
    top_of_sorted(room.lpj, n, S, room.order)
    best = room.lpj[room.order[0]]
    mass = f4(0)
    for j in range(S):
        room.q[j] = math.exp(room.lpj[room.order[j]] - best)
        mass += room.q[j]
    for j in range(S):
        room.q[j] /= mass
    return best + math.log(mass)


@part
def add_gradients(s, q, x, net, room, weight_grads, bias_grads):
    """Add q * d lpj / d(weights, biases) of state s."""
    slopes(s, x, q * net.weight, net, room)
    off, act, delta = net.off, room.act[s], room.delta
    for layer in range(len(net.fan_out)):
        row = delta[off[layer] : off[layer + 1]]
        for d in range(row.shape[0]):
            bias_grads[layer][d] += row[d]
        if layer == 0:
            n = on_bits(room.words[s], room.idx)
            for j in range(n):
                room.val[j] = 1
        else:
            n = active(act[off[layer - 1] : off[layer]], net.leak, room.idx, room.val)
        add_outer(weight_grads[layer], room.idx, room.val, n, row)


@kernel
def em_chunk(rows, seed, x, observed, words, lpj, plan, net, room, weight_grads, bias_grads, sums, usage):
    """One EM step of the data points `rows`.

    Populations words (N, S, W) and lpj (N, S) are replaced; gradients of the summed bound, sums =
    [elbo, substitutions, q-weighted misfit, observed values] and usage (H,) = sum q z are added to.
    """
    S = words.shape[1]
    for n in rows:
        load(n, words, x, observed, net, room)
        found = evolve(S, bits_at(seed ^ bits_at(uint64(n))), choose_flips, bear, (plan, x[n], net), room)
        constant = net.constant - normaliser(net.kind, x[n], room.seen, net.each)
        sums[0] += weigh(found, S, room) + constant
        for d in range(room.seen.shape[0]):
            sums[3] += room.seen[d]
        for j in range(S):
            s = room.order[j]
            copy(room.words[s], words[n, j])
            lpj[n, j] = room.lpj[s] + constant
            sums[1] += 1 if s >= S else 0
            q = room.q[j]
            if q == f4(0):
                continue
            sums[2] += q * room.misfit[s]
            for i in range(on_bits(room.words[s], room.idx)):
                usage[room.idx[i]] += q
            if q >= plan.q_min * room.q[0]:
                add_gradients(s, q, x[n], net, room, weight_grads, bias_grads)


@kernel
def moments_chunk(rows, x, observed, words, net, room, mean, variance):
    """Posterior mean and variance of E[x | z] for the data points `rows`, each (len(rows), D)."""
    S = words.shape[1]
    for place, n in enumerate(rows):
        load(n, words, x, observed, net, room)
        weigh(S, S, room)
        m, v = mean[place], variance[place]
        for d in range(m.shape[0]):
            m[d] = v[d] = 0
        for j in range(S):
            value = room.act[room.order[j], net.off[-2] :]
            expect(net.kind, value)
            for d in range(m.shape[0]):
                m[d] += room.q[j] * value[d]
        for j in range(S):
            value = room.act[room.order[j], net.off[-2] :]
            for d in range(m.shape[0]):
                v[d] += room.q[j] * (value[d] - m[d]) ** 2
