"""Compiled draws: random numbers, and the largest of noisy keys.

Random numbers are a function of a counter (splitmix64, Steele et al. 2014) that starts anew for
each data point, so that results do not depend on who computes what, and when.
"""

import numpy as np
from numba import uint64

from evovae.engines.jit import part

f4 = np.float32
LOWEST = np.float32(-3e38)
GUMBEL = (-np.log(-np.log((np.arange(4096) + 0.5) / 4096))).astype(f4)  # quantiles: a lookup is a draw


@part
def bits_at(counter):
    """64 random bits, a function of the counter alone."""
    v = counter * uint64(0x9E3779B97F4A7C15)
    v = (v ^ (v >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    v = (v ^ (v >> uint64(27))) * uint64(0x94D049BB133111EB)
    return v ^ (v >> uint64(31))


@part
def uniform_at(counter):
    """A uniform draw from [0, 1)."""
    return f4(bits_at(counter) >> uint64(40)) * f4(2.0**-24)


@part
def add_gumbel(a, n, beta, counter, out):
    """out = beta * a[:n] + standard Gumbel noise; every 64 random bits give four draws."""
    for i in range(0, n, 4):
        bits = bits_at(counter + uint64(i))
        for j in range(i, min(i + 4, n)):
            out[j] = beta * a[j] + GUMBEL[bits & uint64(4095)]
            bits >>= uint64(16)


@part
def largest(keys, n):
    """max(keys[:n]), as four maxima side by side: one alone would wait for itself at every step."""
    a = b = c = d = LOWEST
    whole = n // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = max(a, keys[i]), max(b, keys[i + 1]), max(c, keys[i + 2]), max(d, keys[i + 3])
    for i in range(whole, n):
        a = max(a, keys[i])
    return max(max(a, b), max(c, d))


@part
def top(keys, n, k, order):
    """Put the indices of the k largest of keys[:n] into order[:k], best first; these keys are lost."""
    for j in range(k):
        best = largest(keys, n)
        at = 0
        while at < n - 1 and keys[at] != best:
            at += 1
        order[j] = at
        keys[at] = LOWEST


@part
def top_of_sorted(keys, n, k, order):
    """As `top`, by insertion: fast where the first k keys are nearly in order and few others are larger."""
    for i in range(n):
        held = min(i, k)
        key = keys[i]
        if held == k and key <= keys[order[k - 1]]:
            continue
        j = min(held, k - 1)
        while j > 0 and keys[order[j - 1]] < key:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i
