"""Compiled likelihoods of values that are independent given the decoder's output.

log p(x | z) = -weight * misfit(x, mean) - normaliser, which is the same for all z.  x (D,) are the data, mean (D,) is
the decoder's output, and seen (D,) is 1 where a value is observed, 0 elsewhere:

=========  ==========================  =============
kind       misfit of a value           weight
=========  ==========================  =============
GAUSSIAN   (x - mean)^2                1 / 2 sigma2
LAPLACE    abs(x - mean)               1 / scale
BERNOULLI  log(1 + e^mean) - x mean    1
POISSON    e^mean - x mean             1
=========  ==========================  =============
"""

import math

import numpy as np

from evovae.engines.draws import f4
from evovae.engines.jit import part
from evovae.engines.plans import BERNOULLI, GAUSSIAN, LAPLACE, POISSON


@part
def exp(t):
    """e^t in single precision: a polynomial (Cephes), of which compilers make vector instructions."""
    t = min(max(t, f4(-87)), f4(88))
    n = np.floor(t * f4(1.44269504) + f4(0.5))
    r = (t - n * f4(0.693359375)) + n * f4(2.12194440e-4)
    y = (f4(1.9875691500e-4) * r + f4(1.3981999507e-3)) * r + f4(8.3334519073e-3)
    y = ((y * r + f4(4.1665795894e-2)) * r + f4(1.6666665459e-1)) * r + f4(5.0000001201e-1)
    y = y * r * r + r + f4(1)
    return y * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(f4)


@part
def log1p(y):
    """log(1 + y) for y in [0, 1], as 2 artanh(y / (2 + y))."""
    s = y / (f4(2) + y)
    v = s * s
    p = ((f4(2 / 15) * v + f4(2 / 13)) * v + f4(2 / 11)) * v + f4(2 / 9)
    p = ((p * v + f4(2 / 7)) * v + f4(2 / 5)) * v + f4(2 / 3)
    return s * (f4(2) + v * p)


@part
def sigmoid(t):
    """1 / (1 + e^-t)."""
    y = exp(-abs(t))
    return (f4(1) if t >= f4(0) else y) / (f4(1) + y)


@part
def misfit(kind, x, mean, seen):
    """The sum over the observed values."""
    total = f4(0)
    if kind == GAUSSIAN:
        for d in range(x.shape[0]):
            t = (x[d] - mean[d]) * seen[d]
            total += t * t
    elif kind == LAPLACE:
        for d in range(x.shape[0]):
            total += abs(x[d] - mean[d]) * seen[d]
    elif kind == BERNOULLI:
        for d in range(x.shape[0]):
            m = mean[d]
            total += (max(m, f4(0)) + log1p(exp(-abs(m))) - x[d] * m) * seen[d]
    else:
        for d in range(x.shape[0]):
            total += (exp(mean[d]) - x[d] * mean[d]) * seen[d]
    return total


@part
def slope(kind, x, mean, seen, scale, out):
    """out = -scale * d misfit / d mean."""
    if kind == GAUSSIAN:
        for d in range(x.shape[0]):
            out[d] = f4(2) * (x[d] - mean[d]) * seen[d] * scale
    elif kind == LAPLACE:
        for d in range(x.shape[0]):
            t = x[d] - mean[d]
            out[d] = (f4(1) if t > f4(0) else f4(-1) if t < f4(0) else f4(0)) * seen[d] * scale
    elif kind == BERNOULLI:
        for d in range(x.shape[0]):
            out[d] = (x[d] - sigmoid(mean[d])) * seen[d] * scale
    else:
        for d in range(x.shape[0]):
            out[d] = (x[d] - exp(mean[d])) * seen[d] * scale


@part
def expect(kind, mean):
    """Replace the decoder's output by E[x | z]."""
    if kind == BERNOULLI:
        for d in range(mean.shape[0]):
            mean[d] = sigmoid(mean[d])
    elif kind == POISSON:
        for d in range(mean.shape[0]):
            mean[d] = exp(mean[d])


@part
def normaliser(kind, x, seen, each):
    """The normaliser of a data point, in double precision; `each` is that of every value."""
    total = 0.0
    for d in range(x.shape[0]):
        total += seen[d]
    total *= each
    if kind == POISSON:
        for d in range(x.shape[0]):
            if seen[d] > f4(0):
                total += math.lgamma(x[d] + 1.0)
    return total
