"""Training a `BinaryLatentVAE`: its parameters, checked, and one run from a random start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import torch
from sklearn.utils import check_scalar
from torch import Generator, Tensor, nn

from evovae.decoders import MLP
from evovae.devices import CPU
from evovae.em import Training
from evovae.engines import choose
from evovae.estimators.checks import whole
from evovae.evolve import Search
from evovae.likelihoods import Gaussian, Likelihood, LowRankGaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli as Bits
from evovae.priors import Prior
from evovae.states import States


class Parameters(NamedTuple):
    """Parameters that fit together; decoder, likelihood and prior are what makes them."""

    n_latents: int
    n_states: int
    training: Training
    decoder: Callable[..., nn.Module]
    likelihood: Callable[[], Likelihood]
    prior: Callable[[int], Prior]
    n_init: int

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> Parameters:
        """Check the parameters of a `BinaryLatentVAE`, and fill in defaults."""
        H = whole("n_latents", given["n_latents"])
        S = whole("n_states", given["n_states"], default=32, most=2**H)
        P, C = whole("n_parents", given["n_parents"], 8, most=S), whole("n_children", given["n_children"], 8, most=H)
        check_scalar(given["learning_rate"], "learning_rate", Real, min_val=0, include_boundaries="neither")
        network = partial(_network, _sizes(given["hidden_layer_sizes"]))
        return cls(
            n_latents=H,
            n_states=S,
            training=Training(
                Search(P, C),
                whole("max_iter", given["max_iter"]),
                whole("batch_size", given["batch_size"]),
                given["learning_rate"],
            ),
            decoder=_made_by("decoder", nn.Module, network if given["decoder"] is None else given["decoder"]),
            likelihood=_checked(partial(Gaussian, 0.25) if given["likelihood"] is None else given["likelihood"]),
            prior=_made_by("prior", Prior, _sparse if given["prior"] is None else given["prior"]),
            n_init=whole("n_init", given["n_init"]),
        )


def _sizes(hidden: Iterable[int]) -> list[int]:
    if not isinstance(hidden, Iterable) or isinstance(hidden, str):
        raise TypeError(f"hidden_layer_sizes is {hidden!r}, but several numbers are needed, such as (64,) or ()")
    return [whole("a hidden layer's size", size) for size in hidden]


def _network(hidden: list[int], H: int, D: int, *, generator: Generator) -> MLP:
    """A multi-layer perceptron."""
    return MLP(H, *hidden, D, generator=generator)


def _sparse(H: int) -> Prior:
    """One bit of a state is on at the start, on average."""
    return Bits(H, p=min(1 / H, 0.5))


def _made_by(name: str, kind: type, make: Callable) -> Callable:
    """The function itself, unless it is none."""
    if isinstance(make, kind) or not callable(make):
        raise TypeError(f"{name} is a {type(make).__name__}, but what makes one is needed, such as its class")
    return make


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


def train(x: Tensor, observed: Tensor, parameters: Parameters, generator: Generator) -> Run:
    """One run on x (N, D) in the units of the model, on the device of x; the result lies on the CPU."""
    H, D = parameters.n_latents, x.shape[1]
    decoder = parameters.decoder(H, D, generator=generator)
    model = TVAE(decoder, parameters.likelihood().float(), parameters.prior(H)).to(x.device)
    states = model.prior.populations(len(x), parameters.n_states, generator).to(x.device)
    engine = choose(model, parameters.training.search)
    data = {"observed": observed, "states": states, "generator": generator, "engine": engine}
    bounds = [epoch.elbo for epoch in parameters.training.fit(model, x, **data)]
    mean, variance = engine.moments(x, observed, torch.arange(len(x)), states)
    left = (variance + (x - mean).square())[observed].double().mean()
    return Run(model.cpu(), states.to(CPU), bounds, left.sqrt().item())
