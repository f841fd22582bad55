"""What a model has learnt from a picture, to be looked at: its latents, and the populations of patches."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Generator, Tensor

from evovae.checkpoint import CheckpointError, load_model, save_model
from evovae.evolve import Search, evolve
from evovae.likelihoods.base import through
from evovae.model import TVAE
from evovae.operators import exactly_informed_flip
from evovae.posterior import weights
from evovae.priors import OneHot
from evovae.restore.image import Image, Scale
from evovae.restore.noise.covariance import Whitening
from evovae.restore.noise.model import Noise, NoiseModel
from evovae.states import States

STEPS = 12  # E-steps for the population of one patch


@dataclass(frozen=True)
class Population:
    """The states of one patch, the likeliest first.

    Attributes
    ----------
    states
        (S, H) bool.
    q
        (S,): their weights in the truncated posterior, which sum to one (Eq. 3).
    images
        (S, *size), in image units: what each state says that the clean patch is.
    restored
        (*size), in image units: the posterior mean, sum_s q_s images_s (Eq. 15).
    """

    states: np.ndarray
    q: np.ndarray
    images: np.ndarray
    restored: np.ndarray


@dataclass(frozen=True)
class Insight:
    """One trained model, and what it takes to use it on patches in the units of the picture.

    Attributes
    ----------
    model
        The model, in training units.
    size
        Of its patches; channels are the last axis.
    scale, noise
        How values become those of training: ``scale.to_model(even, observed)`` of what `noise.forward` makes even, and
        then ``noise.whitening(size)``.
    centred
        Whether each patch is taken less its mean.
    states
        S, the size of populations.
    channels
        Whether the last axis of patches is that of channels.
    """

    model: TVAE
    size: tuple[int, ...]
    scale: Scale
    noise: NoiseModel
    centred: bool
    states: int
    channels: bool = False

    @property
    def _axis(self) -> int | None:
        return -1 if self.channels else None

    @property
    def _whitening(self) -> Whitening:
        return self.noise.whitening(self.size if self.channels else (*self.size, 1))

    @property
    def use(self) -> np.ndarray:
        """How often each latent is on: the prior's pi, (H,)."""
        return cast(Tensor, self.model.prior.pi).double().numpy()

    @torch.no_grad()
    def responses(self) -> np.ndarray:
        """What each latent adds to a patch, in image units (of even noise): (H, R, *size).

        First what it does to the decoder's mean; for latents that own subspaces, then their principal axes, each as
        long as its standard deviation.  What is zero for all latents is left out, but for a first one.
        """
        H = len(self.use)
        on, off = (torch.eye(H, dtype=torch.bool), torch.zeros(H, H, dtype=torch.bool))
        decoded = [self.model.likelihood.expectation(self.model.decode(z), z) for z in (on, off)]
        along = through(self.model.likelihood.responses(decoded[0] - decoded[1]), self._whitening.back)
        there = along.abs().amax((0, 2)) > 0
        there[0] |= not there.any()
        along = along[:, there]
        return (along.double().numpy() * self.scale.unit).reshape(*along.shape[:2], *self.size)

    @torch.no_grad()
    def population(self, patch: np.ndarray, observed: np.ndarray | None = None, seed: int = 0) -> Population:
        """The population of a patch (*size) of the picture; values that are NaN or not observed are missing.

        Raises
        ------
        ValueError
            If the patch has another shape.
        """
        if patch.shape != self.size:
            raise ValueError(f"the patch has shape {patch.shape}, but the model's have {self.size}")
        seen = ~np.isnan(patch) if observed is None else observed & ~np.isnan(patch)
        even = self.noise.forward(Image(np.where(seen, patch, 0.0), seen, self._axis, patch.shape))
        whitening, known = self._whitening, torch.from_numpy(seen.reshape(1, -1))
        x = self.scale.to_model(even.values, seen).view(1, -1)
        level = x.sum() / known.sum().clamp(min=1)
        if not whitening.is_identity:  # whitened values are sums of many
            x, known = torch.where(known, x, level), torch.ones_like(known)
        x = torch.where(known, whitening(x - self.centred * level), 0)
        states = self._searched(x, known, Generator().manual_seed(seed))
        decoded = self.model.decode(states.z)
        values = self.model.likelihood.restore(x, decoded, known, states.z, whitening.back)[0][0] + self.centred * level
        order = states.lpj[0].argsort(descending=True)
        q = weights(states.lpj)[0, order].double().numpy()
        signals = self.scale.to_even(values[order].view(-1, *self.size))
        restored, images = self.noise.inverse(np.tensordot(q, signals, 1)), self.noise.inverse(signals)
        return Population(states.z[0, order].numpy(), q, images, restored)

    def _searched(self, x: Tensor, observed: Tensor, generator: Generator) -> States:
        H = len(self.use)
        if isinstance(self.model.prior, OneHot):  # few enough to compare them all
            states = States.one_hot(torch.arange(H)[None], H)
            lpj = self._lpj(x, observed, states.z)
            lpj, best = lpj.topk(self.states)
            return States(states.words.gather(1, best[..., None].expand(-1, -1, states.words.shape[2])), lpj, H)
        search = Search(min(4, self.states), min(8, H), mutate=exactly_informed_flip)
        states = States.random(1, self.states, H, generator)
        for _ in range(STEPS):
            states, _ = evolve(states, partial(self._lpj, x, observed), search, generator)
        return states

    def _lpj(self, x: Tensor, observed: Tensor, z: Tensor) -> Tensor:
        return self.model.lpj(x, z, observed)

    def save(self, path: str | Path) -> None:
        """Write it to a file, which `Insight.load` and `evovae.checkpoint.load_model` read."""
        about = {
            "size": self.size,
            "scale": {"offset": self.scale.offset.tolist(), "unit": self.scale.unit},
            "noise": self.noise.config(),
            "centred": self.centred,
            "states": self.states,
            "channels": self.channels,
        }
        save_model(Path(path), self.model, about)

    @classmethod
    def load(cls, path: str | Path) -> "Insight":
        """What `save` wrote.

        Raises
        ------
        CheckpointError
            For a file that is damaged or something else.
        """
        model, about = load_model(Path(path))
        try:
            return cls(
                model,
                tuple(about["size"]),
                Scale(np.array(about["scale"]["offset"]), about["scale"]["unit"]),
                Noise.from_config(about["noise"]),
                about["centred"],
                about["states"],
                about["channels"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} holds a model, but not of a picture: {error}") from error
