"""Direct optimisation through argmax (Lorberbom, Gane, Jaakkola & Hazan 2019).

A draw of z is an argmax of logits plus noise.  Adding epsilon times the decoder's log-likelihood before taking it gives
another state; the difference of the two over epsilon is the gradient with respect to the logits, as epsilon goes to
zero.  As in the paper, each bit is asked with the others as they were drawn: H + 1 evaluations of the decoder a sample.
"""

import torch
from torch import Generator, Tensor

from experiments.discrete.amortised import Batch, with_gradient

EPSILON = 1.0  # of the paper's experiments with several latents


def argmax(batch: Batch, K: int, generator: Generator, epsilon: float = EPSILON) -> Tensor:
    """Biased by epsilon; its variance grows as that falls."""
    logits = batch.repeated(K)
    noise = torch.logit(torch.rand(logits.shape, generator=generator, dtype=logits.dtype), eps=1e-6)
    z = (logits + noise > 0).to(logits.dtype)
    values = batch.log_likelihood(z)
    with torch.no_grad():
        H = z.shape[2]
        flipped = (z[:, :, None] - torch.eye(H)).abs().flatten(1, 2)
        gains = (batch.log_likelihood(flipped).unflatten(1, (K, H)) - values[..., None]) * (1 - 2 * z)
        slope = ((logits + noise + epsilon * gains > 0).to(z.dtype) - z) / epsilon
    return with_gradient(values.mean(1), (slope * logits).sum(-1).mean(1)) + batch.minus_kl()
