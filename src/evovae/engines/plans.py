"""Searches and likelihoods as compiled loops understand them: by numbers."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from evovae import operators
from evovae.engines.base import Support
from evovae.evolve import Search
from evovae.migration import nobody

GAUSSIAN, LAPLACE, BERNOULLI, POISSON = range(4)  # kinds of likelihoods, see `observations`
MOST_DIMS = 64  # coefficients that a state of a `LowRankGaussian` may have; states with more have no weight


class Plan(NamedTuple):
    """A search.  fitness and uniform (0 or 1) pick the rules of selection and of mutation, the betas are the inverse
    temperatures of their Gumbel draws.
    """

    P: int
    C: int
    G: int
    fitness: int
    beta_select: np.float32
    uniform: int
    beta_mutate: np.float32
    q_min: np.float32


NO_SEARCH = Plan(0, 0, 0, 0, np.float32(0), 1, np.float32(0), np.float32(0))


def _taken_apart(operator: Any) -> tuple[Any, dict[str, Any]]:
    """A function, and what `functools.partial` holds for it."""
    if isinstance(operator, partial) and not operator.args:
        return operator.func, operator.keywords
    return operator, {}


def _selection(select: Callable) -> tuple[int, float] | None:
    """The rule and the inverse temperature of a selection; None of one that the loops do not know."""
    function, options = _taken_apart(select)
    if function is operators.gumbel_top and {*options} <= {"temperature"} and options.get("temperature", 1) > 0:
        return 0, 1 / options.get("temperature", 3.0)
    if function is operators.uniformly and not options:
        return 0, 0.0
    return (1, 0.0) if function is operators.by_fitness and not options else None


def _mutation(mutate: Callable, informed: Callable) -> tuple[int, float] | None:
    """The same of a mutation, where `informed` is the one that looks at gains."""
    function, options = _taken_apart(mutate)
    warm = {"temperature"} if function is operators.informed_flip else set()
    if function is informed and {*options} <= warm and options.get("temperature", 1) > 0:
        return 0, 1 / options.get("temperature", 2.0)
    return (1, 0.0) if function is operators.uniform_flip and not options else None


def needs(search: Search, informed: Callable) -> dict[str, bool]:
    """What the loops need of a search, in words, and whether it is there; `informed` is the mutation by gains."""
    return {
        "selection by gumbel_top, uniformly or by_fitness": _selection(search.select) is not None,
        f"mutation by {informed.__name__} or uniform_flip": _mutation(search.mutate, informed) is not None,
        "parents as they are (no_cross)": search.cross is operators.no_cross,
        "populations without migration (nobody)": search.migrate is nobody,
    }


def planned(search: Search, informed: Callable, q_min: float, H: int) -> Plan:
    """The search for states of H bits, by numbers."""
    support = Support(needs(search, informed))
    selection, mutation = _selection(search.select), _mutation(search.mutate, informed)
    if selection is None or mutation is None or not support:
        raise TypeError(f"this engine needs {support}")
    (fitness, beta_select), (uniform, beta_mutate) = selection, mutation
    if not uniform:
        operators.check_one_flip_each(search.children, H)
    betas = np.float32(beta_select), np.float32(beta_mutate)
    sizes = search.parents, search.children, search.generations
    return Plan(*sizes, fitness, betas[0], uniform, betas[1], np.float32(q_min))
