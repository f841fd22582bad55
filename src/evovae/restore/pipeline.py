"""One restoration, from the checked image to the result."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike
from scipy.ndimage import uniform_filter
from torch import Generator

from evovae.checkpoint import Checkpointer, Record, exclusively
from evovae.devices import CPU, device_memory
from evovae.notes import warn
from evovae.restore.ensemble import Estimate, mix, taken_off, trusted
from evovae.restore.film import Film
from evovae.restore.fitted import FittedDenoiser, fitting, members_at
from evovae.restore.fitted_patches import FittedPatches, moved
from evovae.restore.image import Image, Scale, as_dtype, dtype_of
from evovae.restore.learner import Learner
from evovae.restore.noise.estimate import Found, find, find_in_film
from evovae.restore.noise.model import NoiseModel
from evovae.restore.patch_models import PatchModel
from evovae.restore.presets import PRESETS, Picture
from evovae.restore.result import Restoration
from evovae.restore.run import Watch, train
from evovae.restore.tiling import Sampling, Several, passes, plan
from evovae.restore.tuned import TUNED

Missed = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]

# Pixels along each axis, by their number, in which what models leave is compared with the noise.
AROUND = {1: 225, 2: 15, 3: 7}
COARSE = 2.0  # deviation of a restored image of integers below which rounding takes much of it away
LIKELY, ALIKE = (0.6, 1.4), 0.15  # levels found over those expected, and correlations of neighbours, without a note
HARDLY = 100.0  # standard deviations of the image over those of its noise, from which on that is next to none
# Ratio of squared steps from which on a volume's axes differ, the least of them (below, it may be noise), and how much
# wider or narrower than the mean patches may get.
COARSER, LEAST_STEP, FLATTEST = 2.25, 0.02, 3.0
EVEN = 0.05  # of the noise's deviation, by which it differs with the signal at most if it is as strong everywhere
INTERVAL = 20.0  # seconds from one checkpoint to the next


def where_much_is_left(power: np.ndarray, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Where residuals are far larger than noise, the part beyond `TUNED.much` is structure that models miss."""
    return np.maximum(power - TUNED.much, 0), power


def wherever_more_is_left(power: np.ndarray, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Residuals of models of other images that are larger than noise are structure they do not know; large ones, as a
    whole.
    """
    return np.where(power > TUNED.unknown, power, np.maximum(power - 1, 0)), np.maximum(power, 1)


def all_that_is_left(power: np.ndarray, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean residual beyond noise is structure that models miss, as much everywhere."""
    return np.full_like(power, max(mean - 1, 0)), np.full_like(power, max(mean, 1))


@dataclass(frozen=True)
class Options:
    """What `denoise` and `inpaint` were asked for; sigma is as `check_sigma` returns it.

    drawn tells whether the seed is one that nobody asked for, fill whether missing pixels are all that matters,
    time_width how many frames of a film patches reach through.
    """

    noise: str | NoiseModel
    preset: str | PatchModel | Sequence[PatchModel]
    seed: int
    drawn: bool
    device: torch.device
    held_out: float = 0.0
    strength: float = 1.0
    dtype: DTypeLike | None = None
    tile: int | None = None
    resume: str | Path | None = None
    time_width: int | None = None
    fill: bool = False
    sigma: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength is {self.strength}, but it lies between 0 and 1")

    @property
    def missed(self) -> Missed:
        """How much of the residuals, in variances of the noise (around a value, and in the mean), is structure."""
        return all_that_is_left if self.fill else where_much_is_left


def restore(image: Image, options: Options, memory: float, watch: Watch) -> Restoration:
    """The path of an image: noise found -> even values -> patches -> models -> estimates -> mixed -> back."""
    dtype = dtype_of(image, options.dtype)
    if image.flat:
        return unchanged(image, dtype)
    seen = Seen.of(image, options)
    image, noise, even = seen.image, seen.found.model, seen.even
    if options.fill and image.observed.all():
        done = "the image is denoised, and that is all" if options.strength else "the image stays as it is"
        warn(f"nothing to fill, as no pixel is masked or NaN; {done}")
        if not options.strength:
            return _as_it_is(image, noise, noise.slope(even.values), dtype)
    film = Film.of(even, options.time_width)
    beside = film.beside(even)
    scale, picture = Scale.of(beside), _picture([seen], film.width)
    models = _patch_models(options.preset, picture, even.film)
    cautious = [model.cautious and picture.correlated for model in models]
    tilings = [plan(beside, model, options.tile, _room(model, options, memory)) for model in models]

    about = {"patch models": [model.config() for model in models], "memory or tiles": repr(tilings)}
    with keeping(image.digest, options, about) as (checkpointer, kept, options):
        generator = Generator().manual_seed(options.seed)
        shown, hidden = even.hiding(options.held_out, generator)
        grainy = shown.grainy(generator)

        def mixed(estimates: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray]:
            return mix(trusted([film.back(estimate, grainy) for estimate in estimates], grainy, cautious), grainy)

        def preview(estimates: Sequence[Estimate]) -> np.ndarray:
            values = noise.inverse(mixed(estimates)[0]) if estimates else image.values
            return image.outside(as_dtype(values, dtype))

        watch.begin(sum(model.length for model in models), sum(tiling.passes for tiling in tilings), preview, kept)
        beside = film.beside(grainy)
        learners = _learners(tilings, models, beside, scale, seen.found, options, generator)
        work = train(learners, beside, watch, checkpointer, kept, options.seed)
    restored = _back(seen, shown, hidden, mixed(work.estimates), options, options.missed)
    return replace(
        restored,
        elbo=watch.elbo,
        fitted=_fitted(work.fitted, noise, options, film.width),
        patch_models=models,
        seconds=watch.seconds,
        interrupted=len(watch.elbo) < watch.epochs or len(work.estimates) < len(models),
    )


def fit(
    seen: Sequence["Seen"],
    options: Options,
    memory: float,
    watch: Watch,
    checkpointer: Checkpointer,
    kept: Record,
    places: int = 0,
) -> FittedDenoiser:
    """What can be learnt from images of one kind: as `restore`, from patches of all of them, with no way back.

    It goes on from what is kept.  So many places of images are to be restored later, with what has been learnt.
    """
    films = [Film.of(each.even, options.time_width) for each in seen]
    width = min(sorted(film.width for film in films)[len(films) // 2], *(each.even.shape[0] for each in seen))
    films = [film if film.width == width else Film.of(each.even, width) for film, each in zip(films, seen, strict=True)]
    generator = Generator().manual_seed(options.seed)
    grainy = tuple(film.middle().beside(each.even.grainy(generator)) for film, each in zip(films, seen, strict=True))
    picture, scale = _picture(seen, width), Scale.of(*grainy)
    middle = typical(seen, scale)
    models = _patch_models(options.preset, picture, seen[0].image.film)
    samplings = [Several.of(grainy, model, _room(model, options, memory)) for model in models]
    first = seen[0].image
    later = sum(passes(model, places) for model in models)
    watch.begin(sum(model.length for model in models), later, lambda _: first.outside(first.values), kept)
    learners = _learners(samplings, models, grainy[0], scale, middle, options, generator)
    work = train(learners, grainy[0], watch, checkpointer, kept, options.seed)
    return _fitted(work.fitted, middle.model, options, width)


def apply(fitted: FittedDenoiser, image: Image, options: Options, memory: float, watch: Watch) -> Restoration:
    """The path of an image without training: models are those of other images, and populations are found for it."""
    dtype, generator = dtype_of(image, options.dtype), Generator().manual_seed(options.seed)
    fits = fitting(fitted, image)
    if image.flat:
        return unchanged(image, dtype)
    seen = Seen.of(image, options)
    film = Film.of(seen.even, fitted.width)
    members, notes = members_at(fits, seen.found.model, film.beside(seen.even), generator)
    watch.begin(0, 1, lambda _: image.outside(as_dtype(image.values, dtype)), {})
    done = applied(members, seen, film, seen.even, notes, options, memory, generator, watch.work)
    moved = replace(_fitted(members, seen.found.model, options, fitted.width), kind=fitted.kind)
    return replace(done, fitted=moved, seconds=watch.seconds)


def applied(
    members: Sequence[FittedPatches],
    seen: "Seen",
    film: Film,
    shown: Image,
    notes: Sequence[str],
    options: Options,
    memory: float,
    generator: Generator,
    work: Callable[[float], bool],
) -> Restoration:
    """What trained models make of an image, and what is noted of how they fit it; work is told how much is done."""
    beside = film.beside(seen.even)
    settings = [member.settings for member in members]
    cautious = [each.cautious and not _white(seen.found.model, seen.even) for each in settings]

    def tick(share: float) -> None:
        if work(share / len(members)):
            raise KeyboardInterrupt

    estimates = []
    for each, member in zip(settings, members, strict=True):
        tiling = plan(beside, each, options.tile, _room(each, options, memory), member.size)
        estimates.append(film.back(tiling.estimate(member, beside, generator, tick), seen.even))
    mixed = mix(trusted(estimates, shown, cautious), shown)
    missed = wherever_more_is_left if notes else options.missed
    done = _back(seen, shown, np.zeros(shown.values.shape, bool), mixed, options, missed)
    return replace(done, notes=(*done.notes, *notes), patch_models=tuple(settings))


@dataclass(frozen=True)
class Seen:
    """An image, what its noise is like, and its even values."""

    image: Image
    found: Found
    even: Image

    @classmethod
    def of(cls, image: Image, options: Options) -> "Seen":
        """With the noise that is found."""
        return cls.among(image, (find_in_film if image.film else find)(image, options.noise, options.sigma))

    @classmethod
    def among(cls, image: Image, found: Found) -> "Seen":
        """With such noise."""
        return cls(replace(image, observed=image.observed & ~found.void), found, found.model.forward(image))


def typical(seen: Sequence[Seen], scale: Scale) -> Found:
    """The noise of the image of which half of the others have less."""
    return sorted((each.found for each in seen), key=lambda found: _level(found.model, scale))[len(seen) // 2]


def _level(noise: NoiseModel, scale: Scale) -> float:
    """How strong noise is where the signal is the mean one, in image units."""
    return float(np.mean(noise.anywhere().slope(scale.offset)))


def _room(model: PatchModel, options: Options, memory: float) -> float:
    """Bytes that there are for a model where it works."""
    return min(memory, device_memory(CPU if model.on_cpu else options.device))


def _learners(
    samplings: Sequence[Sampling],
    models: Sequence[PatchModel],
    image: Image,
    scale: Scale,
    found: Found,
    options: Options,
    generator: Generator,
) -> Iterator[tuple[Sampling, Learner]]:
    """One for each model, made when it is asked for: each draws where the one before it has stopped."""
    for sampling, model in zip(samplings, models, strict=True):
        sample, among = sampling.sample(image, generator)
        about = sample, among, sampling.size, scale, found.model, found.least, model, options.device, generator
        yield sampling, Learner.prepare(*about)


def _fitted(members: Sequence[FittedPatches], noise: NoiseModel, options: Options, width: int) -> FittedDenoiser:
    """What has been learnt, for any image, on the CPU."""
    anywhere = noise.anywhere()
    on_cpu = (replace(m, model=m.model.cpu(), commonest=m.commonest.cpu()) for m in members)
    kept = tuple(moved(m, anywhere, m.scale) for m in on_cpu)
    return FittedDenoiser(kept, anywhere, options.noise if isinstance(options.noise, str) else "auto", width)


def _back(
    seen: Seen,
    shown: Image,
    hidden: np.ndarray,
    mixed: tuple[np.ndarray, np.ndarray],
    options: Options,
    missed: Missed,
) -> Restoration:
    """From the mixed estimates of the even values that models were given, to the image's own units."""
    image, noise, dtype = seen.image, seen.found.model, dtype_of(seen.image, options.dtype)
    restored = _Restored.of(seen.even, shown, mixed, missed)
    signal, slope = noise.inverse(restored.values), noise.slope(restored.values)
    level = float(np.sqrt(np.mean(np.square(restored.sigma * slope[shown.observed]))))
    off = (image.values - signal)[hidden]
    given = np.where(image.observed, image.values, signal)
    signal = np.where(noise.kept, given, options.strength * signal + (1 - options.strength) * given)
    if options.dtype is None and dtype.kind in "iu" and signal.std() < COARSE:
        warn("the image varies by few grey levels, to which results are rounded; dtype = float32 keeps what is between")
    return Restoration(
        image=image.outside(as_dtype(signal, dtype)),
        std=image.outside(np.where(noise.kept & image.observed, 0, restored.std * slope)),
        sigma=level if options.sigma is None else float(np.sqrt(np.mean(np.square(options.sigma)))),
        found=level,
        noise=noise,
        notes=(*noise.describe()["notes"], *_doubts(noise, shown, restored, options)),
        held_out=float(np.sqrt(np.mean(off**2))) if off.size else float("nan"),
    )


def _doubts(noise: NoiseModel, shown: Image, restored: "_Restored", options: Options) -> Iterator[str]:
    """What a user should know of a noise model, in sentences: that it finds next to nothing, or what contradicts it."""
    found = options.sigma is None and isinstance(options.noise, str) and options.strength > 0
    if found and shown.values[shown.observed].std() > HARDLY:
        yield (
            "Hardly any noise was found, so that the image comes back nearly as it was; if there is noise, say how "
            "strong it is (sigma)."
        )
    if not LIKELY[0] < restored.sigma < LIKELY[1]:
        yield (
            f"Models find {restored.sigma:.2g} times the noise that was expected: it may be of another kind or level, "
            "or the image of structure that they miss."
        )
    observed = shown.with_channels(shown.observed)
    off = np.where(observed, shown.with_channels(shown.values - restored.values), 0)
    if options.strength > 0 and _white(noise, shown):
        products = [np.mean(off.swapaxes(0, axis)[1:] * off.swapaxes(0, axis)[:-1]) for axis in range(off.ndim - 1)]
        alike = max(products) / max(np.mean(off**2), np.finfo(float).tiny)
        if alike > ALIKE:
            yield (
                f"What was taken off is alike in neighbours (correlation {alike:.2f}), as white noise is not: "
                "structure may have gone with it."
            )


@dataclass(frozen=True)
class _Restored:
    """Restored even values, their standard deviation, and the noise level found, over that of even values."""

    values: np.ndarray
    std: np.ndarray
    sigma: float

    @classmethod
    def of(cls, even: Image, shown: Image, mixed: tuple[np.ndarray, np.ndarray], missed: Missed) -> "_Restored":
        """From the mixed estimates of the pixels that models were given, mean and standard deviation, and all pixels.

        Where models miss structure, of a variance m beside that of the noise, 1, the best estimate is a mean of the
        restored and the given value, in proportion 1 to m.  All structure that is missed, wherever it is, adds to the
        variance.
        """
        restored, std = mixed
        error = np.where(even.observed, even.values, restored) - restored
        left = np.where(shown.observed, taken_off(error, std), 0)
        mean = float(left.sum() / shown.observed.sum())
        lost, power = missed(_around(left, shown.observed, mean, len(even.shape)), mean)
        share = np.where(shown.observed, lost / power, 0)
        variance = (1 - share) ** 2 * (std**2 + np.maximum(lost, mean - 1)) + share**2
        level = np.sqrt(np.mean((left - lost)[shown.observed]).clip(0))
        return cls(restored + share * error, np.sqrt(variance), float(level))


def _around(left: np.ndarray, observed: np.ndarray, mean: float, axes: int) -> np.ndarray:
    """The mean of the residuals around each value, where it is observed; that of all where nothing is."""
    size = (*(AROUND.get(axes, 5),) * axes, *(1,) * (left.ndim - axes))
    total, seen = (uniform_filter(values.astype(float), size) for values in (left, observed))
    return np.where(seen > 1e-3, total / np.maximum(seen, 1e-3), mean)


@contextmanager
def keeping(
    digest: Callable[[], str], options: Options, about: Mapping[str, object]
) -> Iterator[tuple[Checkpointer, Record, Options]]:
    """What keeps the progress of work on pictures with a digest, what it holds, and options with its seed."""
    if options.resume is None:
        yield Checkpointer(None, {}), {}, options
        return
    noise = options.noise if isinstance(options.noise, str) else options.noise.config()
    several = isinstance(options.preset, Sequence) and not isinstance(options.preset, str)
    presets: Sequence[Any] = options.preset if several else [options.preset]  # type: ignore[assignment]
    run = {
        "picture": digest(),
        "preset": [each.config() if isinstance(each, PatchModel) else repr(each) for each in presets],
        "options": repr((_digest(options.sigma), noise, options.held_out, options.fill, options.time_width)),
        **about,
        "seed": None if options.drawn else options.seed,
    }
    folder = Path(options.resume)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusively(folder):
        checkpointer = Checkpointer(folder, run, INTERVAL)
        kept = checkpointer.load()
        yield checkpointer, kept, replace(options, seed=int(kept.get("seed", options.seed)))


def _digest(levels: np.ndarray | None) -> str:
    return "" if levels is None else sha256(np.ascontiguousarray(levels).tobytes()).hexdigest()


def _picture(seen: Sequence[Seen], width: int) -> Picture:
    """What presets know of images: as many patches as all have together, and the noise of a typical one.

    Frames of a film are images, whose patches reach through so many of them.
    """
    evens = [each.even for each in seen]
    count = len(seen) * (evens[0].shape[0] if evens[0].film else 1)
    shapes = [even.shape[1:] if even.film else even.shape for even in evens]
    slopes = [each.found.model.slope(each.even.values) for each in seen]
    spread = np.sqrt(np.mean([even.values[even.observed].var() for even in evens]))
    larger = count ** (1 / len(shapes[0]))
    return Picture(
        noise=1 / max(float(spread), 1.0),
        shape=tuple(round(n * larger) for n in np.mean(shapes, axis=0)),
        channels=evens[0].channels * width,
        missing=1 - float(np.mean([even.observed.mean() for even in evens])),
        even=bool(np.mean([np.ptp(slope) < EVEN * slope.max() for slope in slopes]) > 0.5),
        correlated=not np.mean([_white(each.found.model, each.even) for each in seen]) > 0.5,
        aspect=_aspect(seen),
    )


def _aspect(seen: Sequence[Seen]) -> tuple[float, ...]:
    """How wide patches should be along each axis of a volume: as what differs from one value to the next is small."""
    evens = [each.even for each in seen if _white(each.found.model, each.even)]
    axes = range(len(seen[0].even.shape))
    if not evens or len(axes) < 3 or evens[0].film:
        return (1.0,) * len(axes)
    steps = [np.mean([_step(even, axis) for even in evens]) for axis in axes]
    if not max(steps) >= COARSER * min(steps):  # or one of them is not known
        return (1.0,) * len(axes)
    widths = 1 / np.sqrt(steps)
    shares = np.clip(widths / np.exp(np.log(widths).mean()), 1 / FLATTEST, FLATTEST)
    return tuple(shares.tolist())


def _step(even: Image, axis: int) -> float:
    """The mean square of what the signal differs by from one place to the next: NaN if no two that are known meet.

    It is no less than what chance makes of noise, whose mean has a deviation of about 2 sqrt(3 / n).
    """
    values, known = np.diff(even.values, axis=axis), even.observed
    n = known.shape[axis]
    both = known.take(range(1, n), axis) & known.take(range(n - 1), axis)
    if not both.any():
        return float("nan")
    return max(float(np.square(values[both]).mean()) - 2, LEAST_STEP, 4 * np.sqrt(3 / both.sum()))


def _white(noise: NoiseModel, image: Image) -> bool:
    """Whether even values of such an image have white noise."""
    return noise.whitening((*(2,) * len(image.shape), image.channels)).is_identity


def _patch_models(
    preset: str | PatchModel | Sequence[PatchModel], picture: Picture, film: bool
) -> tuple[PatchModel, ...]:
    """Those of a preset; patches of films have places in one frame, and reach through others as through channels."""
    models = _chosen(preset, picture)
    if not film:
        return models
    sides = [(m.patch,) * 2 if isinstance(m.patch, int) else m.patch for m in models]
    return tuple(replace(m, patch=(1, *side[-2:])) for m, side in zip(models, sides, strict=True))


def _chosen(preset: str | PatchModel | Sequence[PatchModel], picture: Picture) -> tuple[PatchModel, ...]:
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"preset is {preset!r}, but there are only {', '.join(PRESETS)}")
        return PRESETS[preset](picture)
    models = (preset,) if isinstance(preset, PatchModel) else tuple(preset) if isinstance(preset, Iterable) else ()
    if not models or not all(isinstance(model, PatchModel) for model in models):
        raise TypeError(f"preset is {preset!r}, but one of {', '.join(PRESETS)}, a PatchModel or several are needed")
    if any(model.length < 1 for model in models):
        raise ValueError("a patch model in preset trains for no epoch, but needs one at least")
    return models


def _as_it_is(image: Image, noise: NoiseModel, deviation: np.ndarray, dtype: np.dtype) -> Restoration:
    """The answer where nothing is asked for: the image, as unsure as its noise makes it."""
    level = float(np.sqrt(np.mean(np.square(deviation))))
    values, std = as_dtype(image.values, dtype), np.broadcast_to(deviation, image.values.shape)
    return Restoration(image.outside(values), image.outside(std), sigma=level, found=level, noise=noise)


def unchanged(image: Image, dtype: np.dtype) -> Restoration:
    """The answer for an image that holds nothing to learn from: itself, holes filled with its mean."""
    if image.values.size == 1:
        warn("an image of a single pixel comes back unchanged")
    mean = image.values[image.observed].mean(dtype=float)
    filled = as_dtype(np.where(image.observed, image.values, mean), dtype)
    filled = image.outside(filled)
    return Restoration(filled, np.zeros(filled.shape), sigma=0.0)
