"""Searches as compiled loops understand them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from evovae import operators
from evovae.evolve import Search
from evovae.migration import nobody

SELECT: dict[Callable, tuple[int, float]] = {
    operators.gumbel_top: (0, 1 / 3),
    operators.uniformly: (0, 0.0),
    operators.by_fitness: (1, 0.0),
}


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


def knows(search: Search, informed: Callable) -> bool:
    """Whether there are loops for this search, where `informed` is the mutation that looks at gains."""
    known = search.mutate in (informed, operators.uniform_flip)
    return known and search.select in SELECT and search.cross is operators.no_cross and search.migrate is nobody


def plan(search: Search, informed: Callable, q_min: float, H: int) -> Plan:
    """The search for states of H bits, by numbers."""
    if not knows(search, informed):
        known = f"gumbel_top, uniformly, by_fitness, {informed.__name__}, uniform_flip, no_cross, nobody"
        raise TypeError(f"this engine knows {known}")
    uniform = search.mutate is operators.uniform_flip
    if not uniform:
        operators.check_one_flip_each(search.children, H)
    fitness, beta_select = SELECT[search.select]
    return Plan(
        search.parents,
        search.children,
        search.generations,
        fitness,
        np.float32(beta_select),
        int(uniform),
        np.float32(1 / 2),
        np.float32(q_min),
    )
