"""VQ-VAE (van den Oord, Vinyals & Kavukcuoglu 2017) with one bit per code: the encoder's outputs, rounded.

Each output h has a codebook of two numbers, -1 and 1, which stand for z = 0 and 1 (other numbers would be the same
model, as the decoder's first layer is linear, so that there is no codebook to learn).  The posterior is one state, and
the bound log p(x, z).  Gradients are copied through the rounding, and h is drawn to its code.
"""

from torch import Generator, Tensor

from experiments.discrete.amortised import Batch

COMMITMENT = 0.25  # that of the paper
HARD = 1e6  # the hardness with which `Amortised` rounds


def vqvae(batch: Batch, K: int, generator: Generator) -> Tensor:
    """Biased, without noise: neither K nor the generator play a part."""
    h = batch.logits
    z = (h > 0).to(h.dtype)
    joint = batch.log_likelihood((z + (h - h.detach()) / 2)[:, None])[:, 0] + batch.model.prior.log_prob(z)
    return joint - COMMITMENT * (h - (2 * z - 1)).square().sum(1)
