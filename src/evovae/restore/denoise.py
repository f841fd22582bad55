"""Denoise a single image by training on the image itself: no clean data, no known noise level."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor

from evovae.decoders import MLP
from evovae.em import Epoch, fit
from evovae.engines import Engine, choose
from evovae.likelihoods import Gaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli
from evovae.restore.border import Scale, as_dtype, check_sigma, checked, torch_generator
from evovae.restore.noise_level import estimate
from evovae.restore.patches import extract, merge
from evovae.restore.presets import PRESETS, Preset, Settings
from evovae.restore.result import Progress, Restoration
from evovae.states import States


def denoise(
    image: ArrayLike,
    sigma: float | None = None,
    *,
    mask: ArrayLike | None = None,
    preset: str | Settings = "balanced",
    rng: int | np.random.Generator | None = None,
    max_seconds: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    full_output: bool = False,
) -> np.ndarray | Restoration:
    """Denoise one image, and fill the pixels that are missing in it.

    A `TVAE` is trained on all overlapping patches of the image; each patch is replaced by its
    posterior mean (Eq. 15), and each pixel is the average of the patches that cover it.

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
        minutes), "paper" (Table 3, hours), or `Settings` of your own.
    rng
        Seed or numpy generator; the same seed gives the same bytes on the same machine.
    max_seconds
        Stop after the first epoch that ends later than this, with the best so far.
    callback
        Called with a `Progress` after each epoch; return True to stop with the best so far.
    full_output
        Return a `Restoration` (with uncertainty, noise level and model) in place of the array.

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
    settings = (
        preset if isinstance(preset, Settings) else _preset(preset)(noise / float(pixels.std(dtype=float)), image.size)
    )
    job = _Job.prepare(image, observed, noise, settings, generator)
    elbo: list[float] = []
    try:
        for epoch in job.epochs():
            elbo.append(epoch.elbo)
            seconds = time.monotonic() - started
            progress = Progress(epoch.number, settings.epochs, epoch.elbo, job.sigma, epoch.substitutions, seconds)
            if (callback is not None and callback(progress)) or (max_seconds is not None and seconds > max_seconds):
                break
    except KeyboardInterrupt:
        if not elbo:  # nothing has been learnt that would be worth returning
            raise
    restored, std = job.restored()
    result = Restoration(
        image=as_dtype(restored, image.dtype),
        std=std,
        sigma=job.sigma,
        elbo=elbo,
        model=job.model,
        settings=settings,
        seconds=time.monotonic() - started,
        interrupted=len(elbo) < settings.epochs,
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
    likelihood: Gaussian
    states: States
    engine: Engine
    settings: Settings
    generator: Generator

    @classmethod
    def prepare(
        cls, image: np.ndarray, observed: np.ndarray, noise: float, settings: Settings, generator: Generator
    ) -> "_Job":
        scale = Scale.of(image[observed], noise)
        patch = tuple(min(settings.patch, n) for n in image.shape)
        x = extract(scale.to_model(image, observed), patch)
        seen = extract(torch.from_numpy(observed), patch)
        count = seen.sum(1, keepdim=True)
        level = settings.centred * x.sum(1, keepdim=True) / count.clamp(min=1)
        lost = settings.centred * (count > 0).sum() / count.sum()
        H = settings.latents
        decoder = MLP(H, *settings.hidden, x.shape[1], generator=generator)
        likelihood = Gaussian(max((noise / scale.unit) ** 2, 1e-6))
        model = TVAE(decoder, likelihood, Bernoulli(H))
        return cls(
            scale=scale,
            shape=image.shape,
            patch=patch,
            x=x - level,
            level=level,
            freedom=(1 - lost).clamp(min=0.1),
            observed=seen,
            model=model,
            likelihood=likelihood,
            states=States.random(len(x), settings.states, H, generator),
            engine=choose(model, settings.search),
            settings=settings,
            generator=generator,
        )

    def epochs(self) -> Iterator[Epoch]:
        return fit(
            self.model,
            self.x,
            observed=self.observed,
            states=self.states,
            search=self.settings.search,
            optimizer=torch.optim.Adam(self.model.decoder.parameters(), lr=self.settings.learning_rate, fused=True),
            schedule=self.settings.schedule,
            epochs=self.settings.epochs,
            batch_size=self.settings.batch_size,
            generator=self.generator,
            engine=self.engine,
        )

    @property
    def sigma(self) -> float:
        return self.noise_variance.sqrt().item() * self.scale.unit

    @property
    def noise_variance(self) -> Tensor:
        """sigma2, corrected for the degree of freedom that goes with the mean of each patch."""
        return self.likelihood.sigma2 / self.freedom

    def restored(self) -> tuple[np.ndarray, np.ndarray]:
        """The image and its standard deviation, in image units."""
        mean, variance = self.engine.moments(self.x, self.observed, torch.arange(len(self.x)), self.states)
        of_level = self.settings.centred * self.noise_variance / self.observed.sum(1, keepdim=True).clamp(min=1)
        variance = variance + of_level
        # A patch counts less where it is unsure; sigma2 / D is what even one with a single state is
        # unsure by.  Patches err together, so that the square root does better than the inverse variance.
        weights = (variance + self.likelihood.sigma2 / self.x.shape[1]).rsqrt()
        image = merge(mean + self.level, weights, self.shape, self.patch)
        spread = merge(variance, weights, self.shape, self.patch).sqrt()
        return self.scale.to_image(image), spread.double().numpy() * self.scale.unit


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise ValueError(f"preset is {name!r}, but there are only {', '.join(PRESETS)}")
    return PRESETS[name]


def _unchanged(image: np.ndarray, observed: np.ndarray, full_output: bool) -> np.ndarray | Restoration:
    """The answer for an image that holds nothing to learn from: itself, holes filled with its mean."""
    filled = as_dtype(np.where(observed, image, image[observed].mean(dtype=float)), image.dtype)
    return Restoration(filled, np.zeros(image.shape), sigma=0.0) if full_output else filled
