"""DisARM (Dong, Mnih & Tucker 2020), found at the same time as U2G (Yin, Ho, Yan, Qian & Zhou 2020).

Pairs of states from the same uniform numbers, z_h = [u_h < p_h] and z'_h = [1 - u_h < p_h]: the difference of their
values tells the slope along each bit in which they differ.
"""

import torch
from torch import Generator, Tensor

from experiments.discrete.amortised import Batch, with_gradient


def disarm(batch: Batch, K: int, generator: Generator) -> Tensor:
    """Unbiased for every decoder, with less variance than the score function; K samples are K / 2 pairs."""
    logits = batch.repeated(K // 2)
    u, p = torch.rand(logits.shape, generator=generator), logits.sigmoid()
    one, other = (u < p).to(p.dtype), (1 - u < p).to(p.dtype)
    values, theirs = batch.log_likelihood(torch.cat([one, other], 1)).chunk(2, 1)
    # p depends on |logit| alone where the two differ: sigmoid(|logit|) (-1)^(z'_h) (f(z) - f(z')) / 2.
    slope = 0.5 * (values - theirs)[..., None] * (one - other) * logits.abs().sigmoid()
    score = (slope.detach() * logits).sum(-1).mean(1)
    return with_gradient((values + theirs).mean(1) / 2, score) + batch.minus_kl()
