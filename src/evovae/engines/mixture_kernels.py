"""Compiled loops of the engine for mixtures: log joints, deviations with missing values filled in, and moments.

The precision of component k is (I - V' diag(w) V) / sigma2 with axes V and w = 1 - sigma2 / lengths, which is above 0
on the axes of its signal alone, so that others need not be looked at.  Missing values are integrated out by a Cholesky
factor of their block of the precision, which is as large as they are many.  Deviations are in units of the noise.
"""

import math
from collections import namedtuple
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import uint64

from evovae.engines.jit import allocated, kernel, part

f4, f8 = np.float32, np.float64


class Mixture(NamedTuple):
    """Components by the axes of their signal, E values wide (D and zeros).

    Axes of component k are rows start[k]..start[k + 1] of axes and of weight (w).  scale is 1 over the noise deviation;
    bias is log pi and all of the log density that is constant, seen what of that goes with each value; centre,
    precision and area are those of coordinates.
    """

    mean: np.ndarray
    axes: np.ndarray
    weight: np.ndarray
    start: np.ndarray
    bias: np.ndarray
    centre: np.ndarray
    precision: np.ndarray
    area: np.ndarray
    values: int
    scale: np.float32
    seen: float


class Readout(NamedTuple):
    """What is to be told: of means (K, O), of axes in data units (ranks, O), and variances (K, O) where all is seen."""

    mean: np.ndarray
    axes: np.ndarray
    variance: np.ndarray


# What one thread needs: a deviation t, its projections p, what is missing of it, and what is told.
SHAPES: dict[type, dict[str, str]] = {
    np.float32: {"t": "E", "p": "rank", "lpj": "S", "value": "told", "pivot": "told"},
    np.int64: {"unseen": "D"},
    np.float64: {"factor": "D D", "solved": "two D"},
}
Workspace: Callable = namedtuple("Workspace", sum(map(list, SHAPES.values()), []))  # type: ignore[misc]


def make_workspace(model, states, told):
    """For one thread, populations of so many states, and so many values to tell."""
    sizes = {"E": model.mean.shape[1], "D": model.values, "two": 2, "S": states, "told": told}
    space = Workspace(*allocated(SHAPES, sizes | {"rank": int(np.diff(model.start).max(initial=1))}))
    space.t[:] = 0  # beyond the values, too
    return space


@part
def set_deviation(k, x, observed, model, space):
    """Put x less the mean of k into space.t, zero where it is missing, and what is missing into space.unseen.

    Returns how many values that are.
    """
    n = 0
    for d in range(model.values):
        if observed[d]:
            space.t[d] = (x[d] - model.mean[k, d]) * model.scale
        else:
            space.t[d] = 0
            space.unseen[n] = d
            n += 1
    return n


@part
def project(k, model, space):
    """Put projections of space.t on the axes of k into space.p; returns its squared length less what they explain."""
    t, E = space.t, space.t.shape[0]
    left = f4(0)
    for d in range(E):
        left += t[d] * t[d]
    first = model.start[k]
    for i in range(model.start[k + 1] - first):
        row, s = model.axes[first + i], f4(0)
        for d in range(E):
            s += row[d] * t[d]
        space.p[i] = s
        left -= model.weight[first + i] * s * s
    return left


@part
def factorise(k, n, model, space):
    """Put a Cholesky factor of the n missing values' precision into space.factor; returns half the log determinant."""
    first, L, half = model.start[k], space.factor, 0.0
    rank = model.start[k + 1] - first
    for a in range(n):
        for b in range(a + 1):
            s = 1.0 if a == b else 0.0
            for i in range(rank):
                row = model.axes[first + i]
                s -= f8(model.weight[first + i]) * f8(row[space.unseen[a]]) * f8(row[space.unseen[b]])
            for c in range(b):
                s -= L[a, c] * L[b, c]
            if a == b:
                L[a, a] = math.sqrt(max(s, 1e-12))
                half += math.log(L[a, a])
            else:
                L[a, b] = s / L[b, b]
    return half


@part
def solve_missing(k, n, model, space):
    """What the precision makes of space.t at the n missing values, through the factor; returns its squared length."""
    first, L, y, square = model.start[k], space.factor, space.solved[0], 0.0
    for a in range(n):
        s = 0.0
        for i in range(model.start[k + 1] - first):
            s -= f8(model.weight[first + i]) * f8(model.axes[first + i, space.unseen[a]]) * f8(space.p[i])
        for c in range(a):
            s -= L[a, c] * y[c]
        y[a] = s / L[a, a]
        square += y[a] * y[a]
    return square


@part
def solve_transposed(n, right, L, out):
    """Solve L' out = right."""
    for a in range(n - 1, -1, -1):
        s = right[a]
        for c in range(a + 1, n):
            s -= L[c, a] * out[c]
        out[a] = s / L[a, a]


@part
def place_distance(k, place, model):
    """Twice the minus log density of coordinates, but for what is constant."""
    total, P = model.area[k], place.shape[0]
    for a in range(P):
        for b in range(P):
            one, other = place[a] - model.centre[k, a], place[b] - model.centre[k, b]
            total += model.precision[k, a, b] * one * other
    return total


@part
def log_joint(k, x, observed, place, placed, model, space):
    """log p(x, k), but for what all components have alike."""
    n = set_deviation(k, x, observed, model, space)
    value = f8(project(k, model, space))
    if n:
        value += 2 * factorise(k, n, model, space)
        value -= solve_missing(k, n, model, space) + n * model.seen
    if placed:
        value += place_distance(k, place, model)
    return f4(model.bias[k] - 0.5 * value)


@part
def fill(k, n, model, space):
    """After `project`: missing values of space.t become those to expect, and space.p goes with them."""
    if n == 0:
        return
    factorise(k, n, model, space)
    solve_missing(k, n, model, space)
    solve_transposed(n, space.solved[0], space.factor, space.solved[1])
    for a in range(n):
        space.t[space.unseen[a]] = f4(-space.solved[1][a])
    project(k, model, space)


@part
def insert(value, k, a, lpj, kept):
    """Put component k where its lpj belongs among a better ones, which are in order; the one that stood there goes."""
    while a > 0 and lpj[a - 1] < value:
        lpj[a], kept[a] = lpj[a - 1], kept[a - 1]
        a -= 1
    lpj[a], kept[a] = value, k


@kernel
def find_bits(words, out):
    """The number of the bit that is on, of each packed state (n, W); -1 where it is not exactly one."""
    for n in range(words.shape[0]):
        out[n] = -1
        for w in range(words.shape[1]):
            word = words[n, w]
            if word == uint64(0):
                continue
            if out[n] != -1 or word & (word - uint64(1)):
                out[n] = -1
                break
            bit = 64 * w
            for step in (32, 16, 8, 4, 2, 1):
                if word >> uint64(step):
                    word >>= uint64(step)
                    bit += step
            out[n] = bit


@kernel
def search_chunk(rows, x, observed, places, placed, proposed, kept, lpj, model, space, sums):
    """Keep the S likeliest different components of kept and proposed, (len(rows), S) and (len(rows), C), best first.

    sums = [elbo, new ones].
    """
    S = kept.shape[1]
    for j, n in enumerate(rows):
        for i in range(S):
            k = kept[j, i]
            insert(log_joint(k, x[n], observed[n], places[n], placed, model, space), k, i, lpj[j], kept[j])
        for c in range(proposed.shape[1]):
            k = proposed[j, c]
            known = False
            for i in range(S):
                known |= kept[j, i] == k
            for i in range(c):
                known |= proposed[j, i] == k
            if known:
                continue
            value = log_joint(k, x[n], observed[n], places[n], placed, model, space)
            if value > lpj[j, S - 1]:
                sums[1] += 1
                insert(value, k, S - 1, lpj[j], kept[j])
        mass = 0.0
        for i in range(S):
            mass += math.exp(lpj[j, i] - lpj[j, 0])
        sums[0] += lpj[j, 0] + math.log(mass)


@kernel
def deviations_chunk(rows, of, weight, x, observed, places, placed, model, space, deviations, unsure):
    """Deviations of `rows` from the means of the components `of`, E values in units of the noise and coordinates, and a
    one, all times the root of weight: (len(rows), E + 1).

    Where values are missing, they are those to expect; their covariance, times weight, is added to the component's part
    of unsure (K, E, E), below the diagonal.
    """
    D, P = model.values, places.shape[1]
    for j, n in enumerate(rows):
        k = of[j]
        missing = set_deviation(k, x[n], observed[n], model, space)
        if missing:
            project(k, model, space)
            fill(k, missing, model, space)
            add_unsure(missing, f8(weight[j]), space, unsure[k])
        root = math.sqrt(f8(weight[j]))
        for d in range(D):
            deviations[j, d] = root * space.t[d]
        for a in range(P):
            deviations[j, D + a] = root * placed * (places[n, a] - model.centre[k, a])
        deviations[j, D + P] = root


@part
def add_unsure(n, q, space, unsure):
    """Add q times the covariance of the n missing values, the inverse of their precision, below the diagonal."""
    L, y, column = space.factor, space.solved[0], space.solved[1]
    for a in range(n):
        for c in range(n):
            s = 1.0 if c == a else 0.0
            for i in range(c):
                s -= L[c, i] * y[i]
            y[c] = s / L[c, c]
        solve_transposed(n, y, L, column)
        for c in range(a, n):
            unsure[space.unseen[c], space.unseen[a]] += q * column[c]


@kernel
def moments_chunk(rows, x, observed, places, placed, kept, q_min, model, readout, space, mean, variance):
    """Posterior mean and variance of what is read out of the clean data of `rows`, (len(rows), O) each."""
    lpj, value, pivot = space.lpj, space.value, space.pivot
    for j, n in enumerate(rows):
        best, first = f4(-3e38), True
        for s in range(kept.shape[1]):
            lpj[s] = log_joint(kept[j, s], x[n], observed[n], places[n], placed, model, space)
            best = max(best, lpj[s])
        mass = f4(0)
        for s in range(kept.shape[1]):
            lpj[s] = math.exp(lpj[s] - best)
            if lpj[s] < q_min:
                lpj[s] = 0
            mass += lpj[s]
        m, v = mean[j], variance[j]
        for d in range(m.shape[0]):
            m[d] = v[d] = 0
        for s in range(kept.shape[1]):
            q = lpj[s] / mass
            if q == f4(0):
                continue
            unseen = predict(kept[j, s], x[n], observed[n], model, readout, space)
            if first:  # differences from the first state's keep their digits
                for d in range(value.shape[0]):
                    pivot[d] = value[d]
                first = False
            for d in range(m.shape[0]):
                unsure = readout.variance[kept[j, s], d]
                if unseen:
                    unsure += missing_variance(kept[j, s], unseen, d, model, readout, space)
                m[d] += q * (value[d] - pivot[d])
                v[d] += q * (unsure + (value[d] - pivot[d]) ** 2)
        for d in range(m.shape[0]):
            v[d] = max(v[d] - m[d] * m[d], f4(0))
            m[d] += pivot[d]


@part
def predict(k, x, observed, model, readout, space):
    """Put what k says that the data are into space.value; returns how many values are missing."""
    first = model.start[k]
    n = set_deviation(k, x, observed, model, space)
    project(k, model, space)
    fill(k, n, model, space)
    for d in range(space.value.shape[0]):
        space.value[d] = readout.mean[k, d]
    for i in range(model.start[k + 1] - first):
        share, row = model.weight[first + i] * space.p[i], readout.axes[first + i]
        for d in range(space.value.shape[0]):
            space.value[d] += share * row[d]
    return n


@part
def missing_variance(k, n, d, model, readout, space):
    """What the missing values, not being sure, add to the variance of value d."""
    total, first, L, y = 0.0, model.start[k], space.factor, space.solved[0]
    for a in range(n):
        s = 0.0
        for i in range(model.start[k + 1] - first):
            told = f8(model.weight[first + i]) * f8(readout.axes[first + i, d])
            s += told * f8(model.axes[first + i, space.unseen[a]])
        for c in range(a):
            s -= L[a, c] * y[c]
        y[a] = s / L[a, a]
        total += y[a] * y[a]
    return f4(total)
