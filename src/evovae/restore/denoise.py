"""Denoise or fill a single image by training on the image itself: no clean data, no known noise level."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from torch import Generator

from evovae.checkpoint import Folder
from evovae.restore.border import Picture, Scale, as_dtype, check_sigma, seed_of
from evovae.restore.experts import Expert, described
from evovae.restore.job import Job
from evovae.restore.layout import Layout, plan
from evovae.restore.memory import MemoryBudgetError, free_memory, memory_errors
from evovae.restore.mixing import mix
from evovae.restore.noise_level import estimate
from evovae.restore.presets import PRESETS
from evovae.restore.result import Progress, Restoration
from evovae.restore.training import InFolder, Keep, Nowhere, Watch, train
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
    tile: int | None = None,
    max_memory: float | None = None,
    resume: str | Path | None = None,
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
    tile
        Work on large pictures in tiles of this width, without seams.  Default: as memory allows.  Pictures of
        more than 2^18 patches (512 x 512 pixels) are trained on crops of that many, whatever the tiles.
    max_memory
        Bytes to use at most, as estimated in advance, beside Python itself.  Default: half of what is free.
    resume
        A folder in which progress is kept, every 20 seconds and where work is stopped.  Where it holds some of the same
        call, work goes on from there: to the bit as if it had never stopped.
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
    MemoryBudgetError
        If there is too little memory, before it is allocated.
    CheckpointError, BusyError
        If resume names a folder with other progress, or one that another process works in.

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
    memory = free_memory() if max_memory is None else max_memory
    picture = Picture.of(image, mask, channel_axis, memory)
    options = _Options(sigma, poisson, preset, rng, held_out, tile, resume, _keep_nothing)
    result = _restore(picture, options, memory, Watch(max_seconds, callback))
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
    tile: int | None = None,
    max_memory: float | None = None,
    resume: str | Path | None = None,
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
    memory = free_memory() if max_memory is None else max_memory
    picture = Picture.of(image, mask, channel_axis, memory)
    options = _Options(sigma, poisson, preset, rng, held_out, tile, resume, _keep_structure)
    result = _restore(picture, options, memory, Watch(max_seconds, callback))
    return result if full_output else result.image


def _keep_nothing(noise: float, found: float) -> float:
    """No variance of structure is taken for noise."""
    return 0.0


def _keep_structure(noise: float, found: float) -> float:
    """All variance beyond that of the noise is structure that the models miss."""
    return max(found**2 - noise**2, 0.0)


@dataclass(frozen=True)
class _Options:
    """What `denoise` and `inpaint` were asked for.

    missed says what variance of structure is left over, from that of the noise and what was found.
    """

    sigma: float | None
    poisson: bool
    preset: str | Expert | Sequence[Expert]
    rng: int | np.random.Generator | None
    held_out: float
    tile: int | None
    resume: str | Path | None
    missed: Callable[[float, float], float]


def _restore(picture: Picture, options: _Options, memory: float, watch: Watch) -> Restoration:
    """The whole way; with half the memory, if the first try met with less than there seemed to be."""
    if picture.span < np.finfo(np.float32).tiny:
        return _unchanged(picture)
    check_sigma(options.sigma, picture.span)
    seed = seed_of(options.rng)
    try:
        with memory_errors():
            return _attempt(picture, options, seed, memory, watch)
    except MemoryError as error:
        if isinstance(error, MemoryBudgetError):
            raise
        warnings.warn(f"memory ran out ({error}); trying again with half of it", stacklevel=3)
    with memory_errors(MemoryBudgetError):
        return _attempt(picture, options, seed, memory / 2, watch)


def _attempt(picture: Picture, options: _Options, seed: int, memory: float, watch: Watch) -> Restoration:
    given = picture
    axes = len(picture.shape)
    stabiliser = find(*picture.tensors, axes) if options.poisson else Even()
    picture = replace(picture, values=stabiliser.forward(picture.values))
    pixels = picture.values[picture.observed]
    known = 1.0 if stabiliser.gain else options.sigma
    noise = estimate(*picture.tensors, axes) if known is None else known
    scale = Scale.of(pixels, noise)
    experts = _experts(options.preset, noise / float(pixels.std(dtype=float)), picture.shape)
    layouts = [plan(picture, expert, options.tile, memory) for expert in experts]
    epochs = sum(expert.length for expert in experts)
    with _keep(given, options, experts, layouts, seed) as keep:
        kept = keep.load()
        generator = Generator().manual_seed(int(kept.get("seed", seed)))
        shown, hidden = picture.hiding(options.held_out, generator)
        grainy = shown.dithered(noise, generator)
        watch.begin(epochs, epochs + sum(layout.passes for layout in layouts), kept)
        jobs = (
            (layout, Job.prepare(*layout.sample(grainy, generator), scale, noise, known or 0.0, expert, generator))
            for layout, expert in zip(layouts, experts, strict=True)
        )
        work = train(jobs, grainy, watch, keep, kept)

    restored, std = mix(work.views)
    error = np.where(picture.observed, picture.values, restored) - restored
    found = float(np.sqrt(np.mean((std**2 + error**2)[shown.observed])))
    structure = options.missed(noise, found)
    share = structure / found**2  # of (1 - share) restored + share given, for errors that are independent:
    variance = np.where(shown.observed, (1 - share) ** 2 * std**2 + share * noise**2, std**2 + structure)
    signal = stabiliser.inverse(restored + np.where(shown.observed, share * error, 0))
    slope = stabiliser.slope(signal)
    off = (given.values - signal)[hidden]
    return Restoration(
        image=picture.outside(as_dtype(signal, given.values.dtype)),
        std=picture.outside(np.sqrt(variance) * slope),
        sigma=float(np.sqrt((found**2 - structure) * np.mean(slope[shown.observed] ** 2))),
        gain=stabiliser.gain,
        held_out=float(np.sqrt(np.mean(off**2))) if off.size else float("nan"),
        elbo=watch.elbo,
        models=tuple(work.models),
        experts=experts,
        seconds=watch.seconds,
        interrupted=len(watch.elbo) < epochs,
    )


@contextmanager
def _keep(
    picture: Picture, options: _Options, experts: Sequence[Expert], layouts: Sequence[Layout], seed: int
) -> Iterator[Keep]:
    """Where progress goes, and whose it is."""
    if options.resume is None:
        yield Nowhere()
        return
    run = {
        "picture": picture.digest(),
        "options": repr((options.sigma, options.poisson, options.held_out, options.missed.__name__)),
        "experts": [described(expert) for expert in experts],
        "memory or tiles": repr(layouts),
        "seed": None if options.rng is None else seed,
    }
    folder = Folder(Path(options.resume), run)
    with folder.locked():
        yield InFolder(folder, seed)


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
