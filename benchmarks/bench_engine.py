"""Speed of the fused engine: against the reference, against the machine's sgemm, and how it grows.

    python -m benchmarks.bench_engine            (about 3 minutes)

All figures of one run are measured side by side, each the best of several repetitions.

* State evaluations per second: parents and children whose lpj an E-step asks for, N (S + P C), over
  the seconds of whole EM steps (E-step, gradients and sums).
* Decoder FLOPs are counted dense, 2 x (weights of the decoder) for each state, though the engine
  skips bits and units that are off; the ceiling is torch's sgemm of 2048 x 2048 matrices.
* Growth: seconds of a step against N, S, D, H and hidden units, with the exponent of a power law
  and R^2 of a straight line.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Generator

from benchmarks.common import save, table
from evovae.decoders import MLP
from evovae.engines.numba_cpu import Fused
from evovae.engines.reference import Reference
from evovae.evolve import Search
from evovae.likelihoods import Gaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli
from evovae.states import States

BASE = {"N": 4096, "S": 40, "D": 64, "H": 64, "hidden": 256}
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


def step_seconds(engine, N, S, D, H, hidden, repeats=3, batch=64):
    """Seconds for EM steps over N data points, after two epochs that settle the populations."""
    generator = Generator().manual_seed(0)
    truth = TVAE(MLP(H, hidden, D, generator=generator), Gaussian(0.02), Bernoulli(H, p=2 / H))
    x, _ = truth.sample(N, generator)
    observed = torch.ones_like(x, dtype=torch.bool)
    model = TVAE(MLP(H, hidden, D, generator=generator), Gaussian(0.02), Bernoulli(H))
    states = States.random(N, S, H, generator)
    settle, timed = Fused(model), engine(model)

    def epoch(chosen):
        with chosen.running():
            for rows in torch.arange(N).split(batch):
                chosen.step(x, observed, rows, states, SEARCH, generator)

    for _ in range(2):
        epoch(settle)
    return seconds_of(lambda: epoch(timed), repeats)


def compare():
    """Fused against reference, at the reference's best batch size, and against sgemm."""
    N, S, D, H, hidden = BASE.values()
    evaluations = N * (S + SEARCH.parents * SEARCH.children)
    flops = 2 * (H * hidden + hidden * D) * evaluations
    ceiling = sgemm_rate()
    fused = step_seconds(Fused, **BASE)
    reference = min(step_seconds(Reference, **BASE, repeats=1, batch=batch) for batch in (64, 256, 1024))
    return {
        "sgemm GFLOP/s": ceiling / 1e9,
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
        seconds = [step_seconds(Fused, **BASE | {name: value}, repeats=2) for value in values]
        slope, offset = np.polyfit(values, seconds, 1)
        residual = np.var(seconds - (slope * np.array(values) + offset)) / np.var(seconds)
        exponent = np.polyfit(np.log(values), np.log(seconds), 1)[0]
        rows.append({"size": name, "values": values, "seconds": seconds, "exponent": exponent, "R2": 1 - residual})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/engine.json"))
    options = parser.parse_args()
    figures, rows = compare(), growth()
    print(table(["figure", "value"], [(name, f"{value:,.3g}") for name, value in figures.items()]))
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
    save(options.out, {"base": BASE, "figures": figures, "growth": rows})


if __name__ == "__main__":
    main()
