"""Denoise a single image by training on the image itself: no clean data, no known noise level."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor

from evovae.em import Epoch
from evovae.engines import Engine, choose
from evovae.likelihoods import LowRankGaussian
from evovae.model import TVAE
from evovae.restore.border import Scale, as_dtype, check_sigma, checked, torch_generator
from evovae.restore.experts import Expert
from evovae.restore.mixing import View, mix
from evovae.restore.noise_level import estimate
from evovae.restore.patches import extract, merge
from evovae.restore.presets import PRESETS
from evovae.restore.result import Progress, Restoration
from evovae.states import States

REMNANT = 0.02  # share of the noise variance that a restored picture is taken to hold still


def denoise(
    image: ArrayLike,
    sigma: float | None = None,
    *,
    mask: ArrayLike | None = None,
    preset: str | Expert | Sequence[Expert] = "balanced",
    rng: int | np.random.Generator | None = None,
    max_seconds: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    full_output: bool = False,
) -> np.ndarray | Restoration:
    """Denoise one image, and fill the pixels that are missing in it.

    One or several `TVAE`s are trained on all overlapping patches of the image; each patch is replaced
    by its posterior mean (Eq. 15), each pixel is the average of the patches that cover it, and what
    several models say is mixed.

    Parameters
    ----------
    image
        A 2-D array of integers or floats, of any range.  NaN pixels count as missing.
    sigma
        A known noise level, in image units; it only helps to choose settings.  Default: estimated.
    mask
        True (or 1) where a pixel is unknown and to be filled, like the shape of image.
    preset
        "fast" (seconds), "balanced" (about a minute for 256 x 256 on two cores), "best" (some
        minutes), "paper" (Table 3, hours), or an `Expert` or several of your own.
    rng
        Seed or numpy generator; the same seed gives the same bytes on the same machine.
    max_seconds
        Stop after the first epoch that ends later than this, with the best so far.
    callback
        Called with a `Progress` after each epoch; return True to stop with the best so far.
    full_output
        Return a `Restoration` (with uncertainty, noise level and models) in place of the array.

    Returns
    -------
    ndarray or Restoration
        The restored image has the shape, dtype and units of the input, which is left as it was.
        Integers are rounded, and clipped to what their dtype holds.

    Raises
    ------
    TypeError, ValueError
        For arrays, masks or options that make no sense, before any work is done.

    Notes
    -----
    An interrupt (Ctrl-C) after the first epoch ends training and returns the best so far.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
    >>> evovae.denoise(noisy, preset="fast", rng=0).shape
    (16, 16)
    """
    started = time.monotonic()
    image, observed = checked(image, mask)
    pixels = image[observed]
    span = float(np.ptp(pixels.astype(float)))
    generator = torch_generator(rng)
    noise = estimate(torch.from_numpy(image.astype(float)), torch.from_numpy(observed)) if sigma is None else sigma
    if span < np.finfo(np.float32).tiny:
        return _unchanged(image, observed, full_output)
    check_sigma(sigma, span)
    experts = _experts(preset, noise / float(pixels.std(dtype=float)), image.size)
    lengths = [expert.epochs + sum(expert.second_look) for expert in experts]
    elbo: list[float] = []

    def enough(epoch: Epoch, sigma: float) -> bool:
        """Note an epoch; whether to stop after it."""
        elbo.append(epoch.elbo)
        seconds = time.monotonic() - started
        progress = Progress(len(elbo), sum(lengths), epoch.elbo, sigma, epoch.substitutions, seconds)
        asked = callback is not None and callback(progress)
        return bool(asked) or (max_seconds is not None and seconds > max_seconds)

    scale = Scale.of(pixels, noise)
    models: list[TVAE] = []
    views: list[View] = []
    for expert, length in zip(experts, lengths, strict=True):
        job = _Job.prepare(image, observed, scale, noise, expert, generator)
        before = len(elbo)
        try:
            stop = any(enough(epoch, job.sigma) for epoch in job.epochs())
        except KeyboardInterrupt:
            if not elbo:  # nothing has been learnt that would be worth returning
                raise
            stop = True
        if len(elbo) > before:
            models.append(job.model)
            views.append(job.view((len(elbo) - before) / length))
        if stop:
            break
    restored, std = mix(views)
    result = Restoration(
        image=as_dtype(restored, image.dtype),
        std=std,
        sigma=float(np.sqrt(np.mean((std**2 + (image - restored) ** 2)[observed]))),
        elbo=elbo,
        models=tuple(models),
        experts=experts,
        seconds=time.monotonic() - started,
        interrupted=len(elbo) < sum(lengths),
    )
    return result if full_output else result.image


@dataclass(frozen=True)
class _Job:
    """The straight path: image -> patches x + level -> populations and model -> posterior means -> image."""

    scale: Scale
    shape: tuple[int, ...]
    patch: tuple[int, ...]
    x: Tensor
    level: Tensor
    freedom: Tensor
    observed: Tensor
    model: TVAE
    states: States
    engine: Engine
    expert: Expert
    generator: Generator

    @classmethod
    def prepare(
        cls,
        image: np.ndarray,
        observed: np.ndarray,
        scale: Scale,
        noise: float,
        expert: Expert,
        generator: Generator,
    ) -> "_Job":
        patch = tuple(min(expert.patch, n) for n in image.shape)
        x = extract(scale.to_model(image, observed), patch)
        seen = extract(torch.from_numpy(observed), patch)
        count = seen.sum(1, keepdim=True)
        level = expert.centred * x.sum(1, keepdim=True) / count.clamp(min=1)
        lost = expert.centred * (count > 0).sum() / count.sum()
        model = expert.model(x - level, max((noise / scale.unit) ** 2, 1e-6), generator)
        return cls(
            scale=scale,
            shape=image.shape,
            patch=patch,
            x=(x - level).contiguous(),
            level=level,
            freedom=(1 - lost).clamp(min=0.1),
            observed=seen.contiguous(),
            model=model,
            states=States.random(len(x), expert.states, expert.latents, generator),
            engine=choose(model, expert.search),
            expert=expert,
            generator=generator,
        )

    def epochs(self) -> Iterator[Epoch]:
        on_restored, last = self.expert.second_look
        yield from self._fit(self.model, self.x, self.observed, self.states, self.expert.epochs)
        if on_restored:
            yield from self._learn_from_restored(on_restored)
        if last:
            yield from self._fit(self.model, self.x, self.observed, self.states, last)

    def _fit(self, model: TVAE, x: Tensor, observed: Tensor, states: States, epochs: int) -> Iterator[Epoch]:
        return self.expert.fit(model, x, observed, states, epochs, self.generator)

    def _learn_from_restored(self, epochs: int) -> Iterator[Epoch]:
        """Train a copy on the restored picture, as if `REMNANT` of the noise were left, and take over what it learnt.

        The model stays as it is until then, so that training can be stopped.
        """
        pupil, noise = copy.deepcopy(self.model), cast(Tensor, self.model.likelihood.sigma2).clone()
        likelihood = cast(LowRankGaussian, pupil.likelihood)
        likelihood.floor = REMNANT * noise.item()
        likelihood.sigma2.mul_(0.1)
        states = States(self.states.words.clone(), self.states.lpj.clone(), self.states.n_latents)
        everywhere = np.ones(self.shape, bool)
        x = extract(self.scale.to_model(self.view(1.0).image, everywhere), self.patch).contiguous()
        yield from self._fit(pupil, x, torch.ones_like(x, dtype=torch.bool), states, epochs)
        self.model.load_state_dict(pupil.state_dict())
        cast(LowRankGaussian, self.model.likelihood).sigma2.copy_(noise)
        self.states.words.copy_(states.words)

    @property
    def sigma(self) -> float:
        return self.noise_variance.sqrt().item() * self.scale.unit

    @property
    def noise_variance(self) -> Tensor:
        """sigma2, corrected for the degree of freedom that goes with the mean of each patch."""
        return cast(Tensor, self.model.likelihood.sigma2) / self.freedom

    def view(self, share: float) -> View:
        """What the model says the image is, in image units."""
        mean, variance = self.engine.moments(self.x, self.observed, torch.arange(len(self.x)), self.states)
        of_level = self.expert.centred * self.noise_variance / self.observed.sum(1, keepdim=True).clamp(min=1)
        variance = variance + of_level
        # A patch counts less where it is unsure; sigma2 / D is what even one with a single state is
        # unsure by.  Patches err together, so that the square root does better than the inverse variance.
        weights = (variance + self.noise_variance / self.x.shape[1]).rsqrt()
        image = merge(mean + self.level, weights, self.shape, self.patch)
        spread = merge(variance, weights, self.shape, self.patch).sqrt()
        return View(self.scale.to_image(image), spread.double().numpy() * self.scale.unit, self.sigma, share)


def _experts(preset: str | Expert | Sequence[Expert], noise: float, pixels: int) -> tuple[Expert, ...]:
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"preset is {preset!r}, but there are only {', '.join(PRESETS)}")
        return PRESETS[preset](noise, pixels)
    experts = (preset,) if isinstance(preset, Expert) else tuple(preset)
    if not experts or not all(isinstance(expert, Expert) for expert in experts):
        raise TypeError(f"preset is {preset!r}, but a name, an Expert or several of them are needed")
    return experts


def _unchanged(image: np.ndarray, observed: np.ndarray, full_output: bool) -> np.ndarray | Restoration:
    """The answer for an image that holds nothing to learn from: itself, holes filled with its mean."""
    filled = as_dtype(np.where(observed, image, image[observed].mean(dtype=float)), image.dtype)
    return Restoration(filled, np.zeros(image.shape), sigma=0.0) if full_output else filled
