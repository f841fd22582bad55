"""Likelihoods whose D values are independent given the state z, through the decoder's output alone.

Shapes are those of `evovae.likelihoods`: N data points with S states of H bits each.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from evovae.likelihoods.base import Likelihood


def _over_pixels(terms: Tensor, observed: Tensor) -> Tensor:
    """The sum of terms (N, S, D) over the observed values: (N, S)."""
    return torch.where(observed[:, None], terms, 0).sum(-1)


def _error_stats(error: Tensor, observed: Tensor, q: Tensor) -> Tensor:
    """The q-weighted error (N, S) of states, and the number of observed values, each summed over the data: (2,)."""
    return torch.stack([(q * error).sum(), observed.sum()]).double()


def _mean_error(stats: Tensor, floor: float) -> Tensor:
    """The error per observed value from sums of `_error_stats`, and a floor at least."""
    error, count = stats
    return (error / count.clamp(min=1)).clamp(min=floor)


class Gaussian(Likelihood):
    """White noise: x_d ~ N(mean_d, sigma2), with one variance for all values (Eq. 1).

    The M-step is Eq. 5: sigma2 = sum_n E_q[(x_n - mean(z))^2] / number of observed values.

    Parameters
    ----------
    sigma2
        The variance to start from, positive, in squared units of the data.
    floor
        The least variance that the M-step sets.

    Attributes
    ----------
    sigma2
        The variance, a tensor without axes.

    Examples
    --------
    >>> import torch
    >>> from evovae.likelihoods import Gaussian
    >>> likelihood = Gaussian(sigma2=1.0)
    >>> x, mean = torch.zeros(1, 4), torch.zeros(1, 1, 4)  # one data point of 4 values, with one state
    >>> seen, z = torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 1, 8, dtype=torch.bool)
    >>> likelihood.log_prob(x, mean, seen, z)  # -4/2 log(2 pi)
    tensor([[-3.6758]])
    >>> likelihood.update(likelihood.stats(x + 0.5, mean, seen, torch.ones(1, 1), z))
    >>> likelihood.sigma2
    tensor(0.2500)
    """

    def __init__(self, sigma2: float = 0.01, floor: float = 1e-8) -> None:
        super().__init__()
        self.floor = floor
        self.sigma2: Tensor
        self.register_buffer("sigma2", torch.tensor(float(sigma2)))

    def config(self) -> dict[str, Any]:
        return {"floor": self.floor}

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        error = _over_pixels((x[:, None] - mean).square(), observed)
        count = observed.sum(1, keepdim=True)
        return -0.5 * (error / self.sigma2 + count * torch.log(2 * math.pi * self.sigma2))

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor, z: Tensor) -> Tensor:
        return _error_stats(_over_pixels((x[:, None] - mean).square(), observed), observed, q)

    def update(self, stats: Tensor) -> None:
        self.sigma2.copy_(_mean_error(stats, self.floor))

    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        return mean + self.sigma2.sqrt() * noise


class Laplace(Likelihood):
    """Noise with heavier tails, robust to outliers: p(x_d) = exp(-abs(x_d - mean_d) / scale) / (2 scale).

    The M-step sets scale to the mean absolute error per observed value, E_q[abs(x - mean(z))].

    Parameters
    ----------
    scale
        The scale to start from, positive, in units of the data; the standard deviation is sqrt(2) times that.
    floor
        The least scale that the M-step sets.

    Attributes
    ----------
    scale
        The scale, a tensor without axes.

    Examples
    --------
    >>> import torch
    >>> from evovae.likelihoods import Laplace
    >>> x, mean = torch.ones(1, 4), torch.zeros(1, 1, 4)
    >>> seen, z = torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 1, 8, dtype=torch.bool)
    >>> Laplace(scale=0.5).log_prob(x, mean, seen, z)  # four errors of two scales each, and log(2 scale) = 0
    tensor([[-8.]])
    """

    def __init__(self, scale: float = 0.1, floor: float = 1e-4) -> None:
        super().__init__()
        self.floor = floor
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(float(scale)))

    def config(self) -> dict[str, Any]:
        return {"floor": self.floor}

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        error = _over_pixels((x[:, None] - mean).abs(), observed)
        return -error / self.scale - observed.sum(1, keepdim=True) * torch.log(2 * self.scale)

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor, z: Tensor) -> Tensor:
        return _error_stats(_over_pixels((x[:, None] - mean).abs(), observed), observed, q)

    def update(self, stats: Tensor) -> None:
        self.scale.copy_(_mean_error(stats, self.floor))

    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        far = torch.empty_like(mean).exponential_(generator=generator)
        up = torch.randint(2, mean.shape, device=mean.device, generator=generator, dtype=torch.bool)
        return mean + self.scale * torch.where(up, far, -far)


class Bernoulli(Likelihood):
    """Binary data: p(x_d = 1) = 1 / (1 + exp(-mean_d)), so that the decoder's output is the log-odds of a one.

    Examples
    --------
    >>> import torch
    >>> from evovae.likelihoods import Bernoulli
    >>> logits = torch.tensor([0.0, 100.0, -100.0])
    >>> Bernoulli().expectation(logits, torch.zeros(8))
    tensor([0.5000, 1.0000, 0.0000])
    """

    support = "zeros and ones"

    def admits(self, values: Tensor) -> bool:
        return bool(((values == 0) | (values == 1)).all())

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        return _over_pixels(x[:, None] * mean - F.softplus(mean), observed)

    def expectation(self, mean: Tensor, z: Tensor) -> Tensor:
        return mean.sigmoid()

    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        return torch.bernoulli(mean.sigmoid(), generator=generator)


class Poisson(Likelihood):
    """Counts: x_d ~ Poisson(exp(mean_d)), so that the decoder's output is the log of the rate.

    Examples
    --------
    >>> import torch
    >>> from evovae.likelihoods import Poisson
    >>> rates = torch.tensor([1.0, 100.0])
    >>> counts = Poisson().sample(rates.log(), torch.Generator().manual_seed(0), torch.zeros(8))
    >>> bool((abs(counts - rates) < 5 * rates.sqrt()).all())
    True
    """

    support = "counts 0, 1, 2, ..."

    def admits(self, values: Tensor) -> bool:
        return bool(((values >= 0) & (values == values.round())).all())

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        return _over_pixels(x[:, None] * mean - mean.exp() - torch.lgamma(x + 1)[:, None], observed)

    def expectation(self, mean: Tensor, z: Tensor) -> Tensor:
        return mean.exp()

    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        return torch.poisson(mean.exp(), generator=generator)
