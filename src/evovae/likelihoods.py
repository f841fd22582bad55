"""Likelihoods p(x | z): what the decoder's output says about the data.

Each is an ``nn.Module`` with the verbs

* ``log_prob(x, mean, observed)``: log p(x_n | z_ns) over the observed pixels, exact, constants included;
* ``stats(x, mean, observed, q)``: a flat tensor that adds over data points (Eq. 5);
* ``update(stats)``: the closed-form M-step from the added statistics, or nothing;
* ``expectation(mean)``: E[x | z];
* ``sample(mean, generator)``: a draw of x.

Shapes: x ``(N, D)``, mean ``(N, S, D)`` as the decoder gives it, observed ``(N, D)`` bool (True =
seen), q ``(N, S)`` with rows that sum to one.  Missing pixels take no part in anything.
"""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn


def over_pixels(terms: Tensor, observed: Tensor) -> Tensor:
    """Sum terms (N, S, D) over the observed pixels (N, D), giving (N, S)."""
    return torch.where(observed[:, None], terms, 0).sum(-1)


def error_stats(error: Tensor, observed: Tensor, q: Tensor) -> Tensor:
    """The q-weighted error (N, S) and the number of observed values, each summed over the data."""
    return torch.stack([(q * error).sum(), observed.sum()]).double()


def mean_error(stats: Tensor, floor: float) -> Tensor:
    """The error per observed value from `error_stats`, at least `floor`."""
    error, count = stats
    return (error / count.clamp(min=1)).clamp(min=floor)


class Likelihood(nn.Module, ABC):
    """The verbs of this module, with the identities of a likelihood that has no parameters."""

    @abstractmethod
    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor) -> Tensor:
        """log p(x_n | z_ns) over the observed pixels: (N, S)."""

    @abstractmethod
    def sample(self, mean: Tensor, generator: Generator) -> Tensor:
        """A draw of x from p(x | z), shaped like mean."""

    def expectation(self, mean: Tensor) -> Tensor:
        """E[x | z], shaped like mean."""
        return mean

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor) -> Tensor:
        """Sums over the data points that `update` needs."""
        return x.new_zeros(0, dtype=torch.float64)

    def update(self, stats: Tensor) -> None:  # noqa: B027 - nothing to maximise is an identity
        """Set the parameters to the maximiser of the bound, given the added statistics."""


class Gaussian(Likelihood):
    """x_d ~ N(mean_d, sigma2), one variance for all pixels (Eq. 1).

    `update` is Eq. 5: sigma2 = sum q (x - mean)^2 / number of observed values, at least `floor`.
    """

    def __init__(self, sigma2: float = 0.01, floor: float = 1e-8) -> None:
        super().__init__()
        self.floor = floor
        self.sigma2: Tensor
        self.register_buffer("sigma2", torch.tensor(float(sigma2)))

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor) -> Tensor:
        error = over_pixels((x[:, None] - mean).square(), observed)
        count = observed.sum(1, keepdim=True)
        return -0.5 * (error / self.sigma2 + count * torch.log(2 * math.pi * self.sigma2))

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor) -> Tensor:
        return error_stats(over_pixels((x[:, None] - mean).square(), observed), observed, q)

    def update(self, stats: Tensor) -> None:
        self.sigma2.copy_(mean_error(stats, self.floor))

    def sample(self, mean: Tensor, generator: Generator) -> Tensor:
        noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        return mean + self.sigma2.sqrt() * noise


class Laplace(Likelihood):
    """x_d ~ Laplace(mean_d, scale): robust to outliers; `update`: scale = mean absolute error."""

    def __init__(self, scale: float = 0.1, floor: float = 1e-4) -> None:
        super().__init__()
        self.floor = floor
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(float(scale)))

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor) -> Tensor:
        error = over_pixels((x[:, None] - mean).abs(), observed)
        return -error / self.scale - observed.sum(1, keepdim=True) * torch.log(2 * self.scale)

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor) -> Tensor:
        return error_stats(over_pixels((x[:, None] - mean).abs(), observed), observed, q)

    def update(self, stats: Tensor) -> None:
        self.scale.copy_(mean_error(stats, self.floor))

    def sample(self, mean: Tensor, generator: Generator) -> Tensor:
        u = torch.rand(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator) - 0.5
        return mean - self.scale * u.sign() * torch.log1p(-2 * u.abs())


class Bernoulli(Likelihood):
    """Binary x_d with log-odds mean_d (the decoder's output is the logit)."""

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor) -> Tensor:
        return over_pixels(x[:, None] * mean - F.softplus(mean), observed)

    def expectation(self, mean: Tensor) -> Tensor:
        return mean.sigmoid()

    def sample(self, mean: Tensor, generator: Generator) -> Tensor:
        return torch.bernoulli(mean.sigmoid(), generator=generator)


class Poisson(Likelihood):
    """Counts x_d with log-rate mean_d (the decoder's output is the log of the rate)."""

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor) -> Tensor:
        return over_pixels(x[:, None] * mean - mean.exp() - torch.lgamma(x + 1)[:, None], observed)

    def expectation(self, mean: Tensor) -> Tensor:
        return mean.exp()

    def sample(self, mean: Tensor, generator: Generator) -> Tensor:
        return torch.poisson(mean.exp(), generator=generator)
