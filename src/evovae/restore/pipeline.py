"""One restoration, from the checked picture to the result."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Generator

from evovae.checkpoint import Folder, OtherRunError
from evovae.devices import device_memory
from evovae.restore.ensemble import Estimate, mix
from evovae.restore.fitted import Insight
from evovae.restore.image import Image, Scale, as_dtype, check_sigma, seed_of, warn
from evovae.restore.learner import Learner
from evovae.restore.memory import MemoryBudgetError, memory_errors
from evovae.restore.noise.level import estimate
from evovae.restore.patch_models import PatchModel, described
from evovae.restore.presets import PRESETS
from evovae.restore.result import Restoration
from evovae.restore.run import InFolder, Keep, Nowhere, Watch, train
from evovae.restore.tiling import Tiling, plan
from evovae.restore.variance import Even, find


def keep_nothing(noise: float, found: float) -> float:
    """No variance of structure is taken for noise."""
    return 0.0


def keep_structure(noise: float, found: float) -> float:
    """All variance beyond that of the noise is structure that the models miss."""
    return max(found**2 - noise**2, 0.0)


@dataclass(frozen=True)
class Options:
    """What `denoise` and `inpaint` were asked for.

    missed says what variance of structure is left over, from that of the noise and what was found.
    """

    sigma: float | None
    poisson: bool
    preset: str | PatchModel | Sequence[PatchModel]
    rng: int | np.random.Generator | None
    held_out: float
    tile: int | None
    device: torch.device
    resume: str | Path | None
    missed: Callable[[float, float], float]


def restore(picture: Image, options: Options, memory: float, watch: Watch) -> Restoration:
    """The whole way; with half the memory, if the first try met with less than there seemed to be."""
    if picture.flat:
        return _unchanged(picture)
    check_sigma(options.sigma, picture.span)
    seed = seed_of(options.rng)
    try:
        with memory_errors():
            return _attempt(picture, options, seed, memory, watch)
    except MemoryError as error:
        if isinstance(error, MemoryBudgetError):
            raise
        warn(f"memory ran out ({error}); trying again with half of it")
    with memory_errors(MemoryBudgetError):
        try:
            return _attempt(picture, options, seed, memory / 2, watch)
        except OtherRunError:  # what has been kept is of larger tiles
            half = replace(options, resume=Path(str(options.resume)) / "half the memory")
            return _attempt(picture, half, seed, memory / 2, watch)


def _attempt(given: Image, options: Options, seed: int, memory: float, watch: Watch) -> Restoration:
    axes = len(given.shape)
    stabiliser = find(*given.tensors, axes) if options.poisson else Even()
    picture = replace(given, values=stabiliser.forward(given.values))
    pixels = picture.values[picture.observed]
    known = 1.0 if stabiliser.gain else options.sigma
    noise = estimate(*picture.tensors, axes) if known is None else known
    scale = Scale.of(pixels, noise)
    experts = _experts(options.preset, noise / float(pixels.std(dtype=float)), picture.shape)
    rooms = [min(memory, device_memory(expert.place(options.device))) for expert in experts]
    layouts = [plan(picture, expert, options.tile, room) for expert, room in zip(experts, rooms, strict=True)]

    def preview(views: Sequence[Estimate]) -> np.ndarray:
        image = mix(views)[0] if views else picture.values
        return given.outside(as_dtype(stabiliser.inverse(image), given.values.dtype))

    with _keep(given, options, experts, layouts, seed) as keep:
        kept = keep.load()
        generator = Generator().manual_seed(int(kept.get("seed", seed)))
        shown, hidden = picture.hiding(options.held_out, generator)
        grainy = shown.dithered(noise, generator)
        watch.begin(sum(expert.length for expert in experts), sum(layout.passes for layout in layouts), preview, kept)
        jobs = (
            (
                layout,
                Learner.prepare(
                    *layout.sample(grainy, generator), scale, noise, known or 0.0, expert, options.device, generator
                ),
            )
            for layout, expert in zip(layouts, experts, strict=True)
        )
        work = train(jobs, grainy, watch, keep, kept)
    found = _Found.of(picture, shown, work.views, noise, options.missed)
    signal = stabiliser.inverse(found.image)
    slope = stabiliser.slope(signal)
    off = (given.values - signal)[hidden]
    return Restoration(
        image=given.outside(as_dtype(signal, given.values.dtype)),
        std=given.outside(found.std * slope),
        sigma=float(found.sigma * np.sqrt(np.mean(slope[shown.observed] ** 2))),
        gain=stabiliser.gain,
        held_out=float(np.sqrt(np.mean(off**2))) if off.size else float("nan"),
        elbo=watch.elbo,
        insights=tuple(
            Insight(model.cpu(), layout.size, scale, stabiliser, expert.centred, expert.states)
            for model, layout, expert in zip(work.models, layouts, experts, strict=False)
        ),
        experts=experts,
        seconds=watch.seconds,
        interrupted=len(watch.elbo) < watch.epochs or len(work.views) < len(experts),
    )


@dataclass(frozen=True)
class _Found:
    """Image, its standard deviation, and the noise level, where noise is even."""

    image: np.ndarray
    std: np.ndarray
    sigma: float

    @classmethod
    def of(
        cls,
        picture: Image,
        shown: Image,
        views: Sequence[Estimate],
        noise: float,
        missed: Callable[[float, float], float],
    ) -> "_Found":
        """From what models say of the pixels that they were shown, and what all of them are."""
        restored, std = mix(views)
        error = np.where(picture.observed, picture.values, restored) - restored
        found = float(np.sqrt(np.mean((std**2 + error**2)[shown.observed])))
        structure = missed(noise, found)
        share = structure / found**2  # of (1 - share) restored + share given, for errors that are independent:
        variance = np.where(shown.observed, (1 - share) ** 2 * std**2 + share * noise**2, std**2 + structure)
        image = restored + np.where(shown.observed, share * error, 0)
        return cls(image, np.sqrt(variance), float(np.sqrt(found**2 - structure)))


@contextmanager
def _keep(
    picture: Image, options: Options, experts: Sequence[PatchModel], layouts: Sequence[Tiling], seed: int
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


def _experts(
    preset: str | PatchModel | Sequence[PatchModel], noise: float, shape: tuple[int, ...]
) -> tuple[PatchModel, ...]:
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"preset is {preset!r}, but there are only {', '.join(PRESETS)}")
        return PRESETS[preset](noise, shape)
    experts = (preset,) if isinstance(preset, PatchModel) else tuple(preset)
    if not experts or not all(isinstance(expert, PatchModel) for expert in experts):
        raise TypeError(f"preset is {preset!r}, but a name, an PatchModel or several of them are needed")
    if any(expert.length < 1 for expert in experts):
        raise ValueError("an expert in preset trains for no epoch, but needs one at least")
    return experts


def _unchanged(picture: Image) -> Restoration:
    """The answer for an image that holds nothing to learn from: itself, holes filled with its mean."""
    if picture.values.size == 1:
        warn("an image of a single pixel comes back unchanged")
    mean = picture.values[picture.observed].mean(dtype=float)
    filled = as_dtype(np.where(picture.observed, picture.values, mean), picture.values.dtype)
    filled = picture.outside(filled)
    return Restoration(filled, np.zeros(filled.shape), sigma=0.0)
