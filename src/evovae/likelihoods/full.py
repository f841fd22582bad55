"""A Gaussian likelihood with a full covariance for each latent: with one active bit, a mixture of Gaussians.

Shapes are those of `evovae.likelihoods`: N data points of D values, with S states of H = K bits each, of which exactly
one is on: that of the component.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from evovae.likelihoods.base import Likelihood, through

SPREAD = 5.0  # data points
STEP = 0.8  # of the deviation of the signal along its longest axis, by which the halves of a component lie beside it
AT_ONCE = 16  # components whose M-step is made at once, which bounds memory
REACH = 4.0  # by how many pixels, at least, the places of data points of one component deviate from their mean


class FullGaussian(Likelihood):
    """A mixture of Gaussians: x | z ~ N(mean(z) + m_k, C_k), where k is the one bit of z that is on, and C_k >= sigma2
    I.

    Equivalently x is a clean signal ~ N(mean(z) + m_k, C_k - sigma2 I) and white noise of variance sigma2, which is
    given: a full covariance fits any noise, so that the noise cannot be told from the signal by it alone.

    Data points may have coordinates: the last `places` values of x are then these, with a Gaussian over them for each
    component, so that components belong to regions (a mixture model with spatial priors).  Where x holds no
    coordinates, or they are not observed, they take no part.

    The M-step sets means and covariances to their maximum likelihood under C_k >= sigma2 I: principal axes of the data
    with a variance below sigma2 get sigma2.  With `edge` above 0, so do axes that noise alone could explain: in n data
    points of D values it has principal components of up to sigma2 (1 + sqrt(D / n))^2 (Marchenko & Pastur), and axes
    with a variance below sigma2 (1 + edge (2 sqrt(D / n) + D / n)) are taken for noise.  With a `rank`, so are all but
    that many of the largest, which still is the maximum under that constraint (Tipping & Bishop).

    States must be of bool, as bits are compared and not weighted.

    Parameters
    ----------
    K
        Number of components, which are the latents.
    D
        Values of a data point, without its coordinates.
    places
        Number of coordinates.
    sigma2
        Variance of the noise, positive, in squared units of the data; not learnt.
    edge
        From which variance on an axis is one of signal, see above; 0 gives the exact M-step.
    rank
        How many axes of a component are of signal, at most.  Default: all.

    Attributes
    ----------
    sigma2
        The variance of the noise, a tensor without axes.
    means
        (K, D): m_k.
    lengths
        (K, D): variances of C_k along its principal axes, largest first.
    axes
        (K, D, D): principal axes, one in each row.
    centres
        (K, places): means of the coordinates.
    areas
        (K, places, places): covariances of the coordinates.

    References
    ----------
    .. [1] Marchenko & Pastur, "Distribution of eigenvalues for some sets of random matrices", Mathematics of the
       USSR-Sbornik 1, 457-483, 1967.
    .. [2] Tipping & Bishop, "Probabilistic principal component analysis", Journal of the Royal Statistical Society B
       61, 611-622, 1999.
    .. [3] Zoran & Weiss, "From learning models of natural image patches to whole image restoration", ICCV, 479-486,
       2011.

    Examples
    --------
    >>> import torch
    >>> from evovae import TVAE, decoders, likelihoods, priors
    >>> likelihood = likelihoods.FullGaussian(K=2, D=3, sigma2=0.01)
    >>> likelihood.means.copy_(torch.tensor([[0.0, 0.0, 0.0], [5.0, 5.0, 5.0]]))
    tensor([[0., 0., 0.],
            [5., 5., 5.]])
    >>> model = TVAE(decoders.Silent(3), likelihood, priors.OneHot(2))
    >>> x, z = torch.full((1, 3), 4.9), torch.eye(2, dtype=torch.bool)[None]  # one data point, with both components
    >>> model.lpj(x, z, torch.ones(1, 3, dtype=torch.bool)).softmax(1).detach().round()
    tensor([[0., 1.]])
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

    def config(self) -> dict[str, Any]:
        K, D = self.means.shape
        return {"K": K, "D": D, "places": self.centres.shape[1], "edge": self.edge, "rank": self.rank}

    @property
    def shrinkage(self) -> Tensor:
        """How much of a deviation along each principal axis is signal: 1 - sigma2 / lengths.

        Returns
        -------
        Tensor
            (K, D), from 0 to 1.
        """
        return 1 - self.sigma2 / self.lengths

    @property
    def coordinates(self) -> int:
        return self.centres.shape[1]

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
        return torch.cat([means[:, None], (self.lengths - self.sigma2).clamp(min=0).sqrt()[..., None] * self.axes], 1)

    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        normal = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        k = z.to(torch.uint8).argmax(-1)
        return mean + self.means[k] + ((normal * self.lengths[k].sqrt())[..., None, :] @ self.axes[k])[..., 0, :]

    def moved(self, sigma2: float, to: Tensor | None = None) -> "FullGaussian":
        """The same signal in other white noise, and in other coordinates of the data.

        Parameters
        ----------
        sigma2
            Variance of the noise there.
        to
            A matrix (D, E): data there are x @ to.  Default: as they are.

        Returns
        -------
        FullGaussian
            Without places.
        """
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
        """The same mixture with coordinates, whose Gaussians are those of the data points of each component.

        To each, `SPREAD` data points are added that lie everywhere, so that components of few data points do not get
        small regions.

        Parameters
        ----------
        k
            Components of each data point, (N, S).
        q
            Their weights (N, S), with rows that sum to one.
        places
            Coordinates of the data points, (N, P).

        Returns
        -------
        FullGaussian
            With P places.
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

    def split(self, some: Tensor, into: Tensor) -> None:
        """Split components in two halves, along the longest axis of each.

        With the same weight, both halves together have the mean and the covariance that the component had.

        Parameters
        ----------
        some
            Numbers of the components, which become the lower halves.
        into
            As many numbers of other components, which become the upper ones; what these were is lost.
        """
        for parameter in (self.means, self.lengths, self.axes, self.centres, self.areas):
            parameter[into] = parameter[some]
        step = STEP * (self.lengths[some, :1] - self.sigma2).clamp(min=0).sqrt()
        self.means[some] -= step * self.axes[some, 0]
        self.means[into] += step * self.axes[into, 0]
        for halves in (some, into):
            lengths, axes = self.lengths[halves], self.axes[halves]
            lengths[:, :1] -= step**2
            lengths, order = lengths.clamp(min=self.sigma2).sort(1, descending=True)
            self.lengths[halves] = lengths
            self.axes[halves] = axes.gather(1, order[..., None].expand_as(axes))

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor, z: Tensor) -> Tensor:
        K, D, P = *self.means.shape, self.centres.shape[1]
        total = torch.zeros(K, 1 + (D + P) + (D + P) ** 2, dtype=torch.float64, device=x.device)
        for k, n, s in _by_component(z):
            given, weight = self._given(k, x[n], mean[n, s], observed[n]), q[n, s, None]
            t = given.filled + torch.cat([self.means[k], self.centres[k]])
            square = (weight * t).T @ t + (weight[..., None] * given.missing).sum(0)
            total[k] = torch.cat([weight.sum()[None], (weight * t).sum(0), square.flatten()]).double()
        return total.flatten()

    def sums(self, count: float) -> Tensor:
        """The `stats` that data exactly as each component describes them would have.

        Parameters
        ----------
        count
            How many data points each component stands for.

        Returns
        -------
        Tensor
            Flat, in double precision; adds to the `stats` of data.
        """
        (K, D), P = self.means.shape, self.centres.shape[1]
        mean = torch.cat([self.means, self.centres], 1).double()
        square = mean[:, :, None] * mean[:, None]
        axes = self.axes.double()
        square[:, :D, :D] += axes.transpose(1, 2) @ (self.lengths.double()[..., None] * axes)
        square[:, D:, D:] += self.areas - REACH**2 * torch.eye(P)
        return count * torch.cat([mean.new_ones(K, 1), mean, square.flatten(1)], 1).flatten()

    def update(self, stats: Tensor) -> None:
        sums = stats.view(len(self.means), -1)
        used = (sums[:, 0] > 1e-8).nonzero()[:, 0]
        with ThreadPoolExecutor(self.threads) as pool:  # as `torch.linalg.eigh` goes through matrices one by one
            for _ in pool.map(lambda some: self._update(some, sums[some]), used.split(AT_ONCE)):
                pass

    def _update(self, some: Tensor, sums: Tensor) -> None:
        """The M-step of some components, from a copy of their sums."""
        D, P = self.means.shape[1], self.centres.shape[1]
        count, first, second = sums.split([1, D + P, (D + P) ** 2], 1)
        mean, second = first / count, second.view(-1, D + P, D + P)
        covariance = second.div_(count[..., None]).baddbmm_(mean[:, :, None], mean[:, None], alpha=-1)
        dtype, noise = self.sigma2.dtype, self.sigma2.double()
        lengths, axes = torch.linalg.eigh(covariance[:, :D, :D])
        share = D / count
        told = lengths > noise * (1 + self.edge * (2 * share.sqrt() + share))
        told[:, : D - self.rank] = False
        self.means[some], self.centres[some] = mean[:, :D].to(dtype), mean[:, D:].to(dtype)
        self.lengths[some] = torch.where(told, lengths, noise).flip(1).to(dtype)
        self.axes[some] = axes.transpose(1, 2).flip(1).to(dtype)
        eye = torch.eye(P, dtype=covariance.dtype, device=covariance.device)
        self.areas[some] = (covariance[:, D:, D:] + REACH**2 * eye).to(dtype)

    def _given(self, k: int, x: Tensor, mean: Tensor, observed: Tensor) -> "_Given":
        """Data points x (n, D or D + places) of component k, as deviations from its mean, given what is observed of
        them.
        """
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
    """log p (n,), deviations with missing ones as expected (n, E), and the covariance of these (n, E, E)."""

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
