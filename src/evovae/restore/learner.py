"""One patch model at work on one image."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import cast

import numpy as np
import torch
from torch import Generator, Tensor

from evovae.em import Epoch, Snapshot
from evovae.engines import Engine, choose
from evovae.likelihoods import LowRankGaussian
from evovae.model import TVAE
from evovae.notes import warn
from evovae.restore.ensemble import Estimate
from evovae.restore.image import Image, Scale
from evovae.restore.noise.model import NoiseModel
from evovae.restore.patch_models import FLOOR, PatchModel
from evovae.restore.patches import Patches, extract, guess, merge
from evovae.states import States

REMNANT = 0.02  # share of the noise variance that a restored picture is taken to hold still
# The least noise deviation to find, over the one that was estimated: models that find less have learnt the noise by
# heart.  With few patches they would, so that it goes up to SURE there; chosen on crops of BSD of 12 to 32 pixels.
LEAST, SURE, FEW = 1 / 8, 0.9, 1000
REACH = 1 / 8  # share of a patch's values that must be seen, for it to say something about the others
RIM = 1 / 2  # holes beyond reach are filled by patches of which this share is known already
LEARNT = 0.01  # of the noise variance, that stays in the surest of what is restored, as models are learnt from it
STEPS = 3  # E-steps on patches of which more has become known
AT_ONCE = 8192  # patches in one E-step, which bounds the memory of engines that are not fused


@dataclass(frozen=True)
class Learner:
    """The straight path: even image -> patches -> populations and model -> posterior means -> even image."""

    patches: Patches
    states: States
    scale: Scale
    noise: NoiseModel
    freedom: Tensor
    model: TVAE
    engine: Engine
    patch_model: PatchModel
    generator: Generator

    @classmethod
    def prepare(
        cls,
        image: Image,
        size: tuple[int, ...],
        scale: Scale,
        noise: NoiseModel,
        least: float,
        patch_model: PatchModel,
        device: torch.device,
        generator: Generator,
    ) -> "Learner":
        """Everything that training on an even image needs, for noise of about 1, and of this deviation at least."""
        device = patch_model.place(device)
        patches = _patches(image, size, scale, noise, patch_model, device)
        count = patches.observed.sum(1)
        lost = patch_model.centred * (count > 0).sum() / count.sum()
        start = patches.filled(patches.image.ndim - (image.axis is not None))
        least = max(least, LEAST, SURE * (1 - len(patches.x) / FEW))
        variances = max(scale.unit**-2, FLOOR), (least / scale.unit) ** 2
        model, states = patch_model.start(patches, start, *variances, generator)
        return cls(
            patches=patches,
            states=states.to(device),
            scale=scale,
            noise=noise,
            freedom=(1 - lost).clamp(min=0.1),
            model=model.to(device),
            engine=choose(model, patch_model.searching(patches)),
            patch_model=patch_model,
            generator=generator,
        )

    def epochs(self, resume: Mapping[str, Tensor]) -> Iterator[Epoch]:
        """Train; can be stopped after any epoch, and go on from the snapshot of one (or from an empty one)."""
        reached, resume = int(resume.get("stage", torch.tensor(0))), dict(resume)
        self.patches.refill(resume.get("image", self.patches.image))
        for stage, course in enumerate(self.patch_model.courses):
            if stage < reached or not course.epochs:
                continue
            noise = resume.get("noise", cast(Tensor, self.model.likelihood.sigma2).clone())
            learn = partial(self._learn_from_restored, noise) if course.restored else self._fit
            for epoch in learn(course.epochs, resume):
                yield replace(epoch, snapshot=partial(self._snapshot, stage, noise, epoch))
            course.after(self.model, self.states)
            self._refill()
            resume = {}

    def _snapshot(self, stage: int, noise: Tensor, epoch: Epoch) -> Snapshot:
        """That of the training, the model and populations that it started from, and their sigma2."""
        main = {f"main.{name}": tensor.clone() for name, tensor in self.model.state_dict().items()}
        populations = {"main.words": self.states.words.clone(), "main.lpj": self.states.lpj.clone()}
        about = {"stage": torch.tensor(stage), "noise": noise, "image": self.patches.image.clone()}
        return {**epoch.snapshot(), **main, **populations, **about}

    def _refill(self) -> None:
        """Where whitened patches need a guess at what is missing, take what is restored and the noise to expect."""
        patches = self.patches
        if patches.whitening.is_identity or patches.known.all():
            return
        restored, _ = self._merged(patches, self.states)
        shape = patches.image.shape if self.scale.offset.ndim else (*patches.image.shape, 1)
        noise, known = (v.cpu().numpy().reshape(shape) for v in (patches.image - restored, patches.known))
        expected = torch.from_numpy(self.noise.expected(noise, known)).to(restored).view_as(restored)
        patches.refill(torch.where(patches.known, patches.image, restored + expected))

    def _fit(self, epochs: int, resume: Snapshot) -> Iterator[Epoch]:
        return self._train(self.model, self.patches, self.states, epochs, resume)

    def _train(self, model: TVAE, patches: Patches, states: States, epochs: int, resume: Snapshot) -> Iterator[Epoch]:
        return self.patch_model.fit(model, patches, states, epochs, self.generator, resume)

    def _learn_from_restored(self, noise: Tensor, epochs: int, resume: Snapshot) -> Iterator[Epoch]:
        """Train a copy on the restored image, as if `REMNANT` of the noise were left, and take over what it learnt.

        The model stays as it is until then, so that training can be stopped.
        """
        if resume:
            self.model.load_state_dict({name: resume[f"main.{name}"] for name in self.model.state_dict()})
            self.states.words.copy_(resume["main.words"])
            self.states.lpj.copy_(resume["main.lpj"])
        if REMNANT * noise < FLOOR:  # no noise is left in it to speak of
            yield from self._fit(epochs, resume)
            return
        pupil = copy.deepcopy(self.model)
        likelihood = cast(LowRankGaussian, pupil.likelihood)
        likelihood.floor = REMNANT * noise.item()
        likelihood.sigma2.mul_(0.1)
        states = States(self.states.words.clone(), self.states.lpj.clone(), self.states.n_latents)
        restored, _ = self._merged(self.patches, self.states)
        patches = self.patches.again(restored, torch.ones_like(self.patches.known))
        yield from self._train(pupil, patches, states, epochs, resume)
        self.model.load_state_dict(pupil.state_dict())
        cast(LowRankGaussian, self.model.likelihood).sigma2.copy_(noise)
        self.states.words.copy_(states.words)
        self.states.lpj.copy_(states.lpj)

    @property
    def sigma(self) -> float:
        """The model's noise level, over that of even values."""
        return self.noise_variance.sqrt().item() * self.scale.unit

    @property
    def level(self) -> float:
        """The same in image units, where the signal is the mean one."""
        slope = self.noise.anywhere().slope(self.scale.offset)
        return self.sigma * float((slope**2).mean() ** 0.5)

    @property
    def noise_variance(self) -> Tensor:
        """sigma2, corrected for the degree of freedom that goes with the mean of each patch."""
        return cast(Tensor, self.model.likelihood.sigma2) / self.freedom

    def searched(self, image: Image, size: tuple[int, ...]) -> tuple[Patches, States]:
        """An image that took no part in training, with populations that fit the model."""
        device = self.states.words.device
        patches = _patches(image, size, self.scale, self.noise, self.patch_model, device).every_other()
        N, H = len(patches.x), self.patch_model.latents
        words = self._commonest.expand(N, -1, -1).clone()
        states = States(words, torch.full(words.shape[:2], -torch.inf, device=device), H)
        self._search(patches, states, patches.used.nonzero()[:, 0], self.patch_model.settling)
        return patches, states

    @cached_property
    def _commonest(self) -> Tensor:
        """What new populations start from, once training has ended."""
        return self.states.commonest(self.patch_model.states)

    def _search(self, patches: Patches, states: States, rows: Tensor, steps: int) -> None:
        """E-steps on some of the populations."""
        search, data = self.patch_model.searching(patches), self.patch_model.data(self.model, patches)
        for part in rows.split(AT_ONCE):
            for _ in range(steps):
                self.engine.step(*data, part, states, search, self.generator)

    def estimate(self, patches: Patches, states: States) -> Estimate:
        """What the model says that an image is, in even values."""
        return self._outside(*self._filled(patches, states, *self._merged(patches, states)))

    def glimpse(self) -> Estimate:
        """About what the model says of its training image; draws nothing, so that training does not notice."""
        return self._outside(*self._merged(self.patches.every_other(), self.states))

    def _outside(self, image: Tensor, spread: Tensor) -> Estimate:
        """From training units to even values."""
        optimism = self.patch_model.optimism(*self.patches.x.shape)
        variance = optimism * spread.square() + LEARNT * self.noise_variance
        return Estimate(self.scale.to_even(image.cpu()), variance.sqrt().cpu().double().numpy() * self.scale.unit)

    def _merged(self, patches: Patches, states: States) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the clean image, in training units."""
        rows, back = patches.used.nonzero()[:, 0], patches.whitening.back
        readout = None if back is None else back.to(patches.x)
        data = self.patch_model.data(self.model, patches)
        mean, variance = self.engine.moments(*data, rows, states, readout)
        seen = patches.observed[rows].sum(1, keepdim=True).clamp(min=1)
        variance = variance + self.patch_model.centred * self.noise_variance / seen
        # A patch counts less where it is unsure; sigma2 / D is what even one with a single state is
        # unsure by.  Patches err together, so that the square root does better than the inverse variance.
        weights = (variance + self.noise_variance / patches.x.shape[1]).rsqrt()
        shape, size = patches.image.shape, patches.size
        mean, variance, weights = (patches.among_all(v) for v in (mean + patches.level[rows], variance, weights))
        return merge(mean, weights, shape, size), merge(variance, weights, shape, size).sqrt()

    def _filled(self, patches: Patches, states: States, image: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """The same with holes that no patch reaches across filled from their rims inwards.

        What is restored there stands for what is seen, and is unsure by as much as the image varies.
        """
        seen, known, filled, size = patches.known, patches.known, patches.image, patches.size
        if seen.all():
            return image, spread
        share = _share(known, size)
        reached = sure = _covered(share >= REACH, image.shape, size) | ~patches.wanted
        if not reached.all():
            warn("a hole is wider than patches; it is filled from its rim inwards, and unsure")
        while not reached.all():
            rim = _covered(share >= min(RIM, share[share < 1].max().item()), image.shape, size) & ~known
            filled, known = torch.where(rim, image, filled), known | rim
            patches = patches.again(filled, known)
            self._search(patches, states, (extract(rim, size).any(1) & patches.used).nonzero()[:, 0], STEPS)
            image = torch.where(known, image, self._merged(patches, states)[0])
            share = _share(known, size)
            reached = _covered(share >= REACH, image.shape, size) | ~patches.wanted
        varies = self.patches.image[self.patches.known].std(correction=0)
        return image, torch.where(sure, spread, varies)


def _patches(
    image: Image, size: tuple[int, ...], scale: Scale, noise: NoiseModel, patch_model: PatchModel, device: torch.device
) -> Patches:
    """Those of an even image, on a device."""
    values, known = scale.to_model(image.values, image.observed).to(device), torch.from_numpy(image.observed).to(device)
    whitening = noise.whitening(size if image.axis is not None else (*size, 1))
    if not whitening.is_identity and not known.all():
        values = guess(values, known, size, values.ndim - (image.axis is not None))
    wanted = torch.from_numpy(np.broadcast_to(image.wanted, image.values.shape).copy()).to(device)
    return Patches.of(values, known, size, patch_model.centred, whitening, wanted)


def _share(known: Tensor, size: tuple[int, ...]) -> Tensor:
    """Of each patch, how much is known: (N,)."""
    return extract(known, size).float().mean(1)


def _covered(chosen: Tensor, shape: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """Which pixels lie in one of the chosen patches (N,)."""
    patches = chosen[:, None].float().expand(-1, torch.Size(size).numel())
    return merge(patches, patches.new_ones(()), shape, size) > 0
