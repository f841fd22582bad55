"""The field's ways to train the same decoder with an encoder network: one short file each, in plain torch.

| method | file | samples | gradient |
|---|---|---|---|
| leave-one-out REINFORCE | leave_one_out | 8 | unbiased |
| DisARM | disarm | 8 (4 pairs) | unbiased |
| VIMCO | vimco | 8 | unbiased, of the importance-weighted bound |
| ReinMax | reinmax | 1 | unbiased for linear decoders with Gaussian noise |
| straight-through | straight_through | 1 | biased |
| Gumbel-softmax, annealed | concrete | 1 | of a relaxed model |
| discrete VAE | dvae | 1 | of a smoothed model |
| argmax | argmax | 1 | biased; H + 1 evaluations |
| VQ-VAE | vqvae | 1 | biased; hard codes |

`amortised` has what they share: the encoder, the bound, and the training loop.
"""

from typing import NamedTuple

from experiments.discrete.amortised import Estimator
from experiments.discrete.argmax import argmax
from experiments.discrete.concrete import concrete
from experiments.discrete.disarm import disarm
from experiments.discrete.dvae import dvae
from experiments.discrete.leave_one_out import leave_one_out
from experiments.discrete.reinmax import reinmax
from experiments.discrete.straight_through import straight_through
from experiments.discrete.vimco import vimco
from experiments.discrete.vqvae import HARD, vqvae


class Method(NamedTuple):
    """An estimator, how many samples it draws, and the hardness of the posterior."""

    estimate: Estimator
    samples: int
    hardness: float = 1.0


METHODS = {
    "leave-one-out": Method(leave_one_out, 8),
    "DisARM": Method(disarm, 8),
    "VIMCO": Method(vimco, 8),
    "ReinMax": Method(reinmax, 1),
    "straight-through": Method(straight_through, 1),
    "concrete": Method(concrete, 1),
    "DVAE": Method(dvae, 1),
    "argmax": Method(argmax, 1),
    "VQ-VAE": Method(vqvae, 1, HARD),
}
