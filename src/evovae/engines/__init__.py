"""Engines do the work of one batch of EM; they are interchangeable, and all are tested against the reference.

For N data points of D values with populations of S states of H bits: lpj (N, S) are the log joints log p(x_n, z_ns), in
nats, that an E-step improves.
"""

from importlib.util import find_spec

from evovae.engines.base import Engine, Totals
from evovae.engines.reference import Reference
from evovae.evolve import Search
from evovae.model import TVAE

__all__ = ["Engine", "Reference", "Totals", "choose"]


def choose(model: TVAE, search: Search) -> Engine:
    """The fastest engine that supports a model and a search, on the device where the model lies.

    Compiled engines are there for an MLP with Gaussian noise and Bernoulli prior, for `LowRankGaussian`, and for
    mixtures of `FullGaussian` (on the CPU, with numba), and for CUDA devices (with triton).

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
    >>> choose(TVAE(decoders.MLP(4, 8), likelihoods.Laplace(), priors.Bernoulli(4)), Search())
    Reference(model=TVAE(MLP, Laplace, Bernoulli; H = 4, 45 parameters))
    """
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
