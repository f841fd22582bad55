"""Likelihoods p(x | z): what the decoder's output says about the data.

Each is an ``nn.Module`` with the methods

* ``log_prob(x, mean, observed, z)``: log p(x_n | z_ns) over the observed pixels, exact, constants included;
* ``stats(x, mean, observed, q, z)``: a flat tensor that adds over data points (Eq. 5);
* ``update(stats)``: the closed-form M-step from the added statistics, or nothing;
* ``expectation(mean, z)``: E[x | z];
* ``restore(x, mean, observed, z)``: mean and variance of the data without its noise, given x and z;
* ``sample(mean, generator, z)``: a draw of x.

For N data points of D values, with S states of H bits each: x (N, D), mean (N, S, D) as the decoder gives it, z
(N, S, H), observed (N, D) bool (True = seen), and q (N, S), the weights of the states in the truncated posterior, with
rows that sum to one.  Missing pixels take no part in anything.  Most likelihoods depend on z through the decoder alone;
those whose covariance depends on z use it themselves.
"""

from evovae.likelihoods.base import Likelihood
from evovae.likelihoods.full import FullGaussian
from evovae.likelihoods.low_rank import LowRankGaussian
from evovae.likelihoods.pixelwise import Bernoulli, Gaussian, Laplace, Poisson

__all__ = ["Bernoulli", "FullGaussian", "Gaussian", "Laplace", "Likelihood", "LowRankGaussian", "Poisson"]
