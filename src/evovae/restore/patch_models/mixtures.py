"""A mixture of Gaussians with full covariances, for textures."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import cast

import torch
from scipy.cluster.vq import kmeans2
from torch import Generator, Tensor

from evovae import migration
from evovae.decoders import Silent
from evovae.em import Training
from evovae.evolve import Search
from evovae.likelihoods import FullGaussian
from evovae.migration import Neighbours
from evovae.model import TVAE
from evovae.priors import OneHot
from evovae.restore.patch_models import closed_form
from evovae.restore.patch_models.base import FLOOR, Course, PatchModel, Start
from evovae.restore.patches import Patches
from evovae.restore.tuned import TUNED
from evovae.states import States

# Of a mixture: patches whose centres are found at first, for each and in all; rounds of that; and how far away the
# patches are that propose their components, as those beside share nearly all pixels.
PER_CENTRE, LEAST_SOME, ROUNDS, BESIDE = 20, 8000, 6, 2
APART = 6  # pixels between the patches that are compared with all components; those between start as the nearest does
AT_ONCE = 8192  # patches whose distances are held at once


def split(used: int, then: int, model: TVAE, states: States) -> None:
    """Of the components of a mixture, of which the first `used` are in use, split so many in two that `then` are.

    Where a patch's best component is split, its other half takes the place of the patch's worst one; of patches with
    one component alone, it is every third that changes to the other half.
    """
    other = torch.arange(used, then)
    cast(FullGaussian, model.likelihood).split(other - used, other)
    cast(OneHot, model.prior).split(other - used, other)
    one, rows = states.one, torch.arange(len(states))
    best = one[rows, states.lpj.argmax(1)]
    halved = (best < then - used) & ((one.shape[1] > 1) | (rows % 3 == 0))
    one[rows[halved], states.lpj.argmin(1)[halved]] = best[halved] + used
    states.words.copy_(States.one_hot(one, states.n_latents).words)


@dataclass(frozen=True)
class MixturePatches(PatchModel):
    """A mixture of Gaussians with full covariances, one of which each patch is drawn from: for textures.

    The likelihood is `evovae.likelihoods.FullGaussian` with the prior `evovae.priors.OneHot`.  Each patch keeps a few
    components; others are proposed by the patches around it and by those with the same best component
    (`evovae.migration.Neighbours`), so that the cost does not grow with their number.  Where all patches have a place
    in one image, components belong to regions of it.

    Without arguments, it is the model of the preset `fast` for 256 x 256 pixels and noise of standard deviation 25 (of
    255); some 150 patches for each component are enough, so that smaller pictures do better with fewer.

    Training starts from k-means centres with round Gaussians.  A patch starts with the components that are nearest to a
    patch some pixels away: if each chose its own, it would choose by its noise, which components would then learn.
    Components are few at first: they are split in two along their longest axes, `splits` times in the first half of
    the epochs.

    Parameters
    ----------
    patch
        Width of the patches in pixels, or one for each spatial axis.
    latents
        K, the number of components.
    states
        S, how many components each patch keeps.
    search
        Its `migrate` is set to propose components; usually ``Search(0, 0, 0)``, which tries no others.
    epochs
        Passes over the patches.
    centred
        Whether each patch has its own mean taken off before, and put back after.
    rank
        How many axes of a component are of signal, at most.  Default: all.  Where noise is known roughly, a low rank
        keeps components from learning it.
    edge
        How far the variance on an axis must exceed what noise alone gives; see `evovae.likelihoods.FullGaussian`.
    batches
        M-steps per epoch.
    splits
        How often components are split until they are K; fewer times if there are too few epochs.

    References
    ----------
    Zoran & Weiss, "From learning models of natural image patches to whole image restoration", ICCV, 479-486, 2011.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> settings = evovae.MixturePatches(patch=4, latents=4, epochs=3)
    >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
    >>> evovae.denoise(noisy, preset=settings, rng=0).shape
    (16, 16)
    """

    adaptations = 2

    patch: int | tuple[int, ...] = 7
    latents: int = 416
    states: int = 3
    search: Search = Search(0, 0, 0)
    epochs: int = 8
    centred: bool = False
    rank: int | None = None
    edge: float = 1.5
    batches: int = 3
    splits: int = 2

    @property
    def used(self) -> tuple[int, ...]:
        """Components that are in use before each split, and after the last one.

        Returns
        -------
        tuple of int
            S or more, as patches need different ones; the last is K.
        """
        splits, least = min(self.splits, self.epochs - 1), min(self.states, self.latents)
        return tuple(max(-(-self.latents // 2 ** (splits - i)), least) for i in range(splits + 1))

    @property
    def courses(self) -> tuple[Course, ...]:
        splits = len(self.used) - 1
        each = max(self.epochs // max(2 * splits, 1), 1)
        before = (Course(each, after=partial(split, *counts)) for counts in pairwise(self.used))
        return (*before, Course(self.epochs - each * splits))

    @property
    def cautious(self) -> bool:
        return self.rank is not None

    def optimism(self, N: int, D: int) -> float:
        return 1.05 + 2.0 * D * self.latents / N  # more, the fewer patches there are for each direction of a covariance

    @property
    def commonest(self) -> int:
        return self.latents  # all components: migration does not bring what is not in any population

    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        D, K = x.shape[1], self.used[0]
        if self.latents > len(x):
            needs = f"a mixture of {self.latents} components needs as many patches"
            raise ValueError(f"{needs}, but there are {len(x)}: take fewer")
        some = x[torch.randperm(len(x), generator=generator)[: max(PER_CENTRE * K, LEAST_SOME)]]
        seed = int(torch.randint(2**31, (), generator=generator))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # centres without patches are components that nothing chooses
            centres, _ = kmeans2(some.numpy(), K, iter=ROUNDS, minit="points", seed=seed)
        noise, places = max(noise, FLOOR), len(patches.axes)
        likelihood = FullGaussian(self.latents, D, places, sigma2=noise, edge=self.edge, rank=self.rank)
        means = likelihood.means[:K] = torch.from_numpy(centres)
        few, about = patches.coarse(tuple(APART if width > 1 else 1 for width in patches.size))
        near = [torch.cdist(part, means).topk(self.states, largest=False) for part in x[few].split(AT_ONCE)]
        distance, nearest = (torch.cat(parts) for parts in zip(*near, strict=True))
        likelihood.lengths.fill_(distance[:, 0].square().mean() / D).clamp_(min=likelihood.sigma2)
        return TVAE(Silent(D), likelihood, OneHot(self.latents)), States.one_hot(nearest, self.latents)[about]

    def adapted(self, model: TVAE, patches: Patches, states: States, rows: Tensor, generator: Generator) -> TVAE:
        # The sums of training count for some patches, too; components belong to regions of the image.
        likelihood, prior, some = cast(FullGaussian, model.likelihood), copy.deepcopy(model.prior), states[rows]
        q = some.lpj.softmax(1)
        places = patches.places[rows] if patches.axes else patches.x.new_zeros(len(rows), 0)
        adapted = TVAE(model.decoder, likelihood.at(some.one, q, places), prior)
        x, observed = self.data(adapted, patches)
        engine, settled = self.engine(adapted, patches), replace(self.search, migrate=migration.nobody)
        with engine.running():
            found = engine.step(x, observed, rows, states, settled, generator)
        prior.update(found.prior + TUNED.shares * cast(OneHot, prior).pi)
        before = cast(FullGaussian, adapted.likelihood).sums(TUNED.each)
        cast(FullGaussian, adapted.likelihood).update(found.likelihood + before)
        return adapted

    def searching(self, patches: Patches) -> Search:
        reach = (BESIDE if width > 1 else 0 for width in patches.size)
        return replace(self.search, migrate=Neighbours(patches.grid, tuple(reach)))

    def data(self, model: TVAE, patches: Patches) -> tuple[Tensor, Tensor]:
        if not cast(FullGaussian, model.likelihood).centres.shape[1]:
            return patches.x, patches.observed
        places = patches.places.to(patches.x)
        return torch.cat([patches.x, places], 1), torch.cat([patches.observed, places >= 0], 1)

    def training(self, patches: Patches, epochs: int) -> Training:
        return closed_form.training(self.searching(patches), self.batches, patches, epochs)

    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        return closed_form.moved(model, sigma2, to)
