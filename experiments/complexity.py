"""What an epoch costs: its time against each of the sizes, all else fixed (App. B.2, computational complexity).

    python -m experiments.complexity                 (about a minute on two cores)
    python -m experiments.complexity --smoke         (seconds)

Time of whole training epochs, on images drawn from a random model of the sizes at hand.  A straight line (with an
offset) is fitted, and a power of the size.  For the engine alone, see `benchmarks.bench_engine`.

Paper: linear in N, D, H and the size of the network; a little less than proportional in S (49 seconds at
S = 64, 75 at S = 128).
Ours: straight lines (R^2 of 0.99 to 1.00, for D 0.92), through the origin for N alone: the engine skips bits and units
that are off.  Exponents 1.02 for N, 0.58 for the hidden units, 0.48 for S, 0.34 for D and 0.21 for H.
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Generator

from evovae import TVAE, Search, States, fit
from evovae.decoders import MLP
from evovae.likelihoods import Gaussian
from evovae.priors import Bernoulli
from experiments import common

BASE = {"N": 4096, "D": 144, "H": 128, "S": 64, "hidden": 128}
SIZES = {
    "N": [2048, 4096, 6144, 8192],
    "D": [64, 144, 256, 400],
    "H": [64, 128, 256, 512],
    "S": [32, 64, 128, 256],
    "hidden": [64, 128, 256, 512],
}
SMOKE = {"N": 128, "D": 16, "H": 16, "S": 8, "hidden": 16}
SEARCH = Search(5, 4)
EPOCHS = 5


def seconds_per_epoch(N: int, D: int, H: int, S: int, hidden: int) -> float:
    """The fastest of a few epochs, of which the first, that starts from random populations, does not count."""
    generator = Generator().manual_seed(0)
    truth = TVAE(MLP(H, hidden, D, generator=generator), Gaussian(0.02), Bernoulli(H, p=2 / H))
    x, _ = truth.sample(N, generator)
    model = TVAE(MLP(H, hidden, D, generator=generator), Gaussian(0.02), Bernoulli(H))
    run = fit(
        model,
        x,
        states=States.random(N, S, H, generator),
        search=SEARCH,
        optimizer=torch.optim.Adam(model.decoder.parameters(), lr=0.005),
        epochs=EPOCHS,
        batch_size=64,
        generator=generator,
    )
    return min(np.diff([epoch.seconds for epoch in run]).tolist())


def growth(sizes: list[int], seconds: list[float]) -> dict[str, float]:
    """Slope and offset of a line with its R^2, and the exponent of a power law."""
    slope, offset = np.polyfit(sizes, seconds, 1).tolist()
    rest = np.var(seconds - (slope * np.array(sizes) + offset)) / np.var(seconds)
    exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    return {"slope": slope, "offset": offset, "R2": 1 - float(rest), "exponent": float(exponent)}


def draw(path: Path, rows: list[dict]) -> None:
    """A panel for each size."""
    figure = Figure(figsize=(11, 2.6), layout="constrained")
    for axis, row in zip(figure.subplots(1, len(rows)), rows, strict=True):
        ends = np.array([0, max(row["sizes"])])
        axis.plot(ends, row["slope"] * ends + row["offset"], color="grey", linewidth=1)
        axis.plot(row["sizes"], row["seconds"], "o")
        axis.set(xlabel=row["name"], xlim=(0, 1.1 * max(row["sizes"])), ylim=(0, 1.1 * max(row["seconds"])))
        axis.set_title(f"$R^2$ = {row['R2']:.3f}", fontsize="medium")
        axis.locator_params(nbins=4)
    figure.axes[0].set_ylabel("seconds per epoch")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Vary one size after the other."""
    options = common.parser(__doc__, "complexity").parse_args()
    base = SMOKE if options.smoke else BASE
    sizes = {name: [size, 2 * size, 4 * size] for name, size in SMOKE.items()} if options.smoke else SIZES
    record = common.Record(
        options.out, base=base, search=f"{SEARCH.parents} x {SEARCH.children} children by informed flips", batch_size=64
    )
    for name, values in sizes.items():
        seconds = [seconds_per_epoch(**base | {name: value}) for value in values]
        record.add(name=name, sizes=values, seconds=seconds, **growth(values, seconds))
    draw(options.out.with_suffix(".png"), record.rows)


if __name__ == "__main__":
    main()
