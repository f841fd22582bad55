"""A network as the decoder, as in the paper."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor

from evovae.decoders import MLP
from evovae.em import Training
from evovae.evolve import Search
from evovae.likelihoods import Gaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli
from evovae.restore.patch_models.base import FLOOR, PatchModel, Start
from evovae.restore.patches import Patches
from evovae.restore.tuned import TUNED
from evovae.schedules import Schedule, warm_up_decay
from evovae.states import States


@dataclass(frozen=True)
class NetworkPatches(PatchModel):
    """The model of the paper: a multi-layer perceptron decodes binary latents, and is trained by Adam.

    x | z ~ N(MLP(z), sigma2 I) with z ~ prod_h Bern(pi_h); see `evovae.decoders.MLP` and `evovae.likelihoods.Gaussian`.
    Binary latents have no amplitude: centred patches do better, unless the noise is so high that the mean of a patch
    costs more than it gives.  Without arguments, a model for up to 256 x 256 pixels and moderate noise.

    Parameters
    ----------
    patch, latents, states, search, epochs, centred
        As of `PatchModel`.
    hidden
        Units of the decoder's hidden layers, from the latents to the patch.
    batch_size
        Patches of a step of Adam.
    learning_rate
        Adam's peak rate, in training units, in which the signal has a standard deviation of 0.2.
    schedule
        How the rate changes over the epochs; see `evovae.schedules`.
    sigma2
        Variance of the noise that training starts from, in training units; positive.  A small one makes posteriors
        sharp at first, so that more latents are in use early.  Default: that of the noise found.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> search = evovae.Search(parents=4, children=4)
    >>> adam = {"batch_size": 32, "learning_rate": 0.01}
    >>> settings = evovae.NetworkPatches(
    ...     patch=4, latents=8, states=8, search=search, epochs=5, centred=True, hidden=(16,), **adam
    ... )
    >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
    >>> evovae.denoise(noisy, preset=settings, rng=0).shape
    (16, 16)
    """

    on_cpu = False

    patch: int | tuple[int, ...] = 8
    latents: int = 64
    states: int = 24
    search: Search = Search(6, 6)
    epochs: int = 15
    centred: bool = True
    hidden: tuple[int, ...] = (192,)
    batch_size: int = 64
    learning_rate: float = 0.005
    schedule: Schedule = warm_up_decay
    sigma2: float | None = None

    @property
    def settling(self) -> int:
        tried = self.search.parents * self.search.children * self.search.generations
        return max(super().settling, -(-TUNED.tried // max(tried, 1)))

    def optimism(self, N: int, D: int) -> float:
        return 3.0

    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        decoder = MLP(self.latents, *self.hidden, x.shape[1], generator=generator)
        sigma2 = noise if self.sigma2 is None else self.sigma2
        model = TVAE(decoder, Gaussian(sigma2, max(least, FLOOR)), Bernoulli(self.latents))
        return model, States.random(len(x), self.states, self.latents, generator)

    def training(self, patches: Patches, epochs: int) -> Training:
        course = self.batch_size, self.learning_rate, self.schedule
        return Training(self.searching(patches), epochs, *course, hold=0)

    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        model = copy.deepcopy(model)
        cast(Gaussian, model.likelihood).sigma2.fill_(sigma2)
        if to is not None:
            output = cast(MLP, model.decoder).layers[-1]
            with torch.no_grad():
                output.weight.copy_(to.T @ output.weight)
                output.bias.copy_(output.bias @ to)
        return model
