"""Populations of data that take no part in training: E-steps with the parameters as they are.

Each of N data points x_n has a population of S states z of H bits, with their log joints lpj = log p(x_n, z) in nats.
"""

from dataclasses import replace

import torch
from torch import Generator, Tensor

from evovae.borders import check_data
from evovae.engines import Engine, Reference, choose
from evovae.evolve import Search
from evovae.migration import nobody
from evovae.model import TVAE
from evovae.states import States, pack

VALUES = 2**22  # of what is decoded together, which bounds memory; changes no result
AT_ONCE = 1024  # data points for which all of a codebook is compared


@torch.no_grad()
def infer(
    model: TVAE,
    x: Tensor,
    observed: Tensor | None = None,
    *,
    n_states: int,
    search: Search,
    steps: int,
    generator: Generator,
    start: States | Tensor | None = None,
    rows: Tensor | None = None,
    engine: Engine | None = None,
) -> States:
    """Search for the states of data, with the parameters of a model as they are.

    Each step is the E-step of `evovae.fit`: the bound log sum_s p(x_n, z_ns) of no data point ever falls (Eq. 8).  The
    search ends after `steps` of them, or with the first one that finds no new state.

    Parameters
    ----------
    model
        The model, left as it is.
    x
        Data (N, D), float.
    observed
        Which values of x are seen, (N, D) bool; missing values may be anything, NaN too.  Default: all.
    n_states
        S, the size of populations.
    search
        Settings of the E-step.
    steps
        E-steps, at most.  With 0, nothing is searched for, and what `start` says is evaluated.
    generator
        Source of the draws.
    start
        Where the search starts: populations (which stay as they are), or states (K, H) bool, of which each data point
        takes the S best, or all if they are no more than S.  Default: random populations.
    rows
        Numbers of the data points to search for; others stay as they start.  Default: all.
    engine
        What does the work.  Default: the fastest one that supports model and search (`evovae.engines.choose`).

    Returns
    -------
    States
        Populations with their log joints; the bound is ``logsumexp(states.lpj, 1)``, the posterior
        ``softmax(states.lpj, 1)``.

    Raises
    ------
    ValueError
        For shapes that do not fit together.

    Examples
    --------
    >>> import torch
    >>> from evovae import TVAE, Search, decoders, infer, likelihoods, priors
    >>> generator = torch.Generator().manual_seed(0)
    >>> model = TVAE(decoders.MLP(8, 16, generator=generator), likelihoods.Gaussian(), priors.Bernoulli(8))
    >>> x = torch.randn(5, 16, generator=generator)
    >>> states = infer(model, x, n_states=4, search=Search(4, 4), steps=10, generator=generator)
    >>> states.z.shape, states.lpj.shape
    (torch.Size([5, 4, 8]), torch.Size([5, 4]))
    """
    observed = torch.ones_like(x, dtype=torch.bool) if observed is None else observed
    check_data(model, x, observed)
    x, observed = without_unseen(x, observed), observed.contiguous()
    engine = choose(model, search) if engine is None else engine
    still = replace(search, generations=0, migrate=nobody)
    if isinstance(start, States):
        if len(start) != len(x):
            raise ValueError(f"there are {len(start)} populations to start from, but {len(x)} data points")
        states = States(start.words.clone(), start.lpj.clone(), start.n_latents)
    elif start is None:
        states = model.prior.populations(len(x), n_states, generator, x.dtype).to(x.device)
    else:
        states = _best_of(model, engine, still, x, observed, start, n_states)
    rows = torch.arange(len(x), device=x.device) if rows is None else rows
    with engine.running():
        if not steps:
            engine.search(x, observed, rows, states, still, generator)
        for _ in range(steps):
            if not engine.search(x, observed, rows, states, search, generator):
                break
    return states


def _best_of(
    model: TVAE, engine: Engine, still: Search, x: Tensor, observed: Tensor, codebook: Tensor, n_states: int
) -> States:
    """The best of the states codebook (K, H) for each data point, best first; all of them if they are no more.

    still is a search of the engine's kind that finds nothing, so that states are evaluated only.
    """
    distinct = codebook.unique(dim=0)
    codebook = codebook if len(distinct) == len(codebook) else distinct  # a state counts once
    K, H = codebook.shape
    words = pack(codebook)

    def everywhere(n: int) -> States:
        return States(words.expand(n, -1, -1).clone(), x.new_full((n, K), -torch.inf), H)

    if n_states >= K:
        return everywhere(len(x))
    if isinstance(engine, Reference):
        return _decoded_once(model, x, observed, codebook, n_states)
    best = []
    for some, seen in zip(x.split(AT_ONCE), observed.split(AT_ONCE), strict=True):
        states = everywhere(len(some))
        engine.search(some, seen, torch.arange(len(some), device=x.device), states, still, Generator())
        lpj, places = states.lpj.topk(n_states, dim=1)
        best.append(States(states.words.gather(1, places[..., None].expand(-1, -1, words.shape[1])), lpj, H))
    return States(torch.cat([part.words for part in best]), torch.cat([part.lpj for part in best]), H)


def _decoded_once(model: TVAE, x: Tensor, observed: Tensor, codebook: Tensor, n_states: int) -> States:
    """The same by the model itself, for which states are decoded once for all data points."""
    K, H = codebook.shape
    mean, prior = model.decode(codebook), model.prior.log_prob(codebook)
    n = max(VALUES // (K * x.shape[1]), 1)
    best = []
    for some, seen in zip(x.split(n), observed.split(n), strict=True):
        z = codebook.expand(len(some), K, H)
        best.append((model.likelihood.log_prob(some, mean.expand(len(some), K, -1), seen, z) + prior).topk(n_states))
    lpj, places = (torch.cat(part) for part in zip(*best, strict=True))
    return States(pack(codebook)[places], lpj, H)


def without_unseen(x: Tensor, observed: Tensor) -> Tensor:
    """Data with zeros where they are not observed.

    Parameters
    ----------
    x
        Data (N, D).
    observed
        Which values are seen, (N, D) bool.

    Returns
    -------
    Tensor
        (N, D), contiguous: x itself where all is seen, as it may be large.
    """
    return (x if observed.all() else torch.where(observed, x, 0)).contiguous()
