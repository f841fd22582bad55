"""A patch model that has been trained: used on patches of any image, with its parameters as they are.

N patches of D values are the data points of a model with H latents, of which each keeps S states, its population.
Values of an image become *even* ones, whose noise has a standard deviation of 1 (`evovae.noise`), and these become
values in training units, in which the signal has a standard deviation of 0.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Generator, Tensor

from evovae.evolve import Search
from evovae.inference import infer
from evovae.likelihoods.base import through
from evovae.model import TVAE
from evovae.operators import exactly_informed_flip
from evovae.posterior import weights
from evovae.priors import OneHot
from evovae.restore.image import Image, Scale
from evovae.restore.noise.covariance import Whitening
from evovae.restore.noise.model import Noise, NoiseModel
from evovae.restore.patch_models import PatchModel, from_config
from evovae.states import States, unpack

ALONE = 12  # E-steps for the population of one patch


@dataclass(frozen=True, eq=False)
class Population:
    """The states of one patch, the likeliest first.

    Parameters
    ----------
    states
        (S, H) bool.
    q
        (S,): their weights in the truncated posterior, which sum to one (Eq. 3).
    images
        (S, ...), in image units: the clean patch according to each state.
    restored
        (...), in image units: the posterior mean, sum_s q_s images_s (Eq. 15), formed before the noise transform is
        undone.
    """

    states: np.ndarray
    q: np.ndarray
    images: np.ndarray
    restored: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class FittedPatches:
    """One trained model of patches, and what it takes to use it on those of an image.

    Parameters
    ----------
    model
        The model, in training units.
    settings
        What it was trained with.
    size
        Of its patches; channels are the last axis, where there are any.
    channels
        Whether there are channels.
    scale
        How even values become those of training.
    noise
        How values become even ones, and patches of them white: that of the images of training, or of another image.
    freedom
        Share of the degrees of freedom of the noise that is left when each patch has lost its mean.
    commonest
        (K, H) bool: the states with most of the posterior's mass in training, from which new populations start.
    trained
        How many patches it was trained on.
    bound
        Mean bound of a patch at the end of training, in nats per value, as a density in even units.
    """

    model: TVAE
    settings: PatchModel
    size: tuple[int, ...]
    channels: bool
    scale: Scale
    noise: NoiseModel
    freedom: float
    commonest: Tensor
    trained: int
    bound: float = float("nan")

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.size))
        return f"{type(self.settings).__name__.removesuffix('Patches')} of {len(self.use)} latents, patches of {size}"

    @property
    def whitening(self) -> Whitening:
        """What makes the noise of its patches white.

        Returns
        -------
        Whitening
            For patches of even values.
        """
        return whitening_of(self.noise, self.size, self.channels)

    @property
    def sigma(self) -> float:
        """The noise level of the model, over that of even values.

        Returns
        -------
        float
            1, if the model finds just the noise that it was given.
        """
        return noise_variance(self).sqrt().item() * self.scale.unit

    @property
    def level(self) -> float:
        """The noise level of the model where the signal is the mean one.

        Returns
        -------
        float
            In image units.
        """
        slope = self.noise.anywhere().slope(self.scale.offset)
        return self.sigma * float((slope**2).mean() ** 0.5)

    @property
    def use(self) -> np.ndarray:
        """How often each latent is on: the prior's pi.

        Returns
        -------
        ndarray
            (H,), from 0 to 1.
        """
        return cast(Tensor, self.model.prior.pi).double().numpy()

    @torch.no_grad()
    def responses(self) -> np.ndarray:
        """What each latent adds to a patch, in image units (of even noise).

        First by how much it changes the decoder's mean; for latents that own subspaces, then their principal axes, each
        one standard deviation long.  What is zero for all latents is left out, but for a first one.

        Returns
        -------
        ndarray
            (H, R, ...).
        """
        H = len(self.use)
        on, off = (torch.eye(H, dtype=torch.bool), torch.zeros(H, H, dtype=torch.bool))
        decoded = [self.model.likelihood.expectation(self.model.decode(z), z) for z in (on, off)]
        along = through(self.model.likelihood.responses(decoded[0] - decoded[1]), self.whitening.back)
        there = along.abs().amax((0, 2)) > 0
        there[0] |= not there.any()
        along = along[:, there]
        return (along.double().numpy() * self.scale.unit).reshape(*along.shape[:2], *self.size)

    @torch.no_grad()
    def population(self, patch: np.ndarray, observed: np.ndarray | None = None, seed: int = 0) -> Population:
        """The population of one patch of an image.

        Parameters
        ----------
        patch
            (...), in image units.
        observed
            Which of its values are known, bool.  Default: all that are not NaN.
        seed
            Of the search.

        Returns
        -------
        Population
            Its states, and their weights in the truncated posterior.

        Raises
        ------
        ValueError
            If the patch has another shape.
        """
        if patch.shape != self.size:
            raise ValueError(f"the patch has shape {patch.shape}, but the model's have {self.size}")
        seen = ~np.isnan(patch) if observed is None else observed & ~np.isnan(patch)
        axis = -1 if self.channels else None
        even = self.noise.forward(Image(np.where(seen, patch, 0.0), seen, axis, patch.shape))
        whitening, known = self.whitening, torch.from_numpy(seen.reshape(1, -1))
        x = self.scale.to_model(even.values, seen).view(1, -1)
        level = x.sum() / known.sum().clamp(min=1)
        if not whitening.is_identity:  # whitened values are sums of many
            x, known = torch.where(known, x, level), torch.ones_like(known)
        x = torch.where(known, whitening(x - self.settings.centred * level), 0)
        states = self._alone(x, known, Generator().manual_seed(seed))
        decoded = self.model.decode(states.z)
        clean = self.model.likelihood.restore(x, decoded, known, states.z, whitening.back)[0][0]
        order = states.lpj[0].argsort(descending=True)
        q = weights(states.lpj)[0, order].double().numpy()
        signals = self.scale.to_even((clean + self.settings.centred * level)[order].view(-1, *self.size))
        restored, images = self.noise.inverse(np.tensordot(q, signals, 1)), self.noise.inverse(signals)
        return Population(states.z[0, order].numpy(), q, images, restored)

    def _alone(self, x: Tensor, observed: Tensor, generator: Generator) -> States:
        """The population of one patch, which has no neighbours: of a mixture, components are few enough to compare them
        all.
        """
        H, S = len(self.use), self.settings.states
        if isinstance(self.model.prior, OneHot):
            search, steps, start = Search(0, 0, 0), 0, torch.eye(H, dtype=torch.bool)
        else:
            search, steps, start = Search(min(4, S), min(8, H), mutate=exactly_informed_flip), ALONE, None
        return infer(self.model, x, observed, n_states=S, search=search, steps=steps, generator=generator, start=start)

    def config(self) -> dict[str, Any]:
        """All but the tensors, in what JSON can hold.

        Returns
        -------
        dict
            Settings.
        """
        return {
            "model": self.model.config(),
            "settings": self.settings.config(),
            "size": self.size,
            "channels": self.channels,
            "scale": {"offset": self.scale.offset.tolist(), "unit": self.scale.unit},
            "noise": self.noise.config(),
            "freedom": self.freedom,
            "trained": self.trained,
            "bound": self.bound,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], model: dict[str, Tensor], commonest: Tensor) -> FittedPatches:
        """The inverse of `config`.

        Parameters
        ----------
        config
            What `config` returned.
        model
            The tensors of the model, its ``state_dict()``.
        commonest
            The commonest states, packed.

        Returns
        -------
        FittedPatches
            The same as was described.
        """
        made = TVAE.from_config(config["model"])
        made.load_state_dict(model, assign=True)
        return cls(
            made,
            from_config(config["settings"]),
            tuple(config["size"]),
            config["channels"],
            Scale(np.array(config["scale"]["offset"]), config["scale"]["unit"]),
            Noise.from_config(config["noise"]),
            config["freedom"],
            unpack(commonest, made.prior.n_latents),
            config["trained"],
            config["bound"],
        )


def noise_variance(fitted: FittedPatches) -> Tensor:
    """sigma2 of the model, in squared training units, corrected for the freedom that goes with the mean of patches."""
    return cast(Tensor, fitted.model.likelihood.sigma2) / fitted.freedom


def whitening_of(noise: NoiseModel, size: tuple[int, ...], channels: bool) -> Whitening:
    """What makes the noise of even patches of a size white, of which channels may be the last axis."""
    return noise.whitening(size if channels else (*size, 1))


def _whole(back: Tensor | None, size: tuple[int, ...]) -> Tensor:
    """The matrix that whitening is undone by, (D, D)."""
    return torch.eye(torch.Size(size).numel()) if back is None else back.float()


def fitting(fitted: FittedPatches, image: Image) -> FittedPatches:
    """The same model with patches of the axes of an image: a frame of a film is an image, and an image is a frame."""
    spatial = fitted.size[: len(fitted.size) - fitted.channels]
    if len(spatial) > len(image.shape) and spatial[0] == 1:
        return replace(fitted, size=fitted.size[1:])
    return replace(fitted, size=(1, *fitted.size)) if image.film and len(spatial) < len(image.shape) else fitted


def moved(fitted: FittedPatches, noise: NoiseModel, scale: Scale) -> FittedPatches:
    """The same model for images with other noise, and of another scale.

    Clean patches stay as they are but for the scale: the model of them goes through the new whitening, and its noise is
    the new one in its units.
    """
    there = replace(fitted, noise=noise, scale=scale)
    before, after = (_whole(each.whitening.back, fitted.size) for each in (fitted, there))
    to = None if torch.equal(before, after) else there.whitening(before)
    sigma2 = cast(Tensor, fitted.model.likelihood.sigma2).item() * (fitted.scale.unit / scale.unit) ** 2
    return replace(there, model=fitted.settings.elsewhere(fitted.model, sigma2, to))
