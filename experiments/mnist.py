"""Binarised MNIST: bounds of pictures that took no part in training.

    EVOVAE_DATA=... python -m experiments.mnist --epochs 30     (linear decoder: 7 minutes on one core; the other: more)
    EVOVAE_DATA=... python -m experiments.mnist --pictures 50000                (hours; not run yet)
    EVOVAE_DATA=... python -m experiments.mnist --smoke         (seconds)

Claim: none of the paper's; it shows what direct optimisation gives where amortised training is usually measured.
Static binarised MNIST (Salakhutdinov & Murray 2008; Larochelle & Murray 2011), H = 200 latents, Bernoulli likelihood,
a linear decoder and one with 200 hidden units, S = 32, 8 x 8 children, Adam at 0.005, batches of 100.  The bound
log sum_s p(x, z_s) is exact for its population, and a lower bound of log p(x) in any case; of held-out pictures it is
found by `evovae.evaluate` (S = 64, until it grows by less than 0.02 nats in five E-steps).  The learning rate and the
number of epochs were not tuned.  Holding the prior at first (`hold`) keeps latents in use, and is what `fit` does by
default; the rows with hold 0 show what that is worth.  The biases of the decoder start at the log-odds of the mean
picture.  Nats per picture, with standard errors over pictures.
"""

from functools import partial

import numpy as np
import scipy.io
import torch
from torch import Generator, Tensor

from benchmarks.common import data_folder
from evovae import TVAE, Search, States, evaluate, fit
from evovae.decoders import MLP
from evovae.likelihoods import Bernoulli
from evovae.priors import Bernoulli as Bits
from experiments import common

H, S, BATCH, RATE = 200, 32, 100, 0.005
DECODERS = {"linear": (), "200 hidden units": (200,)}


def pictures(part: str) -> Tensor:
    """Those of a part (train, valid, test), (N, 784), zeros and ones."""
    content = scipy.io.loadmat(data_folder() / "mnist" / f"binarized_mnist_{part}.mat")
    (values,) = (value for name, value in content.items() if not name.startswith("__"))
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).reshape(-1, 784)


def untrained(x: Tensor, hidden: tuple[int, ...], generator: Generator) -> TVAE:
    """A model whose mean picture is that of the data."""
    decoder = MLP(H, *hidden, x.shape[1], generator=generator)
    with torch.no_grad():
        decoder.layers[-1].bias.copy_(x.mean(0).clamp(0.01, 0.99).logit())
    return TVAE(decoder, Bernoulli(), Bits(H))


def main() -> None:
    """Train each model, and write bounds of training and of held-out pictures."""
    parser = common.parser(__doc__, "mnist")
    parser.add_argument("--pictures", type=int, default=5000, help="to train on, of 50,000")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    N, epochs, held_out = (200, 2, 50) if options.smoke else (options.pictures, options.epochs, 10_000)
    x, new = pictures("train")[:N], pictures("test")[:held_out]
    record = common.Record(options.out, H=H, S=S, batch=BATCH, rate=RATE, pictures=N, epochs=epochs, seed=options.seed)
    for name, hidden in DECODERS.items():
        for hold in (epochs // 4, 0):
            generator = Generator().manual_seed(options.seed)
            model = untrained(x, hidden, generator)
            adam = torch.optim.Adam(model.decoder.parameters(), lr=RATE)
            states = States.random(N, S, H, generator)
            training = partial(fit, model, x, states=states, search=Search(8, 8), optimizer=adam, batch_size=BATCH)
            *_, last = training(epochs=epochs, hold=hold, generator=generator)
            found = evaluate(model, new, generator=generator, most_steps=5 if options.smoke else 500)
            record.add(
                decoder=name,
                hold=hold,
                training=last.elbo,
                held_out=found.mean,
                error=found.error,
                steps=found.steps,
                used=int((model.prior.pi > 10 / N).sum()),
                seconds_per_epoch=last.seconds / epochs,
            )


if __name__ == "__main__":
    main()
