"""Speed of the fused engine: against the reference, against the machine's sgemm, and how it grows.

    python -m benchmarks.bench_engine            (about 3 minutes)

All figures of one run are measured side by side, each the best of several repetitions; so are several kinds of models,
wide binary data as of MNIST among them.

* State evaluations per second: parents and children whose lpj an E-step asks for, N (S + P C), over
  the seconds of whole EM steps (E-step, gradients and sums).
* Decoder FLOPs are counted dense, 2 x (weights of the decoder) for each state, though the engine
  skips bits and units that are off; the ceiling is torch's sgemm of 2048 x 2048 matrices.
* Growth: seconds of a step against N, S, D, H and hidden units, with the exponent of a power law
  and R^2 of a straight line.
"""

import argparse
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Generator

from benchmarks.common import save, table
from evovae.decoders import MLP
from evovae.engines.numba_network import NumbaNetwork
from evovae.engines.reference import Reference
from evovae.evolve import Search
from evovae.likelihoods import Bernoulli as Binary
from evovae.likelihoods import Gaussian, Laplace, Poisson
from evovae.model import TVAE
from evovae.priors import Bernoulli
from evovae.states import States

BASE = {"N": 4096, "S": 40, "D": 64, "H": 64, "hidden": (256,)}
MNIST = {"N": 512, "S": 32, "D": 784, "H": 200}
CASES = {
    "Gaussian, 256 units": BASE,
    "Gaussian, linear": BASE | {"hidden": ()},
    "Gaussian, 128 and 128 units": BASE | {"hidden": (128, 128)},
    "Laplace, 256 units": BASE | {"make": Laplace},
    "Poisson, 256 units": BASE | {"make": Poisson},
    "Bernoulli, linear, D = 784": MNIST | {"hidden": (), "make": Binary},
    "Bernoulli, 200 units, D = 784": MNIST | {"hidden": (200,), "make": Binary},
}
SEARCH = Search(8, 8)


def seconds_of(run, repeats=3):
    """The best of several runs."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return best


def sgemm_rate(size=2048):
    a, b = torch.randn(2, size, size)
    return 2 * size**3 / seconds_of(lambda: a @ b, 10)


def step_seconds(engine, N, S, D, H, hidden, make=lambda: Gaussian(0.02), repeats=3, batch=64):
    """Seconds for EM steps over N data points, after two epochs that settle the populations."""
    generator = Generator().manual_seed(0)
    truth = TVAE(MLP(H, *hidden, D, generator=generator), make(), Bernoulli(H, p=2 / H))
    x, _ = truth.sample(N, generator)
    observed = torch.ones_like(x, dtype=torch.bool)
    model = TVAE(MLP(H, *hidden, D, generator=generator), make(), Bernoulli(H))
    states = States.random(N, S, H, generator)
    settle, timed = NumbaNetwork(model), engine(model)

    def epoch(chosen):
        with chosen.running():
            for rows in torch.arange(N).split(batch):
                chosen.step(x, observed, rows, states, SEARCH, generator)

    for _ in range(2):
        epoch(settle)
    return seconds_of(lambda: epoch(timed), repeats)


def compare(case, ceiling):
    """Compiled against reference, at the reference's best batch size, and against sgemm."""
    N, S, sizes = case["N"], case["S"], (case["H"], *case["hidden"], case["D"])
    evaluations = N * (S + SEARCH.parents * SEARCH.children)
    flops = 2 * sum(a * b for a, b in pairwise(sizes)) * evaluations
    fused = step_seconds(NumbaNetwork, **case)
    reference = min(step_seconds(Reference, **case, repeats=1, batch=batch) for batch in (64, 256))
    return {
        "fused evaluations/s": evaluations / fused,
        "reference evaluations/s": evaluations / reference,
        "fused over reference": reference / fused,
        "fused dense GFLOP/s": flops / fused / 1e9,
        "fraction of sgemm": flops / fused / ceiling,
    }


def growth():
    """Seconds against each size, the others as in BASE."""
    sizes = {
        "N": [1024, 2048, 4096, 8192],
        "S": [16, 32, 64, 128],
        "D": [64, 128, 256, 512],
        "H": [64, 128, 256, 512],
        "hidden": [64, 128, 256, 512],
    }
    rows = []
    for name, values in sizes.items():
        sizes_of = [BASE | {name: (value,) if name == "hidden" else value} for value in values]
        seconds = [step_seconds(NumbaNetwork, **case, repeats=2) for case in sizes_of]
        slope, offset = np.polyfit(values, seconds, 1)
        residual = np.var(seconds - (slope * np.array(values) + offset)) / np.var(seconds)
        exponent = np.polyfit(np.log(values), np.log(seconds), 1)[0]
        rows.append({"size": name, "values": values, "seconds": seconds, "exponent": exponent, "R2": 1 - residual})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/engine.json"))
    options = parser.parse_args()
    ceiling = sgemm_rate()
    figures = {name: compare(case, ceiling) for name, case in CASES.items()}
    rows = growth()
    print(f"sgemm: {ceiling / 1e9:.0f} GFLOP/s")
    names = [*figures["Gaussian, linear"]]
    print(table(["model", *names], [(case, *(f"{f[name]:,.3g}" for name in names)) for case, f in figures.items()]))
    lines = [
        (
            row["size"],
            ", ".join(map(str, row["values"])),
            ", ".join(f"{s:.3f}" for s in row["seconds"]),
            f"{row['exponent']:.2f}",
            f"{row['R2']:.4f}",
        )
        for row in rows
    ]
    print(table(["size", "values", "seconds", "exponent", "R² of a line"], lines))
    save(options.out, {"base": BASE, "sgemm GFLOP/s": ceiling / 1e9, "figures": figures, "growth": rows})


if __name__ == "__main__":
    main()
