"""What a deeper decoder gains over binary sparse coding on natural patches (Fig. 3).

    EVOVAE_DATA=... python -m experiments.linear_vs_nonlinear                     (about 40 minutes on two cores)
    EVOVAE_DATA=... python -m experiments.linear_vs_nonlinear --patches 20000     (about 8 minutes)
    EVOVAE_DATA=... python -m experiments.linear_vs_nonlinear --smoke             (seconds)

Whitened patches of 16 x 16 pixels, H = 300, S = 64.  A linear decoder is trained; then a 300-300-256 decoder starts
from it, with the identity in its first layer and the linear weights in its last one (states are not negative, so that
the ReLU passes them on and both are the same function), against the linear one that goes on.

Paper: 100,000 patches, 100 epochs before; the non-linear model gains quickly and significantly.
Ours, with 20,000 patches: 161.3 against 142.0 nats per patch, a gain of 19.3.  Both fall at first, as the learning rate
starts anew; the deeper one falls further, and overtakes after some 80 epochs.
"""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import tifffile
import torch
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from torch import Generator, Tensor

from evovae import TVAE, Epoch, Search, States, fit
from evovae.decoders import MLP, Linear
from evovae.likelihoods import Gaussian
from evovae.priors import Bernoulli
from experiments import common

STATES = 64
SEARCH = Search(8, 8)


def natural_patches(image: np.ndarray, N: int, size: int, generator: Generator) -> Tensor:
    """N square patches from random places of a picture whose brightest 2 % are clipped: (N, size^2)."""
    windows = sliding_window_view(np.minimum(image, np.quantile(image, 0.98)), (size, size))
    row, column = (torch.randint(places, (N,), generator=generator).numpy() for places in windows.shape[:2])
    return torch.from_numpy(windows[row, column]).flatten(1).float()


def zca_whitened(x: Tensor, variance: float = 0.95) -> Tensor:
    """x (N, D) without its mean and its correlations, turned back to look like x (Bell & Sejnowski 1997).

    Only the principal components that together hold this share of the variance are kept.
    """
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh((x.T @ x / len(x)).double())
    beyond = values.cumsum(0) > (1 - variance) * values.sum()  # eigenvalues come in rising order
    values, vectors = values[beyond], vectors[:, beyond]
    return x @ (vectors * values.rsqrt() @ vectors.T).to(x.dtype)


def whitened_patches(N: int, seed: int = 0) -> Tensor:
    """16 x 16 patches of the van Hateren picture of the data folder, whitened as in Guiraud et al. (2018): (N, 256)."""
    image = tifffile.imread(common.data_folder() / "vanhateren.tiff").astype(float)
    return zca_whitened(natural_patches(image, N, 16, Generator().manual_seed(seed)))


def start(x: Tensor, decoder: MLP) -> tuple[TVAE, States]:
    """A model of this decoder, with random populations."""
    H = decoder.sizes[0]
    states = States.random(len(x), STATES, H, Generator().manual_seed(0))
    return TVAE(decoder, Gaussian(x.var().item()), Bernoulli(H)), states


def train(model: TVAE, x: Tensor, states: States, epochs: int, seed: int) -> Iterator[Epoch]:
    """Train with the settings that all models here share."""
    return fit(
        model,
        x,
        states=states,
        search=SEARCH,
        optimizer=torch.optim.Adam(model.decoder.parameters(), lr=0.005),
        epochs=epochs,
        batch_size=64,
        generator=Generator().manual_seed(seed),
    )


def deepened(linear: MLP) -> MLP:
    """The same function of binary states as `linear`, with a hidden layer that passes them on."""
    H, D = linear.sizes
    decoder = MLP(H, H, D)
    with torch.no_grad():
        decoder.layers[0].weight.copy_(torch.eye(H))
        decoder.layers[1].load_state_dict(linear.layers[0].state_dict())
    return decoder


def follow(
    record: common.Record, name: str, model: TVAE, x: Tensor, states: States, epochs: int, seed: int
) -> list[float]:
    """Train, add a row, and return the bound of each epoch."""
    run = list(train(model, x, states, epochs, seed))
    curve = [epoch.elbo for epoch in run]
    record.add(
        model=name,
        elbo=curve[-1],
        sigma2=model.likelihood.sigma2.item(),
        active=model.prior.pi.sum().item(),
        seconds_per_epoch=run[-1].seconds / epochs,
        curve=curve,
    )
    return curve


def draw(path: Path, linear: list[float], deeper: list[float]) -> None:
    """Both bounds over epochs, from a little before the models part."""
    epochs = np.arange(1, len(linear) + 1)
    parted = len(linear) - len(deeper)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot(epochs, linear, label="linear")
    axis.plot(epochs[parted:], deeper, label="non-linear")
    axis.axvline(parted + 0.5, color="grey", linestyle=":")
    axis.set(xlabel="epoch", ylabel="ELBO, nats per patch", xlim=(parted // 4, None), ylim=(linear[parted // 4], None))
    axis.legend(frameon=False, loc="lower right")
    axis.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Train the linear model, then both."""
    parser = common.parser(__doc__, "linear_vs_nonlinear")
    parser.add_argument("--patches", type=int, default=100_000)
    parser.add_argument("--epochs", type=int, default=100, help="before the models part, and after")
    options = parser.parse_args()
    patches, epochs, H = (1000, 4, 30) if options.smoke else (options.patches, options.epochs, 300)
    record = common.Record(
        options.out,
        patches=patches,
        epochs=epochs,
        H=H,
        S=STATES,
        search=f"{SEARCH.parents} x {SEARCH.children} children by informed flips",
    )
    x = whitened_patches(patches)
    linear, states = start(x, Linear(H, 256, generator=Generator().manual_seed(0)))
    before = follow(record, "linear", linear, x, states, epochs, seed=0)
    deeper = TVAE(deepened(linear.decoder), deepcopy(linear.likelihood), deepcopy(linear.prior))
    copies = deepcopy(states)
    going_on = follow(record, "linear, going on", linear, x, states, epochs, seed=1)
    deep = follow(record, "non-linear", deeper, x, copies, epochs, seed=1)
    record.add(gain=deep[-1] - going_on[-1])
    draw(options.out.with_suffix(".png"), before + going_on, deep)


if __name__ == "__main__":
    main()
