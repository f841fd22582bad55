"""Direct optimisation beside amortised training by an encoder, where likelihoods are known exactly, and in denoising.

    EVOVAE_DATA=... python -m experiments.amortised                       (hours, on one core; goes on if stopped)
    EVOVAE_DATA=... python -m experiments.amortised --parts bars          (about an hour)
    EVOVAE_DATA=... python -m experiments.amortised --latents 16 --times 10
    EVOVAE_DATA=... python -m experiments.amortised --smoke               (seconds)

Claim (Sec. 4 and App. A of the paper, without figures): direct optimisation has no amortisation gap and no factored
posterior; the price is time.  The same MLP decoder, Bernoulli prior and Gaussian likelihood are trained with
populations (`evovae.fit`), or with an encoder of one hidden layer, four times as wide as the decoder's, in each way of
`experiments/discrete`.  Direct optimisation has a fixed number of epochs; the encoders get `--times` the seconds of the
processor that it took, on one thread (they in plain torch; evovae has compiled loops).  Learning rates are chosen for
each method by the bound with seed 0, from a grid that goes on by factors of 3 until the best is not at its edge.
sigma2 and pi follow in closed form once per epoch; encoders keep pi = 1/H for the first half, without which they lost
up to five of twelve bits.

`bars` (6 x 6) and `patches` (noisy 6 x 6 ones of house), three seeds.  All 2^H states can be listed: the bounds of
populations and encoders and the log-likelihood are exact, and `gap` is how far they are apart.  Nats per data point.
`denoising` of the middle 128 x 128 pixels of house, sigma 25, 8 x 8 patches, H = 64, one seed.  A patch is the
posterior mean of its decodings (64 samples of an encoder), a pixel the plain mean of its patches; the bounds of
encoders are estimated from the same samples.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from benchmarks.common import Records
from evovae import TVAE, Search, States, exact, fit
from evovae.datasets import bars_images, bars_model
from evovae.decoders import MLP
from evovae.likelihoods import Gaussian
from evovae.posterior import elbo, moments
from evovae.priors import Bernoulli
from evovae.restore.patches import extract, merge
from experiments import common
from experiments.discrete import METHODS
from experiments.discrete.amortised import Amortised, Budget

RATE = 0.006  # the middle of the grids
SIGMA = 25
KEYS = ("data", "latents", "method", "times", "rate", "seed")


@dataclass(frozen=True)
class Direct:
    """A model and its populations, with the verbs of `Amortised`."""

    model: TVAE
    states: States

    def bound(self, x: Tensor, rows: Tensor, joint: Tensor) -> Tensor:
        """The bound of x[rows]: a state of few bits is one word, its number in the list of all."""
        return elbo(joint.gather(1, self.states[rows].words[..., 0]))

    @torch.no_grad()
    def restored(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The bound (N,) and the posterior mean of the decodings (N, D)."""
        parts = []
        for rows in torch.arange(len(x)).split(512):
            data = x[rows], self.states[rows].z, torch.ones_like(x[rows], dtype=torch.bool)
            parts.append((elbo(self.model.lpj(*data)), moments(self.model, *data)[0]))
        bounds, means = zip(*parts, strict=True)
        return torch.cat(bounds), torch.cat(means)


Trained = Direct | Amortised


@dataclass(frozen=True)
class Task:
    """Data x (N, D), the sizes of the models, how direct optimisation goes about it, and what is measured."""

    x: Tensor
    latents: int
    hidden: int
    states: int
    search: Search
    epochs: int
    batch_size: int
    measure: Callable[[Trained], dict[str, float]]

    def model(self, generator: Generator) -> TVAE:
        """Untrained."""
        decoder = MLP(self.latents, self.hidden, self.x.shape[1], generator=generator)
        return TVAE(decoder, Gaussian(self.x.var().item() / 4), Bernoulli(self.latents))

    def direct(self, rate: float, seed: int) -> tuple[Direct, float]:
        """Trained by evovae, and the seconds of the processor it took."""
        started = time.process_time()
        generator = Generator().manual_seed(seed)
        model = self.model(generator)
        states = States.random(len(self.x), self.states, self.latents, generator)
        training = fit(
            model,
            self.x,
            states=states,
            search=self.search,
            optimizer=torch.optim.Adam(model.decoder.parameters(), lr=rate, fused=True),
            epochs=self.epochs,
            batch_size=self.batch_size,
            generator=generator,
        )
        for _ in training:
            pass
        return Direct(model, states), time.process_time() - started

    def amortised(self, method: str, rate: float, seed: int, seconds: float) -> tuple[Amortised, float]:
        """Trained with an encoder that is wider than the decoder, and the seconds it took."""
        generator = Generator().manual_seed(seed)
        model = self.model(generator)
        encoder = MLP(self.x.shape[1], 4 * self.hidden, self.latents, generator=generator)
        estimate, samples, hardness = METHODS[method]
        trained = Amortised(model, encoder, hardness)
        options = {"learning_rate": rate, "batch_size": self.batch_size, "generator": generator}
        _, took = trained.fit(self.x, estimate, samples, budget=Budget(seconds=seconds), **options)
        return trained, took


@torch.no_grad()
def exactly(x: Tensor, trained: Trained) -> dict[str, float]:
    """Bound and log-likelihood of data from all states."""
    bounds, likelihoods = [], []
    for rows in torch.arange(len(x)).split(64):
        joint = exact.log_joint(trained.model, x[rows], torch.ones_like(x[rows], dtype=torch.bool))
        bounds.append(trained.bound(x, rows, joint))
        likelihoods.append(elbo(joint))
    bound, likelihood = (torch.cat(values).mean().item() for values in (bounds, likelihoods))
    return {"bound": bound, "log_likelihood": likelihood, "gap": likelihood - bound}


@dataclass(frozen=True)
class Contest:
    """All runs on one kind of data; those that are in the records are not done again."""

    data: str
    task: Task
    records: Records
    times: float

    def run(self, method: str, rate: float, seed: int) -> dict[str, Any]:
        """One row."""
        times = 1.0 if method == "direct" else self.times
        key = dict(zip(KEYS, (self.data, self.task.latents, method, times, rate, seed), strict=True))
        return self.records.once(key, lambda: self._trained(method, rate, seed))

    def _trained(self, method: str, rate: float, seed: int) -> dict[str, Any]:
        trained: Trained
        if method == "direct":
            replace(self.task, x=self.task.x[:64], epochs=1).direct(rate, seed)  # compiles
            trained, seconds = self.task.direct(rate, seed)
        else:
            trained, seconds = self.task.amortised(method, rate, seed, self.times * self.best("direct")["seconds"])
        return {"seconds": seconds, **self.task.measure(trained)}

    def best(self, method: str) -> dict[str, Any]:
        """The row of the best learning rate, with seed 0."""
        return common.best_on_a_grid(lambda rate: self.run(method, rate, 0), RATE, "bound")

    def held(self, seeds: int) -> dict[str, list[dict[str, Any]]]:
        """The rows of each method at its best rate."""
        methods = ("direct", *METHODS)
        return {
            method: [self.run(method, self.best(method)["rate"], seed) for seed in range(seeds)] for method in methods
        }


def draw_bounds(chosen: dict[str, list[dict]], title: str, path: Path) -> None:
    """Each run a line from its bound (dot) to its log-likelihood (tick): the gap."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for place, runs in enumerate(chosen.values()):
        for run, shift in zip(runs, np.linspace(-0.2, 0.2, len(runs)), strict=True):
            axis.plot([run["bound"], run["log_likelihood"]], [place + shift] * 2, color="C0")
            axis.plot(run["bound"], place + shift, "o", color="C0", markersize=5)
            axis.plot(run["log_likelihood"], place + shift, "|", color="C0", markersize=10, markeredgewidth=2)
    axis.set(xlabel="bound (dot) and log-likelihood (tick) [nats per data point]", title=title)
    axis.set(yticks=range(len(chosen)), yticklabels=chosen, ylim=(len(chosen) - 0.5, -0.5))
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def exact_task(data: str, latents: int, noisy: np.ndarray, smoke: bool) -> Task:
    """Bars or patches, with bounds and likelihoods from all states."""
    N, generator = 64 if smoke else 1000, Generator().manual_seed(99)
    if data == "bars":
        x = bars_images(N, generator, size=6)
    else:
        x = extract(torch.from_numpy((noisy - noisy.mean()) / 255).float(), (6, 6))
        x = x[torch.randperm(len(x), generator=generator)[:N]]
    return Task(x, latents, 24, 32, Search(4, 4), 2 if smoke else 300, 32, partial(exactly, x))


def denoising_task(clean: np.ndarray, noisy: np.ndarray, smoke: bool) -> Task:
    """All patches of a picture, with the PSNR of what is made of them."""
    patch = (8, 8)
    x = extract(torch.from_numpy((noisy - noisy.mean()) / 255).float(), patch)

    def measure(trained: Trained) -> dict[str, float]:
        bound, mean = trained.restored(x, Generator().manual_seed(0))
        image = merge(mean, torch.ones(1), clean.shape, patch).double().numpy() * 255 + noisy.mean()
        sigma = trained.model.likelihood.sigma2.sqrt().item() * 255
        return {"bound": bound.mean().item(), "sigma": sigma, "psnr": common.psnr(clean, image)}

    return Task(x, 64, 128, 40, Search(8, 8), 1 if smoke else 60, 64, measure)


def main() -> None:
    """All parts."""
    parser = common.parser(__doc__, "amortised")
    parser.add_argument("--parts", nargs="+", default=["bars", "patches", "denoising"])
    parser.add_argument("--latents", type=int, default=12, help="of bars and patches, at most 16")
    parser.add_argument("--times", type=float, default=1, help="how much longer the encoders are trained")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    middle = slice(112, 144) if options.smoke else slice(64, 192)
    clean = common.picture("house")[middle, middle]
    noisy = common.noisy(clean, SIGMA, seed=0)
    records = Records(options.out, KEYS)
    for part in options.parts:
        if part == "denoising":
            Contest(part, denoising_task(clean, noisy, options.smoke), records, options.times).held(1)
            continue
        task = exact_task(part, options.latents, noisy, options.smoke)
        chosen = Contest(part, task, records, options.times).held(1 if options.smoke else options.seeds)
        title = f"{part}, H = {options.latents}, encoders {options.times:g} x the seconds of direct optimisation"
        draw_bounds(chosen, title, options.out.with_name(f"amortised_{part}_{options.latents}_{options.times:g}.png"))
    if "bars" in options.parts:
        truth, x = bars_model(6), bars_images(1000, Generator().manual_seed(99), size=6)
        seen = torch.ones_like(x[:64], dtype=torch.bool)
        likelihood = [exact.log_likelihood(truth, rows, seen[: len(rows)]) for rows in x.split(64)]
        print(f"bars under their own model: {torch.cat(likelihood).mean().item():.4g} nats")


if __name__ == "__main__":
    main()
