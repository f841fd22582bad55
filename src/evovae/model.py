"""The generative model: z ~ prior, x ~ likelihood(decoder(z))  (Eq. 1).

Notation, here and in all modules: N data points x_n of D values each; H binary latents, so that a state z is one of
2^H; S states that are kept for each data point, its population; log p(x_n, z_ns), the log joint of a data point and one
of its states, is called lpj, in nats.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from types import ModuleType
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from evovae import decoders, likelihoods, priors
from evovae.likelihoods import Likelihood
from evovae.priors import Prior

PLACES = {"decoder": decoders, "likelihood": likelihoods, "prior": priors}  # where this package's parts are
OWN = "own"  # before the names of parts that are not


class TVAE(nn.Module):
    """A truncated variational autoencoder: decoder, likelihood and prior, and no encoder.

    The generative model is z ~ p(z), x ~ p(x | z), where the decoder turns the binary state z into the parameters of
    the likelihood.  In place of an encoder, each data point n has a population of S states, on which the posterior is
    exact but for its normalisation (Eq. 3)::

        q_n(z) = p(x_n, z) / sum_s p(x_n, z_ns)   for z in the population, and 0 elsewhere.

    The bound on log p(x) that training maximises (Eq. 7) then is ``sum_n log sum_s p(x_n, z_ns)``, which is
    ``model.lpj(x, z, observed).logsumexp(1).sum()``.

    Parameters
    ----------
    decoder
        Any module from states (..., H) of H bits to (..., D), for data points of D values; trained by its gradient:
        see `evovae.decoders`.
    likelihood
        The distribution of the data given the decoder's output, with a closed-form M-step; see `evovae.likelihoods`.
    prior
        The distribution of the states, with a closed-form M-step; see `evovae.priors`.

    References
    ----------
    .. [1] "Direct Evolutionary Optimization of Variational Autoencoders with Binary Latents", under review at ICLR
       2021.  Numbers of equations, tables and sections in this package are those of this paper.
    .. [2] Lucke, "Truncated Variational Expectation Maximization", arXiv:1610.03113, 2019.

    Examples
    --------
    >>> import torch
    >>> from evovae import TVAE, decoders, likelihoods, priors
    >>> generator = torch.Generator().manual_seed(0)
    >>> H, D = 8, 16
    >>> model = TVAE(decoders.MLP(H, 32, D, generator=generator), likelihoods.Gaussian(0.01), priors.Bernoulli(H))
    >>> model
    TVAE(MLP, Gaussian, Bernoulli; H = 8, 825 parameters)
    >>> x, z = model.sample(100, generator)
    >>> x.shape, z.shape
    (torch.Size([100, 16]), torch.Size([100, 8]))
    >>> model.lpj(x, z[:, None], torch.ones_like(x, dtype=torch.bool)).shape  # the true state as a population of one
    torch.Size([100, 1])
    """

    def __init__(self, decoder: nn.Module, likelihood: Likelihood, prior: Prior) -> None:
        super().__init__()
        self.decoder = decoder
        self.likelihood = likelihood
        self.prior = prior

    def __repr__(self) -> str:
        parts = ", ".join(type(part).__name__ for part in (self.decoder, self.likelihood, self.prior))
        parameters = sum(tensor.numel() for tensor in self.state_dict().values())
        return f"TVAE({parts}; H = {self.prior.n_latents}, {parameters:,} parameters)"

    def decode(self, z: Tensor) -> Tensor:
        """The decoder's output for states.

        Parameters
        ----------
        z
            States (..., H), of bool or numbers.

        Returns
        -------
        Tensor
            (..., D): the parameters of the likelihood, such as means.
        """
        return self.decoder(z.to(next(chain(self.parameters(), self.buffers())).dtype))

    def lpj(self, x: Tensor, z: Tensor, observed: Tensor) -> Tensor:
        """The log joint log p(x_n, z_ns) = log p(x_n | z_ns) + log p(z_ns).

        Parameters
        ----------
        x
            Data (N, D).
        z
            States (N, S, H), bool.
        observed
            Which values of x are seen, (N, D) bool.  Others take no part; NaN among them spoils gradients.

        Returns
        -------
        Tensor
            (N, S), in nats.
        """
        return self.likelihood.log_prob(x, self.decode(z), observed, z) + self.prior.log_prob(z)

    @torch.no_grad()
    def sample(self, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Draw data points and the states behind them.

        Parameters
        ----------
        n
            How many.
        generator
            Source of the draws, on the device of the model.

        Returns
        -------
        x : Tensor
            Data points (n, D).
        z : Tensor
            Their states (n, H), bool.
        """
        z = self.prior.sample(n, generator)
        return self.likelihood.sample(self.decode(z), generator, z), z

    def config(self) -> dict[str, Any]:
        """Kinds of the parts, and the arguments that they were made with.

        Returns
        -------
        dict
            What JSON can hold, and `from_config` makes the model of again, but for its tensors (its ``state_dict()``).

        Raises
        ------
        TypeError
            For parts of one's own without a method ``config()`` that returns the arguments of their constructor.
        """
        return {role: _described(place, getattr(self, role)) for role, place in PLACES.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], own: Iterable[type] = ()) -> Self:
        """The inverse of `config`: nothing is allocated for parts of this package, until tensors are loaded.

        Parameters
        ----------
        config
            What `config` returned.
        own
            Classes of parts that are not this package's.

        Returns
        -------
        TVAE
            To be filled by ``load_state_dict(tensors, assign=True)``.

        Raises
        ------
        KeyError, TypeError, ValueError
            For parts that are not known.
        """
        kinds = {f"{OWN}.{kind.__name__}": kind for kind in own}
        return cls(*(_built(role, kinds, **config[role]) for role in PLACES))


def _described(place: ModuleType, part: nn.Module) -> dict[str, Any]:
    """The kind of a part, and the arguments of its constructor."""
    name, config = type(part).__name__, getattr(part, "config", None)
    if config is None:
        raise TypeError(
            f"a {name} cannot be built again from a file; add a method config() that returns the arguments of its "
            "constructor, or save its state_dict() instead"
        )
    ours = getattr(place, name, None) is type(part)
    return {"kind": f"{place.__name__.split('.')[1] if ours else OWN}.{name}", **config()}


def _built(role: str, own: Mapping[str, type], kind: str, **options: Any) -> Any:  # noqa: ANN401
    """A part of a model, from its kind and the arguments of its constructor."""
    sizes, (place, name) = options.pop("sizes", ()), kind.split(".")
    if place == OWN:
        if kind not in own:
            raise ValueError(f"its {role} is a {name}, which is no part of evovae; pass its class, as in own=[{name}]")
        return own[kind](*sizes, **options)
    if f"evovae.{place}" != PLACES[role].__name__ or name not in _public(PLACES[role]):
        raise ValueError(f"there is no {role} {kind}")
    with torch.device("meta"):
        return getattr(PLACES[role], name)(*sizes, **options)


def _public(place: ModuleType) -> set[str]:
    """Names of the parts that a module has."""
    return {name for name, kind in vars(place).items() if isinstance(kind, type) and hasattr(kind, "config")}
