"""VIMCO (Mnih & Rezende 2016): the importance-weighted bound of K samples, with a baseline for each from the others.

The bound is  L = E[log (1 / K) sum_k w_k]  with w_k = p(x, z_k) / q(z_k)  (Burda, Grosse & Salakhutdinov 2016).
"""

import math

import torch
from torch import Generator, Tensor

from experiments.discrete.amortised import Batch, with_gradient


def vimco(batch: Batch, K: int, generator: Generator) -> Tensor:
    """Unbiased for the gradient of L, which lies above the bound of the other estimators; needs K > 1."""
    z = batch.draw(K, generator)
    log_q = batch.log_q(z)
    log_w = batch.log_likelihood(z) + batch.model.prior.log_prob(z) - log_q
    bound = log_w.logsumexp(1) - math.log(K)
    # The baseline of a sample: the bound with its own weight replaced by the geometric mean of the others'.
    mean = (log_w.sum(1, keepdim=True) - log_w) / (K - 1)
    replaced = torch.where(torch.eye(K, dtype=torch.bool), mean[:, :, None], log_w[:, None, :])
    baseline = replaced.logsumexp(2) - math.log(K)
    score = ((bound[:, None] - baseline).detach() * log_q).sum(1)
    return with_gradient(bound, score)
