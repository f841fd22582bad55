"""One expert at work on one picture."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor

from evovae.em import Epoch
from evovae.engines import Engine, choose
from evovae.likelihoods import LowRankGaussian
from evovae.model import TVAE
from evovae.restore.border import Picture, Scale
from evovae.restore.experts import Expert
from evovae.restore.mixing import View
from evovae.restore.patches import extract, merge
from evovae.states import States

REMNANT = 0.02  # share of the noise variance that a restored picture is taken to hold still
REACH = 1 / 8  # share of a patch's values that must be seen, for it to say something about the others
RIM = 1 / 2  # holes beyond reach are filled by patches of which this share is known already
STEPS = 3  # E-steps on patches of which more has become known


@dataclass(frozen=True)
class Patches:
    """All patches of a picture: x (N, D), less their levels (N, 1), and which values are seen (N, D)."""

    x: Tensor
    level: Tensor
    observed: Tensor

    @classmethod
    def of(cls, image: Tensor, known: Tensor, size: tuple[int, ...], centred: bool) -> "Patches":
        """From an image in training units, zero where it is not known."""
        x, seen = extract(image, size), extract(known, size)
        level = centred * x.sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
        return cls((x - level).contiguous(), level, seen.contiguous())


@dataclass(frozen=True)
class Job:
    """The straight path: image -> patches -> populations and model -> posterior means -> image."""

    image: Tensor
    known: Tensor
    scale: Scale
    size: tuple[int, ...]
    patches: Patches
    freedom: Tensor
    model: TVAE
    states: States
    engine: Engine
    expert: Expert
    generator: Generator

    @classmethod
    def prepare(
        cls, picture: Picture, scale: Scale, noise: float, least: float, expert: Expert, generator: Generator
    ) -> "Job":
        """Everything that training needs, for noise of about and of at least these standard deviations."""
        size = picture.patch(expert.patch)
        image, known = scale.to_model(picture.values, picture.observed), torch.from_numpy(picture.observed)
        patches = Patches.of(image, known, size, expert.centred)
        count = patches.observed.sum(1)
        lost = expert.centred * (count > 0).sum() / count.sum()
        model = expert.model(patches.x, max((noise / scale.unit) ** 2, 1e-6), (least / scale.unit) ** 2, generator)
        return cls(
            image=image,
            known=known,
            scale=scale,
            size=size,
            patches=patches,
            freedom=(1 - lost).clamp(min=0.1),
            model=model,
            states=States.random(len(patches.x), expert.states, expert.latents, generator),
            engine=choose(model, expert.search),
            expert=expert,
            generator=generator,
        )

    def epochs(self) -> Iterator[Epoch]:
        """Train; can be stopped after any epoch."""
        on_restored, last = self.expert.second_look
        yield from self._fit(self.model, self.patches, self.states, self.expert.epochs)
        if on_restored:
            yield from self._learn_from_restored(on_restored)
        if last:
            yield from self._fit(self.model, self.patches, self.states, last)

    def _fit(self, model: TVAE, patches: Patches, states: States, epochs: int) -> Iterator[Epoch]:
        return self.expert.fit(model, patches.x, patches.observed, states, epochs, self.generator)

    def _learn_from_restored(self, epochs: int) -> Iterator[Epoch]:
        """Train a copy on the restored picture, as if `REMNANT` of the noise were left, and take over what it learnt.

        The model stays as it is until then, so that training can be stopped.
        """
        pupil, noise = copy.deepcopy(self.model), cast(Tensor, self.model.likelihood.sigma2).clone()
        likelihood = cast(LowRankGaussian, pupil.likelihood)
        likelihood.floor = REMNANT * noise.item()
        likelihood.sigma2.mul_(0.1)
        states = States(self.states.words.clone(), self.states.lpj.clone(), self.states.n_latents)
        restored, _ = self._merged(self.patches)
        patches = Patches.of(restored, torch.ones_like(self.known), self.size, self.expert.centred)
        yield from self._fit(pupil, patches, states, epochs)
        self.model.load_state_dict(pupil.state_dict())
        cast(LowRankGaussian, self.model.likelihood).sigma2.copy_(noise)
        self.states.words.copy_(states.words)

    @property
    def sigma(self) -> float:
        """The model's noise level, in image units."""
        return self.noise_variance.sqrt().item() * self.scale.unit

    @property
    def noise_variance(self) -> Tensor:
        """sigma2, corrected for the degree of freedom that goes with the mean of each patch."""
        return cast(Tensor, self.model.likelihood.sigma2) / self.freedom

    def view(self, share: float) -> View:
        """What the model says the picture is, in image units."""
        image, spread = self._merged(self.patches)
        image, spread = self._filled(image, spread)
        return View(self.scale.to_image(image), spread.double().numpy() * self.scale.unit, self.sigma, share)

    def _merged(self, patches: Patches) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the clean picture, in training units."""
        mean, variance = self.engine.moments(patches.x, patches.observed, torch.arange(len(patches.x)), self.states)
        seen = patches.observed.sum(1, keepdim=True).clamp(min=1)
        variance = variance + self.expert.centred * self.noise_variance / seen
        # A patch counts less where it is unsure; sigma2 / D is what even one with a single state is
        # unsure by.  Patches err together, so that the square root does better than the inverse variance.
        weights = (variance + self.noise_variance / patches.x.shape[1]).rsqrt()
        image = merge(mean + patches.level, weights, self.image.shape, self.size)
        return image, merge(variance, weights, self.image.shape, self.size).sqrt()

    def _filled(self, image: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """The same with holes that no patch reaches across filled from their rims inwards.

        What is restored there stands for what is seen, and is unsure by as much as the picture varies.
        """
        if self.known.all():
            return image, spread
        known, filled = self.known, self.image
        share = self._share(known)
        reached = sure = self._covered(share >= REACH)
        while not reached.all():
            rim = self._covered(share >= min(RIM, share[share < 1].max().item())) & ~known
            filled, known = torch.where(rim, image, filled), known | rim
            patches = Patches.of(filled, known, self.size, self.expert.centred)
            rows = extract(rim, self.size).any(1).nonzero()[:, 0]
            for _ in range(STEPS):
                self.engine.step(patches.x, patches.observed, rows, self.states, self.expert.search, self.generator)
            image = torch.where(known, image, self._merged(patches)[0])
            share = self._share(known)
            reached = self._covered(share >= REACH)
        return image, torch.where(sure, spread, self.image[self.known].std(correction=0))

    def _share(self, known: Tensor) -> Tensor:
        """Of each patch, how much is known: (N,)."""
        return extract(known, self.size).float().mean(1)

    def _covered(self, chosen: Tensor) -> Tensor:
        """Which pixels lie in one of the chosen patches (N,)."""
        D = torch.Size(self.size).numel()
        return merge(chosen[:, None].float().expand(-1, D), torch.ones(()), self.image.shape, self.size) > 0
