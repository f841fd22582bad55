"""Denoise or fill a single image by training on the image itself: no clean data, no known noise level."""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from torch import Generator

from evovae.em import Epoch
from evovae.model import TVAE
from evovae.restore.border import Picture, Scale, as_dtype, check_sigma, torch_generator
from evovae.restore.experts import Expert
from evovae.restore.job import Job
from evovae.restore.mixing import View, mix
from evovae.restore.noise_level import estimate
from evovae.restore.presets import PRESETS
from evovae.restore.result import Progress, Restoration
from evovae.restore.variance import Even, find


def denoise(
    image: ArrayLike,
    sigma: float | None = None,
    *,
    mask: ArrayLike | None = None,
    channel_axis: int | None = None,
    poisson: bool = False,
    preset: str | Expert | Sequence[Expert] = "balanced",
    rng: int | np.random.Generator | None = None,
    max_seconds: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    held_out: float = 0.0,
    full_output: bool = False,
) -> np.ndarray | Restoration:
    """Denoise one image, and fill the pixels that are missing in it.

    One or several `TVAE`s are trained on all overlapping patches of the image; each patch is replaced
    by its posterior mean (Eq. 15), each pixel is the average of the patches that cover it, and what
    several models say is mixed.

    Parameters
    ----------
    image
        Integers or floats of any range: a signal, a picture, a stack.  NaN pixels count as missing.
    sigma
        A known noise level, in image units: models find no less.  Default: found.
    mask
        True (or 1) where a pixel is unknown and to be filled; of the shape of image, or without its channels.
    channel_axis
        The axis of colours or other channels, which patches reach through; all others are spatial.
    poisson
        Whether noise grows with the signal, as counts of photons do.  Its gain and offset are found in the
        image, a generalised Anscombe transform makes it even, and its exact unbiased inverse ends the work.
    preset
        "fast" (seconds), "balanced" (about a minute for 256 x 256 on two cores), "best" (some
        minutes), "paper" (Table 3, hours), or an `Expert` or several of your own.
    rng
        Seed or numpy generator; the same seed gives the same bytes on the same machine.
    max_seconds
        Stop after the first epoch that ends later than this, with the best so far.
    callback
        Called with a `Progress` after each epoch; return True to stop with the best so far.
    held_out
        Share of the pixels that are hidden from training, predicted, and compared (0.02 is enough):
        quality without a clean image, as `Restoration.held_out`.  Takes some time and little quality.
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
    picture = Picture.of(image, mask, channel_axis)
    watch = _Watch(max_seconds, callback)
    result = _restore(picture, sigma, poisson, preset, torch_generator(rng), held_out, watch, _keep_nothing)
    return result if full_output else result.image


def inpaint(
    image: ArrayLike,
    mask: ArrayLike | None = None,
    sigma: float | None = None,
    *,
    channel_axis: int | None = None,
    poisson: bool = False,
    preset: str | Expert | Sequence[Expert] = "balanced",
    rng: int | np.random.Generator | None = None,
    max_seconds: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    held_out: float = 0.0,
    full_output: bool = False,
) -> np.ndarray | Restoration:
    """Fill the pixels that are missing in an image, and denoise the others as far as they are noisy.

    As `denoise`, but where models leave more than noise over, known pixels get it back.  With white noise
    of variance s^2 (from `sigma`, or from the finest details of the image) and models that find sigma^2,
    they take structure of variance m^2 = sigma^2 - s^2 for noise; of what a known pixel differs from the
    restored one, a share m^2 / (m^2 + s^2) is put back: all of it without noise, none where models find
    just the noise.  The uncertainty of missing pixels grows by m^2.

    Parameters are those of `denoise`, where noise that is not white (compressed or smoothed pictures) is
    in better hands.  A tiny sigma says that known pixels are exact.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> image = np.add.outer(np.arange(16.0), np.arange(16.0))
    >>> mask = np.random.default_rng(0).random((16, 16)) < 0.3
    >>> evovae.inpaint(image, mask, preset="fast", rng=0).shape
    (16, 16)
    """
    picture = Picture.of(image, mask, channel_axis)
    watch = _Watch(max_seconds, callback)
    result = _restore(picture, sigma, poisson, preset, torch_generator(rng), held_out, watch, _keep_structure)
    return result if full_output else result.image


def _keep_nothing(noise: float, found: float) -> float:
    """No variance of structure is taken for noise."""
    return 0.0


def _keep_structure(noise: float, found: float) -> float:
    """All variance beyond that of the noise is structure that the models miss."""
    return max(found**2 - noise**2, 0.0)


class _Watch:
    """Keeps the bounds of all epochs, reports them, and says when it is enough."""

    def __init__(self, max_seconds: float | None, callback: Callable[[Progress], bool | None] | None) -> None:
        self.max_seconds, self.callback = max_seconds, callback
        self.started, self.elbo = time.monotonic(), list[float]()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def enough(self, epoch: Epoch, epochs: int, sigma: float) -> bool:
        """Note one of so many epochs; whether to stop after it."""
        self.elbo.append(epoch.elbo)
        progress = Progress(len(self.elbo), epochs, epoch.elbo, sigma, epoch.substitutions, self.seconds)
        asked = self.callback is not None and self.callback(progress)
        return bool(asked) or (self.max_seconds is not None and progress.seconds > self.max_seconds)


def _restore(
    picture: Picture,
    sigma: float | None,
    poisson: bool,
    preset: str | Expert | Sequence[Expert],
    generator: Generator,
    held_out: float,
    watch: _Watch,
    missed: Callable[[float, float], float],
) -> Restoration:
    """The whole way; missed says what variance of structure is left over, from the noise and what was found."""
    given, pixels = picture.values, picture.values[picture.observed]
    span = float(np.ptp(pixels.astype(float)))
    if span < np.finfo(np.float32).tiny:
        return _unchanged(picture)
    check_sigma(sigma, span)
    stabiliser = find(*picture.tensors, len(picture.shape)) if poisson else Even()
    picture = replace(picture, values=stabiliser.forward(given))
    pixels = picture.values[picture.observed]
    known = 1.0 if stabiliser.gain else sigma
    noise = estimate(*picture.tensors, len(picture.shape)) if known is None else known
    experts = _experts(preset, noise / float(pixels.std(dtype=float)), picture.shape)
    shown, hidden = picture.hiding(held_out, generator)
    scale = Scale.of(pixels, noise)
    jobs = (Job.prepare(shown, scale, noise, known or 0.0, expert, generator) for expert in experts)
    epochs = sum(expert.length for expert in experts)
    models, views = _train(jobs, epochs, watch)

    restored, std = mix(views)
    error = picture.values - restored
    found = float(np.sqrt(np.mean((std**2 + error**2)[shown.observed])))
    structure = missed(noise, found)
    share = structure / found**2  # of (1 - share) restored + share given, for errors that are independent:
    variance = np.where(shown.observed, (1 - share) ** 2 * std**2 + share * noise**2, std**2 + structure)
    signal = stabiliser.inverse(restored + np.where(shown.observed, share * error, 0))
    slope = stabiliser.slope(signal)
    return Restoration(
        image=picture.outside(as_dtype(signal, given.dtype)),
        std=picture.outside(np.sqrt(variance) * slope),
        sigma=float(np.sqrt((found**2 - structure) * np.mean(slope[shown.observed] ** 2))),
        gain=stabiliser.gain,
        held_out=float(np.sqrt(np.mean((given - signal)[hidden] ** 2))) if hidden.any() else float("nan"),
        elbo=watch.elbo,
        models=models,
        experts=experts,
        seconds=watch.seconds,
        interrupted=len(watch.elbo) < epochs,
    )


def _train(jobs: Iterable[Job], epochs: int, watch: _Watch) -> tuple[tuple[TVAE, ...], list[View]]:
    """Do one job after the other; the models that got through an epoch at least, and what they say."""
    models: list[TVAE] = []
    views: list[View] = []
    for job in jobs:
        before = len(watch.elbo)
        try:
            stop = any(watch.enough(epoch, epochs, job.sigma) for epoch in job.epochs())
        except KeyboardInterrupt:
            if not watch.elbo:  # nothing has been learnt that would be worth returning
                raise
            stop = True
        done = len(watch.elbo) - before
        if done:
            models.append(job.model)
            views.append(job.view(done / job.expert.length))
        if stop:
            break
    return tuple(models), views


def _experts(preset: str | Expert | Sequence[Expert], noise: float, shape: tuple[int, ...]) -> tuple[Expert, ...]:
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"preset is {preset!r}, but there are only {', '.join(PRESETS)}")
        return PRESETS[preset](noise, shape)
    experts = (preset,) if isinstance(preset, Expert) else tuple(preset)
    if not experts or not all(isinstance(expert, Expert) for expert in experts):
        raise TypeError(f"preset is {preset!r}, but a name, an Expert or several of them are needed")
    return experts


def _unchanged(picture: Picture) -> Restoration:
    """The answer for an image that holds nothing to learn from: itself, holes filled with its mean."""
    if picture.values.size == 1:
        warnings.warn("an image of a single pixel comes back unchanged", stacklevel=4)
    mean = picture.values[picture.observed].mean(dtype=float)
    filled = as_dtype(np.where(picture.observed, picture.values, mean), picture.values.dtype)
    filled = picture.outside(filled)
    return Restoration(filled, np.zeros(filled.shape), sigma=0.0)
