"""Linear subspaces that are switched on by bits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from torch import Generator, Tensor

from evovae import operators
from evovae.decoders import Silent
from evovae.em import Training
from evovae.evolve import Search
from evovae.likelihoods import LowRankGaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli
from evovae.restore.patch_models import closed_form
from evovae.restore.patch_models.base import FLOOR, Course, PatchModel, Start
from evovae.restore.patches import Patches
from evovae.restore.tuned import TUNED
from evovae.states import States


def drop_noise(edge: float, model: TVAE, states: States) -> None:
    """Prune axes below the Marchenko-Pastur edge; see `LowRankGaussian.drop_noise`."""
    cast(LowRankGaussian, model.likelihood).drop_noise(states.usage(), edge)


@dataclass(frozen=True)
class LowRankPatches(PatchModel):
    """Binary latents that switch small linear subspaces on, beside one that is always on, as for brightness.

    The likelihood is `evovae.likelihoods.LowRankGaussian`, all of whose parameters are learnt in closed form.  With
    nothing but offsets (rank 0, always 0), it is binary sparse coding.

    Without arguments, it is the model of the presets `fast` and `balanced` for 256 x 256 pixels and noise of standard
    deviation 25 (of 255).  Few patches learn few latents: small pictures do better with fewer, as the presets choose.

    Parameters
    ----------
    patch, latents, states
        As of `PatchModel`.
    search
        Settings of the E-step.  Mutation by gradients, the default of `evovae.Search`, becomes one by exact gains:
        which subspaces are on has no gradient.
    epochs
        Passes over the patches, before the refinement stage.
    centred
        Whether each patch has its own mean taken off before, and put back after.
    rank
        Dimension of the subspace of each latent, at most.
    batches
        M-steps per epoch.
    look
        The refinement stage after `epochs`: epochs on the image as the model itself has restored it, and then epochs on
        the noisy image again.  Subspaces that are learnt from less noise hold less of it.  (0, 0) leaves it out.  With
        it, axes that noise alone could explain are pruned after a quarter of the epochs, and again before it.
    always
        Dimension of the subspace that is on in all states.
    offsets
        Whether subspaces need not go through zero.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> search = evovae.Search(parents=2, children=4, mutate=evovae.operators.exactly_informed_flip)
    >>> settings = evovae.LowRankPatches(patch=4, latents=8, states=4, search=search, epochs=3, centred=False, rank=2)
    >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
    >>> evovae.denoise(noisy, preset=settings, rng=0).shape
    (16, 16)
    """

    patch: int | tuple[int, ...] = 8
    latents: int = 128
    states: int = 6
    search: Search = Search(2, 5, mutate=operators.exactly_informed_flip)
    epochs: int = 3
    centred: bool = False
    rank: int = 6
    batches: int = 8
    look: tuple[int, int] = (2, 1)
    always: int = 1
    offsets: bool = False

    def optimism(self, N: int, D: int) -> float:
        return 1.28

    def searching(self, patches: Patches) -> Search:
        by_gradients = self.search.mutate is operators.informed_flip
        return replace(self.search, mutate=operators.exactly_informed_flip) if by_gradients else self.search

    @property
    def courses(self) -> tuple[Course, ...]:
        if not any(self.look):
            return super().courses
        restored, again = self.look
        first = -(-self.epochs // 4)
        return (
            Course(first, after=partial(drop_noise, TUNED.early)),
            Course(self.epochs - first, after=partial(drop_noise, TUNED.late)),
            Course(restored, restored=True),
            Course(again),
        )

    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        D = x.shape[1]
        likelihood = LowRankGaussian(
            self.latents,
            D,
            min(self.rank, D),
            self.always,
            offsets=self.offsets,
            sigma2=noise,
            floor=max(least, FLOOR),
            generator=generator,
        )
        likelihood.start(x, patches.common(), generator)
        model = TVAE(Silent(D), likelihood, Bernoulli(self.latents))
        return model, States.random(len(x), self.states, self.latents, generator)

    def training(self, patches: Patches, epochs: int) -> Training:
        return closed_form.training(self.searching(patches), self.batches, patches, epochs)

    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        return closed_form.moved(model, sigma2, to)
