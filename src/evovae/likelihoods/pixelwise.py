"""Likelihoods whose pixels are independent given z: all that z says, the decoder has said."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from evovae.likelihoods.base import Likelihood


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


class Gaussian(Likelihood):
    """x_d ~ N(mean_d, sigma2), one variance for all pixels (Eq. 1).

    `update` is Eq. 5: sigma2 = sum q (x - mean)^2 / number of observed values, at least `floor`.
    """

    def __init__(self, sigma2: float = 0.01, floor: float = 1e-8) -> None:
        super().__init__()
        self.floor = floor
        self.sigma2: Tensor
        self.register_buffer("sigma2", torch.tensor(float(sigma2)))

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        error = over_pixels((x[:, None] - mean).square(), observed)
        count = observed.sum(1, keepdim=True)
        return -0.5 * (error / self.sigma2 + count * torch.log(2 * math.pi * self.sigma2))

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor, z: Tensor) -> Tensor:
        return error_stats(over_pixels((x[:, None] - mean).square(), observed), observed, q)

    def update(self, stats: Tensor) -> None:
        self.sigma2.copy_(mean_error(stats, self.floor))

    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        return mean + self.sigma2.sqrt() * noise


class Laplace(Likelihood):
    """x_d ~ Laplace(mean_d, scale): robust to outliers; `update`: scale = mean absolute error."""

    def __init__(self, scale: float = 0.1, floor: float = 1e-4) -> None:
        super().__init__()
        self.floor = floor
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(float(scale)))

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        error = over_pixels((x[:, None] - mean).abs(), observed)
        return -error / self.scale - observed.sum(1, keepdim=True) * torch.log(2 * self.scale)

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor, z: Tensor) -> Tensor:
        return error_stats(over_pixels((x[:, None] - mean).abs(), observed), observed, q)

    def update(self, stats: Tensor) -> None:
        self.scale.copy_(mean_error(stats, self.floor))

    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        far = torch.empty_like(mean).exponential_(generator=generator)
        up = torch.randint(2, mean.shape, device=mean.device, generator=generator, dtype=torch.bool)
        return mean + self.scale * torch.where(up, far, -far)


class Bernoulli(Likelihood):
    """Binary x_d with log-odds mean_d (the decoder's output is the logit)."""

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        return over_pixels(x[:, None] * mean - F.softplus(mean), observed)

    def expectation(self, mean: Tensor, z: Tensor) -> Tensor:
        return mean.sigmoid()

    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        return torch.bernoulli(mean.sigmoid(), generator=generator)


class Poisson(Likelihood):
    """Counts x_d with log-rate mean_d (the decoder's output is the log of the rate)."""

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        return over_pixels(x[:, None] * mean - mean.exp() - torch.lgamma(x + 1)[:, None], observed)

    def expectation(self, mean: Tensor, z: Tensor) -> Tensor:
        return mean.exp()

    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        return torch.poisson(mean.exp(), generator=generator)
