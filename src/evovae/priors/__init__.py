"""Priors p(z) over binary states.

A prior has the methods of a likelihood (`evovae.likelihoods`), on states z (N, S, H): S states of H bits for each of N
data points.  z is bool, or real where a gradient with respect to it is wanted; q (N, S) are the weights of the states
in the truncated posterior (Eq. 3), with rows that sum to one.
"""

from evovae.priors.base import Prior
from evovae.priors.bernoulli import Bernoulli
from evovae.priors.boltzmann import Boltzmann
from evovae.priors.one_hot import OneHot

__all__ = ["Bernoulli", "Boltzmann", "OneHot", "Prior"]
