"""Straight-through (Bengio, Leonard & Courville 2013): the derivative of a drawn bit is taken for that of its p."""

from torch import Generator, Tensor

from experiments.discrete.amortised import Batch


def straight_through(batch: Batch, K: int, generator: Generator) -> Tensor:
    """The gradient is unbiased only where log p(x | z) is linear in z."""
    p = batch.repeated(K).sigmoid()
    return batch.log_likelihood(batch.draw(K, generator) + (p - p.detach())).mean(1) + batch.minus_kl()
