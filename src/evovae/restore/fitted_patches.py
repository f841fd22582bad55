"""A patch model that has been trained: used on patches of any image, with its parameters as they are."""

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


@dataclass(frozen=True, eq=False, repr=False)
class FittedPatches:
    """One trained model of patches, and what it takes to use it on those of an image.

    Attributes
    ----------
    model
        The model, in training units.
    settings
        What it was trained with.
    size
        Of its patches; channels are the last axis, where there are any.
    channels
        Whether there are.
    scale, noise
        How values become those of training: ``scale.to_model(even, observed)`` of what `noise.forward` makes even, and
        then ``noise.whitening(size)``.
    freedom
        Share of the degrees of freedom of the noise that is left when each patch has lost its mean.
    commonest
        (K, H) bool: the states with most of the posterior's mass in training, from which new populations start.
    trained
        N, how many patches it was trained on.
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
        """What makes the noise of its patches white."""
        return whitening_of(self.noise, self.size, self.channels)

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

    def fitting(self, image: Image) -> FittedPatches:
        """The same with patches that fit: frames of a film are images, and an image is a frame."""
        spatial = self.size[: len(self.size) - self.channels]
        if len(spatial) > len(image.shape) and spatial[0] == 1:
            return replace(self, size=self.size[1:])
        return replace(self, size=(1, *self.size)) if image.film and len(spatial) < len(image.shape) else self

    def patches(self, image: Image, among: tuple[int, ...] | None = None) -> Patches:
        """Those of an even image, where the model lies; `among` is their size in it, if it holds crops."""
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
        """Populations of patches (of some of them, with rows); see `evovae.infer`."""
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
        """What the model says that an even image is which took no part in training, from half of its patches."""
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
        """Populations to start from: the best of the commonest states for some patches, and for those about them.

        Such patches are so far apart along the first axes, and as far as pays along others, where they overlap.
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
        """What the model says that an image is, in even values."""
        return self._outside(*self._filled(patches, states, generator, *self.merged(patches, states)), patches)

    def glimpse(self, patches: Patches, states: States) -> Estimate:
        """About the same, from half of the patches; draws nothing, so that training does not notice."""
        return self._outside(*self.merged(patches.every_other(), states), patches)

    def _outside(self, image: Tensor, spread: Tensor, patches: Patches) -> Estimate:
        """From training units to even values."""
        optimism = self.settings.optimism(self.trained, patches.x.shape[1])
        variance = optimism * spread.square() + LEARNT * self.noise_variance
        return Estimate(self.scale.to_even(image.cpu()), variance.sqrt().cpu().double().numpy() * self.scale.unit)

    def merged(self, patches: Patches, states: States) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the clean image, in training units."""
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
            rows = (extract(rim, size).any(1) & patches.used).nonzero()[:, 0]
            states = self.search(patches, generator, states, STEPS, rows)
            image = torch.where(known, image, self.merged(patches, states)[0])
            share = _share(known, size)
            reached = _covered(share >= REACH, image.shape, size) | ~patches.wanted
        return image, torch.where(sure, spread, SIGNAL)

    def on(self, noise: NoiseModel, scale: Scale) -> FittedPatches:
        """The same model for images with other noise, and another scale.

        Clean patches stay as they are but for the scale: what the model says of them goes through the new whitening,
        and its noise is what the new one is in its units.
        """
        moved = replace(self, noise=noise, scale=scale)
        before, after = (_whole(each.whitening.back, self.size) for each in (self, moved))
        to = None if torch.equal(before, after) else moved.whitening(before)
        sigma2 = cast(Tensor, self.model.likelihood.sigma2).item() * (self.scale.unit / scale.unit) ** 2
        return replace(moved, model=self.settings.elsewhere(self.model, sigma2, to))

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
        along = through(self.model.likelihood.responses(decoded[0] - decoded[1]), self.whitening.back)
        there = along.abs().amax((0, 2)) > 0
        there[0] |= not there.any()
        along = along[:, there]
        return (along.double().numpy() * self.scale.unit).reshape(*along.shape[:2], *self.size)

    @torch.no_grad()
    def population(self, patch: np.ndarray, observed: np.ndarray | None = None, seed: int = 0) -> Population:
        """The population of a patch (*size) of an image; values that are NaN or not observed are missing.

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
        """The population of one patch, which has no neighbours: of a mixture, components are few enough to compare."""
        H, S = len(self.use), self.settings.states
        if isinstance(self.model.prior, OneHot):
            search, steps, start = Search(0, 0, 0), 0, torch.eye(H, dtype=torch.bool)
        else:
            search, steps, start = Search(min(4, S), min(8, H), mutate=exactly_informed_flip), ALONE, None
        return infer(self.model, x, observed, n_states=S, search=search, steps=steps, generator=generator, start=start)

    def config(self) -> dict[str, Any]:
        """All but the tensors, in what JSON can hold."""
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
        """The inverse of `config`."""
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
    """Of each patch, how much is known: (N,)."""
    return extract(known, size).float().mean(1)


def _covered(chosen: Tensor, shape: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """Which pixels lie in one of the chosen patches (N,)."""
    patches = chosen[:, None].float().expand(-1, torch.Size(size).numel())
    return merge(patches, patches.new_ones(()), shape, size) > 0
