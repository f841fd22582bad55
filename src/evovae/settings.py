"""What commands can be asked for, as plain values: help is there before anything that takes time to load."""

from dataclasses import dataclass

PRESETS = ("fast", "balanced", "best", "paper")
NOISE = ("auto", "white", "poisson", "speckle", "rician")
RAISE = "raise"
NONFINITE = (RAISE, "mask")  # what infinite values may be
LIKELIHOODS = ("gaussian", "laplace", "bernoulli", "poisson")
PATIENCE = 120.0  # seconds to wait for another process before it is taken for lost


@dataclass(frozen=True)
class Settings:
    """A model and how it is trained.

    latents is H, hidden the decoder's layer sizes, likelihood one of `LIKELIHOODS`, states S; parents, children and
    generations are those of `Search`; batch_size data points of each process make a step of Adam at learning_rate.
    """

    latents: int = 64
    hidden: tuple[int, ...] = (128,)
    likelihood: str = "gaussian"
    states: int = 32
    parents: int = 8
    children: int = 8
    generations: int = 1
    epochs: int = 100
    batch_size: int = 64
    learning_rate: float = 0.005
    seed: int = 0
