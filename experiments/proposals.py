"""What an encoder that learns from populations saves, where new data are explained by a trained model.

    EVOVAE_DATA=... python -m experiments.proposals            (minutes, on one core)
    EVOVAE_DATA=... python -m experiments.proposals --smoke    (seconds)

Claim: none of the paper's, which has no encoder.  A linear decoder is trained on binarised MNIST as in `held_out`
(5,000 pictures, H = 200, S = 32, 30 epochs); `evovae.Encoder` (256 hidden units, 50 epochs) learns from the populations
of that training.  The bound of 2,000 held-out pictures is then found from random states, and from those that the
encoder proposes: after 1 to 100 E-steps, and the seconds of the processor that it took, on one thread.
"""

import time

import torch
from torch import Generator

from evovae import Encoder, States, infer
from evovae.posterior import elbo
from experiments import common
from experiments.held_out import SEARCH, S, Task

STEPS = (1, 2, 5, 10, 20, 50, 100)


def main() -> None:
    """Train, learn, and search from both starts."""
    options = common.parser(__doc__, "proposals").parse_args()
    torch.set_num_threads(1)
    N, epochs, held_out = (300, 2, 50) if options.smoke else (5000, 30, 2000)
    task = Task.mnist(N, (), held_out)
    generator = Generator().manual_seed(0)
    model, states, _ = task.direct(0.006, 0, epochs)
    record = common.Record(options.out, pictures=N, epochs=epochs, held_out=held_out, S=S)
    started = time.process_time()
    encoder = Encoder.learn(task.train, states, generator=generator)
    learnt = time.process_time() - started
    starts = {"random": None, "proposed": encoder.propose(task.test, S)}
    for name, start in starts.items():
        seconds, done = 0.0, 0
        now: States | None = start
        for steps in STEPS:
            started = time.process_time()
            more = steps - done
            now = infer(model, task.test, n_states=S, search=SEARCH, steps=more, generator=generator, start=now)
            seconds, done = seconds + time.process_time() - started, steps
            record.add(start=name, steps=steps, bound=elbo(now.lpj).mean().item(), seconds=seconds, learning=learnt)


if __name__ == "__main__":
    main()
