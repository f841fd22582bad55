"""Denoise or fill an image by training on the image itself, or learn from some images to restore others."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from evovae.checkpoint import OtherRunError
from evovae.devices import find_device
from evovae.notes import warn
from evovae.restore.blocks import restore_film
from evovae.restore.fitted import FittedDenoiser
from evovae.restore.image import Image, check_sigma, check_time, seed_of
from evovae.restore.kinds import as_given, opened
from evovae.restore.long_film import LongFilm, is_long
from evovae.restore.memory import MemoryBudgetError, budget, memory_errors
from evovae.restore.noise.model import NoiseModel
from evovae.restore.patch_models import PatchModel
from evovae.restore.pipeline import Options, Seen, fit, keeping, restore
from evovae.restore.result import Progress, Restoration
from evovae.restore.run import Watch


def denoise(
    image: ArrayLike,
    sigma: ArrayLike | None = None,
    *,
    mask: ArrayLike | None = None,
    channel_axis: int | None = None,
    time_axis: int | None = None,
    time_width: int | None = None,
    nonfinite: str = "raise",
    noise: str | NoiseModel = "auto",
    preset: str | PatchModel | Sequence[PatchModel] = "balanced",
    rng: int | np.random.Generator | None = None,
    max_seconds: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    held_out: float = 0.0,
    strength: float = 1.0,
    dtype: DTypeLike | None = None,
    tile: int | None = None,
    max_memory: float | None = None,
    device: str | None = None,
    resume: str | Path | None = None,
    full_output: bool = False,
) -> np.ndarray | Restoration:
    """Denoise one image, and fill the pixels that are missing in it.

    One or several models (`evovae.TVAE`) are trained on all overlapping patches of the image itself; each patch is
    replaced by its posterior mean (Eq. 15), each pixel is the average of the patches that cover it, and the results of
    several models are mixed.

    Parameters
    ----------
    image
        Integers or floats of any range: a signal, a picture, a stack.  NaN and masked pixels count as missing.  An
        array of numpy, dask or xarray, a tensor of torch, a picture of Pillow, a Series of pandas, an array in a file
        (memory-mapped, Zarr), or what numpy makes an array of.
    sigma
        A known noise level (standard deviation), in image units: models find no less.  Default: found.  A number, one
        for each channel, or a map of the shape of image: NaN pixels in it are missing, and where it is 0 they are known
        exactly.
    mask
        True (or 1) where a pixel is unknown and to be filled; of the shape of image, or without its channels.
    channel_axis
        The axis of colours or other channels, which patches reach through; all others are spatial.
    time_axis
        The axis of time, if the image is a film: frames of two spatial axes (and channels).  Patches then reach through
        neighbouring frames, and follow what moves.  Films of more than 2^23 values (32 frames of 512 x 512) are
        learnt from parts of them, drawn from all over, and restored block by block; image may then be anything with a
        shape and a dtype that gives arrays for slices, such as a memory-mapped file, a Zarr array, or an array of dask,
        of which pieces are computed, more than once.
    time_width
        Through how many frames patches reach; 1 restores each for itself.  Default: 5 where frames have most of their
        detail in common, else 1.
    nonfinite
        Infinite pixels "raise" an error (the default), or "mask" takes them for missing, as NaN are.
    noise
        What the noise is like.  "auto" (the default) finds it in the image: how it depends on the signal, how it is
        correlated between neighbours, offsets of lines, impulses.  A name tells how it depends on the signal, and
        leaves its parameters to be found: "white" (the same everywhere, and independent), "poisson" (the variance grows
        in proportion to the signal: photons), "speckle" (the standard deviation does: radar, ultrasound), "rician"
        (magnitude images, as of MRI).  A `evovae.noise.NoiseModel`, such as the `Restoration.noise` of another image,
        is taken as it is.  Where noise depends on the signal, values are transformed so that it is the same everywhere,
        and the exact unbiased inverse of that transform is applied at the end.
    preset
        "fast" (seconds), "balanced" (some 20 seconds for 256 x 256 on two cores), "best" (about a minute), "paper"
        (Table 3, hours), or a `PatchModel` or several of your own.
    rng
        Seed or numpy generator; the same seed gives the same bytes on the same machine.
    max_seconds
        Stop after the first epoch that ends later than this, with the best so far.
    callback
        Called with a `Progress` after each epoch; return True to stop with the best so far.  `evovae.ProgressBar()`
        draws a bar; as all that ``with`` takes, it is entered when work begins, and left at its end.
    held_out
        Share of the pixels that are hidden from training, predicted, and compared (0.02 is enough): quality without a
        clean image, as `Restoration.held_out`.  Takes some time and little quality.
    strength
        How much of the noise that was found in known pixels is removed, from 0 (they come back as they were) to 1 (all
        of it, the default).  Missing pixels are filled in any case.
    dtype
        That of the result, of integers or floats; by default that of image.  "float32" keeps what rounding takes from
        an image of few grey levels, such as counts of single photons.
    tile
        Work on large pictures in tiles of this width, without seams.  Default: as memory allows.  Pictures of more than
        2^18 patches (512 x 512 pixels) are trained on crops of that many, whatever the tiles.
    max_memory
        Bytes to use at most, as estimated in advance, beside Python itself.  Default: half of what is free.
    device
        Where networks are trained: "cpu" (the default), "cuda", "cuda:1", ..., or "auto", which is "cuda" where there
        is one.  `LowRankPatches` and `MixturePatches`, and so most of the presets' work, always run on the CPU.
    resume
        A folder in which progress is kept: after epochs, 20 seconds apart or more, and where callback or max_seconds
        stop it.  Where it holds some of the same call, work goes on from there, to the bit as if it had never stopped.
        For pictures that fill the memory give max_memory, too: how they are cut depends on it.  Of long films, each
        block is kept.
    full_output
        Return a `Restoration` (with uncertainty, noise and models) in place of the array.

    Returns
    -------
    ndarray or Restoration
        The restored image has the shape and units of the input, which is left as it was, and its dtype, or the one that
        was asked for.  What came in comes out: tensors, pictures of Pillow, DataArrays with their coordinates, arrays
        of dask in the same chunks, Series with their index, masked arrays with nothing masked; from files, ndarrays.
        Integers are rounded, and clipped to what their dtype holds.

    Raises
    ------
    TypeError, ValueError
        For arrays, masks or options that make no sense, before any work is done.
    DeviceError
        If there is no such device, before any work is done.
    MemoryBudgetError
        If there is too little memory, before it is allocated.
    CheckpointError, BusyError
        If resume names a folder with other progress, or one that another process works in.

    Notes
    -----
    An interrupt (Ctrl-C) after the first epoch ends training and returns the best so far.

    References
    ----------
    "Direct Evolutionary Optimization of Variational Autoencoders with Binary Latents", under review at ICLR 2021.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
    >>> evovae.denoise(noisy, preset="fast", rng=0).shape
    (16, 16)

    Noise of a known kind and level, of which half stays; a small model of one's own is trained in place of a preset:

    >>> small = evovae.MixturePatches(patch=4, latents=4, epochs=3)
    >>> half = evovae.denoise(noisy, 10, noise="white", strength=0.5, preset=small, rng=0)
    >>> bool(abs(half - 100).mean() < abs(noisy - 100).mean())
    True
    """
    seed, drawn, where = seed_of(rng), rng is None, find_device(device)
    asked = held_out, strength, dtype, tile, resume, time_width
    options = Options(noise, preset, seed, drawn, where, *asked)
    axes, watch = (channel_axis, time_axis, nonfinite), Watch(max_seconds, callback)
    result = _restored(image, mask, sigma, *axes, options, budget(max_memory), watch)
    return result if full_output else as_given(image, result.image)


def inpaint(
    image: ArrayLike,
    mask: ArrayLike | None = None,
    sigma: ArrayLike | None = None,
    *,
    channel_axis: int | None = None,
    time_axis: int | None = None,
    time_width: int | None = None,
    nonfinite: str = "raise",
    noise: str | NoiseModel = "auto",
    preset: str | PatchModel | Sequence[PatchModel] = "balanced",
    rng: int | np.random.Generator | None = None,
    max_seconds: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    held_out: float = 0.0,
    strength: float = 0.0,
    dtype: DTypeLike | None = None,
    tile: int | None = None,
    max_memory: float | None = None,
    device: str | None = None,
    resume: str | Path | None = None,
    full_output: bool = False,
) -> np.ndarray | Restoration:
    """Fill the pixels that are missing in an image, and leave the others as they are or denoise them.

    As `denoise`, but where models leave more than noise over, known pixels get it back.  With white noise of variance
    s^2 (from `sigma`, or from the finest details of the image) and models that find sigma^2, they take structure of
    variance m^2 = sigma^2 - s^2 for noise.  Of the difference between a known pixel and the restored one, a share m^2 /
    (m^2 + s^2) is put back: all of it without noise, none where models find just the noise.  The variance of missing
    pixels grows by m^2.

    Noise that is not white (compressed or smoothed pictures) is in better hands with `denoise`.

    Parameters
    ----------
    image
        As that of `denoise`.
    mask
        True (or 1) where a pixel is unknown and to be filled; of the shape of image, or without its channels.  Default:
        NaN pixels alone are missing.
    sigma
        As that of `denoise`.  A tiny number says that known pixels are exact, a map with zeros that some are.
    channel_axis, time_axis, time_width, nonfinite, noise, preset, rng, max_seconds, callback, held_out
        As those of `denoise`.
    strength
        How much of the noise of known pixels is removed, from 0 (they stay as they are, the default) to 1 (all of it).
    dtype, tile, max_memory, device, resume, full_output
        As those of `denoise`.

    Returns
    -------
    ndarray or Restoration
        As that of `denoise`.

    Raises
    ------
    TypeError, ValueError, DeviceError, MemoryBudgetError, CheckpointError, BusyError
        As `denoise` does.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> image = np.add.outer(np.arange(16.0), np.arange(16.0))
    >>> mask = np.random.default_rng(0).random((16, 16)) < 0.3
    >>> small = evovae.MixturePatches(patch=4, latents=4, epochs=3)  # in place of a preset, to be quick
    >>> filled = evovae.inpaint(image, mask, preset=small, rng=0)
    >>> bool((filled[~mask] == image[~mask]).all())
    True
    """
    seed, drawn, where = seed_of(rng), rng is None, find_device(device)
    asked = held_out, strength, dtype, tile, resume, time_width
    options = Options(noise, preset, seed, drawn, where, *asked, fill=True)
    axes, watch = (channel_axis, time_axis, nonfinite), Watch(max_seconds, callback)
    result = _restored(image, mask, sigma, *axes, options, budget(max_memory), watch)
    return result if full_output else as_given(image, result.image)


def _restored(
    image: ArrayLike,
    mask: ArrayLike | None,
    sigma: ArrayLike | None,
    channel_axis: int | None,
    time_axis: int | None,
    nonfinite: str,
    options: Options,
    memory: float,
    watch: Watch,
) -> Restoration:
    """An array, checked and restored: as a whole, or block by block if it is a long film.

    If less memory was there than estimated, it is done again with half of it.
    """
    check_time(time_axis, options.time_width)
    image, channel_axis = opened(image, channel_axis)
    with watch.showing():
        if is_long(image, channel_axis, time_axis):
            film = LongFilm.of(image, mask, sigma, channel_axis, time_axis or 0, nonfinite)
            return restore_film(film, options, memory, watch)
        picture, levels = check_sigma(Image.of(image, mask, channel_axis, nonfinite, memory, time_axis), sigma)
        options = replace(options, sigma=levels)
        try:
            with memory_errors():
                return restore(picture, options, memory, watch)
        except MemoryBudgetError:
            raise
        except MemoryError as error:
            warn(f"memory ran out ({error}); trying again with half of it")
        with memory_errors(MemoryBudgetError):
            try:
                return restore(picture, options, memory / 2, watch)
            except OtherRunError:  # what has been kept is of larger tiles
                options = replace(options, resume=Path(str(options.resume)) / "half the memory")
                return restore(picture, options, memory / 2, watch)


MOST, LEAST_PIXELS = 32, 2**16  # images that are looked at, and pixels of each at least
PIXELS = 2**20  # of all of them


def fit_denoiser(
    images: ArrayLike | Sequence[ArrayLike],
    sigma: ArrayLike | None = None,
    *,
    channel_axis: int | None = None,
    time_axis: int | None = None,
    time_width: int | None = None,
    nonfinite: str = "raise",
    noise: str | NoiseModel = "auto",
    preset: str | PatchModel | Sequence[PatchModel] = "balanced",
    rng: int | np.random.Generator | None = None,
    max_seconds: float | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    max_memory: float | None = None,
    device: str | None = None,
    resume: str | Path | None = None,
) -> FittedDenoiser:
    """Learn from one or many noisy images of a kind, to restore others like them without training.

    Models are those of `denoise`, trained on patches from all over the images: up to 2^18 of them, as many as 512 x 512
    pixels have.  Of many images, 32 are drawn at random, and of large ones a part of each, so that memory is bounded.
    The noise is found in each, as `denoise` finds it.

    Parameters
    ----------
    images
        An array, which is one image, or a sequence of them (a list, or anything with a length that reads an image when
        it is asked for one): of the same axes and channels, and of any size.  NaN pixels are missing.
    sigma
        A noise level that all of them have: a number, or one for each channel.  Default: found.
    channel_axis, time_axis, time_width, nonfinite, noise, preset, rng, max_seconds
        As those of `denoise`.
    callback
        As that of `denoise`; its preview is the first image, as it came.
    max_memory, device
        As those of `denoise`.
    resume
        A folder in which progress is kept, as that of `denoise`.

    Returns
    -------
    FittedDenoiser
        Restores images, shows what was learnt, and can be kept in a file.

    Raises
    ------
    TypeError, ValueError
        For images or options that make no sense, and for a map of sigma.
    DeviceError, MemoryBudgetError, CheckpointError, BusyError
        As `denoise` does.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> rng = np.random.default_rng(0)
    >>> images = [rng.normal(100 + 20 * (np.indices((24, 24)).sum(0) % 8 > k), 10) for k in range(1, 5)]
    >>> small = evovae.MixturePatches(patch=4, latents=8, epochs=3)  # in place of a preset, to be quick
    >>> fitted = evovae.fit_denoiser(images[:3], preset=small, rng=0)
    >>> fitted.restore(images[3]).shape
    (24, 24)
    """
    memory = budget(max_memory)
    check_time(time_axis, time_width)
    several = not hasattr(images, "shape") and isinstance(images, Sequence)
    every: Sequence[ArrayLike] = images if several else [images]  # type: ignore[assignment, list-item]
    if not len(every):
        raise ValueError("images are none; give one at least")
    seed = seed_of(rng)
    drawn = np.random.default_rng(seed)
    chosen = sorted(drawn.permutation(len(every))[:MOST])
    pixels = max(PIXELS // len(chosen), LEAST_PIXELS) if several else None
    seen: list[Image] = []
    levels: np.ndarray | None = None
    for number in chosen:
        try:
            pieces = _pieces(every[number], sigma, channel_axis, time_axis, nonfinite, memory, drawn)
            for picture, own in pieces:
                levels = levels if own is None else own  # of a constant image, there are none
                if levels is not None and levels.ndim > 1:
                    raise ValueError("sigma is a map, but a number or one for each channel is needed: places differ")
                if seen and (len(picture.shape), picture.channels) != (len(seen[0].shape), seen[0].channels):
                    raise ValueError(
                        f"it has {len(picture.shape)} spatial axes and {picture.channels} channels, but the others "
                        f"{len(seen[0].shape)} and {seen[0].channels}"
                    )
                seen.append(picture if pixels is None else picture.part(max(pixels // len(pieces), 1), drawn))
        except (TypeError, ValueError) as error:
            raise type(error)(f"image {number + 1} of {len(every)}: {error}" if several else str(error)) from error
    seen = [picture for picture in seen if not picture.flat]
    if not seen:
        raise ValueError("the images are constant, so that there is nothing to learn from")
    where = find_device(device)
    options = Options(noise, preset, seed, rng is None, where, resume=resume, time_width=time_width, sigma=levels)

    def digest() -> str:
        return sha256("".join(picture.digest() for picture in seen).encode()).hexdigest()

    watch = Watch(max_seconds, callback)
    with watch.showing(), keeping(digest, options, {}) as (checkpointer, kept, options):
        return fit([Seen.of(picture, options) for picture in seen], options, memory, watch, checkpointer, kept)


def _pieces(
    image: ArrayLike,
    sigma: ArrayLike | None,
    channel_axis: int | None,
    time_axis: int | None,
    nonfinite: str,
    memory: float,
    drawn: np.random.Generator,
) -> list[tuple[Image, np.ndarray | None]]:
    """An image, checked, and its noise levels; of a long film some runs of frames."""
    image, channel_axis = opened(image, channel_axis)
    if not is_long(image, channel_axis, time_axis):
        return [check_sigma(Image.of(image, None, channel_axis, nonfinite, memory, time_axis), sigma)]
    film = LongFilm.of(image, None, sigma, channel_axis, time_axis or 0, nonfinite)
    return film.samples(drawn)
