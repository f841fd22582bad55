"""A Gaussian likelihood with a full covariance for each latent: with one active bit, a mixture of dense Gaussians."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from evovae.likelihoods.base import Likelihood, through

SPREAD = 5.0  # data points
REACH = 4.0  # by how many pixels, at least, the places of data points of one component deviate from their mean


class FullGaussian(Likelihood):
    """x | z ~ N(mean(z) + m_k, C_k), where k is the one bit of z that is on, and C_k >= sigma2 I.

    Equivalently x is a clean signal ~ N(mean(z) + m_k, C_k - sigma2 I) and white noise of variance sigma2, which is
    given: full covariances have room for any noise, so that it cannot be told from the signal by them alone.

    Data points may say where they lie: the last `places` values of x are then coordinates, with a Gaussian over them
    for each component, so that components belong to regions (a mixture model with spatial priors).  Where x holds no
    coordinates, or they are not observed, they take no part.

    `update` sets means and covariances to their maximum likelihood under C_k >= sigma2 I: principal axes of the data
    with a variance below sigma2 get sigma2.  With `edge` above 0, so do axes that noise alone could have: in n data
    points of D values it has principal components of up to sigma2 (1 + sqrt(D / n))^2 (Marchenko & Pastur 1967), and
    axes of less than sigma2 (1 + edge (2 sqrt(D / n) + D / n)) are taken for noise.  With a `rank`, so are all but that
    many of the largest, which is still the maximum (Tipping & Bishop 1999): noise whose covariance is known roughly has
    large axes, too.

    Parameters
    ----------
    K, D
        Numbers of components (latents), and of values of a data point, without its coordinates.
    places
        How many coordinates there are.
    sigma2
        Variance of the noise.
    edge
        See above; 0 gives the exact M-step.
    rank
        How many axes of a component are of signal, at most; None for all.

    Attributes
    ----------
    means, lengths, axes
        (K, D): m_k; (K, D): variances along the principal axes, largest first; (K, D, D): axes, one in each row.
    centres, areas
        (K, places) and (K, places, places): mean and covariance of the coordinates.
    """

    def __init__(
        self, K: int, D: int, places: int = 0, *, sigma2: float = 0.01, edge: float = 0.0, rank: int | None = None
    ) -> None:
        super().__init__()
        self.edge, self.rank = edge, D if rank is None else min(rank, D)
        self.threads = torch.get_num_threads()  # an engine at work leaves torch one
        self.sigma2: Tensor
        self.means: Tensor
        self.lengths: Tensor
        self.axes: Tensor
        self.centres: Tensor
        self.areas: Tensor
        self.register_buffer("sigma2", torch.tensor(float(sigma2)))
        self.register_buffer("means", torch.zeros(K, D))
        self.register_buffer("lengths", torch.ones(K, D).clamp(min=float(sigma2)))
        self.register_buffer("axes", torch.eye(D).repeat(K, 1, 1))
        self.register_buffer("centres", torch.zeros(K, places))
        self.register_buffer("areas", REACH**2 * torch.eye(places).repeat(K, 1, 1))

    @property
    def shrinkage(self) -> Tensor:
        """How much of a deviation along each axis is signal: (K, D)."""
        return 1 - self.sigma2 / self.lengths

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        out = x.new_zeros(z.shape[:2])
        for k, n, s in _by_component(z):
            out[n, s] = self._given(k, x[n], mean[n, s], observed[n]).log_prob
        return out

    def expectation(self, mean: Tensor, z: Tensor) -> Tensor:
        return mean + z.to(mean.dtype) @ self.means

    def restore(
        self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        D = self.means.shape[1]
        seen = through(torch.eye(D, dtype=x.dtype, device=x.device), readout)
        values, variance = (x.new_zeros(*z.shape[:2], seen.shape[1]) for _ in range(2))
        for k, n, s in _by_component(z):
            given, keep = self._given(k, x[n], mean[n, s], observed[n]), self.shrinkage[k]
            clean = self.axes[k].T * keep @ self.axes[k]  # of what deviates from the mean
            values[n, s] = (mean[n, s] + self.means[k] + given.filled[:, :D] @ clean) @ seen
            out = clean @ seen
            known = (self.sigma2 * clean @ seen * seen).sum(0)
            variance[n, s] = known + (given.missing[:, :D, :D] @ out * out).sum(1)
        return values, variance

    def responses(self, means: Tensor) -> Tensor:
        """The mean, and then the principal axes of the signal, each one standard deviation long."""
        return torch.cat([means[:, None], (self.lengths - self.sigma2).clamp(min=0).sqrt()[..., None] * self.axes], 1)

    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        normal = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        k = z.to(torch.uint8).argmax(-1)
        return mean + self.means[k] + ((normal * self.lengths[k].sqrt())[..., None, :] @ self.axes[k])[..., 0, :]

    def moved(self, sigma2: float, to: Tensor | None = None) -> "FullGaussian":
        """The same signal, without places, in white noise of variance sigma2; that of data x @ to, with to (D, E)."""
        means, signal, axes = self.means, (self.lengths - self.sigma2).clamp(min=0), self.axes
        if to is not None:
            means = means @ to
            roots = (signal.sqrt()[..., None] * axes @ to).double()
            lengths, axes = torch.linalg.eigh(roots.transpose(1, 2) @ roots)
            kept = torch.arange(to.shape[1], device=to.device) < (signal > 0).sum(
                1, keepdim=True
            )  # others are rounding
            signal, axes = (lengths.flip(1).clamp(min=0) * kept), axes.transpose(1, 2).flip(1)
        K, E = means.shape
        there = FullGaussian(K, E, sigma2=sigma2, edge=self.edge, rank=self.rank).to(means)
        there.means.copy_(means)
        there.lengths.copy_(signal + sigma2)
        there.axes.copy_(axes)
        return there

    def at(self, k: Tensor, q: Tensor, places: Tensor) -> "FullGaussian":
        """The same with components where data points are that have them: k and q (N, S), places (N, P).

        Each starts with `SPREAD` of them all over the place, so that those of few are not taken for small regions.
        """
        (K, D), P = self.means.shape, places.shape[1]
        there = FullGaussian(K, D, P, sigma2=float(self.sigma2), edge=self.edge, rank=self.rank).to(self.means)
        for name in ("means", "lengths", "axes"):
            getattr(there, name).copy_(getattr(self, name))
        places = places.double()
        square = (places[:, :, None] * places[:, None]).flatten(1)
        values = torch.cat([places.new_ones(len(places), 1), places, square], 1)
        sums = (SPREAD * values.mean(0)).repeat(K, 1)
        for s in range(k.shape[1]):
            sums.index_add_(0, k[:, s], q[:, s, None].double() * values)
        count, first, second = sums.split([1, P, P * P], 1)
        mean = first / count
        there.centres.copy_(mean)
        there.areas.copy_((second / count).view(K, P, P) - mean[:, :, None] * mean[:, None] + REACH**2 * torch.eye(P))
        return there

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor, z: Tensor) -> Tensor:
        """For each component [count, t (E), t t' (E, E)], expected under q and summed over the data, flat.

        t is what the decoder's mean leaves of x, and the coordinates.  Missing values are expected ones.
        """
        K, D, P = *self.means.shape, self.centres.shape[1]
        total = torch.zeros(K, 1 + (D + P) + (D + P) ** 2, dtype=torch.float64, device=x.device)
        for k, n, s in _by_component(z):
            given, weight = self._given(k, x[n], mean[n, s], observed[n]), q[n, s, None]
            t = given.filled + torch.cat([self.means[k], self.centres[k]])
            square = (weight * t).T @ t + (weight[..., None] * given.missing).sum(0)
            total[k] = torch.cat([weight.sum()[None], (weight * t).sum(0), square.flatten()]).double()
        return total.flatten()

    def sums(self, count: float) -> Tensor:
        """The `stats` of so many data points of each component, if they are just what it says."""
        (K, D), P = self.means.shape, self.centres.shape[1]
        mean = torch.cat([self.means, self.centres], 1).double()
        square = mean[:, :, None] * mean[:, None]
        axes = self.axes.double()
        square[:, :D, :D] += axes.transpose(1, 2) @ (self.lengths.double()[..., None] * axes)
        square[:, D:, D:] += self.areas - REACH**2 * torch.eye(P)
        return count * torch.cat([mean.new_ones(K, 1), mean, square.flatten(1)], 1).flatten()

    def update(self, stats: Tensor) -> None:
        K, D, P = *self.means.shape, self.centres.shape[1]
        count, first, second = stats.view(K, -1).split([1, D + P, (D + P) ** 2], 1)
        used = count[:, 0] > 1e-8
        count, first, second = count[used], first[used], second[used].view(-1, D + P, D + P)
        mean = first / count
        covariance = second / count[..., None] - mean[:, :, None] * mean[:, None]
        dtype, noise = self.sigma2.dtype, self.sigma2.double()
        lengths, axes = self._principal(covariance[:, :D, :D])
        share = D / count
        told = lengths > noise * (1 + self.edge * (2 * share.sqrt() + share))
        told[:, : D - self.rank] = False
        self.means[used], self.centres[used] = mean[:, :D].to(dtype), mean[:, D:].to(dtype)
        self.lengths[used] = torch.where(told, lengths, noise).flip(1).to(dtype)
        self.axes[used] = axes.transpose(1, 2).flip(1).to(dtype)
        eye = torch.eye(P, dtype=covariance.dtype, device=covariance.device)
        self.areas[used] = (covariance[:, D:, D:] + REACH**2 * eye).to(dtype)

    def _principal(self, covariance: Tensor) -> tuple[Tensor, Tensor]:
        """`torch.linalg.eigh`, which goes through matrices one by one, of several at once."""
        parts = covariance.tensor_split(self.threads)
        with ThreadPoolExecutor(self.threads) as pool:
            lengths, axes = zip(*pool.map(torch.linalg.eigh, parts), strict=True)
        return torch.cat(lengths), torch.cat(axes)

    def _given(self, k: int, x: Tensor, mean: Tensor, observed: Tensor) -> "_Given":
        """What data points x (n, D or D + places) of component k say, as deviations from its mean."""
        D, P = self.means.shape[1], self.centres.shape[1]
        if x.shape[1] == D:  # nothing is said about places
            x = torch.cat([x, x.new_zeros(len(x), P)], 1)
            observed = torch.cat([observed, observed.new_zeros(len(x), P)], 1)
        middle = torch.cat([mean + self.means[k], self.centres[k].expand(len(x), -1)], 1)
        covariance = torch.block_diag(self.axes[k].T * self.lengths[k] @ self.axes[k], self.areas[k])
        t = torch.where(observed, x - middle, 0)
        among = observed[:, :, None] & observed[:, None, :]
        eye = torch.eye(D + P, dtype=x.dtype, device=x.device)
        factor = torch.linalg.cholesky(torch.where(among, covariance, eye))
        solved = torch.cholesky_solve(t[..., None], factor)[..., 0]
        log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = observed.sum(1) * math.log(2 * math.pi)
        across = torch.where(observed[:, :, None] & ~observed[:, None, :], covariance, 0)
        root = torch.linalg.solve_triangular(factor, across, upper=False)
        hidden = torch.where(~observed[:, :, None] & ~observed[:, None, :], covariance, 0)
        return _Given(
            log_prob=-0.5 * ((t * solved).sum(1) + log_det + constant),
            filled=torch.where(observed, t, solved @ covariance),
            missing=hidden - root.transpose(1, 2) @ root,
        )


class _Given(NamedTuple):
    """log p (n), deviations with missing ones as expected (n, E), and what is unsure about these (n, E, E)."""

    log_prob: Tensor
    filled: Tensor
    missing: Tensor


def _by_component(z: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Each component with the data points and states that have it on, of states (N, S, K) with one bit on.

    Other states are left out: `OneHot` says that there are none.
    """
    if z.dtype != torch.bool:
        raise TypeError("FullGaussian needs states of bool, whole bits")
    one = z.sum(-1) == 1
    k = torch.where(one, z.to(torch.uint8).argmax(-1), -1)
    for number in k[one].unique().tolist():
        yield number, *(k == number).nonzero(as_tuple=True)
