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
from evovae.migration import nobody
from evovae.model import TVAE
from evovae.notes import warn
from evovae.operators import exactly_informed_flip
from evovae.posterior import weights
from evovae.priors import OneHot
from evovae.restore.ensemble import Estimate
from evovae.restore.image import SIGNAL, Image, Scale
from evovae.restore.noise.covariance import Whitening
from evovae.restore.noise.model import Noise, NoiseModel
from evovae.restore.patch_models import APART, PatchModel, from_config
from evovae.restore.patches import Patches, extract, guess, merge
from evovae.states import States, unpack

REACH = 1 / 8  # share of a patch's values that must be seen, for it to say something about the others
RIM = 1 / 2  # holes beyond reach are filled by patches of which this share is known already
LEARNT = 0.01  # of the noise variance, that stays in the surest of what is restored, as models are learnt from it
STEPS = 3  # E-steps on patches of which more has become known
ALONE = 12  # E-steps for the population of one patch
AGAIN = 2  # E-steps after each time that a model is adapted to an image
FRAMES_APART = 4  # frames of a film between those in which patches are compared with all commonest states


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
        return self.noise_variance.sqrt().item() * self.scale.unit

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
    def noise_variance(self) -> Tensor:
        """sigma2 of the model, corrected for the degree of freedom that goes with the mean of each patch.

        Returns
        -------
        Tensor
            A number, in squared training units.
        """
        return cast(Tensor, self.model.likelihood.sigma2) / self.freedom

    def fitting(self, image: Image) -> FittedPatches:
        """The same model with patches of the axes of an image: a frame of a film is an image, and an image is a frame.

        Parameters
        ----------
        image
            An image that it is to be used on.

        Returns
        -------
        FittedPatches
            With patches of as many axes.
        """
        spatial = self.size[: len(self.size) - self.channels]
        if len(spatial) > len(image.shape) and spatial[0] == 1:
            return replace(self, size=self.size[1:])
        return replace(self, size=(1, *self.size)) if image.film and len(spatial) < len(image.shape) else self

    def patches(self, image: Image, among: tuple[int, ...] | None = None) -> Patches:
        """The patches of an image, on the device of the model.

        Parameters
        ----------
        image
            Of even values.
        among
            Their size in the image, if that holds crops along a first axis.  Default: `size`.

        Returns
        -------
        Patches
            In training units, white.
        """
        device = next(iter(self.model.state_dict().values())).device
        among = self.size if among is None else among
        return patches_of(image, among, self.scale, self.whitening, self.settings.centred, device)

    def search(
        self,
        patches: Patches,
        generator: Generator,
        start: States | Tensor,
        steps: int,
        rows: Tensor | None = None,
    ) -> States:
        """Search for the populations of patches; see `evovae.infer`.

        Parameters
        ----------
        patches
            Of an image.
        generator
            Source of the draws.
        start
            Populations, or states (K, H) bool, to start from.
        steps
            E-steps, at most.
        rows
            Numbers of the patches to search for.  Default: all.

        Returns
        -------
        States
            Of all patches.
        """
        x, observed = self.settings.data(self.model, patches)
        return infer(
            self.model,
            x,
            observed,
            n_states=self.settings.states,
            search=self.settings.searching(patches),
            steps=steps,
            generator=generator,
            start=start,
            rows=rows,
        )

    def restore(self, image: Image, generator: Generator) -> Estimate:
        """Restore an image that took no part in training, from half of its patches.

        Parameters
        ----------
        image
            Of even values.
        generator
            Source of the draws.

        Returns
        -------
        Estimate
            The image and its standard deviation, in even values.
        """
        patches = self.patches(image).every_other()
        rows = patches.used.nonzero()[:, 0]
        frames = (FRAMES_APART,) * image.film
        start = self.begun(patches, generator, frames)
        times = 0 if image.film else self.settings.adaptations  # films are long, and their models know what they show
        states = self.search(patches, generator, start, self.settings.settling, rows)
        adapted = self
        for _ in range(times):
            model = self.settings.adapted(adapted.model, patches, states, rows, generator)
            adapted = replace(self, model=model)
            states = adapted.search(patches, generator, states, AGAIN, rows)
        return adapted.estimate(patches, states, generator)

    def begun(self, patches: Patches, generator: Generator, apart: tuple[int, ...] = ()) -> States:
        """Populations to start a search from: the best of the commonest states.

        They are found for some patches, and taken for those around these, too.

        Parameters
        ----------
        patches
            Of an image.
        generator
            Source of the draws.
        apart
            How far apart such patches are along the first axes of the image, in pixels.  Along all others, they are as
            far apart as patches that overlap may be.

        Returns
        -------
        States
            Of all patches.
        """
        others = (APART if w > 1 else 1 for w in self.size[len(apart) :])
        lead = (1,) * (len(patches.size) - len(self.size))  # of crops
        some, nearest = patches.coarse((*lead, *apart, *others))
        x, observed = self.settings.data(self.model, patches)
        few = infer(
            self.model,
            x[some],
            observed[some],
            n_states=self.settings.states,
            search=replace(self.settings.searching(patches), migrate=nobody),
            steps=0,
            generator=generator,
            start=self.commonest.to(x.device),
        )
        return few[nearest]

    def estimate(self, patches: Patches, states: States, generator: Generator) -> Estimate:
        """The restored image, given the populations of all of its patches; wide holes are filled, too.

        Parameters
        ----------
        patches
            Of an image.
        states
            Their populations.
        generator
            Source of the draws.

        Returns
        -------
        Estimate
            The image and its standard deviation, in even values.
        """
        return self._outside(*self._filled(patches, states, generator, *self.merged(patches, states)), patches)

    def glimpse(self, patches: Patches, states: States) -> Estimate:
        """About the same as `estimate`, from half of the patches; draws nothing, so that training goes on as without
        it.

        Parameters
        ----------
        patches
            Of an image.
        states
            Their populations.

        Returns
        -------
        Estimate
            The image and its standard deviation, in even values.
        """
        return self._outside(*self.merged(patches.every_other(), states), patches)

    def _outside(self, image: Tensor, spread: Tensor, patches: Patches) -> Estimate:
        """From training units to even values."""
        optimism = self.settings.optimism(self.trained, patches.x.shape[1])
        variance = optimism * spread.square() + LEARNT * self.noise_variance
        return Estimate(self.scale.to_even(image.cpu()), variance.sqrt().cpu().double().numpy() * self.scale.unit)

    def merged(self, patches: Patches, states: States) -> tuple[Tensor, Tensor]:
        """The mean of all patches that cover each pixel, those counting for more that are surer.

        Parameters
        ----------
        patches
            Of an image.
        states
            Their populations.

        Returns
        -------
        mean : Tensor
            The clean image, in training units.
        std : Tensor
            Its standard deviation.
        """
        rows, back = patches.used.nonzero()[:, 0], patches.whitening.back
        readout = None if back is None else back.to(patches.x)
        x, observed = self.settings.data(self.model, patches)
        mean, variance = self.settings.engine(self.model, patches).moments(x, observed, rows, states, readout)
        seen = patches.observed[rows].sum(1, keepdim=True).clamp(min=1)
        variance = variance + self.settings.centred * self.noise_variance / seen
        # A patch counts less where it is unsure; sigma2 / D is what even one with a single state is
        # unsure by.  Errors of patches are correlated, so that the square root does better than the inverse variance.
        weights = (variance + self.noise_variance / patches.x.shape[1]).rsqrt()
        shape, size = patches.image.shape, patches.size
        mean, variance, weights = (patches.among_all(v) for v in (mean + patches.level[rows], variance, weights))
        return merge(mean, weights, shape, size), merge(variance, weights, shape, size).sqrt()

    def _filled(
        self, patches: Patches, states: States, generator: Generator, image: Tensor, spread: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same with holes that no patch reaches across filled from their edges inwards.

        What is restored there then counts as seen, with a standard deviation as large as that of the image.
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
            rows = (extract(rim, size).any(1) & patches.used).nonzero()[:, 0]
            states = self.search(patches, generator, states, STEPS, rows)
            image = torch.where(known, image, self.merged(patches, states)[0])
            share = _share(known, size)
            reached = _covered(share >= REACH, image.shape, size) | ~patches.wanted
        return image, torch.where(sure, spread, SIGNAL)

    def on(self, noise: NoiseModel, scale: Scale) -> FittedPatches:
        """The same model for images with other noise, and of another scale.

        Clean patches stay as they are but for the scale: the model of them goes through the new whitening, and its
        noise is the new one in its units.

        Parameters
        ----------
        noise
            That of the images.
        scale
            How their even values become those of training.

        Returns
        -------
        FittedPatches
            Another one.
        """
        moved = replace(self, noise=noise, scale=scale)
        before, after = (_whole(each.whitening.back, self.size) for each in (self, moved))
        to = None if torch.equal(before, after) else moved.whitening(before)
        sigma2 = cast(Tensor, self.model.likelihood.sigma2).item() * (self.scale.unit / scale.unit) ** 2
        return replace(moved, model=self.settings.elsewhere(self.model, sigma2, to))

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
    def from_config(cls, model: TVAE, commonest: Tensor, config: dict[str, Any]) -> FittedPatches:
        """The inverse of `config`.

        Parameters
        ----------
        model
            The model.
        commonest
            The commonest states, packed.
        config
            What `config` returned.

        Returns
        -------
        FittedPatches
            The same as was described.
        """
        return cls(
            model,
            from_config(config["settings"]),
            tuple(config["size"]),
            config["channels"],
            Scale(np.array(config["scale"]["offset"]), config["scale"]["unit"]),
            Noise.from_config(config["noise"]),
            config["freedom"],
            unpack(commonest, model.prior.n_latents),
            config["trained"],
            config["bound"],
        )


def whitening_of(noise: NoiseModel, size: tuple[int, ...], channels: bool) -> Whitening:
    """What makes the noise of even patches of a size white, of which channels may be the last axis."""
    return noise.whitening(size if channels else (*size, 1))


def patches_of(
    image: Image, size: tuple[int, ...], scale: Scale, whitening: Whitening, centred: bool, device: torch.device
) -> Patches:
    """Those of an even image, in training units."""
    values, known = scale.to_model(image.values, image.observed).to(device), torch.from_numpy(image.observed).to(device)
    if not whitening.is_identity and not known.all():
        values = guess(values, known, size, len(image.shape))
    wanted = torch.from_numpy(np.broadcast_to(image.wanted, image.values.shape).copy()).to(device)
    return Patches.of(values, known, size, centred, whitening, wanted)


def _whole(back: Tensor | None, size: tuple[int, ...]) -> Tensor:
    """The matrix that whitening is undone by, (D, D)."""
    return torch.eye(torch.Size(size).numel()) if back is None else back.float()


def _share(known: Tensor, size: tuple[int, ...]) -> Tensor:
    """How much of each patch is known: (N,)."""
    return extract(known, size).float().mean(1)


def _covered(chosen: Tensor, shape: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """Which pixels lie in one of the chosen patches (N,)."""
    patches = chosen[:, None].float().expand(-1, torch.Size(size).numel())
    return merge(patches, patches.new_ones(()), shape, size) > 0
