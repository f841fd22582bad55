"""A Gaussian likelihood whose latents own small linear subspaces, all integrated out exactly.

Shapes are those of `evovae.likelihoods`: N data points of D values, with S states of H bits each.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from evovae.likelihoods.base import Likelihood, through


class LowRankGaussian(Likelihood):
    """Latents that switch small linear subspaces on, which are integrated out exactly.

    The model is ``x | z ~ N(mean(z) + sum_h z_h m_h,  sigma2 I + A' A + sum_h z_h B_h' B_h)``.  Equivalently x =
    mean(z) + A' s_0 + sum_h z_h (m_h + B_h' s_h) + noise with standard normal s: the binary state chooses which
    subspaces a data point lies in, and s, its continuous coordinates in them, is integrated out.  A (always, D), the
    factor loadings that all states have, is there for what is common, such as the brightness of a patch; B_h (rank, D)
    and the offset m_h (D,) belong to latent h.  A decoder's mean(z) is trained by its gradient.

    The M-step is an EM step in closed form for A, B, m and sigma2: a regression of x on (s, z), after which each block
    of s is scaled to unit covariance (parameter expansion).  It never lowers the bound.

    Special cases, with `evovae.decoders.Silent` as the decoder: rank 1 is spike-and-slab sparse coding (slabs around
    m_h, or around zero without offsets); exactly one active bit gives a mixture of factor analysers; rank 0 with
    offsets is binary sparse coding.  With rank 0 and always 0, and a decoder, it is `Gaussian`.

    States must be of bool: `evovae.operators.exactly_informed_flip` or `evovae.operators.uniform_flip` search for them.

    Parameters
    ----------
    H
        Number of latents.
    D
        Values of a data point.
    rank
        Dimension of the subspace of each latent: rows of each B_h, 0 or more.
    always
        Dimension of the subspace of all states: rows of A, 0 or more.
    offsets
        Whether latents have an offset m_h.
    sigma2
        Variance of the noise to start from, positive, in squared units of the data.
    floor
        The least variance that the M-step sets.
    generator
        Source of the directions to start from; see also `start`.  Default: torch's own.

    Attributes
    ----------
    sigma2
        The variance of the noise, a tensor without axes.
    always
        (always, D): A.
    directions
        (rank or rank + 1, H, D): row j of all B_h, for each j; the last one is m_h, where there are offsets.

    References
    ----------
    .. [1] Liu, Rubin & Wu, "Parameter expansion to accelerate EM: the PX-EM algorithm", Biometrika 85, 755-770, 1998.
    .. [2] Sheikh, Shelton & Lucke, "A truncated EM approach for spike-and-slab sparse coding", Journal of Machine
       Learning Research 15, 2653-2687, 2014.
    .. [3] Henniges, Puertas, Bornschein, Eggert & Lucke, "Binary Sparse Coding", LVA/ICA, 450-457, 2010.

    Examples
    --------
    >>> import torch
    >>> from evovae import TVAE, decoders, likelihoods, priors
    >>> generator = torch.Generator().manual_seed(0)
    >>> H, D = 12, 16
    >>> likelihood = likelihoods.LowRankGaussian(H, D, rank=2, sigma2=0.01, generator=generator)
    >>> model = TVAE(decoders.Silent(D), likelihood, priors.Bernoulli(H))
    >>> x, z = model.sample(100, generator)
    >>> model.lpj(x, z[:, None], torch.ones_like(x, dtype=torch.bool)).shape
    torch.Size([100, 1])
    >>> likelihood.subspaces.shape, likelihood.always.shape
    (torch.Size([12, 2, 16]), torch.Size([1, 16]))
    """

    def __init__(
        self,
        H: int,
        D: int,
        rank: int = 4,
        always: int = 1,
        *,
        offsets: bool = False,
        sigma2: float = 0.01,
        floor: float = 1e-8,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.rank, self.floor = rank, floor
        J, K = rank + offsets, always + (rank + offsets) * H
        self.sigma2: Tensor
        self.always: Tensor
        self.directions: Tensor
        self.fixed: Tensor
        self.register_buffer("sigma2", torch.tensor(float(sigma2)))
        self.register_buffer("always", 0.1 * torch.randn(always, D, generator=generator))
        self.register_buffer("directions", 0.1 * torch.randn(J, H, D, generator=generator))
        self.register_buffer("fixed", torch.arange(K) >= always + rank * H)  # coefficients that are one, not s

    def config(self) -> dict[str, Any]:
        J, H, D = self.directions.shape
        sizes = {"H": H, "D": D, "rank": self.rank, "always": len(self.always)}
        return {**sizes, "offsets": J > self.rank, "floor": self.floor}

    @property
    def subspaces(self) -> Tensor:
        """B, the directions of the subspace of each latent.

        Returns
        -------
        Tensor
            (H, rank, D).
        """
        return self.directions[: self.rank].transpose(0, 1)

    @property
    def rows(self) -> Tensor:
        """All directions below each other: A, then the first ones of all latents, then their second ones, and so on.

        Returns
        -------
        Tensor
            (always + (rank or rank + 1) H, D).
        """
        return torch.cat([self.always, self.directions.flatten(0, 1)])

    def start(self, x: Tensor, common: Tensor, generator: Generator) -> None:
        """Start from data: what is common to all of them in A, random data points as the directions of the latents.

        Parameters
        ----------
        x
            Data (N, D).
        common
            What is common to all data points, such as their brightness, (D,).
        generator
            Source of the draws.
        """
        J, H, D = self.directions.shape
        level = x @ common / common.square().sum()
        fall = torch.full((J, 1, 1), 0.3)
        fall[:1] = 1
        drawn = torch.randint(len(x), (J * H,), generator=generator)
        self.directions.copy_((x[drawn] - level[drawn, None] * common).view(J, H, D) * fall)
        self.always[:1] = level.std(correction=0) * common

    def log_prob(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        return self._posterior(x, mean, observed, z).log_prob

    def expectation(self, mean: Tensor, z: Tensor) -> Tensor:
        return mean + sum(z.to(mean.dtype) @ m for m in self.directions[self.rank :])

    def drop_noise(self, usage: Tensor, edge: float = 1.0) -> None:
        """Turn each subspace to its principal axes, longest first, and prune those that noise alone could explain.

        In n data points of D values, noise alone has principal components of up to sigma2 (1 + sqrt(D / n))^2
        (Marchenko & Pastur), which a fit takes for axes of squared length sigma2 (2 sqrt(D / n) + D / n).  Axes of less
        than `edge` times that squared length become zero, and stay zero.  Data points that overlap, or that have the
        latent on because it fits their noise, make for longer axes of noise than independent ones do.

        Parameters
        ----------
        usage
            How many data points, n, have each latent on, expected under the posterior, (H,): `evovae.States.usage`.
        edge
            Least squared length of an axis, over the longest that independent noise gives.

        References
        ----------
        Marchenko & Pastur, "Distribution of eigenvalues for some sets of random matrices", Mathematics of the
        USSR-Sbornik 1, 457-483, 1967.
        """
        g = (self.directions.shape[2] / usage.clamp(min=1e-8))[:, None]
        _, lengths, axes = torch.linalg.svd(self.subspaces.double(), full_matrices=False)
        told = lengths.square() > edge * self.sigma2 * (2 * g.sqrt() + g)
        self.directions[: self.rank] = 0
        self.directions[: lengths.shape[1]] = ((lengths * told)[..., None] * axes).transpose(0, 1).to(self.sigma2.dtype)

    def responses(self, means: Tensor) -> Tensor:
        _, lengths, axes = torch.linalg.svd(self.subspaces, full_matrices=False)
        return torch.cat([means[:, None], lengths[..., None] * axes], 1)

    def moved(self, sigma2: float, to: Tensor | None = None) -> "LowRankGaussian":
        """The same signal in other white noise, and in other coordinates of the data.

        Parameters
        ----------
        sigma2
            Variance of the noise there.
        to
            A matrix (D, E): data there are x @ to.  Default: as they are.

        Returns
        -------
        LowRankGaussian
            With E values of a data point.
        """
        always, directions = through(self.always, to), through(self.directions, to)
        J, H, E = directions.shape
        offsets, floor = J > self.rank, min(self.floor, sigma2)
        there = LowRankGaussian(H, E, self.rank, len(always), offsets=offsets, sigma2=sigma2, floor=floor).to(always)
        there.always.copy_(always)
        there.directions.copy_(directions)
        return there

    def restore(
        self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor, readout: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        p = self._posterior(x, mean, observed, z)
        rows = through(p.rows, readout)
        variance = (p.covariance @ rows * rows).sum(2)
        return through(mean, readout) + (p.u[:, :, None] @ rows)[:, :, 0], variance

    def sample(self, mean: Tensor, generator: Generator, z: Tensor) -> Tensor:
        rank, H, D = self.directions[: self.rank].shape

        def normal(*shape: int) -> Tensor:
            shape = (*mean.shape[:-1], *shape)
            return torch.randn(shape, dtype=mean.dtype, device=mean.device, generator=generator)

        own = torch.einsum("...jh,jhd->...d", normal(rank, H) * z[..., None, :], self.directions[:rank])
        common = normal(len(self.always)) @ self.always
        return self.expectation(mean, z) + own + common + self.sigma2.sqrt() * normal(D)

    def stats(self, x: Tensor, mean: Tensor, observed: Tensor, q: Tensor, z: Tensor) -> Tensor:
        p = self._posterior(x, mean, observed, z)
        K, D = self.rows.shape
        unseen = p.rows * ~observed[:, None, None]
        filled = p.second @ unseen
        of_missing = (unseen * filled).sum((2, 3)) + (~observed).sum(1, keepdim=True) * self.sigma2
        square = (q * (p.target.square().sum(2) + of_missing)).sum()
        weighted = q[..., None, None]
        cross = torch.zeros(K + 1, D, dtype=torch.float64, device=x.device)
        cross.index_add_(
            0, p.numbers.flatten(), (weighted * (p.u[..., None] * p.target[:, :, None] + filled)).double().flatten(0, 2)
        )
        inner = torch.zeros((K + 1) ** 2, dtype=torch.float64, device=x.device)
        pairs = p.numbers[..., :, None] * (K + 1) + p.numbers[..., None, :]
        inner.index_add_(0, pairs.flatten(), (weighted * p.second).double().flatten())
        values = torch.tensor(x.numel(), dtype=torch.float64, device=x.device)
        usage = torch.einsum("ns,nsh->h", q, z.to(q.dtype)).double()
        inner = inner.view(K + 1, K + 1)[:K, :K]
        return torch.cat([values[None], square[None].double(), usage, cross[:K].flatten(), inner.flatten()])

    def update(self, stats: Tensor) -> None:
        J, H, D = self.directions.shape
        A, K = len(self.always), len(self.fixed)
        (values, square), usage, cross, inner = stats.split([2, H, K * D, K * K])
        cross, inner = cross.view(K, D), inner.view(K, K)
        there = (self.directions != 0).any(2)  # a zero stays one, and has nothing to do with the others
        there[self.rank :] = True
        own = torch.cat([there.new_ones(A), there.flatten()])
        # A little weight on what is there: directions that nothing uses stay, the others do not notice.
        weight = 1e-7 * inner.diagonal().mean() + 1e-9
        rows = torch.zeros_like(cross)
        among = inner[own][:, own]
        among.diagonal().add_(weight)
        rows[own] = _solve(among, cross[own] + weight * self.rows[own])
        error = square + ((inner @ rows - 2 * cross) * rows).sum()
        self.sigma2.copy_((error / values.clamp(min=1)).clamp(min=self.floor))
        # s gets unit covariance: A and the directions of each latent turn with it.
        common = _root(inner[:A, :A] * D / values.clamp(min=1))
        turn = self._unit(usage, inner[A:, A:]).to(rows.dtype)
        self.always.copy_(common @ rows[:A])
        self.directions.copy_(there[..., None] * torch.einsum("hji,ihd->jhd", turn, rows[A:].view(J, H, D)))

    def _unit(self, usage: Tensor, inner: Tensor) -> Tensor:
        """How the directions of each latent turn (H, J, J), so that s has mean 0 and unit covariance where it is on."""
        J, H, _ = self.directions.shape
        s, one = slice(0, self.rank), slice(self.rank, None)
        used = (usage > 1e-8)[:, None, None]
        inside = inner.view(J, H, J, H).diagonal(dim1=1, dim2=3).permute(2, 0, 1)
        one_each = torch.eye(J, dtype=inner.dtype, device=inner.device)
        moments = torch.where(used, inside / usage[:, None, None], one_each)
        mean = moments[:, s, one]
        turn = one_each.repeat(H, 1, 1)
        turn[:, s, s] = _root(moments[:, s, s] - mean @ mean.transpose(1, 2))
        turn[:, one, s] = mean.transpose(1, 2)
        return turn

    def _posterior(self, x: Tensor, mean: Tensor, observed: Tensor, z: Tensor) -> "_Posterior":
        """The Gaussian posterior of s given x and z, for those coefficients that z has (Woodbury's identity)."""
        if z.dtype != torch.bool:
            raise TypeError(
                "LowRankGaussian needs states of bool, whole bits; use operators.exact_gains to compare flips"
            )
        active = torch.cat([z.new_ones(*z.shape[:-1], len(self.always)), z.repeat(1, 1, len(self.directions))], -1)
        k = int(active.sum(-1).max())
        has, index = active.to(torch.uint8).topk(k, dim=-1)
        has, index = has.bool(), torch.where(has.bool(), index, len(self.fixed))
        rows = torch.cat([self.rows, self.rows.new_zeros(1, self.rows.shape[1])])[index]
        one = torch.cat([self.fixed, self.fixed.new_zeros(1)])[index].to(x.dtype)
        varies = has.to(x.dtype) - one
        seen = observed.sum(1)[:, None]
        target = torch.where(observed[:, None], x[:, None] - mean, 0)
        seen_rows = rows * observed[:, None, None]
        gram = seen_rows @ rows.transpose(2, 3)
        on_rows = torch.einsum("nskd,nsd->nsk", rows, target)
        on_one = torch.einsum("nsij,nsj->nsi", gram, one)
        energy = target.square().sum(2) + (one * (on_one - 2 * on_rows)).sum(2)
        projected = varies * (on_rows - on_one) / self.sigma2
        both = varies[..., :, None] * varies[..., None, :]
        eye = torch.eye(k, dtype=x.dtype, device=x.device)
        factor = torch.linalg.cholesky(eye + both * gram / self.sigma2)
        explained = torch.linalg.solve_triangular(factor, projected[..., None], upper=False)
        log_det = 2 * factor.diagonal(dim1=2, dim2=3).log().sum(2)
        log_prob = -0.5 * (
            energy / self.sigma2
            + seen * torch.log(2 * math.pi * self.sigma2)
            + log_det
            - explained.square().sum((2, 3))
        )
        covariance = both * torch.cholesky_inverse(factor)
        u = one + (covariance @ projected[..., None])[..., 0]
        return _Posterior(log_prob, index, rows, target, u, covariance, u[..., None] * u[..., None, :] + covariance)


class _Posterior(NamedTuple):
    """log p(x | z) (N, S), and for the k coefficients of each state: their numbers (K where there are fewer),
    directions, the data to be explained, and the coefficients' moments.
    """

    log_prob: Tensor
    numbers: Tensor
    rows: Tensor
    target: Tensor
    u: Tensor
    covariance: Tensor
    second: Tensor


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """matrix^-1 right for a symmetric matrix that is positive definite but for rounding."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return torch.linalg.solve(matrix, right) if failed else torch.cholesky_solve(right, factor)


def _root(matrices: Tensor) -> Tensor:
    """The symmetric square root of (.., r, r); no numbers where there are none, which eigenvalues are not found for."""
    finite = torch.isfinite(matrices).all(-1).all(-1)[..., None, None]
    values, vectors = torch.linalg.eigh(torch.where(finite, matrices, 0))
    roots = (vectors * values.clamp(min=0).sqrt()[..., None, :]) @ vectors.transpose(-2, -1)
    return torch.where(finite, roots, torch.nan)
