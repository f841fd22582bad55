"""Engines: one batch of EM, interchangeable and held to the reference by a conformance test."""

from importlib.util import find_spec

from evovae.engines.base import Engine, Totals
from evovae.engines.reference import Reference
from evovae.evolve import Search
from evovae.model import TVAE

__all__ = ["Engine", "Reference", "Totals", "choose"]


def choose(model: TVAE, search: Search) -> Engine:
    """The fastest engine that supports this model and search where the model lies: a fused one, or the reference."""
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
