"""Kinds of model for the patches of one image, with all that their training needs decided.

A restoration trains one or several, one after another, and mixes what they say.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Generator, Tensor

from evovae.decoders import MLP, Silent
from evovae.devices import CPU
from evovae.em import Epoch, fit
from evovae.evolve import Search
from evovae.likelihoods import Gaussian, LowRankGaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli
from evovae.schedules import Schedule, warm_up_decay
from evovae.states import States

FLOOR = 2e-5  # of the noise variance, in training units: single precision cannot tell less from rounding
# The least variance along an axis, over what noise can draw (`LowRankGaussian.drop_noise`): after a quarter of the
# epochs, when little is learnt yet, and after all of them; chosen on house and crops of BSD, sigma 25 and 50.
EARLY, LATE = 0.5, 1.4


def keep_all(model: TVAE, states: States) -> None:
    """Models stay as they are."""


def drop_noise(edge: float, model: TVAE, states: States) -> None:
    """What noise could have drawn goes; see `LowRankGaussian.drop_noise`."""
    cast(LowRankGaussian, model.likelihood).drop_noise(states.usage(), edge)


@dataclass(frozen=True)
class Course:
    """A part of a training: so many epochs, on the noisy image or on the one restored so far, and what follows."""

    epochs: int
    restored: bool = False
    after: Callable[[TVAE, States], None] = keep_all


@dataclass(frozen=True)
class PatchModel(ABC):
    """What a restoration asks of a kind of model.

    patch is the width of the patches in pixels, or one for each spatial axis; they reach through all
    channels.  latents is H, states S, the population of each patch.  Where patches are centred, each has
    its own mean taken off and put back.
    """

    patch: int | tuple[int, ...]
    latents: int
    states: int
    search: Search
    epochs: int
    centred: bool

    @property
    @abstractmethod
    def settling(self) -> int:
        """How many E-steps the populations of patches need that took no part in training."""

    @property
    def courses(self) -> tuple[Course, ...]:
        """What training consists of, one after another."""
        return (Course(self.epochs),)

    @property
    def length(self) -> int:
        """All epochs."""
        return sum(course.epochs for course in self.courses)

    @abstractmethod
    def place(self, device: torch.device) -> torch.device:
        """Where to work, if a device is there to be used."""

    @abstractmethod
    def model(self, x: Tensor, common: Tensor, noise: float, least: float, generator: Generator) -> TVAE:
        """A model of patches x (N, D) to start from, for noise of about this variance, and of at least another.

        common (D,) is what brightness adds to a patch.
        """

    @abstractmethod
    def training(self, model: TVAE, N: int) -> dict[str, Any]:
        """The arguments of `evovae.fit` that are this kind's own, for N patches."""

    def fit(
        self,
        model: TVAE,
        x: Tensor,
        observed: Tensor,
        states: States,
        epochs: int,
        generator: Generator,
        resume: Mapping[str, Tensor],
    ) -> Iterator[Epoch]:
        """Train it, from a snapshot if that is not empty."""
        return fit(
            model,
            x,
            observed=observed,
            states=states,
            search=self.search,
            epochs=epochs,
            generator=generator,
            resume=resume,
            **self.training(model, len(x)),
        )


@dataclass(frozen=True)
class NetworkPatches(PatchModel):
    """The paper's model: an MLP decodes binary latents.

    hidden are the decoder's layer sizes, learning_rate Adam's peak rate.  A binary code has no
    amplitude: centred patches do better, unless noise is so high that the mean costs more than it gives.
    """

    hidden: tuple[int, ...]
    batch_size: int
    learning_rate: float
    schedule: Schedule = warm_up_decay

    @property
    def settling(self) -> int:
        return 8

    def place(self, device: torch.device) -> torch.device:
        return device

    def model(self, x: Tensor, common: Tensor, noise: float, least: float, generator: Generator) -> TVAE:
        decoder = MLP(self.latents, *self.hidden, x.shape[1], generator=generator)
        return TVAE(decoder, Gaussian(noise, max(least, FLOOR)), Bernoulli(self.latents))

    def training(self, model: TVAE, N: int) -> dict[str, Any]:
        optimizer = torch.optim.Adam(model.decoder.parameters(), lr=self.learning_rate, fused=True)
        return {"optimizer": optimizer, "schedule": self.schedule, "batch_size": self.batch_size}


@dataclass(frozen=True)
class LowRankPatches(PatchModel):
    """Binary latents that switch small subspaces on, brightness always on, all in closed form.

    rank is the dimension of each subspace, at most, always that of what no latent switches, batches the number
    of M-steps per epoch.  look is a second look: after `epochs`, how many on its own restored picture, and then
    how many on the noisy one again; subspaces that are learnt from less noise hold less of it.  With offsets,
    subspaces need not go through zero; with nothing else (rank 0, always 0) that is binary sparse coding.
    """

    rank: int
    batches: int = 8
    look: tuple[int, int] = (0, 0)
    always: int = 1
    offsets: bool = False

    @property
    def settling(self) -> int:
        return 4

    def place(self, device: torch.device) -> torch.device:
        """The CPU, for which its closed forms are compiled."""
        return CPU

    @property
    def courses(self) -> tuple[Course, ...]:
        """With a second look, what noise could have drawn is dropped soon, and again before it."""
        if not any(self.look):
            return super().courses
        restored, again = self.look
        first = -(-self.epochs // 4)
        return (
            Course(first, after=partial(drop_noise, EARLY)),
            Course(self.epochs - first, after=partial(drop_noise, LATE)),
            Course(restored, restored=True),
            Course(again),
        )

    def model(self, x: Tensor, common: Tensor, noise: float, least: float, generator: Generator) -> TVAE:
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
        likelihood.start(x, common, generator)
        return TVAE(Silent(D), likelihood, Bernoulli(self.latents))

    def training(self, model: TVAE, N: int) -> dict[str, Any]:
        nothing_to_learn = torch.optim.SGD(model.decoder.parameters(), lr=1.0)
        memory = max(1 - 2 / self.batches, 0)
        return {"optimizer": nothing_to_learn, "batch_size": -(-N // self.batches), "memory": memory}


def described(model: PatchModel) -> dict[str, Any]:
    """Its kind and settings, in what JSON can hold."""
    settings = {"kind": type(model).__name__, **asdict(model)}
    return json.loads(json.dumps(settings, default=_described))


def _described(part: object) -> object:
    """A function, or an object that works like one, by name, with what it is given."""
    if isinstance(part, partial):
        return [_described(part.func), part.args, part.keywords]
    return getattr(part, "__name__", type(part).__name__)
