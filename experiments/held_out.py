"""Bounds of data that took no part in training: direct optimisation beside the field's encoders, the same decoder.

    EVOVAE_DATA=... python -m experiments.held_out                              (hours, on one core; goes on if stopped)
    EVOVAE_DATA=... python -m experiments.held_out --methods direct             (minutes)
    EVOVAE_DATA=... python -m experiments.held_out --budgets early              (encoders stop when they overfit)
    EVOVAE_DATA=... python -m experiments.held_out --hidden 200
    EVOVAE_DATA=... python -m experiments.held_out --number 50000 --methods direct ReinMax
    EVOVAE_DATA=... python -m experiments.held_out --data natural
    EVOVAE_DATA=... python -m experiments.held_out --smoke                      (seconds)

Claim: none of the paper's; it shows what direct optimisation gives where amortised training is usually measured.

`mnist` is static binarised MNIST (Salakhutdinov & Murray 2008; Larochelle & Murray 2011) with H = 200 latents and a
Bernoulli likelihood; `natural` are whitened 16 x 16 patches of the van Hateren scene with H = 300 and Gaussian noise.
The decoder is linear, or has one hidden layer.  Direct: S = 32, 8 x 8 children, batches of 100, 30 epochs.  Encoders
have one hidden layer of 400 units; see `experiments/discrete`.

Each encoder is trained twice: for the seconds that direct optimisation took (of the processor, on one thread; plain
torch, while ours is compiled), and for as many decoder evaluations (a pass of one state through the decoder, forward or
back, is one; an epoch of ours has S + 64 forward and S + 8 back for each data point, at most).  With `early`, the
latter again, of which the parameters are kept that had the best bound of validation data, looked at 20 times.  Learning
rates, ours too, are chosen with seed 0 by the bound of 1,000 validation data points, at equal seconds, from a grid that
goes on by factors of 3 until the best is not at its edge; then seeds 0 to 2 are run.  Seconds are those of seed 0; the
other seeds get as many evaluations as it had, so that it does not matter how fast the machine is by then.

What is written, in nats per data point: the bound on the first 2,000 of training, and on held-out data (2,000,
every fifth of MNIST's 10,000 test pictures, which are sorted): `bound` is that which the method trains by (of encoders:
from 64 samples), `weighted` the importance-weighted bound of 256 samples from the encoder, and `truncated` that of
`evovae.evaluate` (S = 64, until it grows by less than 0.02 nats in five E-steps) for the decoder that each method has
trained, which says how good the model is whatever finds its states.  All are lower bounds of log p(x).
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.io
import torch
from torch import Generator, Tensor

from benchmarks.common import Records, data_folder
from evovae import TVAE, Search, States, evaluate, fit
from evovae.decoders import MLP
from evovae.likelihoods import Bernoulli, Gaussian, Likelihood
from evovae.posterior import elbo
from evovae.priors import Bernoulli as Bits
from experiments import common
from experiments.discrete import METHODS
from experiments.discrete.amortised import Amortised, Budget, EarlyStopping, nothing
from experiments.linear_vs_nonlinear import whitened_patches

S, BATCH, SEARCH = 32, 100, Search(8, 8)
STARTS = {"direct": 0.006, **dict.fromkeys(METHODS, 0.001)}  # the middle of each grid of learning rates
BUDGETS = ("seconds", "evaluations", "early")
KEYS = ("purpose", "data", "number", "hidden", "method", "budget", "rate", "seed", "epochs")


def pictures(part: str) -> Tensor:
    """Binarised MNIST, a part of it (train, valid, test): (N, 784), zeros and ones."""
    content = scipy.io.loadmat(data_folder() / "mnist" / f"binarized_mnist_{part}.mat")
    (values,) = (value for name, value in content.items() if not name.startswith("__"))
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).reshape(-1, 784)


@dataclass(frozen=True)
class Task:
    """Data to train on, to choose by, and held out; and the model."""

    train: Tensor
    valid: Tensor
    test: Tensor
    latents: int
    hidden: tuple[int, ...]

    @classmethod
    def mnist(cls, number: int, hidden: tuple[int, ...], held_out: int) -> "Task":
        """So many pictures."""
        test = pictures("test")
        return cls(
            pictures("train")[:number], pictures("valid")[:1000], test[:: len(test) // held_out][:held_out], 200, hidden
        )

    @classmethod
    def natural(cls, number: int, hidden: tuple[int, ...], held_out: int) -> "Task":
        """So many patches; all are whitened together."""
        return cls(*whitened_patches(number + 1000 + held_out).split((number, 1000, held_out)), 300, hidden)

    def model(self, generator: Generator) -> TVAE:
        """Untrained; the mean of its data is that of ours."""
        decoder = MLP(self.latents, *self.hidden, self.train.shape[1], generator=generator)
        binary = bool(((self.train == 0) | (self.train == 1)).all())
        mean = self.train.mean(0)
        likelihood: Likelihood = Bernoulli() if binary else Gaussian(self.train.var().item())
        with torch.no_grad():
            decoder.layers[-1].bias.copy_(mean.clamp(0.01, 0.99).logit() if binary else mean)
        return TVAE(decoder, likelihood, Bits(self.latents))

    def direct(
        self, rate: float, seed: int, epochs: int, hold: int | None = None
    ) -> tuple[TVAE, States, dict[str, Any]]:
        """Trained by evovae, with populations; and what it took."""
        generator = Generator().manual_seed(seed)
        model, N = self.model(generator), len(self.train)
        states = States.random(N, S, self.latents, generator)
        adam = torch.optim.Adam(model.decoder.parameters(), lr=rate)
        training = partial(fit, model, self.train, states=states, search=SEARCH, optimizer=adam, batch_size=BATCH)
        started = time.process_time()
        for _ in training(epochs=epochs, hold=hold, generator=generator):
            pass
        seconds = time.process_time() - started
        evaluations = epochs * N * (2 * S + SEARCH.parents * (SEARCH.children + 1))
        bound = elbo(states.lpj[:2000]).mean().item()
        return model, states, {"seconds": seconds, "evaluations": evaluations, "train": bound}

    def amortised(
        self, method: str, rate: float, seed: int, budget: Budget, *, early: bool
    ) -> tuple[Amortised, dict[str, Any]]:
        """Trained with an encoder, and stopped early or not; and what it took."""
        generator = Generator().manual_seed(seed)
        model = self.model(generator)
        encoder = MLP(self.train.shape[1], 400, self.latents, generator=generator)
        estimate, samples, hardness = METHODS[method]
        trained = Amortised(model, encoder, hardness)
        stopping = EarlyStopping(trained, self.valid)
        evaluations, seconds = trained.fit(
            self.train,
            estimate,
            samples,
            learning_rate=rate,
            batch_size=BATCH,
            budget=budget,
            generator=generator,
            look=stopping.look if early else nothing,
        )
        if early:
            stopping.go_back()
        return trained, {
            "seconds": seconds,
            "evaluations": evaluations,
            "train": trained.bounds(self.train[:2000], generator)[0].mean().item(),
        }


def truncated(model: TVAE, x: Tensor) -> dict[str, Any]:
    """The bound of `evovae.evaluate`, with its standard error over data points."""
    found = evaluate(model, x, generator=Generator().manual_seed(0))
    used = int((model.prior.pi > 0.002).sum())
    return {"truncated": found.mean, "error": found.error, "steps": found.steps, "used": used}


@dataclass(frozen=True)
class Panel:
    """All runs on one task; those that are in the records are not done again."""

    task: Task
    records: Records
    labels: dict[str, Any]
    epochs: int

    def run(self, method: str, budget: str, rate: float, seed: int, *, choosing: bool = False) -> dict[str, Any]:
        """One row; while rates are chosen, held-out data are not looked at."""
        key = {"purpose": "choice" if choosing else "result", **self.labels, "method": method, "budget": budget}
        key |= {"rate": rate, "seed": seed, "epochs": self.epochs}
        if method.startswith("direct"):
            return self.records.once(key, lambda: self._direct(method, rate, seed, choosing=choosing))
        return self.records.once(key, lambda: self._amortised(method, budget, rate, seed, choosing=choosing))

    def _direct(self, method: str, rate: float, seed: int, *, choosing: bool) -> dict[str, Any]:
        model, _, row = self.task.direct(
            rate, seed, self.epochs, hold=0 if method == "direct, prior not held" else None
        )
        if choosing:
            return row | {"valid": truncated(model, self.task.valid)["truncated"]}
        found = truncated(model, self.task.test)
        return row | {"bound": found["truncated"], **found}

    def _amortised(self, method: str, budget: str, rate: float, seed: int, *, choosing: bool) -> dict[str, Any]:
        direct, early = self.best("direct"), budget == "early"
        if budget == "seconds" and seed:
            spend = Budget(evaluations=self.run(method, budget, rate, 0)["evaluations"])
        elif budget == "seconds":
            spend = Budget(seconds=direct["seconds"])
        else:
            spend = Budget(evaluations=direct["evaluations"])
        trained, row = self.task.amortised(method, rate, seed, spend, early=early)
        generator = Generator().manual_seed(0)
        if choosing:
            return row | {"valid": trained.bounds(self.task.valid, generator)[0].mean().item()}
        bound, _ = trained.bounds(self.task.test, generator)
        _, weighted = trained.bounds(self.task.test, generator, samples=256)
        row |= {"bound": bound.mean().item(), "weighted": weighted.mean().item()}
        return row | truncated(trained.model, self.task.test)

    def best(self, method: str) -> dict[str, Any]:
        """The row of the rate with the best bound of validation data, with seed 0 and equal seconds."""
        return common.best_on_a_grid(
            lambda rate: self.run(method, "seconds", rate, 0, choosing=True), STARTS[method], "valid"
        )


def main() -> None:
    """Choose rates, then run all seeds."""
    parser = common.parser(__doc__, "held_out")
    parser.add_argument("--data", choices=("mnist", "natural"), default="mnist")
    parser.add_argument("--number", type=int, default=5000, help="data points to train on")
    parser.add_argument("--hidden", type=int, nargs="*", default=[], help="units of the decoder's hidden layers")
    parser.add_argument("--epochs", type=int, default=30, help="of direct optimisation")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["direct", *METHODS], choices=["direct", *METHODS])
    parser.add_argument("--budgets", nargs="+", default=["seconds", "evaluations"], choices=BUDGETS)
    options = parser.parse_args()
    if options.smoke:
        options.number, options.epochs, options.seeds, options.methods = 400, 4, 1, ["direct", "DisARM"]
    torch.set_num_threads(1)
    task = getattr(Task, options.data)(options.number, tuple(options.hidden), 20 if options.smoke else 2000)
    labels = {"data": options.data, "number": options.number, "hidden": options.hidden}
    Task(task.train[:100], task.valid, task.test, task.latents, task.hidden).direct(0.01, 0, epochs=1)  # compiles
    panel = Panel(task, Records(options.out, KEYS), labels, options.epochs)
    for method in options.methods:
        rate = panel.best(method)["rate"]
        for seed in range(options.seeds):
            if method == "direct":
                panel.run("direct", "seconds", rate, seed)
                panel.run("direct, prior not held", "seconds", rate, seed)
            else:
                for budget in options.budgets:
                    panel.run(method, budget, rate, seed)


if __name__ == "__main__":
    main()
