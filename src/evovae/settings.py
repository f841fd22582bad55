"""What commands can be asked for, as plain values: help is there before anything that takes time to load."""

from dataclasses import dataclass

PRESETS = ("fast", "balanced", "best", "paper")
NOISE = ("auto", "white", "poisson", "speckle", "rician")
RAISE = "raise"
NONFINITE = (RAISE, "mask")  # what infinite values may be
LIKELIHOODS = ("gaussian", "laplace", "bernoulli", "poisson", "subspaces")
SELECT = ("gumbel_top", "by_fitness", "uniformly")
MUTATE = ("informed_flip", "uniform_flip", "sparse_flip")
CROSS = ("no_cross", "one_point")
SCHEDULES = ("warm_up_decay", "cyclical", "constant")
PATIENCE = 120.0  # seconds to wait for another process before it is taken for lost


@dataclass(frozen=True)
class Settings:
    """A model and how it is trained.

    latents is H, hidden the decoder's layer sizes, likelihood one of `LIKELIHOODS`, states S; parents, children and
    generations are those of `Search`; batch_size data points of each process make a step of Adam at learning_rate.
    rank and always are the dimensions of subspaces, whose likelihood has no decoder.  select, mutate and cross are
    operators, schedule the course of the learning rate, by name; hold epochs pass before the prior is updated (a
    quarter of all, where it is None).
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
    rank: int = 4
    always: int = 1
    select: str = SELECT[0]
    mutate: str = MUTATE[0]
    cross: str = CROSS[0]
    schedule: str = SCHEDULES[0]
    hold: int | None = None
