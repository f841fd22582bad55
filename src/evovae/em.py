"""Training: a generator of `Epoch`s that alternates E-steps and M-steps over batches (Algorithm 1)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from evovae.engines import Engine, Totals, choose
from evovae.evolve import Search
from evovae.model import TVAE
from evovae.schedules import Schedule, warm_up_decay
from evovae.states import States


@dataclass(frozen=True)
class Epoch:
    """What one pass over the data did.

    number counts from 1; elbo is the mean bound of a data point in nats, as met during the epoch
    (parameters change between batches); substitutions are the new states per data point; seconds
    are since the start of `fit`.
    """

    number: int
    elbo: float
    substitutions: float
    seconds: float


def fit(
    model: TVAE,
    x: Tensor,
    *,
    states: States,
    search: Search,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int,
    generator: Generator,
    observed: Tensor | None = None,
    schedule: Schedule = warm_up_decay,
    memory: float | None = None,
    engine: Engine | None = None,
) -> Iterator[Epoch]:
    """Train `model` on x (N, D), improving `states` in place; yields an `Epoch` after each pass.

    Each batch: E-step on its populations, then one optimiser step on the decoder (Eq. 4).  Each
    epoch, or each batch (see `memory`): closed-form updates of likelihood and prior from sums over
    the data (Eq. 5).  Nothing runs until the result is iterated, and it can be abandoned after any epoch.

    Parameters
    ----------
    observed
        (N, D) bool, True where x is seen; missing values may be anything, NaN too.  Default: all.
    optimizer
        Over the decoder's parameters; its learning rates are the peaks that `schedule` scales.
    memory
        In [0, 1): update likelihood and prior after each batch, from sums in which those of earlier
        batches fade by this factor each time (on-line EM; Cappe & Moulines 2009).  Default: after each epoch.
    engine
        Default: the fastest one that supports model and search.

    Raises
    ------
    TypeError, ValueError
        For dtypes or shapes that do not fit together, values that are not finite, or more parents than states.
    """
    observed = torch.ones_like(x, dtype=torch.bool) if observed is None else observed
    _check(model, x, observed, states, search, epochs, batch_size)
    if memory is not None and not 0 <= memory < 1:
        raise ValueError(f"memory is {memory}, but a share of what is kept lies in [0, 1)")
    x, observed = torch.where(observed, x, 0).contiguous(), observed.contiguous()
    engine = choose(model, search) if engine is None else engine
    batches = -(-len(x) // batch_size)
    scheduler = LambdaLR(optimizer, lambda step: schedule(step / batches, epochs))

    def step(rows: Tensor) -> Totals:
        optimizer.zero_grad()
        totals = engine.step(x, observed, rows, states, search, generator)
        optimizer.step()
        scheduler.step()
        return totals

    def update(totals: Totals) -> None:
        model.likelihood.update(totals.likelihood)
        model.prior.update(totals.prior)

    def run() -> Iterator[Epoch]:
        started = time.monotonic()
        recent, weight = None, 0.0
        for number in range(1, epochs + 1):
            order = torch.randperm(len(x), generator=generator, device=generator.device)
            done = None
            with engine.running():
                for rows in order.split(batch_size):
                    batch = step(rows)
                    done = batch if done is None else done + batch
                    if memory is not None:  # these sums stand for all data, whatever part they have seen
                        weight = memory * weight + len(rows)
                        recent = batch if recent is None else recent.scaled(memory) + batch
                        update(recent.scaled(len(x) / weight))
            assert done is not None
            if memory is None:
                update(done)
            seconds = time.monotonic() - started
            yield Epoch(number, done.elbo / done.count, done.substitutions / done.count, seconds)

    return run()


def _check(
    model: TVAE, x: Tensor, observed: Tensor, states: States, search: Search, epochs: int, batch_size: int
) -> None:
    N, S, _ = states.words.shape
    if x.ndim != 2 or x.shape != observed.shape or len(x) != N or not N:
        raise ValueError(
            f"x {tuple(x.shape)} and observed {tuple(observed.shape)} must both be (N, D) with N = {N}, "
            "the number of populations in states"
        )
    if states.n_latents != model.prior.n_latents:
        raise ValueError(f"the populations have {states.n_latents} latents, the prior {model.prior.n_latents}")
    if x.dtype != states.lpj.dtype:
        raise TypeError(f"x is {x.dtype} but the populations are {states.lpj.dtype}; convert one of them")
    if not torch.isfinite(x[observed]).all():
        raise ValueError("x holds values that are not finite; mark them as missing with observed=torch.isfinite(x)")
    if search.parents > S:
        raise ValueError(f"cannot select {search.parents} distinct parents from {S} states")
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs ({epochs}) and batch_size ({batch_size}) must be at least 1")
