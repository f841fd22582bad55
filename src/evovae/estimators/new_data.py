"""States for data that were not trained on: found for each row from that row alone, leaving nothing to chance.

Up to `EXACT` latents, all 2^H states are compared.  With more, the S best of a codebook start a search,
which ends where the most promising flips of the best states find nothing better.
"""

from functools import partial

import torch
from torch import Generator, Tensor

from evovae import exact
from evovae.evolve import Search, evolve
from evovae.model import TVAE
from evovae.operators import gumbel_top, informed_flip
from evovae.states import States, pack, unpack

EXACT = 10
CODEBOOK = 1024
TRIES = 16  # parents, and children of each
STEPS = 100  # at most; some 10 are usual
COLD = 1e-20  # a temperature so low that only values count, and not the noise that operators add to them


def codebook(states: States) -> Tensor:
    """All states, or those with most of the posterior's mass in the populations (N, S) of training: (K, H) bool."""
    S, H = states.lpj.shape[1], states.n_latents
    if H <= EXACT:
        return exact.all_states(H)
    return unpack(states.commonest(max(CODEBOOK, S)), H)


@torch.no_grad()
def find(model: TVAE, x: Tensor, observed: Tensor, codebook: Tensor, S: int) -> States:
    """The states of x (N, D), best first: all 2^H, or the S best that are found from a codebook (K, H)."""
    K, H = codebook.shape
    mean = model.decode(codebook).expand(len(x), K, -1)  # decoded once for all rows
    of_x = model.likelihood.log_prob(x, mean, observed, codebook.expand(len(x), K, H))
    best = (of_x + model.prior.log_prob(codebook)).topk(K if H <= EXACT else S, dim=1)
    states = States(pack(codebook)[best.indices], best.values, H)
    return states if H <= EXACT else _improved(model, x, observed, states)


def _improved(model: TVAE, x: Tensor, observed: Tensor, states: States) -> States:
    """Search until no row finds a better state: a row that finds none finds none later."""
    select, mutate = partial(gumbel_top, temperature=COLD), partial(informed_flip, temperature=COLD)
    search = Search(min(TRIES, states.lpj.shape[1]), min(TRIES, states.n_latents), select=select, mutate=mutate)
    for _ in range(STEPS):
        states, substitutions = evolve(states, partial(model.lpj, x, observed=observed), search, Generator())
        if not substitutions:
            break
    return states
