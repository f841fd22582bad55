"""Direct optimisation next to amortised training by an encoder, at equal seconds of the processor.

    EVOVAE_DATA=... python -m experiments.amortised            (about 25 minutes, on one core)
    EVOVAE_DATA=... python -m experiments.amortised --times 5  (encoders get five times as long)
    EVOVAE_DATA=... python -m experiments.amortised --smoke    (seconds)

Claim (Sec. 4 and App. A of the paper, without figures): direct optimisation has no amortisation gap and no factored
posterior; the price is time.  The same MLP decoder, Bernoulli prior and Gaussian likelihood are trained with
populations (`evovae.fit`), or with an encoder of one hidden layer, four times as wide as the decoder's, and one of the
estimators of `experiments/baselines/amortised.py`: concrete (temperature 0.5) and straight-through with one sample,
leave-one-out with 8.  Direct optimisation has a fixed number of epochs, and the encoders get the seconds of the
processor that it took, on one thread (they in plain torch; evovae has compiled loops).  Everyone tries the same three
learning rates, and the pictures show the one with the best mean bound.  sigma2 and pi follow in closed form once per
epoch; encoders keep pi = 1/H for the first half, without which they lost up to five of twelve bits.

Part one, H = 12: bars (6 x 6) and noisy 6 x 6 patches of house, three seeds.  All 2^12 states can be listed: the bounds
of populations and encoders and the log-likelihood are exact, and `gap` is how far they are apart.  Nats per data point.
Part two: denoising the middle 128 x 128 pixels of house, sigma 25, 8 x 8 patches, H = 64.  A patch is the posterior
mean of its decodings (64 samples of an encoder), a pixel the plain mean of its patches; the bounds of encoders are
estimated from the same samples.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Generator, Tensor

from evovae import TVAE, Search, States, exact, fit
from evovae.datasets import bars_images, bars_model
from evovae.decoders import MLP
from evovae.likelihoods import Gaussian
from evovae.posterior import elbo, moments
from evovae.priors import Bernoulli
from evovae.restore.patches import extract, merge
from experiments import common
from experiments.baselines.amortised import Amortised, concrete, leave_one_out, straight_through

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

ENCODERS = {"concrete": (concrete, 1), "straight-through": (straight_through, 1), "leave-one-out": (leave_one_out, 8)}
RATES = (0.002, 0.006, 0.02)
SIGMA = 25


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


@dataclass(frozen=True)
class Task:
    """Data x (N, D), the sizes of the models, and how direct optimisation goes about it."""

    x: Tensor
    latents: int
    hidden: int
    states: int
    search: Search
    epochs: int
    batch_size: int = 64

    def model(self, generator: Generator) -> TVAE:
        """Untrained."""
        decoder = MLP(self.latents, self.hidden, self.x.shape[1], generator=generator)
        return TVAE(decoder, Gaussian(self.x.var().item() / 4), Bernoulli(self.latents))

    def direct(self, learning_rate: float, seed: int) -> tuple[Direct, float]:
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
            optimizer=torch.optim.Adam(model.decoder.parameters(), lr=learning_rate, fused=True),
            epochs=self.epochs,
            batch_size=self.batch_size,
            generator=generator,
        )
        for _ in training:
            pass
        return Direct(model, states), time.process_time() - started

    def amortised(self, method: str, learning_rate: float, seed: int, seconds: float) -> Amortised:
        """Trained with an encoder that is wider than the decoder."""
        generator = Generator().manual_seed(seed)
        model = self.model(generator)
        encoder = MLP(self.x.shape[1], 4 * self.hidden, self.latents, generator=generator)
        trained = Amortised(model, encoder)
        trained.fit(
            self.x,
            *ENCODERS[method],
            learning_rate=learning_rate,
            batch_size=self.batch_size,
            seconds=seconds,
            generator=generator,
        )
        return trained


Measure = Callable[[Direct | Amortised], dict[str, float]]


@torch.no_grad()
def exactly(trained: Direct | Amortised, x: Tensor) -> dict[str, float]:
    """Bound and log-likelihood from all states."""
    bounds, likelihoods = [], []
    for rows in torch.arange(len(x)).split(64):
        joint = exact.log_joint(trained.model, x[rows], torch.ones_like(x[rows], dtype=torch.bool))
        bounds.append(trained.bound(x, rows, joint))
        likelihoods.append(elbo(joint))
    bound, likelihood = (torch.cat(values).mean().item() for values in (bounds, likelihoods))
    return {"bound": bound, "log_likelihood": likelihood, "gap": likelihood - bound}


def compete(record: common.Record, task: Task, measure: Measure, *, times: float, seed: int, **labels: object) -> None:
    """Train in all ways, at all rates, encoders `times` as long, and note what is measured."""
    replace(task, x=task.x[:64], epochs=1).direct(RATES[0], seed)  # compiles
    for rate in RATES:
        direct, seconds = task.direct(rate, seed)
        labels |= {"learning_rate": rate, "seed": seed}
        record.add(**labels, method="direct", seconds=seconds, **measure(direct))
        for method in ENCODERS:
            encoder = task.amortised(method, rate, seed, times * seconds)
            record.add(**labels, method=method, seconds=times * seconds, **measure(encoder))


def best(rows: list[dict]) -> dict[str, list[dict]]:
    """The rows of each method at the learning rate with the best mean bound."""

    def at(method: str, rate: float) -> list[dict]:
        return [row for row in rows if (row["method"], row["learning_rate"]) == (method, rate)]

    def quality(chosen: list[dict]) -> float:
        return np.mean([row["bound"] for row in chosen])

    return {method: max((at(method, rate) for rate in RATES), key=quality) for method in ("direct", *ENCODERS)}


def draw_bounds(rows: list[dict], truth: float, path: Path) -> None:
    """Each run a line from its bound (dot) to its log-likelihood (tick): the gap."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 2.8), sharey=True, layout="constrained")
    axes[0].axvline(truth, color="0.6", linestyle=":")
    for axis, data in zip(axes, ("bars", "house"), strict=True):
        chosen = best([row for row in rows if row["data"] == data])
        for place, runs in enumerate(chosen.values()):
            for run, shift in zip(runs, np.linspace(-0.2, 0.2, len(runs)), strict=True):
                axis.plot([run["bound"], run["log_likelihood"]], [place + shift] * 2, color="C0")
                axis.plot(run["bound"], place + shift, "o", color="C0", markersize=5)
                axis.plot(run["log_likelihood"], place + shift, "|", color="C0", markersize=10, markeredgewidth=2)
        axis.set(xlabel="bound (dot) and log-likelihood (tick) [nats]")
        axis.set(yticks=range(len(chosen)), yticklabels=chosen, ylim=(len(chosen) - 0.5, -0.5))
        axis.grid(alpha=0.3)
    axes[0].set_title("bars (dotted: likelihood under their truth)")
    axes[1].set_title("patches of house")
    figure.savefig(path, dpi=120)


def draw_pictures(pictures: dict[str, np.ndarray], path: Path) -> None:
    """Side by side, with their titles."""
    figure, axes = plt.subplots(1, len(pictures), figsize=(3 * len(pictures), 3.3), layout="constrained")
    for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title)
        axis.axis("off")
    figure.savefig(path, dpi=120)


def gaps(record: common.Record, noisy: np.ndarray, times: float, smoke: bool) -> None:
    """Part one."""
    N, epochs, seeds = (64, 2, 1) if smoke else (1000, 300, 3)
    generator = Generator().manual_seed(99)
    bars = bars_images(N, generator, size=6)
    patches = extract(torch.from_numpy((noisy - noisy.mean()) / 255).float(), (6, 6))
    patches = patches[torch.randperm(len(patches), generator=generator)[:N]]
    likelihoods = [
        exact.log_likelihood(bars_model(6), rows, torch.ones_like(rows, dtype=bool)) for rows in bars.split(64)
    ]
    truth = torch.cat(likelihoods).mean().item()
    record.add(data="bars", method="truth", log_likelihood=truth)
    for data, x in {"bars": bars, "house": patches}.items():
        task = Task(x, latents=12, hidden=24, states=32, search=Search(4, 4), epochs=epochs, batch_size=32)
        for seed in range(seeds):
            compete(record, task, partial(exactly, x=x), times=times, seed=seed, part=1, data=data)
    runs = [row for row in record.rows if row["method"] != "truth"]
    draw_bounds(runs, truth, record.path.with_suffix(".png"))


def denoising(record: common.Record, clean: np.ndarray, noisy: np.ndarray, times: float, smoke: bool) -> None:
    """Part two."""
    patch = (8, 8)
    x = extract(torch.from_numpy((noisy - noisy.mean()) / 255).float(), patch)
    images: list[np.ndarray] = []

    def measure(trained: Direct | Amortised) -> dict[str, float]:
        bound, mean = trained.restored(x, Generator().manual_seed(0))
        images.append(merge(mean, torch.ones(1), clean.shape, patch).double().numpy() * 255 + noisy.mean())
        sigma = trained.model.likelihood.sigma2.sqrt().item() * 255
        return {"bound": bound.mean().item(), "sigma": sigma, "psnr": common.psnr(clean, images[-1])}

    task = Task(x, latents=64, hidden=128, states=40, search=Search(8, 8), epochs=1 if smoke else 60)
    compete(record, task, measure, times=times, seed=0, part=2, data="house")
    runs = [row for row in record.rows if row.get("part") == 2]
    shown = {f"noisy, {common.psnr(clean, noisy):.2f} dB": noisy}
    shown |= {f"{method}, {run['psnr']:.2f} dB": images[runs.index(run)] for method, (run,) in best(runs).items()}
    draw_pictures(shown, record.path.with_name(f"{record.path.stem}_house.png"))


def main() -> None:
    """Both parts."""
    parser = common.parser(__doc__, "amortised")
    parser.add_argument("--times", type=float, default=1, help="how much longer the encoders are trained")
    options = parser.parse_args()
    torch.set_num_threads(1)
    middle = slice(112, 144) if options.smoke else slice(64, 192)
    clean = common.picture("house")[middle, middle]
    noisy = common.noisy(clean, SIGMA, seed=0)
    record = common.Record(options.out, sigma=SIGMA, rates=RATES, crop=clean.shape, times=options.times)
    gaps(record, noisy, options.times, options.smoke)
    denoising(record, clean, noisy, options.times, options.smoke)


if __name__ == "__main__":
    main()
