"""What models have in common whose decoder is silent, and whose parameters are learnt in closed form."""

import copy
from typing import cast

from torch import Tensor

from evovae.em import Training
from evovae.evolve import Search
from evovae.likelihoods import FullGaussian, LowRankGaussian
from evovae.model import TVAE
from evovae.restore.patches import Patches


def moved(model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
    """A model whose decoder is silent, for other noise and coordinates."""
    likelihood = cast(LowRankGaussian | FullGaussian, model.likelihood).moved(sigma2, to)
    return TVAE(copy.deepcopy(model.decoder), likelihood, copy.deepcopy(model.prior))


def training(search: Search, batches: int, patches: Patches, epochs: int) -> Training:
    """`batches` closed-form M-steps per epoch, from sums that cover about two batches."""
    size, forgetting = -(-len(patches.x) // batches), max(1 - 2 / batches, 0)
    return Training(search, epochs, size, forgetting=forgetting, hold=0)
