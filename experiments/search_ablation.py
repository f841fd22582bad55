"""What the evolutionary search is made of: mutation, crossover, selection, generations and S, at equal cost.

    EVOVAE_DATA=... python -m experiments.search_ablation            (about 10 minutes on two cores)
    EVOVAE_DATA=... python -m experiments.search_ablation --smoke    (seconds; a small crop, one epoch)

Claim: none of the paper's; it measures the choices behind `Search`.  One model (H = hidden = 64, 8 x 8 patches) is
trained on the middle 128 x 128 pixels of house with noise of sigma 25, from two seeds of noise.  Equal cost means
equal numbers of decoder passes per data point: an epoch takes S + G P C of them, and G P more where flips are
informed by gradients, since each parent then costs a backward pass; a search that takes fewer has more epochs, and
with them more optimiser steps.  (The fused engine does not even evaluate children that repeat a state; they count
here all the same.)  Ours: informed flips 51.9 nats and 31.3 dB, uniform ones 50.5 and 31.0, sparse ones 50.5 and
30.4; parents by Gumbel-top are 0.4 nats ahead of those by fitness; crossover adds 0.3 nats to uniform flips and
nothing to informed ones; S = 10 to 20 does best at this cost; the paper's search ends at 49.6 and 29.7.  Sparse flips
and crossover are known to the reference engine alone: compare bounds and PSNR, not seconds.  ELBO in nats per patch,
PSNR with data range 255; one picture with both, means over the seeds.
"""

from dataclasses import replace

import matplotlib
import numpy as np
import torch
from torch import Generator

from evovae import TVAE, Search, States, fit
from evovae.decoders import MLP
from evovae.engines import choose
from evovae.likelihoods import Gaussian
from evovae.operators import SparseFlip, by_fitness, informed_flip, one_point, uniform_flip, uniformly
from evovae.priors import Bernoulli
from evovae.restore.patches import extract, merge
from experiments import common

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

H, HIDDEN, PATCH, SIGMA, S = 64, 64, (8, 8), 25, 40


def settings(prior: Bernoulli) -> dict[str, tuple[int, Search]]:
    """S and the search of each row; sparse flips look at the prior."""
    informed, uniform, sparse = Search(8, 8), Search(8, 8, mutate=uniform_flip), Search(8, 8, mutate=SparseFlip(prior))
    return {
        "informed flips": (S, informed),
        "uniform flips": (S, uniform),
        "sparse flips": (S, sparse),
        "informed flips, crossover": (S, replace(informed, cross=one_point)),
        "uniform flips, crossover": (S, replace(uniform, cross=one_point)),
        "sparse flips, crossover": (S, replace(sparse, cross=one_point)),
        "informed flips, parents by fitness": (S, replace(informed, select=by_fitness)),
        "informed flips, parents uniformly": (S, replace(informed, select=uniformly)),
        "uniform flips, parents by fitness": (S, replace(uniform, select=by_fitness)),
        "uniform flips, parents uniformly": (S, replace(uniform, select=uniformly)),
        "informed flips, 4 x 4 in 4 generations": (S, replace(informed, parents=4, children=4, generations=4)),
        "uniform flips, 4 x 4 in 4 generations": (S, replace(uniform, parents=4, children=4, generations=4)),
        "informed flips, 4 x 16": (S, replace(informed, parents=4, children=16)),
        "informed flips, 16 x 4": (S, replace(informed, parents=16, children=4)),
        "informed flips, 3 x 3": (S, replace(informed, parents=3, children=3)),
        "informed flips, S = 10": (10, informed),
        "informed flips, S = 20": (20, informed),
        "informed flips, S = 80": (80, informed),
        "paper's search, S = 200": (200, Search(10, 9, 4, select=by_fitness, mutate=uniform_flip)),
    }


def passes(states: int, search: Search) -> int:
    """Decoder passes per data point and epoch."""
    return states + search.generations * search.parents * (search.children + (search.mutate is informed_flip))


def run(clean: np.ndarray, name: str, budget: int, seed: int) -> dict[str, object]:
    """Train with the search called `name` until the passes are used up, and denoise."""
    noisy, generator = common.noisy(clean, SIGMA, seed), Generator().manual_seed(seed)
    x = extract(torch.from_numpy((noisy - noisy.mean()) / 255).float(), PATCH)
    prior = Bernoulli(H)
    size, search = settings(prior)[name]
    model = TVAE(MLP(H, HIDDEN, x.shape[1], generator=generator), Gaussian(0.01), prior)
    states = States.random(len(x), size, H, generator)
    epochs = max(1, round(budget / passes(size, search)))
    optimizer = torch.optim.Adam(model.decoder.parameters(), lr=0.005)
    training = fit(
        model,
        x,
        states=states,
        search=search,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=64,
        generator=generator,
    )
    *_, last = training
    engine = choose(model, search)
    mean, _ = engine.moments(x, torch.ones_like(x, dtype=torch.bool), torch.arange(len(x)), states)
    restored = merge(mean, torch.ones(1), clean.shape, PATCH).double().numpy() * 255 + noisy.mean()
    return {
        "engine": type(engine).__name__,
        "epochs": epochs,
        "passes": epochs * passes(size, search),
        "elbo": last.elbo,
        "psnr": common.psnr(clean, restored),
        "seconds": last.seconds,
    }


def draw(rows: list[dict], path: str) -> None:
    """Bound and PSNR of each row: every seed a dot, their mean a bar's end."""
    names = list(dict.fromkeys(row["row"] for row in rows))
    figure, axes = plt.subplots(1, 2, figsize=(10, 0.3 * len(names) + 1), sharey=True, layout="constrained")
    for axis, key, label in zip(axes, ("elbo", "psnr"), ("ELBO per patch [nats]", "PSNR [dB]"), strict=True):
        for place, name in enumerate(names):
            values = [row[key] for row in rows if row["row"] == name]
            axis.plot(values, [place] * len(values), "o", color="C0", alpha=0.4, markersize=5)
            axis.plot(np.mean(values), place, "|", color="C0", markersize=14, markeredgewidth=2)
        axis.set(xlabel=label, yticks=range(len(names)), yticklabels=names)
        axis.grid(alpha=0.3)
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run every row from every seed."""
    options = common.parser(__doc__, "search_ablation").parse_args()
    middle = slice(112, 144) if options.smoke else slice(64, 192)
    budget, seeds = (100, (0,)) if options.smoke else (2240, (0, 1))
    clean = common.picture("house")[middle, middle]
    record = common.Record(options.out, sigma=SIGMA, H=H, hidden=HIDDEN, patch=PATCH, passes=budget, crop=clean.shape)
    for seed in seeds:
        for name in settings(Bernoulli(H)):
            record.add(row=name, noise_seed=seed, **run(clean, name, budget, seed))
    draw(record.rows, options.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
