"""How likely a model finds data that took no part in its training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Generator, Tensor

from evovae.engines import Engine, choose
from evovae.evolve import Search
from evovae.inference import infer
from evovae.model import TVAE
from evovae.posterior import elbo
from evovae.states import States


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Bounds of some data, and the populations that they come from.

    Parameters
    ----------
    bound
        The bound log sum_s p(x_n, z_ns) on log p(x_n) of each data point (Eq. 7), (N,), in nats.
    states
        The populations, (N, S, H).
    steps
        E-steps that were made, at most: the last ones end where nothing new is found.
    converged
        Whether the bound had stopped growing.
    """

    bound: Tensor = field(repr=False)
    states: States = field(repr=False)
    steps: int
    converged: bool

    @property
    def mean(self) -> float:
        """The mean bound of a data point, in nats."""
        return self.bound.double().mean().item()

    @property
    def error(self) -> float:
        """The standard error of `mean`, by the spread of the data points; NaN of a single one."""
        N = len(self.bound)
        return self.bound.double().std().item() / math.sqrt(N) if N > 1 else math.nan

    def __str__(self) -> str:
        n, settled = len(self.bound), "" if self.converged else ", still growing"
        return f"{self.mean:.2f} +- {self.error:.2f} nats (N = {n}, {self.steps} E-steps{settled})"


def evaluate(
    model: TVAE,
    x: Tensor,
    observed: Tensor | None = None,
    *,
    n_states: int = 64,
    search: Search | None = None,
    tolerance: float = 0.02,
    patience: int = 5,
    most_steps: int = 500,
    generator: Generator,
    start: States | Tensor | None = None,
    engine: Engine | None = None,
) -> Evaluation:
    """Bound the log-likelihood of data that took no part in training.

    The parameters stay as they are, and populations are searched by E-steps (`infer`) until the mean bound of a data
    point grows by no more than `tolerance` in `patience` of them.  The bound of no data point ever falls, so that what
    is reported is a lower bound of log p(x) however early the search ends: more states, more steps or a smaller
    tolerance make it tighter.  With n_states = 2^H it is log p(x) itself.

    Compare models by bounds with the same protocol, and say n_states and tolerance with them.

    Parameters
    ----------
    model
        The trained model.
    x
        Data (N, D) in the units of the model.
    observed
        (N, D) bool, True where x is seen; the bound is on what is seen.  Default: all.
    n_states
        S, the size of populations: 1 or more; at most 2^H, of which there are no more states.
    search
        The E-step.  Default: 8 parents with 8 children each, or as many as there can be.
    tolerance
        In nats per data point, positive.
    patience
        E-steps over which growth is looked at, 1 or more.
    most_steps
        After so many E-steps the search ends in any case, with ``converged`` False.
    generator
        Source of all draws.
    start, engine
        As of `infer`.

    Returns
    -------
    Evaluation
        Bounds, populations, and how the search ended.

    Raises
    ------
    ValueError
        For shapes that do not fit together, or data that are impossible under the likelihood.

    Examples
    --------
    >>> import torch
    >>> from evovae import TVAE, decoders, evaluate, likelihoods, priors
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = TVAE(decoders.MLP(12, 16, generator=generator), likelihoods.Gaussian(0.1), priors.Bernoulli(12))
    >>> x, _ = model.sample(200, generator)
    >>> few = evaluate(model, x, n_states=2, generator=generator)
    >>> many = evaluate(model, x, n_states=64, generator=generator)
    >>> few.mean < many.mean
    True
    """
    if patience < 1 or most_steps < 1 or not tolerance > 0:
        raise ValueError(
            f"patience ({patience}) and most_steps ({most_steps}) must be at least 1, tolerance ({tolerance}) positive"
        )
    H = model.prior.n_latents
    n_states = min(n_states, 2**H)
    search = Search(min(Search.parents, n_states), min(Search.children, H)) if search is None else search
    engine = choose(model, search) if engine is None else engine
    options = {"n_states": n_states, "search": search, "generator": generator, "engine": engine}
    before, steps, converged = -math.inf, 0, False
    while not converged and steps < most_steps:
        some = min(patience, most_steps - steps)
        start = infer(model, x, observed, steps=some, start=start, **options)  # type: ignore[arg-type]
        bound = elbo(start.lpj)
        now = bound.double().mean().item()
        steps, before, converged = steps + some, now, now - before <= tolerance
    assert isinstance(start, States)
    return Evaluation(bound, start, steps, converged)
