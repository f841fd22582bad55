"""Gumbel-softmax for bits, with a temperature that falls (Maddison, Mnih & Teh 2017; Jang, Gu & Poole 2017).

Samples lie between 0 and 1: sigmoid((logits + logistic noise) / temperature).
"""

import torch
from torch import Generator, Tensor

from experiments.discrete.amortised import Batch

WARM, COLD = 1.0, 0.2  # temperatures at the start and at the end; Jang et al. end at 0.5, which was worse on bars


def concrete(batch: Batch, K: int, generator: Generator) -> Tensor:
    """Biased in value and gradient: the decoder is evaluated between the states."""
    return relaxed(batch, K, generator, WARM * (COLD / WARM) ** batch.done)


def relaxed(batch: Batch, K: int, generator: Generator, temperature: float) -> Tensor:
    """The same at one temperature; unbiased as it goes to zero, where its variance grows."""
    logits = batch.repeated(K)
    u = torch.rand(logits.shape, generator=generator, dtype=logits.dtype)
    z = ((logits + torch.logit(u, eps=1e-6)) / temperature).sigmoid()
    return batch.log_likelihood(z).mean(1) + batch.minus_kl()
