"""ReinMax (Liu, Dong, Liu, Yu & Gao 2023): a straight-through gradient that is right to second order (Heun's rule).

With the drawn bit z and its probability p, the derivative is taken at their mean: that of 2 p1 - p / 2, where p1 is
(z + p) / 2 as a function of the logit.
"""

from torch import Generator, Tensor, logit

from experiments.discrete.amortised import Batch


def reinmax(batch: Batch, K: int, generator: Generator) -> Tensor:
    """The gradient is unbiased where log p(x | z) is quadratic in z: for a linear decoder with Gaussian noise."""
    logits, z = batch.repeated(K), batch.draw(K, generator)
    p = logits.sigmoid()
    middle = (logit((z + p.detach()) / 2, eps=1e-7) + (logits - logits.detach())).sigmoid()
    slope = 2 * middle - p / 2
    return batch.log_likelihood(z + (slope - slope.detach())).mean(1) + batch.minus_kl()
