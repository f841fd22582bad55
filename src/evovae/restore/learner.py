"""One patch model in training on one image, or on crops of several."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Generator, Tensor

from evovae.devices import CPU
from evovae.em import Epoch, Snapshot
from evovae.likelihoods import LowRankGaussian
from evovae.model import TVAE
from evovae.restore.ensemble import Estimate
from evovae.restore.estimates import estimate, glimpse, merged, patches_of
from evovae.restore.fitted_patches import FittedPatches, whitening_of
from evovae.restore.image import Image, Scale
from evovae.restore.noise.model import NoiseModel
from evovae.restore.patch_models import PatchModel
from evovae.restore.patch_models.base import FLOOR
from evovae.restore.patches import Patches
from evovae.restore.tuned import TUNED
from evovae.states import States, unpack


@dataclass
class Learner:
    """Training of one model: even image -> patches -> populations and model -> posterior means -> even image.

    fitted holds the model, which training changes; bound is that of the last epoch, the mean of a patch in nats.
    """

    patches: Patches
    states: States
    fitted: FittedPatches
    generator: Generator
    bound: float = float("nan")

    @classmethod
    def prepare(
        cls,
        image: Image,
        among: tuple[int, ...],
        size: tuple[int, ...],
        scale: Scale,
        noise: NoiseModel,
        least: float,
        settings: PatchModel,
        device: torch.device,
        generator: Generator,
    ) -> "Learner":
        """Everything that training on an even image needs, for noise of standard deviation about 1, and `least` at
        least.

        size is that of patches, and `among` the same in the image, which may hold crops.
        """
        device = CPU if settings.on_cpu else device
        channels = image.axis is not None
        patches = patches_of(image, among, scale, whitening_of(noise, size, channels), settings.centred, device)
        count = patches.observed.sum(1)
        lost = settings.centred * float((count > 0).sum() / count.sum())
        start = patches.filled(len(image.shape))
        least = max(least, TUNED.least, TUNED.sure * (1 - len(patches.x) / TUNED.few_patches))
        variances = max(scale.unit**-2, FLOOR), (least / scale.unit) ** 2
        model, states = settings.start(patches, start, *variances, generator)
        fitted = FittedPatches(
            model=model.to(device),
            settings=settings,
            size=size,
            channels=channels,
            scale=scale,
            noise=noise,
            freedom=max(1 - lost, 0.1),
            commonest=torch.zeros(0, settings.latents, dtype=torch.bool),
            trained=len(patches.x),
        )
        return cls(patches, states.to(device), fitted, generator)

    @property
    def learnt(self) -> FittedPatches:
        """What has been learnt so far."""
        commonest = unpack(self.states.commonest(self.fitted.settings.commonest), self.states.n_latents)
        values = torch.Size(self.fitted.size).numel()
        bound = self.bound / values - float(np.log(self.fitted.scale.unit))
        return replace(self.fitted, commonest=commonest, bound=bound)

    def glimpse(self) -> Estimate:
        """An estimate of the training image from half of the patches."""
        return glimpse(self.fitted, self.patches, self.states)

    def estimate(self) -> Estimate:
        """The estimate of the training image."""
        return estimate(self.fitted, self.patches, self.states, self.generator)

    def epochs(self, resume: Mapping[str, Any]) -> Iterator[Epoch]:
        """Train; can be stopped after any epoch, and go on from the snapshot of one (or from an empty one)."""
        reached, resume = int(resume.get("stage", torch.tensor(0))), dict(resume)
        if "image" in resume:
            self.patches.refill(resume["image"])
        for stage, course in enumerate(self.fitted.settings.courses):
            if stage < reached or not course.epochs:
                continue
            noise = resume.get("noise", cast(Tensor, self.model.likelihood.sigma2).clone())
            train = partial(self._learn_from_restored, noise) if course.restored else self._learn
            for epoch in train(course.epochs, resume.get("main", {}), resume.get("fit", {})):
                self.bound = epoch.elbo
                yield replace(epoch, snapshot=partial(self._snapshot, stage, noise, epoch))
            course.after(self.model, self.states)
            self._refill()
            resume = {}

    @property
    def model(self) -> TVAE:
        return self.fitted.model

    def _snapshot(self, stage: int, noise: Tensor, epoch: Epoch) -> Snapshot:
        """That of the training, the model and populations that it started from, and their sigma2."""
        main = {"model": dict(self.model.state_dict()), "words": self.states.words, "lpj": self.states.lpj}
        about = {"stage": torch.tensor(stage), "noise": noise, "image": self.patches.image, "main": main}
        return {**copy.deepcopy(about), "fit": epoch.snapshot()}

    def _refill(self) -> None:
        """Guess anew the missing values of whitened patches: the restored image, and the noise expected from that of
        known values.
        """
        patches, fitted = self.patches, self.fitted
        if patches.whitening.is_identity or patches.known.all():
            return
        restored, _ = merged(fitted, patches, self.states)
        shape = patches.image.shape if fitted.scale.offset.ndim else (*patches.image.shape, 1)
        noise, known = (v.cpu().numpy().reshape(shape) for v in (patches.image - restored, patches.known))
        expected = torch.from_numpy(fitted.noise.expected(noise, known)).to(restored).view_as(restored)
        patches.refill(torch.where(patches.known, patches.image, restored + expected))

    def _learn(self, epochs: int, main: Snapshot, resume: Snapshot) -> Iterator[Epoch]:
        """Train the model on the image itself."""
        return self._train(self.model, self.patches, self.states, epochs, resume)

    def _train(self, model: TVAE, patches: Patches, states: States, epochs: int, resume: Snapshot) -> Iterator[Epoch]:
        return self.fitted.settings.fit(model, patches, states, epochs, self.generator, resume)

    def _learn_from_restored(self, noise: Tensor, epochs: int, main: Snapshot, resume: Snapshot) -> Iterator[Epoch]:
        """Train a copy on the restored image, as if a little of the noise were left, and take over what it learnt.

        The model stays as it is until then, so that training can be stopped.
        """
        if main:
            self.model.load_state_dict(main["model"])
            self.states.words.copy_(main["words"])
            self.states.lpj.copy_(main["lpj"])
        if TUNED.remnant * noise < FLOOR:  # no noise is left in it to speak of
            yield from self._learn(epochs, main, resume)
            return
        pupil = copy.deepcopy(self.model)
        likelihood = cast(LowRankGaussian, pupil.likelihood)
        likelihood.floor = TUNED.remnant * noise.item()
        likelihood.sigma2.mul_(0.1)
        states = States(self.states.words.clone(), self.states.lpj.clone(), self.states.n_latents)
        restored, _ = merged(self.fitted, self.patches, self.states)
        patches = self.patches.again(restored, torch.ones_like(self.patches.known))
        yield from self._train(pupil, patches, states, epochs, resume)
        self.model.load_state_dict(pupil.state_dict())
        cast(LowRankGaussian, self.model.likelihood).sigma2.copy_(noise)
        self.states.words.copy_(states.words)
        self.states.lpj.copy_(states.lpj)
