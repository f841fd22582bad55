"""From the patches of an image, their populations and a trained model to the restored image.

Patches are white and in training units; a restored image and its standard deviation are in even values.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Generator, Tensor

from evovae.inference import infer
from evovae.migration import nobody
from evovae.notes import warn
from evovae.restore.ensemble import Estimate
from evovae.restore.fitted_patches import FittedPatches, noise_variance
from evovae.restore.image import SIGNAL, Image, Scale
from evovae.restore.noise.covariance import Whitening
from evovae.restore.patch_models.mixtures import APART
from evovae.restore.patches import Patches, add_up, extract, guess
from evovae.states import States

REACH = 1 / 8  # share of a patch's values that must be seen, for it to say something about the others
RIM = 1 / 2  # holes beyond reach are filled by patches of which this share is known already
LEARNT = 0.01  # of the noise variance, that stays in the surest of what is restored, as models are learnt from it
STEPS = 3  # E-steps on patches of which more has become known
AGAIN = 2  # E-steps after each time that a model is adapted to an image
FRAMES_APART = 4  # frames of a film between those in which patches are compared with all commonest states


def restore(fitted: FittedPatches, image: Image, generator: Generator) -> Estimate:
    """Restore an image that took no part in training, from half of its patches."""
    patches = patches_in(fitted, image).every_other()
    rows = patches.used.nonzero()[:, 0]
    states = begun(fitted, patches, generator, (FRAMES_APART,) * image.film)
    states = search(fitted, patches, generator, states, fitted.settings.settling, rows)
    times = 0 if image.film else fitted.settings.adaptations  # films are long, and their models know what they show
    for _ in range(times):
        fitted = replace(fitted, model=fitted.settings.adapted(fitted.model, patches, states, rows, generator))
        states = search(fitted, patches, generator, states, AGAIN, rows)
    return estimate(fitted, patches, states, generator)


def patches_in(fitted: FittedPatches, image: Image, among: tuple[int, ...] | None = None) -> Patches:
    """The patches of an image, on the device of the model."""
    device = next(iter(fitted.model.state_dict().values())).device
    among = fitted.size if among is None else among
    return patches_of(image, among, fitted.scale, fitted.whitening, fitted.settings.centred, device)


def patches_of(
    image: Image, size: tuple[int, ...], scale: Scale, whitening: Whitening, centred: bool, device: torch.device
) -> Patches:
    """Those of an even image, in training units."""
    values, known = scale.to_model(image.values, image.observed).to(device), torch.from_numpy(image.observed).to(device)
    if not whitening.is_identity and not known.all():
        values = guess(values, known, size, len(image.shape))
    wanted = torch.from_numpy(np.broadcast_to(image.wanted, image.values.shape).copy()).to(device)
    return Patches.of(values, known, size, centred, whitening, wanted)


def begun(fitted: FittedPatches, patches: Patches, generator: Generator, apart: tuple[int, ...] = ()) -> States:
    """Populations to start a search from: the best of the commonest states.

    They are found for some patches, and taken for those around these, too.
    """
    others = (APART if w > 1 else 1 for w in fitted.size[len(apart) :])
    lead = (1,) * (len(patches.size) - len(fitted.size))  # of crops
    some, nearest = patches.coarse((*lead, *apart, *others))
    x, observed = fitted.settings.data(fitted.model, patches)
    few = infer(
        fitted.model,
        x[some],
        observed[some],
        n_states=fitted.settings.states,
        search=replace(fitted.settings.searching(patches), migrate=nobody),
        steps=0,
        generator=generator,
        start=fitted.commonest.to(x.device),
    )
    return few[nearest]


def search(
    fitted: FittedPatches,
    patches: Patches,
    generator: Generator,
    start: States | Tensor,
    steps: int,
    rows: Tensor | None = None,
) -> States:
    """Search for the populations of patches; see `evovae.infer`."""
    x, observed = fitted.settings.data(fitted.model, patches)
    return infer(
        fitted.model,
        x,
        observed,
        n_states=fitted.settings.states,
        search=fitted.settings.searching(patches),
        steps=steps,
        generator=generator,
        start=start,
        rows=rows,
    )


def estimate(fitted: FittedPatches, patches: Patches, states: States, generator: Generator) -> Estimate:
    """The restored image, given the populations of all of its patches; wide holes are filled, too."""
    return _outside(fitted, *_filled(fitted, patches, states, generator, *merged(fitted, patches, states)), patches)


def glimpse(fitted: FittedPatches, patches: Patches, states: States) -> Estimate:
    """About the same as `estimate`, from half of the patches; draws nothing, so that training is not changed by it."""
    return _outside(fitted, *merged(fitted, patches.every_other(), states), patches)


def merged(fitted: FittedPatches, patches: Patches, states: States) -> tuple[Tensor, Tensor]:
    """The mean of all patches that cover each pixel, in training units, and its standard deviation.

    Patches count for more that are surer.
    """
    back = patches.whitening.back
    readout = None if back is None else back.to(patches.x)
    x, observed = fitted.settings.data(fitted.model, patches)
    engine, noise = fitted.settings.engine(fitted.model, patches), noise_variance(fitted)
    means, variances, total = patches.image.new_zeros(3, *patches.image.shape)
    for band in patches.bands():
        mean, variance = engine.moments(x, observed, band.rows, states, readout)
        seen = patches.observed[band.rows].sum(1, keepdim=True).clamp(min=1)
        variance += fitted.settings.centred * noise / seen
        # A patch counts less where it is unsure; sigma2 / D is what even one with a single state is unsure by.  Errors
        # of patches are correlated, so that the square root does better than the inverse variance.
        weights = (variance + noise / patches.x.shape[1]).rsqrt()
        means[band.window] += band.add_up(weights * (mean + patches.level[band.rows]))
        variances[band.window] += band.add_up(weights * variance)
        total[band.window] += band.add_up(weights)
    return means / total, (variances / total).sqrt()


def _filled(
    fitted: FittedPatches, patches: Patches, states: States, generator: Generator, image: Tensor, spread: Tensor
) -> tuple[Tensor, Tensor]:
    """The same with holes that no patch reaches across filled from their edges inwards.

    What is restored there then counts as seen, with a standard deviation as large as that of the image.
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
        states = search(fitted, patches, generator, states, STEPS, rows)
        image = torch.where(known, image, merged(fitted, patches, states)[0])
        share = _share(known, size)
        reached = _covered(share >= REACH, image.shape, size) | ~patches.wanted
    return image, torch.where(sure, spread, SIGNAL)


def _outside(fitted: FittedPatches, image: Tensor, spread: Tensor, patches: Patches) -> Estimate:
    """From training units to even values."""
    optimism = fitted.settings.optimism(fitted.trained, patches.x.shape[1])
    variance = optimism * spread.square() + LEARNT * noise_variance(fitted)
    return Estimate(fitted.scale.to_even(image.cpu()), variance.sqrt().cpu().double().numpy() * fitted.scale.unit)


def _share(known: Tensor, size: tuple[int, ...]) -> Tensor:
    """How much of each patch is known: (N,)."""
    return extract(known, size).float().mean(1)


def _covered(chosen: Tensor, shape: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """Which pixels lie in one of the chosen patches (N,)."""
    return add_up(chosen[:, None].float().expand(-1, torch.Size(size).numel()), shape, size) > 0
