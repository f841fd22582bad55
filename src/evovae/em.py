"""Training: a generator of `Epoch` objects that alternates E-steps and M-steps over batches (Algorithm 1).

Each of N data points x_n has a population of S states z of H bits; their log joints log p(x_n, z) are called lpj, and
log sum_s exp(lpj), in nats, is the bound on log p(x_n) that training maximises.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor
from torch.optim import Optimizer

from evovae.borders import check_data
from evovae.engines import Engine, Totals, choose
from evovae.evolve import Search
from evovae.inference import without_unseen
from evovae.model import TVAE
from evovae.notes import warn
from evovae.schedules import Schedule, warm_up_decay
from evovae.sharding import Alone, Shard
from evovae.states import States

SETBACKS = 3  # how often training goes back to its last good epoch before it gives up

Snapshot = dict[str, Any]
"""Everything that training changes, a record of tensors: what `evovae.checkpoint` keeps, and `fit` goes on from."""


class DivergenceError(ArithmeticError):
    """The bound or the parameters kept ending up infinite or NaN; the model is as after its last good epoch."""


@dataclass(frozen=True)
class Epoch:
    """What one pass over the data did.

    Parameters
    ----------
    number
        Of the epoch, from 1.
    elbo
        The mean bound of a data point, in nats, as met during the epoch, in which parameters change between batches.
    substitutions
        New states per data point.
    seconds
        Since the start of `fit`.
    snapshot
        A function that copies everything that is needed to go on from here (see `fit`, resume).  To be called before
        the next epoch is asked for.
    parameters
        As snapshot, but without the populations and the state of the generator, which are the caller's own.
    """

    number: int
    elbo: float
    substitutions: float
    seconds: float
    snapshot: Callable[[], Snapshot] = field(repr=False, compare=False)
    parameters: Callable[[], Snapshot] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Training:
    """How a model is trained: the search of the E-step, and the course of the M-steps, with Adam for the gradients.

    Patch models, tables and estimators are all trained by such settings; for other optimisers, see `fit`.

    Parameters
    ----------
    search
        Settings of the E-step.
    epochs
        Passes over the data, at least 1.
    batch_size
        Data points of a batch, at least 1.
    learning_rate
        The peak rate of Adam, positive; without parameters that learn by gradients, it plays no part.
    schedule, forgetting, hold
        As of `fit`.

    Examples
    --------
    >>> import torch
    >>> from evovae import Search, States, TVAE, Training, decoders, likelihoods, priors
    >>> from evovae.datasets import bars_images
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = bars_images(200, generator)
    >>> model = TVAE(decoders.MLP(8, 16, generator=generator), likelihoods.Gaussian(0.2), priors.Bernoulli(8))
    >>> training = Training(Search(4, 4), epochs=10, batch_size=32, learning_rate=0.05)
    >>> run = training.fit(model, x, states=States.random(200, 16, 8, generator), generator=generator)
    >>> [epoch.number for epoch in run][-1]
    10
    """

    search: Search
    epochs: int
    batch_size: int
    learning_rate: float = 0.005
    schedule: Schedule = warm_up_decay
    forgetting: float | None = None
    hold: int | None = None

    def fit(self, model: TVAE, x: Tensor, **data: Any) -> Iterator[Epoch]:  # noqa: ANN401
        """Train a model by `fit`.

        Parameters
        ----------
        model, x
            As of `fit`.
        **data
            Its other arguments: states, generator, and those that are not settings.

        Returns
        -------
        Iterator of Epoch
            One after each pass over the data.
        """
        settings = dict(vars(self))
        rate, learning = settings.pop("learning_rate"), [p for p in model.parameters() if p.requires_grad]
        adam = torch.optim.Adam(learning, lr=rate, fused=True) if learning else None
        return fit(model, x, optimizer=adam, **settings, **data)


def fit(
    model: TVAE,
    x: Tensor,
    *,
    states: States,
    search: Search,
    epochs: int,
    batch_size: int,
    generator: Generator,
    optimizer: Optimizer | None = None,
    observed: Tensor | None = None,
    schedule: Schedule = warm_up_decay,
    forgetting: float | None = None,
    hold: int | None = None,
    engine: Engine | None = None,
    resume: Mapping[str, Any] | None = None,
    shard: Shard | None = None,
) -> Iterator[Epoch]:
    """Train a model, and improve the populations of its data in place.

    For each batch, an E-step searches for better states (Eq. 8), and the optimiser makes one step on the decoder along
    the gradient of the bound (Eq. 4).  After each epoch, or each batch (see `forgetting`), likelihood and prior are
    updated in closed form from sums over the data (Eq. 5).  Nothing runs until the result is iterated, and it can be
    left after any epoch.  An epoch that ends in values that are infinite or NaN is repeated from the parameters before
    it, with half the learning rates.

    Parameters
    ----------
    model
        The model, trained in place.
    x
        Data (N, D), float.  Model, x and states lie on one device; the generator may stay on the CPU.
    states
        The populations to start from, such as `States.random`; changed in place.
    search
        Settings of the E-step.
    epochs
        Passes over the data, at least 1.
    batch_size
        Data points of a batch, at least 1; they are drawn in a new order in each epoch.
    generator
        Source of all draws.
    optimizer
        Over the decoder's parameters; its learning rates are the peaks that `schedule` scales.  Default: none, for
        decoders without parameters, whose likelihood and prior are all there is to learn.
    observed
        Which values of x are seen, (N, D) bool; missing values may be anything, NaN too.  Default: all.
    schedule
        Learning rates are those of the optimiser times ``schedule(epoch, epochs)``; see `evovae.schedules`.
    forgetting
        In [0, 1): update likelihood and prior after each batch, from sums in which those of earlier batches fade by
        this factor each time (on-line EM).  Default: update them after each epoch.
    hold
        For so many epochs, 0 or more, the prior stays as it starts.  A latent that is of no use yet is then not taken
        for one that is never on, from which it would hardly recover: that keeps latents in use where there are many.
        Default: a quarter of `epochs`.
    engine
        What does the work.  Default: the fastest one that supports model and search (`evovae.engines.choose`).
    resume
        `Epoch.snapshot()` of a run with the same arguments, which goes on after that epoch: to the bit as if it had
        never stopped.  With more epochs than that run had, it is extended: the schedule goes on as that of the longer
        run, and the prior is held for as long as the first run asked.
    shard
        This process's part of the data, where several processes train one model (`evovae.sharding`): x, observed,
        states and generator are its own; each process has the same model and optimiser, and takes batch_size data
        points in a step. Default: there is no other process.

    Returns
    -------
    Iterator of Epoch
        One after each pass over the data.

    Raises
    ------
    TypeError, ValueError
        For dtypes or shapes that do not fit together, values that are not finite, or more parents than states.
    DivergenceError
        While iterated, if epochs end in values that are not finite more than three times.

    References
    ----------
    Cappe & Moulines, "On-line expectation-maximization algorithm for latent data models", Journal of the Royal
    Statistical Society B 71, 593-613, 2009.

    Examples
    --------
    >>> import torch
    >>> from evovae import Search, States, TVAE, decoders, fit, likelihoods, priors
    >>> from evovae.datasets import bars_images
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = bars_images(200, generator)
    >>> N, D, H = *x.shape, 8
    >>> model = TVAE(decoders.MLP(H, D, generator=generator), likelihoods.Gaussian(0.2), priors.Bernoulli(H))
    >>> states = States.random(N, 16, H, generator)
    >>> adam = torch.optim.Adam(model.decoder.parameters(), lr=0.05)
    >>> run = fit(model, x, states=states, search=Search(4, 4), optimizer=adam, epochs=10, batch_size=32,
    ...           generator=generator)
    >>> bounds = [epoch.elbo for epoch in run]
    >>> len(bounds), bounds[-1] > bounds[0]
    (10, True)
    """
    observed = torch.ones_like(x, dtype=torch.bool) if observed is None else observed
    _check(model, x, observed, states, search, epochs, batch_size)
    hold = epochs // 4 if hold is None else hold
    if hold < 0:
        raise ValueError(f"hold is {hold}, but it counts epochs: 0 or more")
    if forgetting is not None and not 0 <= forgetting < 1:
        raise ValueError(f"forgetting is {forgetting}, but the share of old sums that is kept lies in [0, 1)")
    x, observed = without_unseen(x, observed), observed.contiguous()
    if optimizer is None and any(parameter.requires_grad for parameter in model.parameters()):
        raise TypeError("the model has parameters that learn by their gradients; pass an optimizer of them")
    engine = choose(model, search) if engine is None else engine
    shard = Alone() if shard is None else shard
    N, batches = int(shard.add(torch.tensor(len(x)))), shard.most(-(-len(x) // batch_size))
    course = _Course(model, _Idle() if optimizer is None else optimizer, states, generator, hold)
    course.load(resume or {})

    def run() -> Iterator[Epoch]:
        started = time.monotonic()
        try:
            while course.number < epochs:
                before, done = course.parameters(), None
                order = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
                parts = order.split(batch_size)
                parts += (order[:0],) * (batches - len(parts))  # each process takes part in as many sums
                with engine.running():
                    for i, rows in enumerate(parts):
                        course.optimizer.zero_grad()
                        batch = engine.step(x, observed, rows, states, search, generator)
                        shard.average(course.adjusted, batch.count)
                        passed = (course.number * batches + i) / batches
                        course.set_rates(schedule(passed, epochs) / 2**course.setbacks)
                        course.optimizer.step()
                        if forgetting is not None:  # these sums stand for all data, whatever part they have seen
                            course.remember(shard.total(batch), forgetting, N)
                            batch = batch.without_sums()
                            course.update(course.recent)
                        done = batch if done is None else done + batch
                    assert done is not None
                    done = shard.total(done)
                    if forgetting is None:
                        course.update(done)
                if not course.is_finite(done):
                    course.set_back(before)
                    continue
                course.number += 1
                seconds = time.monotonic() - started
                elbo, substitutions = float(done.elbo) / done.count, float(done.substitutions) / done.count
                yield Epoch(course.number, elbo, substitutions, seconds, course.snapshot, course.parameters)
        finally:
            course.set_rates(1)  # so that another run finds them as this one did

    return run()


class _Idle:
    """An optimiser of no parameters; those of torch import its compiler first, which takes seconds."""

    param_groups: ClassVar[list[dict[str, Any]]] = []

    def zero_grad(self) -> None:
        """There are no gradients."""

    def step(self) -> None:
        """Nothing changes."""

    def state_dict(self) -> dict[str, Any]:
        """That of any optimiser before its first step."""
        return {"state": {}, "param_groups": []}

    def load_state_dict(self, record: dict[str, Any]) -> None:
        """There is nothing to load."""


class _Course:
    """All that training changes, and the ways to keep it, to go on from it, and to go back to it."""

    def __init__(
        self, model: TVAE, optimizer: Optimizer | _Idle, states: States, generator: Generator, hold: int
    ) -> None:
        self.model, self.optimizer, self.states, self.generator = model, optimizer, states, generator
        self.hold = hold
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self.adjusted = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nothing = torch.zeros(0, dtype=torch.float64)
        self.recent, self.weight = Totals(0, nothing, nothing, nothing, nothing), 0.0
        self.number, self.setbacks = 0, 0

    def set_rates(self, share: float) -> None:
        """Learning rates are the optimiser's own times a share."""
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share

    def remember(self, batch: Totals, forgetting: float, N: int) -> None:
        """Let the sums so far fade by a factor, and add those of a batch: together as many as those of N data points.

        It is done in place, also in those of the batch, as they may be large.
        """
        self.weight = forgetting * self.weight + batch.count
        share = batch.count / self.weight
        for sums in (batch.likelihood, batch.prior):
            sums.mul_(N / batch.count)
        if share < 1:
            for old, new in (self.recent.likelihood, batch.likelihood), (self.recent.prior, batch.prior):
                old.lerp_(new, share)
        else:
            self.recent = batch

    def update(self, totals: Totals) -> None:
        """Closed-form M-steps."""
        self.model.likelihood.update(totals.likelihood)
        if self.number >= self.hold:
            self.model.prior.update(totals.prior)

    def parameters(self) -> Snapshot:
        """Copies of what the M-step changes."""
        moments = self.optimizer.state_dict()["state"]
        record = {
            "model": dict(self.model.state_dict()),
            "optimizer": {str(i): {key: v for key, v in kept.items() if v is not None} for i, kept in moments.items()},
            "recent": {"likelihood": self.recent.likelihood, "prior": self.recent.prior},
            "counts": torch.tensor([self.number, self.setbacks, self.weight, self.hold], dtype=torch.float64),
        }
        return deepcopy(record)

    def snapshot(self) -> Snapshot:
        """Copies of everything."""
        states = {"words": self.states.words.clone(), "lpj": self.states.lpj.clone()}
        return {**self.parameters(), "states": states, "generator": self.generator.get_state()}

    def load(self, snapshot: Mapping[str, Any]) -> None:
        """Become as at the time of a snapshot, or of one without states or generator."""
        if not snapshot:
            return
        kept = {int(i): deepcopy(moments) for i, moments in snapshot.get("optimizer", {}).items()}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": kept, "param_groups": groups})
        self.model.load_state_dict(snapshot["model"])
        number, setbacks, self.weight, hold = snapshot["counts"].tolist()
        self.number, self.setbacks, self.hold = int(number), int(setbacks), int(hold)
        nothing = torch.zeros((), dtype=torch.float64, device=self.states.lpj.device)
        sums = (snapshot["recent"][name].to(nothing.device, copy=True) for name in ("likelihood", "prior"))
        self.recent = Totals(0, nothing, nothing, *sums)
        if "states" in snapshot:
            self.states.words.copy_(snapshot["states"]["words"])
            self.states.lpj.copy_(snapshot["states"]["lpj"])
        if "generator" in snapshot:
            self.generator.set_state(snapshot["generator"])

    def is_finite(self, done: Totals) -> bool:
        """Whether an epoch ended in numbers that training can go on with."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in (done.elbo, *self.model.state_dict().values()))

    def set_back(self, before: Snapshot) -> None:
        """Return to the parameters before a bad epoch, with half the rates; populations are good with any."""
        setbacks = self.setbacks + 1
        self.load(before)
        if setbacks > SETBACKS:
            raise DivergenceError(
                f"training ended in numbers that are not finite {setbacks} times in epoch {self.number + 1}; the model "
                "is as it was before it: start from smaller learning rates or a larger floor of the noise"
            )
        self.setbacks = setbacks
        warn(f"epoch {self.number + 1} ended in numbers that are not finite; done again, learning rates halved")


def _check(
    model: TVAE, x: Tensor, observed: Tensor, states: States, search: Search, epochs: int, batch_size: int
) -> None:
    N, S, _ = states.words.shape
    if len(x) != N or not N:
        raise ValueError(
            f"there are {len(x)} data points and {N} populations; one is needed for each, and one at least"
        )
    if states.n_latents != model.prior.n_latents:
        raise ValueError(f"the populations have {states.n_latents} latents, the prior {model.prior.n_latents}")
    devices = {tensor.device for tensor in (x, observed, states.words, states.lpj, *model.state_dict().values())}
    if len(devices) > 1:
        raise ValueError(f"model, data and populations lie on {sorted(map(str, devices))}; move them to one device")
    if x.dtype != states.lpj.dtype:
        raise TypeError(f"x is {x.dtype} but the populations are {states.lpj.dtype}; convert one of them")
    check_data(model, x, observed)
    if search.parents > S:
        raise ValueError(f"cannot select {search.parents} distinct parents from {S} states")
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs ({epochs}) and batch_size ({batch_size}) must be at least 1")
