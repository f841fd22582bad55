"""Engines do the work of one batch of EM; they are interchangeable, and all are tested against the reference.

For N data points of D values with populations of S states of H bits: lpj (N, S) are the log joints log p(x_n, z_ns), in
nats, that an E-step improves.
"""

import logging
from importlib.util import find_spec

from evovae.engines.base import Engine, Totals
from evovae.engines.reference import Reference
from evovae.evolve import Search
from evovae.model import TVAE

__all__ = ["Engine", "Reference", "Totals", "choose"]
logger = logging.getLogger(__name__)


def choose(model: TVAE, search: Search) -> Engine:
    """The fastest engine that supports a model and a search, on the device where the model lies.

    Compiled engines are there for an `MLP` with a likelihood of independent values and a Bernoulli prior, for
    `LowRankGaussian`, and for mixtures of `FullGaussian` (on the CPU in single precision, with numba), and for CUDA
    devices (with triton).  Their searches select by `gumbel_top`, `uniformly` or `by_fitness`, mutate by
    `informed_flip` or `uniform_flip`, at any temperature, and do not cross.  Which engine was chosen is logged (INFO,
    logger ``evovae.engines``).

    Parameters
    ----------
    model
        The generative model.
    search
        Settings of the E-step.

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
    engine = _fastest(model, search)
    if isinstance(engine, Reference):
        parts = (search.select, search.mutate, search.cross)
        operators = ", ".join(getattr(part, "__name__", repr(part)) for part in parts)
        logger.info("the reference engine runs: no compiled one knows %s with %s here", model, operators)
    else:
        logger.info("the compiled engine %s runs", type(engine).__name__)
    return engine


def _fastest(model: TVAE, search: Search) -> Engine:
    if next(model.parameters()).device.type != "cpu":
        if find_spec("triton"):
            from evovae.engines import cuda

            if cuda.supports(model, search):
                return cuda.Fused(model)
    elif find_spec("numba"):
        from evovae.engines import numba_cpu, numba_low_rank, numba_mixture

        if numba_cpu.supports(model, search):
            return numba_cpu.Fused(model)
        if numba_low_rank.supports(model, search):
            return numba_low_rank.FusedSubspaces(model)
        if numba_mixture.supports(model, search):
            return numba_mixture.FusedMixture(model)
    return Reference(model)
