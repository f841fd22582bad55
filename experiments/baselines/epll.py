"""Expected patch log-likelihood (Zoran & Weiss, ICCV 2011): a mixture of Gaussians for patches of clean pictures.

Patches without their means are modelled by K zero-mean Gaussians with full covariances, fitted here by EM to
patches of the BSD pictures in $EVOVAE_DATA/bsd400.  Half-quadratic splitting: for beta = 1, 4, 8, 16, 32 over
sigma^2, each patch becomes the Wiener estimate of its most probable component for noise of variance 1 / beta, and the
picture the mean of the noisy one, with weight 1 / sigma^2, and its overlapping patches, with weight beta.

Needs clean pictures and the true sigma.  House, sigma 15 / 25 / 50: published 34.17 / 32.17 / 29.12 dB
(200 components, 2 million patches), here 33.76 / 31.80 at 15 / 25 (seed 0; 100 components, 100,000 patches).
"""

import math
from functools import cache

import imageio.v3 as iio
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import data_folder
from evovae.restore.patches import extract, merge

NEEDS = "clean pictures, true sigma"
PATCH = 8


def denoise(
    noisy: np.ndarray, sigma: float, seed: int = 0, *, components: int = 100, patches: int = 100_000, epochs: int = 25
) -> np.ndarray:
    """Nothing is random but the prior's training, which is done once in a process, from seed 0."""
    weights, covariances = prior(components, patches, epochs)
    y = torch.from_numpy(noisy / 255).float()
    noise, estimate = (sigma / 255) ** 2, y
    for factor in (1, 4, 8, 16, 32):
        x = wiener(extract(estimate, (PATCH, PATCH)), weights, covariances, noise / factor)
        estimate = (y + factor * merge(x, torch.ones(1), y.shape, (PATCH, PATCH))) / (1 + factor)
    return estimate.double().numpy() * 255


def wiener(x: Tensor, weights: Tensor, covariances: Tensor, noise: float) -> Tensor:
    """x (N, D) without noise of that variance, by the component that explains it best."""
    level = x.mean(1, keepdim=True)
    x = x - level
    blurred = covariances + noise * torch.eye(x.shape[1])
    best = log_joint(x, weights, blurred).argmax(1)
    filters = torch.linalg.solve(blurred, covariances)
    for k in best.unique():
        x[best == k] = x[best == k] @ filters[k]
    return x + level


def log_joint(x: Tensor, weights: Tensor, covariances: Tensor) -> Tensor:
    """log weight + log N(x; 0, covariance), up to a constant: (N, K)."""
    factors = torch.linalg.cholesky(covariances)
    whiten = torch.linalg.solve_triangular(factors, torch.eye(x.shape[1]), upper=False)
    log_det = factors.diagonal(dim1=1, dim2=2).log().sum(1)
    square = torch.stack([(x @ w.T).square().sum(1) for w in whiten], 1)
    return weights.log() - log_det - square / 2


@cache
def prior(components: int, patches: int, epochs: int) -> tuple[Tensor, Tensor]:
    """Weights (K,) and covariances (K, D, D) of a mixture fitted to clean patches, by EM; each patch starts with one
    of K that it is most like but for contrast."""
    x = clean_patches(patches)
    directions = F.normalize(x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:components]])
    q = F.one_hot((x @ directions.T).abs().argmax(1), components).float()
    for _ in range(epochs):
        count = q.sum(0) + 1
        covariances = torch.stack([(x * q[:, k, None]).T @ x / count[k] for k in range(components)])
        covariances += 1e-5 * torch.eye(x.shape[1])
        weights = count / count.sum()
        q = log_joint(x, weights, covariances).softmax(1)
    return weights, covariances


def clean_patches(n: int) -> Tensor:
    """About n patches of all BSD pictures, without their means, for a range of 0..1: (n, D)."""
    files = sorted((data_folder() / "bsd400").glob("*.png"))
    rng, chosen = np.random.default_rng(0), []
    for file in files:
        x = extract(torch.from_numpy(iio.imread(file) / 255).float(), (PATCH, PATCH))
        chosen.append(x[torch.from_numpy(rng.choice(len(x), math.ceil(n / len(files)), replace=False))])
    x = torch.cat(chosen)
    return x - x.mean(1, keepdim=True)
