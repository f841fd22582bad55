"""The discrete VAE (Rolfe 2017) in its simplest form: bits that are smoothed by spike-and-exponential noise.

The decoder sees zeta in place of z:  zeta = 0 where z = 0, and density b exp(b zeta) / (exp(b) - 1) on [0, 1] where
z = 1.  A draw of zeta is a function of a uniform number and the probability of the bit that can be differentiated.
There is no restricted Boltzmann machine for a prior, and no hierarchy in the posterior.
"""

import torch
from torch import Generator, Tensor

from experiments.discrete.amortised import Batch

SHARPNESS = 8.0  # b; Rolfe has 3 at first, and more later


def dvae(batch: Batch, K: int, generator: Generator, sharpness: float = SHARPNESS) -> Tensor:
    """Unbiased for the bound of the smoothed model, in which zeta replaces z; that of z follows as b grows."""
    p = batch.repeated(K).sigmoid()
    u = torch.rand(p.shape, generator=generator, dtype=p.dtype)
    inside = ((u + p - 1).clamp(min=0) / p.clamp(min=1e-6)).clamp(max=1)
    zeta = torch.log1p(inside * torch.expm1(torch.tensor(sharpness, dtype=p.dtype))) / sharpness
    return batch.log_likelihood(zeta).mean(1) + batch.minus_kl()
