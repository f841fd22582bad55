"""Engines do the work of one batch of EM; they are interchangeable, and all are tested against the reference.

For N data points of D values with populations of S states of H bits: lpj (N, S) are the log joints log p(x_n, z_ns), in
nats, that an E-step improves.

Compiled engines are there for an `MLP` with a likelihood of independent values and a Bernoulli prior, for
`LowRankGaussian`, and for mixtures of `FullGaussian` (on the CPU in single precision, with numba), and for CUDA devices
(with triton).  Their searches select by `gumbel_top`, `uniformly` or `by_fitness`, mutate by `informed_flip` or
`uniform_flip`, at any temperature, and do not cross.
"""

import logging

from evovae.engines.base import Engine, Support, Totals
from evovae.engines.cuda import Cuda
from evovae.engines.numba_mixture import NumbaMixture
from evovae.engines.numba_network import NumbaNetwork
from evovae.engines.numba_subspaces import NumbaSubspaces
from evovae.engines.reference import Reference
from evovae.evolve import Search
from evovae.model import TVAE

__all__ = ["ENGINES", "Engine", "Reference", "Support", "Totals", "choose"]
logger = logging.getLogger(__name__)

ENGINES: tuple[type[Engine], ...] = (Cuda, NumbaNetwork, NumbaSubspaces, NumbaMixture, Reference)
"""All of them, the fastest first; the last one runs anything."""


def choose(model: TVAE, search: Search) -> Engine:
    """The first of `ENGINES` that supports a model and a search, on the device where the model lies.

    Which one that is, and what the others before it lack, is logged (INFO, logger ``evovae.engines``).

    Parameters
    ----------
    model, search
        As of `Engine.supports`.

    Returns
    -------
    Engine
        A compiled one, or `Reference`, which runs anything.

    Examples
    --------
    >>> from evovae import Search, TVAE, decoders, likelihoods, priors
    >>> from evovae.engines import choose
    >>> choose(TVAE(decoders.MLP(4, 8).double(), likelihoods.Gaussian(), priors.Bernoulli(4)), Search())
    Reference(model=TVAE(MLP, Gaussian, Bernoulli; H = 4, 45 parameters))
    """
    passed = []
    for kind in ENGINES:
        if support := kind.supports(model, search):
            break
        passed.append(f"{kind.__name__} needs {support}")
    logger.info("the engine %s runs; passed over: %s", kind.__name__, "; ".join(passed) or "none")
    return kind(model)
