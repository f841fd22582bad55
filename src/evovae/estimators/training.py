"""Training a `BinaryLatentVAE`: its parameters, checked, and one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from numbers import Real
from typing import NamedTuple

import torch
from sklearn.utils import check_scalar
from torch import Generator, Tensor

from evovae.decoders import MLP
from evovae.devices import CPU
from evovae.em import fit
from evovae.engines import choose
from evovae.estimators.checks import whole
from evovae.evolve import Search
from evovae.likelihoods import Gaussian, Likelihood, LowRankGaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli as Bits
from evovae.states import States


class Settings(NamedTuple):
    """Parameters that fit together; sizes are those of the decoder, without that of the data."""

    sizes: tuple[int, ...]
    n_states: int
    search: Search
    likelihood: Callable[[], Likelihood]
    max_iter: int
    batch_size: int
    learning_rate: float
    n_init: int

    @classmethod
    def of(
        cls,
        n_latents: int,
        hidden_layer_sizes: Iterable[int],
        n_states: int | None,
        n_parents: int | None,
        n_children: int | None,
        likelihood: Callable[[], Likelihood] | None,
        max_iter: int,
        batch_size: int,
        learning_rate: float,
        n_init: int,
    ) -> Settings:
        """Check parameters, and fill in defaults."""
        H = whole("n_latents", n_latents)
        S = whole("n_states", n_states, default=32, most=2**H)
        P, C = whole("n_parents", n_parents, default=8, most=S), whole("n_children", n_children, default=8, most=H)
        check_scalar(learning_rate, "learning_rate", Real, min_val=0, include_boundaries="neither")
        return cls(
            sizes=(H, *_sizes(hidden_layer_sizes)),
            n_states=S,
            search=Search(P, C),
            likelihood=_checked(partial(Gaussian, 0.25) if likelihood is None else likelihood),
            max_iter=whole("max_iter", max_iter),
            batch_size=whole("batch_size", batch_size),
            learning_rate=learning_rate,
            n_init=whole("n_init", n_init),
        )


def _sizes(hidden: Iterable[int]) -> list[int]:
    if not isinstance(hidden, Iterable) or isinstance(hidden, str):
        raise TypeError(f"hidden_layer_sizes is {hidden!r}, but several numbers are needed, such as (64,) or ()")
    return [whole("a hidden layer's size", size) for size in hidden]


def _checked(likelihood: Callable[[], Likelihood]) -> Callable[[], Likelihood]:
    if isinstance(likelihood, Likelihood) or not callable(likelihood):
        raise TypeError(f"likelihood is {likelihood!r}, but what makes one is needed, such as likelihoods.Bernoulli")
    if not isinstance(made := likelihood(), Likelihood):
        raise TypeError(f"likelihood() is {made!r}, but a Likelihood is needed")
    if isinstance(made, LowRankGaussian):
        raise TypeError("a LowRankGaussian needs another search; train it with evovae.fit")
    return likelihood


class Run(NamedTuple):
    """A trained model, the states of its data, the bound in each epoch, and the deviation of the noise."""

    model: TVAE
    states: States
    elbo: list[float]
    sigma: float


def train(x: Tensor, observed: Tensor, settings: Settings, generator: Generator) -> Run:
    """One run on x (N, D) in the units of the model, on the device of x; the result lies on the CPU."""
    H, *_ = settings.sizes
    decoder = MLP(*settings.sizes, x.shape[1], generator=generator)
    model = TVAE(decoder, settings.likelihood().float(), Bits(H, p=min(1 / H, 0.5))).to(x.device)
    states = States.random(len(x), settings.n_states, H, generator).to(x.device)
    engine = choose(model, settings.search)
    epochs = fit(
        model,
        x,
        observed=observed,
        states=states,
        search=settings.search,
        optimizer=torch.optim.Adam(decoder.parameters(), lr=settings.learning_rate, fused=True),
        epochs=settings.max_iter,
        batch_size=settings.batch_size,
        generator=generator,
        engine=engine,
    )
    bounds = [epoch.elbo for epoch in epochs]
    mean, variance = engine.moments(x, observed, torch.arange(len(x)), states)
    left = (variance + (x - mean).square())[observed].double().mean()
    return Run(model.cpu(), states.to(CPU), bounds, left.sqrt().item())
