"""How training grows with the number of latents, up to H = 1000 (Sec. 3, scalability).

    EVOVAE_DATA=... python -m experiments.scalability                     (about 10 minutes on two cores)
    EVOVAE_DATA=... python -m experiments.scalability --patches 5000      (under a minute)
    EVOVAE_DATA=... python -m experiments.scalability --smoke             (seconds)

The whitened patches of `linear_vs_nonlinear`, decoders H-100-256, S = 64.  Seconds are those of the fastest epoch.

Paper: up to H = 1000, time stays in line with linear growth in H, while the bound increases further.
Ours, with 10,000 patches: ELBO -41, -7, 19, 35 and 52 nats per patch for H = 64, 128, 256, 512 and 1000; seconds per
epoch grow as H^0.27, as most of the time goes into the layers behind the first.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Generator

from evovae.decoders import MLP
from experiments import common
from experiments.linear_vs_nonlinear import SEARCH, STATES, start, train, whitened_patches


def draw(path: Path, sizes: list[int], seconds: list[float], elbos: list[float], power: np.ndarray) -> None:
    """Time with its power law, and the bound."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    grid = np.geomspace(sizes[0], sizes[-1])
    left.semilogx(grid, np.exp(np.polyval(power, np.log(grid))), color="grey", label=f"$H^{{{power[0]:.2f}}}$")
    left.semilogx(sizes, seconds, "o")
    left.legend(frameon=False)
    left.set(ylabel="seconds per epoch", ylim=(0, 1.1 * max(seconds)))
    right.semilogx(sizes, elbos, "o-")
    right.set(ylabel="ELBO, nats per patch")
    for axis in (left, right):
        axis.minorticks_off()
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.set_xlabel("latents $H$")
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train one model of each size."""
    parser = common.parser(__doc__, "scalability")
    parser.add_argument("--patches", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    patches, epochs = (1000, 2) if options.smoke else (options.patches, options.epochs)
    sizes = [16, 32] if options.smoke else [64, 128, 256, 512, 1000]
    record = common.Record(
        options.out,
        patches=patches,
        epochs=epochs,
        S=STATES,
        search=f"{SEARCH.parents} x {SEARCH.children} children by informed flips",
    )
    x = whitened_patches(patches)
    seconds, elbos = [], []
    for H in sizes:
        model, states = start(x, MLP(H, 100, 256, generator=Generator().manual_seed(0)))
        run = list(train(model, x, states, epochs, seed=0))
        seconds.append(min(np.diff([epoch.seconds for epoch in run]).tolist()))
        elbos.append(run[-1].elbo)
        active = model.prior.pi.sum().item()
        record.add(H=H, seconds_per_epoch=seconds[-1], elbo=elbos[-1], active=active)
    power = np.polyfit(np.log(sizes), np.log(seconds), 1)
    record.add(exponent=power[0])
    draw(options.out.with_suffix(".png"), sizes, seconds, elbos, power)


if __name__ == "__main__":
    main()
