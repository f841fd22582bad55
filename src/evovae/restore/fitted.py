"""What has been learnt from images, to be looked at, kept, and used on others.

Patches of D values are the data points of models with H latents; the states that a patch keeps are its population.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from torch import Generator

from evovae.checkpoint import CheckpointError, load_tensors, save_tensors
from evovae.devices import find_device
from evovae.restore.estimates import begun, patches_in, search
from evovae.restore.fitted_patches import FittedPatches, Population, moved
from evovae.restore.fitted_patches import fitting as fitting_patches
from evovae.restore.image import Image, Scale, check_sigma, seed_of
from evovae.restore.kinds import as_given, opened
from evovae.restore.long_film import LongFilm, is_long
from evovae.restore.memory import budget
from evovae.restore.noise.model import Noise, NoiseModel
from evovae.restore.patch_models import from_config
from evovae.restore.result import Progress, Restoration
from evovae.restore.run import Watch
from evovae.restore.tiling import Several
from evovae.states import pack

SAMPLE = 2048  # patches that tell which scale fits
# Nats per value by which an image explains itself worse than those of training, from which on it is of another kind.
UNLIKE = 0.3


@dataclass(frozen=True, eq=False, repr=False)
class FittedDenoiser:
    """Models that have been trained on images, and restore others like them without training.

    `evovae.fit_denoiser` makes one, and so does ``evovae.denoise(image, full_output=True).fitted``.

    Parameters
    ----------
    members
        The trained models, whose estimates are mixed.
    noise
        The noise of the images of training: pass it as `noise` to `restore`, if that of other images is the same.
    kind
        The kind of noise that is looked for in other images; see `noise` of `evovae.denoise`.
    width
        How many frames of a film patches reach through; 1 for images.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> noisy = np.random.default_rng(0).normal(100, 10, (2, 16, 16))
    >>> small = evovae.MixturePatches(patch=4, latents=4, epochs=3)  # in place of a preset, to be quick
    >>> fitted = evovae.fit_denoiser(noisy[0], preset=small, rng=0)
    >>> with TemporaryDirectory() as folder:
    ...     fitted.save(Path(folder) / "model.safetensors")
    ...     same = evovae.FittedDenoiser.load(Path(folder) / "model.safetensors")
    >>> bool((same.restore(noisy[1]) == fitted.restore(noisy[1])).all())
    True
    """

    members: tuple[FittedPatches, ...]
    noise: NoiseModel
    kind: str = "auto"
    width: int = 1

    def __repr__(self) -> str:
        frames = f" through {self.width} frames" if self.width > 1 else ""
        return f"FittedDenoiser({', '.join(map(repr, self.members))}{frames}; noise {self.noise.describe()['summary']})"

    def restore(
        self,
        image: ArrayLike,
        sigma: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        channel_axis: int | None = None,
        time_axis: int | None = None,
        nonfinite: str = "raise",
        noise: str | NoiseModel | None = None,
        rng: int | np.random.Generator | None = 0,
        callback: Callable[[Progress], bool | None] | None = None,
        strength: float = 1.0,
        dtype: DTypeLike | None = None,
        tile: int | None = None,
        max_memory: float | None = None,
        device: str | None = None,
        resume: str | Path | None = None,
        full_output: bool = False,
    ) -> np.ndarray | Restoration:
        """Denoise an image, and fill its missing pixels, with the models as they are.

        Populations of its patches are searched for (`evovae.infer`).  The noise of the image is found anew, and models
        are converted to it and to the range of its values: other exposures and other noise levels need no other
        training.  Where the models explain the image worse than the ones they learnt from, a note in the result and a
        warning say so, and less of it is changed.

        Parameters
        ----------
        image, sigma, mask, channel_axis, time_axis, nonfinite
            As those of `evovae.denoise`.
        noise
            As that of `evovae.denoise`.  Default: of the kind that training was given, found anew.  ``fitted.noise`` is
            that of the images of training.
        rng
            Seed of the search, or a numpy generator.
        callback
            Called with a `Progress` now and then.  If it returns True, the work ends with a KeyboardInterrupt, as there
            is no result yet; of a long film, the blocks that are done come back restored, and the others as they were.
        strength, dtype, tile, max_memory, device
            As those of `evovae.denoise`.
        resume
            A folder in which the blocks of a long film are kept, to go on from.
        full_output
            Return a `Restoration` in place of the array.

        Returns
        -------
        ndarray or Restoration
            As that of `evovae.denoise`.

        Raises
        ------
        ValueError
            For an image of other axes or channels than the models have learnt from, and as `evovae.denoise` does.

        Examples
        --------
        >>> import numpy as np, evovae
        >>> rng = np.random.default_rng(0)
        >>> clean = np.kron(rng.uniform(50, 200, (6, 6)), np.ones((8, 8)))
        >>> small = evovae.MixturePatches(patch=6, latents=8, epochs=4)  # in place of a preset, to be quick
        >>> fitted = evovae.fit_denoiser(clean + rng.normal(0, 10, clean.shape), preset=small, rng=0)
        >>> other = clean.T + rng.normal(0, 10, clean.shape)
        >>> bool(np.std(fitted.restore(other) - clean.T) < 10)
        True
        """
        from evovae.restore.blocks import apply_film  # which, as the pipeline, makes objects of this kind
        from evovae.restore.pipeline import Options, apply

        memory, watch = budget(max_memory), Watch(None, callback)
        kind, where = self.kind if noise is None else noise, find_device(device)
        asked = 0.0, strength, dtype, tile, resume, self.width
        options = Options(kind, "", seed_of(rng), rng is None, where, *asked)
        array, channel_axis = opened(image, channel_axis)
        with watch.showing():
            if is_long(array, channel_axis, time_axis):
                film = LongFilm.of(array, mask, sigma, channel_axis, time_axis or 0, nonfinite)
                result = apply_film(self, film, options, memory, watch)
            else:
                picture, levels = check_sigma(Image.of(array, mask, channel_axis, nonfinite, memory, time_axis), sigma)
                result = apply(self, picture, replace(options, sigma=levels), memory, watch)
        return result if full_output else as_given(image, result.image)

    def dictionary(self) -> list[np.ndarray]:
        """What each latent adds to a patch; see `FittedPatches.responses`.

        Returns
        -------
        list of ndarray
            (H, R, ...) for each member.
        """
        return [member.responses() for member in self.members]

    def posterior(self, patch: np.ndarray, observed: np.ndarray | None = None, seed: int = 0) -> Population:
        """The population of a patch, of the first member that has patches of this size.

        Parameters
        ----------
        patch, observed, seed
            As of `FittedPatches.population`.

        Returns
        -------
        Population
            Its states, and their weights in the truncated posterior.

        Raises
        ------
        ValueError
            If no member has patches of this size.
        """
        for member in self.members:
            if member.size == patch.shape:
                return member.population(patch, observed, seed)
        sizes = " or ".join(str(member.size) for member in self.members)
        raise ValueError(f"the patch has shape {patch.shape}, but the models' have {sizes}")

    def save(self, path: str | Path) -> None:
        """Write it to a file that `load` reads, of safetensors and JSON.

        Parameters
        ----------
        path
            The file, of the ending .safetensors by convention; replaced as a whole, where there is one.

        Raises
        ------
        TypeError, ValueError
            For models or noise of one's own, which cannot be made again from a file.
        """
        members = [member.config() for member in self.members]
        for config in members:
            from_config(config["settings"])  # fails for operators of one's own
        record = {
            str(number): {"model": member.model.state_dict(), "commonest": pack(member.commonest)}
            for number, member in enumerate(self.members)
        }
        about = {"denoiser": members, "noise": self.noise.config(), "kind": self.kind, "width": self.width}
        save_tensors(Path(path), record, about)

    @classmethod
    def load(cls, path: str | Path) -> FittedDenoiser:
        """Read what `save` wrote.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        FittedDenoiser
            As it was.

        Raises
        ------
        CheckpointError
            For a file that is damaged or something else.
        """
        record, about = load_tensors(Path(path))
        try:
            members = tuple(
                FittedPatches.from_config(config, **record[str(number)])
                for number, config in enumerate(about["denoiser"])
            )
            return cls(members, Noise.from_config(about["noise"]), about["kind"], about["width"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            said = " ".join(str(error).split())
            raise CheckpointError(f"{path} holds no denoiser of this version: {said}") from error


def fitting(fitted: FittedDenoiser, image: Image) -> FittedDenoiser:
    """The same models for the axes of an image; ValueError for one that they cannot be used on."""
    members = tuple(fitting_patches(member, image) for member in fitted.members)
    for member in members:
        spatial = len(member.size) - member.channels
        channels = (member.size[-1] if member.channels else 1) // fitted.width
        if len(image.shape) != spatial or image.channels != channels:
            raise ValueError(
                f"the image has {len(image.shape)} spatial axes and {image.channels} channels, but the models have "
                f"learnt from {spatial} and {channels}; fit others to such images"
            )
        if fitted.width > 1 and not image.film or image.film and image.shape[0] < fitted.width:
            raise ValueError(
                f"the models look at {fitted.width} frames together; pass time_axis, and as many frames at least"
            )
        if any(n < w for n, w in zip(image.shape, member.size, strict=False)):
            raise ValueError(f"the image of shape {image.shape} is smaller than the patches of {member.size}")
    return replace(fitted, members=members)


def members_at(
    fitted: FittedDenoiser, noise: NoiseModel, even: Image, generator: Generator
) -> tuple[tuple[FittedPatches, ...], tuple[str, ...]]:
    """The members for an image with given noise and even values, and how well they fit, in sentences, if not well.

    Two scales are compared: the one of training, in image units, and the image's own (for other exposures).  The one is
    taken by which the first member explains the image better.
    """
    first = fitted.members[0]
    sample, among = Several(first.size, (even,), SAMPLE).sample(even, generator)
    scales = [_kept(first, noise), Scale.of(even)]
    bounds = [_bound(moved(first, noise, scale), sample, among, generator) for scale in scales]
    own = bounds[1] > bounds[0]
    members = tuple(moved(member, noise, scales[1] if own else _kept(member, noise)) for member in fitted.members)
    return members, tuple(_unlike(first.bound - max(bounds)))


def _kept(member: FittedPatches, noise: NoiseModel) -> Scale:
    """The scale of a member for other even values: the same in image units, about the mean of training."""
    there, old = noise.anywhere(), member.noise
    offset = there.evened(old.inverse(member.scale.offset))
    return Scale(offset, member.scale.unit * float(np.mean(old.slope(member.scale.offset) / there.slope(offset))))


def _bound(member: FittedPatches, sample: Image, among: tuple[int, ...], generator: Generator) -> float:
    """The mean bound of patches, in nats per value, as a density in even units."""
    patches = patches_in(member, sample, among)
    states = search(member, patches, generator, begun(member, patches, generator), member.settings.settling)
    return float(states.lpj.logsumexp(1).double().mean()) / patches.x.shape[1] - float(np.log(member.scale.unit))


def _unlike(worse: float) -> Iterator[str]:
    if worse > UNLIKE:
        yield (
            f"The models explain this image worse than those that they learnt from, by {worse:.2g} nats per value: it "
            "may be of another kind, and less is restored of it than training on it would."
        )
