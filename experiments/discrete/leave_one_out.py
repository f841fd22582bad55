"""REINFORCE with the mean of the other samples as baseline (RLOO; Kool, van Hoof & Welling 2019).

The gradient of E_q[f] is E_q[f grad log q]; any baseline that does not depend on the sample leaves it unbiased.
"""

from torch import Generator, Tensor

from experiments.discrete.amortised import Batch, with_gradient


def leave_one_out(batch: Batch, K: int, generator: Generator) -> Tensor:
    """Unbiased for every decoder; needs K > 1."""
    z = batch.draw(K, generator)
    values = batch.log_likelihood(z)
    others = (values.sum(1, keepdim=True) - values) / (K - 1)
    score = ((values - others).detach() * batch.log_q(z)).mean(1)
    return with_gradient(values.mean(1), score) + batch.minus_kl()
