"""Known parameters are found again: 500 images of bars (Fig. 7, App. B.1).

    python -m experiments.bars                          (25 seconds on two cores)
    python -m experiments.bars --schedule cyclical      (the paper's learning rates)
    python -m experiments.bars --smoke                  (seconds)

Paper: the run of highest ELBO out of ten recovers all parameters, and its ELBO agrees with the true log-likelihood.
Ours: the same; ELBO 9.863 nats per image, which is its exact log-likelihood to four digits (generating model: 9.671).
Bars within 0.04, pi within 0.05, sigma2 0.0097 (true 0.01).  With warm-up and decay 6 of the 10 runs recover
everything, with cyclical rates 2 (and a third that has one bit inverted); the others stay in local optima.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor

from evovae import TVAE, Epoch, Search, States, exact, fit, posterior, schedules
from evovae.datasets import bars, bars_images, bars_model
from evovae.decoders import MLP
from evovae.likelihoods import Gaussian
from evovae.operators import by_fitness, uniform_flip
from evovae.priors import Bernoulli
from experiments import common

SEARCH = Search(5, 4, select=by_fitness, mutate=uniform_flip)


def start(x: Tensor, seed: int, epochs: int, schedule: schedules.Schedule) -> tuple[TVAE, States, Iterator[Epoch]]:
    """A random model, random populations, and the run that trains both while it is iterated."""
    generator = Generator().manual_seed(seed)
    model = TVAE(MLP(8, 8, 16, generator=generator), Gaussian(0.2), Bernoulli(8))
    states = States.random(len(x), 64, 8, generator)
    run = fit(
        model,
        x,
        states=states,
        search=SEARCH,
        optimizer=torch.optim.Adam(model.decoder.parameters(), lr=0.05),
        epochs=epochs,
        batch_size=32,
        generator=generator,
        schedule=schedule,
    )
    return model, states, run


@torch.no_grad()
def bounds(model: TVAE, x: Tensor, states: States) -> dict[str, float]:
    """The bound and what it bounds, nats per image."""
    everything = torch.ones_like(x, dtype=torch.bool)
    elbo = posterior.elbo(model.lpj(x, states.z, everything)).mean()
    return {"elbo": elbo.item(), "log_likelihood": exact.log_likelihood(model, x, everything).mean().item()}


@torch.no_grad()
def decoded(model: TVAE) -> Tensor:
    """What each latent draws on its own: (8, 16)."""
    return model.decode(torch.eye(8))


def compare(model: TVAE) -> tuple[list[int], dict[str, object]]:
    """The latent of each bar, and how far the parameters are from those that made the data."""
    true, found = bars_model(), decoded(model)
    latents = linear_sum_assignment(torch.cdist(bars(), found))[1].tolist()
    errors = {
        "bar_error": (found[latents] - bars()).abs().max().item(),
        "pi_error": (model.prior.pi - true.prior.pi).abs().max().item(),
        "sigma2": model.likelihood.sigma2.item(),
    }
    recovered = errors["bar_error"] < 0.15 and errors["pi_error"] < 0.06 and 0.009 < errors["sigma2"] < 0.011
    return latents, errors | {"recovered": recovered}


def draw(path: Path, rows: dict[str, Tensor]) -> None:
    """Eight pictures a row."""
    figure = Figure(figsize=(6, 0.75 * len(rows) + 0.1), layout="constrained")
    for line, (label, pictures) in zip(figure.subplots(len(rows), 8), rows.items(), strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture.view(4, 4).numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Ten runs; the best is drawn beside the truth."""
    parser = common.parser(__doc__, "bars")
    parser.add_argument("--schedule", choices=["warm_up_decay", "cyclical"], default="warm_up_decay")
    options = parser.parse_args()
    seeds, epochs = (2, 10) if options.smoke else (10, 100)
    shown = [epochs // 10, epochs // 4, epochs // 2, epochs]
    x = bars_images(500, Generator().manual_seed(99))
    true = exact.log_likelihood(bars_model(), x, torch.ones_like(x, dtype=torch.bool)).mean().item()
    record = common.Record(options.out, schedule=options.schedule, epochs=epochs, true_log_likelihood=true)
    runs = []
    for seed in range(seeds):
        model, states, run = start(x, seed, epochs, getattr(schedules, options.schedule))
        pictures = {f"epoch {epoch.number}": decoded(model) for epoch in run if epoch.number in shown}
        latents, errors = compare(model)
        row = {"seed": seed} | bounds(model, x, states) | errors
        record.add(**row)
        runs.append((row, {label: found[latents] for label, found in pictures.items()}))
    best, pictures = max(runs, key=lambda run: run[0]["elbo"])
    record.add(best_seed=best["seed"], runs=seeds, recovered=sum(row["recovered"] for row, _ in runs))
    draw(options.out.with_suffix(".png"), pictures | {"truth": bars()})


if __name__ == "__main__":
    main()
