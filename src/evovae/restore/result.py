"""What a restoration returns."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from evovae.files import write_atomically
from evovae.restore.noise.model import NoiseModel
from evovae.restore.patch_models import PatchModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evovae.restore.fitted import FittedDenoiser


@dataclass(frozen=True)
class Progress:
    """One epoch of a running restoration, as its callback sees it.

    Large pictures report after each tile, too.

    Parameters
    ----------
    model
        The number of the model in training, from 0.
    epoch
        The number of the epoch, counted over all models, from 1.
    epochs
        How many there are in all.
    elbo
        The mean bound of a patch, in nats.
    sigma
        The noise level found so far, in image units; where it depends on the signal, that of the mean signal.
    substitutions
        New states per patch.
    share
        How much of the work is done, from 0 to 1.
    seconds
        Since the start.
    preview
        A function that returns the picture as restored so far, from half of the patches; of large pictures, what is
        finished.  To be called while the callback runs, not later.
    """

    model: int
    epoch: int
    epochs: int
    elbo: float
    sigma: float
    substitutions: float
    share: float
    seconds: float
    preview: Callable[[], np.ndarray] = field(repr=False, compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class Restoration:
    """A restored image, and what was learnt on the way.

    Parameters
    ----------
    image
        The restored image: shape, dtype and range of the input.
    std
        Posterior standard deviation of each pixel's clean value, in image units: how uncertain the patches that cover
        it are, on average.
    sigma
        The noise level, in image units, averaged over the image: the one that was given, else the one found.
    found
        The noise level that the models found, in image units: what the image is expected to be off by, its own
        uncertainty included.
    noise
        What was found about the noise, or was given; `noise.describe()` returns it in words and numbers.  None where
        the image is constant.
    notes
        What is worth knowing about the result, in sentences.
    held_out
        Root mean square of the error at the pixels that were hidden (see `denoise`), in image units; noise included, so
        that sqrt(held_out^2 - sigma^2) is about the error of the restored image there.  NaN where none were hidden.
    elbo
        The mean bound of a patch in each epoch, in nats; one model after another.
    fitted
        What has been learnt, to be looked at and to be used on other images; None where the image is constant.
    patch_models
        The settings of all models, those included that training did not get to.
    seconds
        How long it took.
    interrupted
        Whether it was stopped before the last epoch.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
    >>> small = evovae.MixturePatches(patch=4, latents=4, epochs=3)  # in place of a preset, to be quick
    >>> result = evovae.denoise(noisy, 10, noise="white", preset=small, rng=0, full_output=True)
    >>> result.image.shape, result.std.shape, result.sigma
    ((16, 16), (16, 16), 10.0)
    """

    image: np.ndarray
    std: np.ndarray
    sigma: float
    found: float = 0.0
    noise: NoiseModel | None = None
    notes: tuple[str, ...] = ()
    held_out: float = float("nan")
    elbo: list[float] = field(default_factory=list)
    fitted: FittedDenoiser | None = None
    patch_models: tuple[PatchModel, ...] = ()
    seconds: float = 0.0
    interrupted: bool = False

    def __repr__(self) -> str:
        noise = "" if self.noise is None else f" ({self.noise.describe()['summary']})"
        stopped = ", stopped" if self.interrupted else ""
        return (
            f"Restoration({self.image.dtype} {self.image.shape}, noise of {self.sigma:.3g}{noise}, "
            f"{len(self.patch_models)} models, {len(self.elbo)} epochs, {self.seconds:.1f} s{stopped})"
        )

    def _repr_html_(self) -> str:
        """For notebooks: what it is in words, and as a picture where there is matplotlib."""
        said = f"<p>{escape(repr(self))}</p>" + "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        try:
            figure = self.plot()
        except ModuleNotFoundError:
            return said
        file = BytesIO()
        figure.savefig(file, format="png", dpi=80)
        picture = b64encode(file.getvalue()).decode()
        return f'{said}<img alt="restored, and its standard deviation" src="data:image/png;base64,{picture}">'

    def plot(self, before: ArrayLike | None = None) -> Figure:
        """A figure of the restored image and its posterior standard deviation.

        With the image before, that and what was removed stand beside them.  Of stacks and films, the middle plane;
        colours in grey.

        Parameters
        ----------
        before
            The noisy image, of the same shape.

        Returns
        -------
        matplotlib.figure.Figure
            One that no window shows: notebooks draw it, `savefig` keeps it.

        Raises
        ------
        ModuleNotFoundError
            Without matplotlib, which ``pip install "evovae[demo]"`` brings.
        ValueError
            If the image before has another shape.

        Examples
        --------
        >>> import numpy as np, evovae
        >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
        >>> small = evovae.MixturePatches(patch=4, latents=4, epochs=3)  # in place of a preset, to be quick
        >>> result = evovae.denoise(noisy, preset=small, rng=0, full_output=True)
        >>> len(result.plot(noisy).axes)  # four pictures, and their colour bars
        8
        """
        from evovae.restore.figure import draw  # which needs matplotlib

        return draw(self, None if before is None else np.asarray(before))

    def save(self, folder: str | Path) -> None:
        """Write all of it to a new folder: image.npy, std.npy, model.safetensors, and then report.json.

        The model is read again by `FittedDenoiser.load`.

        Parameters
        ----------
        folder
            Where to; it must not exist.

        Raises
        ------
        FileExistsError
            If there is such a folder (or file) already.
        """
        folder = Path(folder)
        folder.mkdir(parents=True)
        for name, array in (("image", self.image), ("std", self.std)):
            write_atomically(folder / f"{name}.npy", partial(np.save, arr=array))
        if self.fitted is not None:
            self.fitted.save(folder / "model.safetensors")
        text = json.dumps(self.report(), indent=1)
        write_atomically(folder / "report.json", lambda file: file.write(text.encode()))

    def report(self) -> dict[str, Any]:
        """What was found and done, without the arrays.

        Returns
        -------
        dict
            What JSON can hold.
        """
        return {
            "sigma": self.sigma,
            "sigma found": self.found,
            "noise": None if self.noise is None else self.noise.describe(),
            "notes": list(self.notes),
            "held_out": self.held_out if np.isfinite(self.held_out) else None,
            "seconds": self.seconds,
            "interrupted": self.interrupted,
            "elbo": self.elbo,
            "patch models": [model.config() for model in self.patch_models],
        }
