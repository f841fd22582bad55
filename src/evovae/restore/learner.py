"""One expert at work on one picture."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import cast

import torch
from torch import Generator, Tensor

from evovae.em import Epoch, Snapshot
from evovae.engines import Engine, choose
from evovae.likelihoods import LowRankGaussian
from evovae.model import TVAE
from evovae.restore.ensemble import Estimate
from evovae.restore.image import Image, Scale, warn
from evovae.restore.interpolate import smooth
from evovae.restore.patch_models import FLOOR, PatchModel
from evovae.restore.patches import extract, merge
from evovae.states import States

REMNANT = 0.02  # share of the noise variance that a restored picture is taken to hold still
# The least noise deviation to find, over the one that was estimated: models that find less have learnt the noise by
# heart.  With few patches they would, so that it goes up to SURE there; chosen on crops of BSD of 12 to 32 pixels.
LEAST, SURE, FEW = 1 / 8, 0.9, 1000
REACH = 1 / 8  # share of a patch's values that must be seen, for it to say something about the others
RIM = 1 / 2  # holes beyond reach are filled by patches of which this share is known already
STEPS = 3  # E-steps on patches of which more has become known
AT_ONCE = 8192  # patches in one E-step, which bounds the memory of engines that are not fused


@dataclass(frozen=True)
class Patches:
    """An image in training units, zero where it is not known, and all its patches of a size.

    x (N, D) are the patches less their levels (N, 1), observed (N, D) says which of their values are known, and
    used (N,) which patches the picture is made of.
    """

    image: Tensor
    known: Tensor
    size: tuple[int, ...]
    x: Tensor
    level: Tensor
    observed: Tensor
    used: Tensor

    @classmethod
    def of(cls, image: Tensor, known: Tensor, size: tuple[int, ...], centred: bool) -> "Patches":
        """All are used; levels are the means of what is known, or zero."""
        x, seen = extract(image, size), extract(known, size)
        level = centred * x.sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
        used = torch.ones(len(x), dtype=torch.bool, device=x.device)
        return cls(image, known, size, (x - level).contiguous(), level, seen.contiguous(), used)

    @classmethod
    def of_picture(
        cls, picture: Image, size: tuple[int, ...], scale: Scale, centred: bool, device: torch.device
    ) -> "Patches":
        """On a device, from a picture in its own units."""
        image, known = scale.to_model(picture.values, picture.observed), torch.from_numpy(picture.observed)
        return cls.of(image.to(device), known.to(device), size, centred)

    def filled(self, spatial: int, centred: bool) -> Tensor:
        """All patches (N, D) with a smooth guess at what is not known; `spatial` axes come before those of channels."""
        if self.known.all():
            return self.x
        axes = tuple(axis for axis in range(spatial) if self.size[axis] > 1)
        image = smooth(self.image, self.known, axes)
        return Patches.of(image, torch.ones_like(self.known), self.size, centred).x

    def every_other(self) -> "Patches":
        """With half of them used, like the squares of one colour on a chessboard, and those at the rim."""
        positions = [n - w + 1 for n, w in zip(self.image.shape, self.size, strict=True)]
        places = torch.meshgrid(*map(torch.arange, positions), indexing="ij")
        rim = [(place % max(n - 1, 1) == 0) & (n > 1) for place, n in zip(places, positions, strict=True)]
        overlap = torch.tensor(self.size) > 1  # where patches are one wide, each pixel has its own
        even = torch.tensordot(overlap.long(), torch.stack(places), 1) % 2 == 0
        used = torch.stack([even, *rim]).any(0)
        return replace(self, used=used.flatten().to(self.x.device))

    def among_all(self, values: Tensor) -> Tensor:
        """values of the used patches, and zeros for the others: (N, D)."""
        if self.used.all():  # as most pictures have it, whose patches take room
            return values.expand_as(self.x)
        return values.new_zeros(self.x.shape).masked_scatter_(self.used[:, None], values)


@dataclass(frozen=True)
class Learner:
    """The straight path: picture -> patches -> populations and model -> posterior means -> picture."""

    patches: Patches
    states: States
    scale: Scale
    freedom: Tensor
    model: TVAE
    engine: Engine
    expert: PatchModel
    generator: Generator

    @classmethod
    def prepare(
        cls,
        picture: Image,
        size: tuple[int, ...],
        scale: Scale,
        noise: float,
        least: float,
        expert: PatchModel,
        device: torch.device,
        generator: Generator,
    ) -> "Learner":
        """Everything that training on a picture needs, for noise of about and of at least these deviations."""
        device = expert.place(device)
        patches = Patches.of_picture(picture, size, scale, expert.centred, device)
        count = patches.observed.sum(1)
        lost = expert.centred * (count > 0).sum() / count.sum()
        spatial = patches.image.ndim - (picture.axis is not None)
        start = patches.filled(spatial, expert.centred)
        least = max(least, noise * max(LEAST, SURE * (1 - len(patches.x) / FEW)))
        model = expert.model(start, max((noise / scale.unit) ** 2, FLOOR), (least / scale.unit) ** 2, generator)
        return cls(
            patches=patches,
            states=States.random(len(patches.x), expert.states, expert.latents, generator).to(device),
            scale=scale,
            freedom=(1 - lost).clamp(min=0.1),
            model=model.to(device),
            engine=choose(model, expert.search),
            expert=expert,
            generator=generator,
        )

    def epochs(self, resume: Mapping[str, Tensor]) -> Iterator[Epoch]:
        """Train; can be stopped after any epoch, and go on from the snapshot of one (or from an empty one)."""
        reached, resume = int(resume.get("stage", torch.tensor(0))), dict(resume)
        for stage, course in enumerate(self.expert.courses):
            if stage < reached or not course.epochs:
                continue
            noise = resume.get("noise", cast(Tensor, self.model.likelihood.sigma2).clone())
            learn = partial(self._learn_from_restored, noise) if course.restored else self._fit
            for epoch in learn(course.epochs, resume):
                yield replace(epoch, snapshot=partial(self._snapshot, stage, noise, epoch))
            course.after(self.model, self.states)
            resume = {}

    def _snapshot(self, stage: int, noise: Tensor, epoch: Epoch) -> Snapshot:
        """That of the training, the model and populations that it started from, and their sigma2."""
        main = {f"main.{name}": tensor.clone() for name, tensor in self.model.state_dict().items()}
        populations = {"main.words": self.states.words.clone(), "main.lpj": self.states.lpj.clone()}
        return {**epoch.snapshot(), **main, **populations, "stage": torch.tensor(stage), "noise": noise}

    def _fit(self, epochs: int, resume: Snapshot) -> Iterator[Epoch]:
        return self._train(self.model, self.patches, self.states, epochs, resume)

    def _train(self, model: TVAE, patches: Patches, states: States, epochs: int, resume: Snapshot) -> Iterator[Epoch]:
        return self.expert.fit(model, patches.x, patches.observed, states, epochs, self.generator, resume)

    def _learn_from_restored(self, noise: Tensor, epochs: int, resume: Snapshot) -> Iterator[Epoch]:
        """Train a copy on the restored picture, as if `REMNANT` of the noise were left, and take over what it learnt.

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
        everywhere = torch.ones_like(self.patches.known)
        patches = Patches.of(restored, everywhere, self.patches.size, self.expert.centred)
        yield from self._train(pupil, patches, states, epochs, resume)
        self.model.load_state_dict(pupil.state_dict())
        cast(LowRankGaussian, self.model.likelihood).sigma2.copy_(noise)
        self.states.words.copy_(states.words)
        self.states.lpj.copy_(states.lpj)

    @property
    def sigma(self) -> float:
        """The model's noise level, in image units."""
        return self.noise_variance.sqrt().item() * self.scale.unit

    @property
    def noise_variance(self) -> Tensor:
        """sigma2, corrected for the degree of freedom that goes with the mean of each patch."""
        return cast(Tensor, self.model.likelihood.sigma2) / self.freedom

    def searched(self, picture: Image, size: tuple[int, ...]) -> tuple[Patches, States]:
        """A picture that took no part in training, with populations that fit the model."""
        device = self.states.words.device
        patches = Patches.of_picture(picture, size, self.scale, self.expert.centred, device).every_other()
        N, H = len(patches.x), self.expert.latents
        words = self._commonest.expand(N, -1, -1).clone()
        states = States(words, torch.full(words.shape[:2], -torch.inf, device=device), H)
        self._search(patches, states, patches.used.nonzero()[:, 0], self.expert.settling)
        return patches, states

    @cached_property
    def _commonest(self) -> Tensor:
        """What new populations start from, once training has ended."""
        return self.states.commonest(self.expert.states)

    def _search(self, patches: Patches, states: States, rows: Tensor, steps: int) -> None:
        """E-steps on some of the populations."""
        for part in rows.split(AT_ONCE):
            for _ in range(steps):
                self.engine.step(patches.x, patches.observed, part, states, self.expert.search, self.generator)

    def view(self, patches: Patches, states: States) -> Estimate:
        """What the model says that a picture is, in image units."""
        return self._outside(*self._filled(patches, states, *self._merged(patches, states)))

    def glimpse(self) -> Estimate:
        """About what the model says of its training picture; draws nothing, so that training does not notice."""
        return self._outside(*self._merged(self.patches.every_other(), self.states))

    def _outside(self, image: Tensor, spread: Tensor) -> Estimate:
        """From training units to those of the image."""
        return Estimate(self.scale.to_image(image.cpu()), spread.cpu().double().numpy() * self.scale.unit, self.sigma)

    def _merged(self, patches: Patches, states: States) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the clean picture, in training units."""
        rows = patches.used.nonzero()[:, 0]
        mean, variance = self.engine.moments(patches.x, patches.observed, rows, states)
        seen = patches.observed[rows].sum(1, keepdim=True).clamp(min=1)
        variance = variance + self.expert.centred * self.noise_variance / seen
        # A patch counts less where it is unsure; sigma2 / D is what even one with a single state is
        # unsure by.  Patches err together, so that the square root does better than the inverse variance.
        weights = (variance + self.noise_variance / patches.x.shape[1]).rsqrt()
        shape, size = patches.image.shape, patches.size
        mean, variance, weights = (patches.among_all(v) for v in (mean + patches.level[rows], variance, weights))
        return merge(mean, weights, shape, size), merge(variance, weights, shape, size).sqrt()

    def _filled(self, patches: Patches, states: States, image: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
        """The same with holes that no patch reaches across filled from their rims inwards.

        What is restored there stands for what is seen, and is unsure by as much as the picture varies.
        """
        seen, known, filled, size = patches.known, patches.known, patches.image, patches.size
        if seen.all():
            return image, spread
        share = _share(known, size)
        reached = sure = _covered(share >= REACH, image.shape, size)
        if not reached.all():
            warn("a hole is wider than patches; it is filled from its rim inwards, and unsure")
        while not reached.all():
            rim = _covered(share >= min(RIM, share[share < 1].max().item()), image.shape, size) & ~known
            filled, known = torch.where(rim, image, filled), known | rim
            patches = replace(Patches.of(filled, known, size, self.expert.centred), used=patches.used)
            self._search(patches, states, (extract(rim, size).any(1) & patches.used).nonzero()[:, 0], STEPS)
            image = torch.where(known, image, self._merged(patches, states)[0])
            share = _share(known, size)
            reached = _covered(share >= REACH, image.shape, size)
        varies = self.patches.image[self.patches.known].std(correction=0)
        return image, torch.where(sure, spread, varies)


def _share(known: Tensor, size: tuple[int, ...]) -> Tensor:
    """Of each patch, how much is known: (N,)."""
    return extract(known, size).float().mean(1)


def _covered(chosen: Tensor, shape: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """Which pixels lie in one of the chosen patches (N,)."""
    patches = chosen[:, None].float().expand(-1, torch.Size(size).numel())
    return merge(patches, patches.new_ones(()), shape, size) > 0
