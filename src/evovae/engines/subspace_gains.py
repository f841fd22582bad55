"""Compiled parts for `LowRankGaussian`: the gains of flips, and the children that they lead to.

What a latent gains beside a state is a Cholesky factor of its own directions, less what the state explains of them.
It is estimated for all latents from factors that are the same for all states, and worked out exactly for a short list
of the most promising ones, LANES side by side: (.., LANES) in `Lanes`.
"""

import math

from evovae.engines.draws import add_gumbel, f4, top, top_of_sorted
from evovae.engines.jit import kernel, part, section
from evovae.engines.kernels import copy, draw_flips, flip, has, place_child
from evovae.engines.plans import MOST_DIMS
from evovae.engines.simd import LANES, add_rows, subtract_products
from evovae.engines.subspace_kernels import NEVER, fill_rows, make_ready, on_places, set_state, solve


@part
def factor(rank, lanes):
    """Cholesky factors of I + left in its place, with inverses on the diagonal; half of log det is taken off gain."""
    left, det, gain = lanes.left, lanes.det, lanes.gain
    for lane in range(LANES):
        det[lane] = 1
    for a in range(rank):
        row = a * (a + 1) // 2
        for b in range(a + 1):
            mine, above = left[row + b], b * (b + 1) // 2
            subtract_products(mine, left, row * LANES, above * LANES, LANES, b)
            if b < a:
                inverse = left[above + b]
                for lane in range(LANES):
                    mine[lane] *= inverse[lane]
            else:
                for lane in range(LANES):
                    pivot = max(f4(1) + mine[lane], f4(1))
                    det[lane] *= pivot
                    mine[lane] = f4(1) / math.sqrt(pivot)
        if a % 4 == 3 or a == rank - 1:  # a product of a few pivots at a time overflows nothing
            for lane in range(LANES):
                gain[lane] -= f4(0.5) * math.log(det[lane])
                det[lane] = 1


@kernel
def complete(products, model, lanes):
    """Factors and base of inner products, from their blocks."""
    H, pairs = products.blocks.shape[1], products.blocks.shape[0]
    for first in range(0, H, LANES):
        n = min(LANES, H - first)
        for block in range(pairs):
            for lane in range(LANES):
                lanes.left[block, lane] = products.blocks[block, first + lane] if lane < n else f4(0)
        copy(model.odds[first : first + n], lanes.gain)
        factor(model.rank, lanes)
        for block in range(pairs):
            copy(lanes.left[block, :n], products.factors[block, first : first + n])
        copy(lanes.gain[:n], products.base[first : first + n])


@section
def compare(n_seen, model, space):
    """This data point's own inner products within latents, where some pixels are missing, and their factors."""
    for a in range(model.rank + model.offsets):
        for b in range(a + 1):
            n = min(model.count[a], model.count[b])
            out, first, second = space.products.blocks[a * (a + 1) // 2 + b, :n], model.start[a], model.start[b]
            for h in range(n):
                out[h] = 0
            for i in range(n_seen):
                row = model.columns[space.where[i]]
                for h in range(n):
                    out[h] += row[first + h] * row[second + h]
    complete(space.products, model, space.lanes)


@part
def explain(left, c, start, count, rank, offsets, parts, gain):
    """Add to gain how much of projections c the subspaces explain whose factors `left` has, less their offsets.

    c has those on the a-th directions from start[a] on; parts (rank, n) is scratch space.
    """
    own = rank * (rank + 1) // 2
    if offsets:
        on, square = c[start[rank] : start[rank] + gain.shape[0]], left[own + rank]
        for h in range(gain.shape[0]):
            gain[h] += on[h] - f4(0.5) * square[h]
    for a in range(rank):
        n = count[a]
        mine, inverse = parts[a, :n], left[a * (a + 1) // 2 + a, :n]
        copy(c[start[a] : start[a] + n], mine)
        if offsets:
            offset = left[own + a, :n]
            for h in range(n):
                mine[h] -= offset[h]
        for b in range(a):
            lb, other = left[a * (a + 1) // 2 + b, :n], parts[b, :n]
            for h in range(n):
                mine[h] -= lb[h] * other[h]
        for h in range(n):
            mine[h] *= inverse[h]
            gain[h] += f4(0.5) * mine[h] * mine[h]


@section
def estimate_gains(s, products, model, space):
    """About how much lpj would grow with each latent, in the order of places, beside state s.

    That is exact but for what the latent shares with the state, which is taken as if it were spread evenly over the
    latent's directions and the latents of the state had it each for itself.
    """
    H, k, gain, free = space.gain.shape[0], space.size[s] + space.ones[s], space.gain, space.free
    copy(space.onto, space.c)
    for i in range(k):
        space.val[i] = -space.u[s, i]
    add_rows(space.c, products.gram, space.dims[s], space.val, k)
    for h in range(H):
        gain[h], free[h] = 0, 1
    explain(products.factors, space.c, model.start, model.count, model.rank, model.offsets, space.parts, gain)
    n = on_places(space.words[s], model, space.order)
    space.order[n] = H
    for i in range(n + 1):
        own = model.free[space.order[i]]
        for h in range(H):
            free[h] *= own[h]
    for h in range(H):
        gain[h] = products.base[h] + gain[h] / free[h]
    for i in range(n + 1):
        shared = model.shared[space.order[i]]
        for h in range(H):
            gain[h] += shared[h]


@section
def removal_gains(s, products, model, space):
    """The gains of the flips that take bits off state s, and of those that it has no space for; uses the last slot."""
    gain, free_dims, h = space.gain, MOST_DIMS - space.size[s] - space.ones[s] - model.offsets, 0
    less = space.lpj.shape[0] - 1
    while h < gain.shape[0] and model.ranks[h] > free_dims:
        gain[h] = NEVER
        h += 1
    n = on_places(space.words[s], model, space.order)
    for i in range(n):
        flip(s, model.bits[space.order[i]], less, space)
        set_state(less, model, space)
        solve(less, products.gram, space)
        gain[space.order[i]] = space.lpj[less] - space.lpj[s]


@section
def gather_lanes(s, first, n, products, model, space):
    """Up to LANES latents of the short list side by side: what they have in common with state s, and by themselves."""
    J, k, lanes = model.rank + model.offsets, space.size[s], space.lanes
    for lane in range(LANES):
        h = space.short[first + lane] if first + lane < n else space.short[first]
        lanes.gain[lane] = model.odds[h]
        for j in range(J):
            there = j >= model.rank or j < model.ranks[h]
            lanes.dims[j * LANES + lane] = model.start[j] + h if there else 0
            lanes.there[j * LANES + lane] = f4(1) if there else f4(0)
        for block in range(products.blocks.shape[0]):
            lanes.left[block, lane] = products.blocks[block, h]
    for m in range(J * LANES):
        lanes.c[m] = space.c[lanes.dims[m]] * lanes.there[m]
    for i in range(k):
        row, v = products.gram[space.dims[s, i]], lanes.v[i]
        for m in range(J * LANES):
            v[m] = row[lanes.dims[m]] * lanes.there[m]


@section
def subtract_explained(s, J, space):
    """Leave of the latents in the lanes what state s does not explain: left -= v' v, v divided by its factor."""
    of_state, v, left = space.factor[s], space.lanes.v, space.lanes.left
    for i in range(space.size[s]):
        space.order[i] = i
        for j in range(i):
            space.val[j] = -of_state[i, j]
        add_rows(v[i], v, space.order, space.val, i)
        for m in range(J * LANES):
            v[i, m] *= of_state[i, i]
    for a in range(J):
        for b in range(a + 1):
            subtract_products(left[a * (a + 1) // 2 + b], v, a * LANES, b * LANES, J * LANES, space.size[s])


@section
def exact_gains(s, n, beta, products, model, space):
    """The exact gains of the n latents on the short list that state s does not have, and their keys."""
    lanes, gain, keys = space.lanes, space.gain, space.keys
    for first in range(0, n, LANES):
        gather_lanes(s, first, n, products, model, space)
        subtract_explained(s, model.rank + model.offsets, space)
        factor(model.rank, lanes)
        explain(lanes.left, lanes.c, lanes.start, lanes.count, model.rank, model.offsets, lanes.parts, lanes.gain)
        for lane in range(min(LANES, n - first)):
            h = space.short[first + lane]
            if not has(space.words[s], model.bits[h]) and gain[h] > NEVER:
                keys[h] += beta * (lanes.gain[lane] - gain[h])
                gain[h] = lanes.gain[lane]


@part
def ignores_gains(s, plan, space):
    """Whether the flips of state s are drawn without a look at gains."""
    return plan.uniform or space.size[s] < 0


@section
def choose_flips(s, counter, about, space):
    """One bit for each of C children of state s, into space.flips: Gumbel-top-C on the gains, or independent draws.

    Gains are exact for a short list of at least twice as many latents, those with the largest keys by what
    `estimate_gains` says.  space.gains is what children gain, but for flips that are drawn without a look at it.
    """
    plan, products, n_seen, model = about
    if ignores_gains(s, plan, space):
        draw_flips(plan, counter, space)
        return
    H, keys, short = space.gain.shape[0], space.keys, space.short
    make_ready(s, products, model, space)
    fill_rows(s, n_seen, model, space)
    estimate_gains(s, products, model, space)
    removal_gains(s, products, model, space)
    add_gumbel(space.gain, H, plan.beta_mutate, counter, keys)
    n = short.shape[0]
    top_of_sorted(keys, H, n, short)
    exact_gains(s, n, plan.beta_mutate, products, model, space)
    for i in range(n):
        space.val[i] = keys[short[i]]
    top(space.val, n, plan.C, space.flips)
    for c in range(plan.C):
        h = short[space.flips[c]]
        space.flips[c], space.gains[c] = model.bits[h], space.gain[h]


@section
def make_child(parent, c, n, about, space):
    """The c-th child of `parent` as state n; its place, or that of an earlier duplicate.

    Where its gain is known it need not be solved, as most children are not kept.
    """
    plan, products, _, model = about
    s = place_child(parent, space.flips[c], n, space)
    if s >= 0:
        return s
    set_state(n, model, space)
    space.ready[n] = False
    if ignores_gains(parent, plan, space):
        make_ready(n, products, model, space)
    else:
        space.lpj[n] = space.lpj[parent] + space.gains[c] if space.size[n] >= 0 else NEVER
    return n
