"""What stands between a mixture and more decibels: oracles for its populations, its states and its covariances.

    EVOVAE_DATA=... python -m experiments.oracles            (a quarter of an hour on one core)
    EVOVAE_DATA=... python -m experiments.oracles --smoke    (seconds; small crops, few epochs)

Claim: none of the paper's; it shows which part of `fast` is worth working on.  A mixture as `fast` had (7 x 7 patches,
or 9 x 9 at sigma 50; K = 208, never split, S = 3, 8 epochs of 4 M-steps) is trained on a noisy picture whose noise
level is told.  Then one part at a time is replaced by what the clean picture knows:

* `populations`: the three best of all K components in place of those that the search has found;
* `states`: for each patch the one component whose posterior mean is nearest to the clean patch, of all K;
* `covariances`: EM goes on for 8 epochs on the clean patches, and the variance of the noise is added to what it finds;
  populations are the three best components for the noisy patches;
* `both`: the states for the covariances of clean patches.

White noise of `default_rng(seed)`, PSNR with data range 255.  These are bounds of a kind, not methods: they need the
clean picture, and `states` profits from the luck of having K guesses at each patch.
"""

import copy
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Generator, Tensor

from evovae import MixturePatches, infer
from evovae.devices import CPU
from evovae.likelihoods import FullGaussian
from evovae.migration import nobody
from evovae.model import TVAE
from evovae.restore import estimates
from evovae.restore.fitted_patches import FittedPatches
from evovae.restore.image import Image, Scale
from evovae.restore.learner import Learner
from evovae.restore.noise.model import Noise
from evovae.restore.patches import Patches
from evovae.states import States
from experiments import common

SHARP = 0.01  # of the noise variance, in which clean patches are explained
NAMES = ("house", "cameraman", "peppers", "barbara")


def learnt(noisy: np.ndarray, sigma: float, settings: MixturePatches, seed: int) -> Learner:
    """A mixture that has been trained on a picture."""
    even = Noise.white(sigma, 1, 2).forward(Image.of(noisy, None, None, "raise", 2.0**32, None))
    size = (cast(int, settings.patch),) * 2
    about = Scale.of(even), Noise.white(sigma, 1, 2), 1.0, settings, CPU, Generator().manual_seed(seed)
    learner = Learner.prepare(even, size, size, *about)
    for _ in learner.epochs({}):
        pass
    return learner


def sharper(model: TVAE, share: float) -> TVAE:
    """The same model of clean patches, with such a share of the variance of the noise."""
    model = copy.deepcopy(model)
    likelihood = cast(FullGaussian, model.likelihood)
    likelihood.lengths.sub_((1 - share) * likelihood.sigma2)
    likelihood.sigma2.mul_(share)
    return model


def best(fitted: FittedPatches, patches: Patches, n_states: int) -> States:
    """The best of all components for each patch."""
    x, observed = fitted.settings.data(fitted.model, patches)
    every, none = torch.eye(fitted.settings.latents, dtype=torch.bool), Generator()
    still = replace(fitted.settings.searching(patches), migrate=nobody)
    return infer(fitted.model, x, observed, n_states=n_states, search=still, steps=0, generator=none, start=every)


def nearest(fitted: FittedPatches, patches: Patches, clean: Patches) -> States:
    """For each patch the component whose posterior mean is nearest to the clean patch."""
    likelihood, least = cast(FullGaussian, fitted.model.likelihood), torch.full((len(patches.x),), torch.inf)
    found = torch.zeros(len(patches.x), 1, dtype=torch.long)
    for k, (mean, axes, share) in enumerate(zip(likelihood.means, likelihood.axes, likelihood.shrinkage, strict=True)):
        restored = mean + (patches.x - mean) @ (axes.T * share @ axes)
        error = (restored - clean.x).square().sum(1)
        found[error < least] = k
        least = torch.minimum(error, least)
    return States.one_hot(found, fitted.settings.latents)


def rows(learner: Learner, clean: Tensor, epochs: int, seed: int) -> dict[str, tuple[FittedPatches, States]]:
    """The model and the populations of each row, for a clean picture in training units."""
    fitted, noisy = learner.fitted, learner.patches
    S, generator = fitted.settings.states, Generator().manual_seed(seed)
    patches = noisy.again(clean, torch.ones_like(noisy.known))
    sharp = replace(fitted, model=sharper(fitted.model, SHARP))
    taught = replace(sharp, model=copy.deepcopy(sharp.model))
    for _ in fitted.settings.fit(taught.model, patches, best(sharp, patches, S), epochs, generator, {}):
        pass
    knowing = replace(fitted, model=sharper(taught.model, 1 / SHARP))
    return {
        "as learnt": (fitted, learner.states),
        "populations": (fitted, best(fitted, noisy, S)),
        "states": (fitted, nearest(fitted, noisy, patches)),
        "covariances": (knowing, best(knowing, noisy, S)),
        "both": (knowing, nearest(knowing, noisy, patches)),
    }


def main() -> None:
    """All rows on all pictures."""
    parser = common.parser(__doc__, "oracles")
    parser.add_argument("--pictures", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--sigmas", nargs="+", type=float, default=[15, 25, 50])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    edge, epochs, K = (48, 2, 16) if options.smoke else (None, 8, 208)
    record = common.Record(options.out, seed=options.seed, latents=K, epochs=epochs)
    torch.set_num_threads(1)
    for name in options.pictures:
        clean = common.picture(name)[:edge, :edge]
        for sigma in options.sigmas:
            settings = MixturePatches(9 if sigma > 40 else 7, K, epochs=epochs, batches=4, splits=0)
            learner = learnt(common.noisy(clean, sigma, options.seed), sigma, settings, options.seed)
            exact = learner.fitted.scale.to_model(clean / sigma, np.ones(clean.shape, bool))
            for row, (fitted, states) in rows(learner, exact, epochs, options.seed).items():
                found = estimates.estimate(fitted, learner.patches, states, Generator().manual_seed(options.seed))
                psnr = common.psnr(clean, found.image.reshape(clean.shape) * sigma)
                record.add(picture=name, sigma=sigma, row=row, psnr=psnr)


if __name__ == "__main__":
    main()
