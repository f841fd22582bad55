"""Compiled loops over data points: the E-step, the sums of the M-step, and posterior moments."""

from numba import uint64

from evovae.engines.draws import bits_at, f4
from evovae.engines.jit import kernel, part
from evovae.engines.kernels import (
    active,
    add_outer,
    choose_flips,
    copy,
    evaluate,
    evolve,
    make_child,
    on_bits,
    rank_states,
    set_state,
    slopes,
    store,
)
from evovae.engines.observations import expect, normaliser


@part
def load(n, words, x, observed, net, space):
    """Bring data point n and its population into the space, evaluated."""
    for d in range(x.shape[1]):
        space.seen[d] = f4(1) if observed[n, d] else f4(0)
    for s in range(words.shape[1]):
        copy(words[n, s], space.words[s])
        set_state(s, net, space)
        evaluate(s, x[n], net, space)


@part
def add_gradients(s, q, x, net, space, weight_grads, bias_grads):
    """Add q * d lpj / d(weights, biases) of state s."""
    slopes(s, x, q * net.weight, net, space)
    off, act, delta = net.off, space.act[s], space.delta
    for layer in range(len(net.fan_out)):
        row = delta[off[layer] : off[layer + 1]]
        for d in range(row.shape[0]):
            bias_grads[layer][d] += row[d]
        if layer == 0:
            n = on_bits(space.words[s], space.idx)
            for j in range(n):
                space.val[j] = 1
        else:
            n = active(act[off[layer - 1] : off[layer]], net.leak, space.idx, space.val)
        add_outer(weight_grads[layer], space.idx, space.val, n, row)


@kernel
def em_chunk(rows, seed, x, observed, words, lpj, plan, net, space, weight_grads, bias_grads, sums, usage):
    """One EM step of the data points `rows`.

    Populations words (N, S, W) and lpj (N, S) are replaced; gradients of the summed bound, sums =
    [elbo, substitutions, q-weighted misfit, observed values] and usage (H,) = sum q z are added to.
    """
    S = words.shape[1]
    for n in rows:
        load(n, words, x, observed, net, space)
        found = evolve(S, bits_at(seed ^ bits_at(uint64(n))), choose_flips, make_child, (plan, x[n], net), space)
        constant = net.constant - normaliser(net.kind, x[n], space.seen, net.each)
        sums[0] += rank_states(found, S, space) + constant
        for d in range(space.seen.shape[0]):
            sums[3] += space.seen[d]
        sums[1] += store(S, constant, words[n], lpj[n], space)
        for j in range(S):
            s, q = space.order[j], space.q[j]
            if q == f4(0):
                continue
            sums[2] += q * space.misfit[s]
            for i in range(on_bits(space.words[s], space.idx)):
                usage[space.idx[i]] += q
            if q >= plan.q_min * space.q[0]:
                add_gradients(s, q, x[n], net, space, weight_grads, bias_grads)


@kernel
def moments_chunk(rows, x, observed, words, net, space, mean, variance):
    """Posterior mean and variance of E[x | z] for the data points `rows`, each (len(rows), D), zero at first."""
    S = words.shape[1]
    for place, n in enumerate(rows):
        load(n, words, x, observed, net, space)
        rank_states(S, S, space)
        m, v = mean[place], variance[place]
        for j in range(S):
            value = space.act[space.order[j], net.off[-2] :]
            expect(net.kind, value)
            for d in range(m.shape[0]):
                m[d] += space.q[j] * value[d]
        for j in range(S):
            value = space.act[space.order[j], net.off[-2] :]
            for d in range(m.shape[0]):
                v[d] += space.q[j] * (value[d] - m[d]) ** 2
