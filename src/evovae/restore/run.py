"""The patch models' work on an image, one after the other: reported, kept, and stopped with the best so far."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from evovae.checkpoint import Folder, under
from evovae.em import DivergenceError, Epoch, Snapshot
from evovae.notes import warn
from evovae.restore.ensemble import Estimate
from evovae.restore.fitted_patches import FittedPatches
from evovae.restore.image import Image
from evovae.restore.learner import Learner
from evovae.restore.result import Progress
from evovae.restore.tiling import Sampling

INTERVAL = 20.0  # seconds between snapshots


class Watch:
    """Keeps the bounds of all epochs, reports them, and decides when to stop."""

    def __init__(self, max_seconds: float | None, callback: Callable[[Progress], bool | None] | None) -> None:
        self.max_seconds, self.callback = max_seconds, callback
        self.elbo: list[float] = []
        self.started, self.epochs, self.passes, self.done = time.monotonic(), 0, 0.0, 0.0

    def showing(self) -> AbstractContextManager:
        """The callback, where it wants to know when work begins and ends, as a progress bar does."""
        return self.callback if isinstance(self.callback, AbstractContextManager) else nullcontext()

    @property
    def late(self) -> bool:
        """Whether there was so much time only."""
        return self.max_seconds is not None and self.seconds > self.max_seconds

    @property
    def seconds(self) -> float:
        """Since the start, those before a break included."""
        return time.monotonic() - self.started

    def begin(
        self,
        epochs: int,
        passes: float,
        preview: Callable[[Sequence[Estimate]], np.ndarray],
        kept: Mapping[str, Tensor],
    ) -> None:
        """Expect so many epochs, and then work of so many passes over training data; some of it may be done already.

        preview makes the user's picture of what models say.
        """
        self.epochs, self.passes, self.preview, self.elbo, self.done = epochs, epochs + passes, preview, [], 0.0
        nothing = float("nan")
        self.latest = Progress(0, 0, epochs, nothing, nothing, nothing, 0.0, 0.0, partial(preview, []))
        if kept:
            self.elbo = kept["elbo"].tolist()
            self.done, seconds = kept["watch"].tolist()
            self.started -= seconds

    def snapshot(self) -> Snapshot:
        """What `begin` needs."""
        watch = torch.tensor([self.done, self.seconds], dtype=torch.float64)
        return {"elbo": torch.tensor(self.elbo, dtype=torch.float64), "watch": watch}

    def enough(self, model: int, epoch: Epoch, sigma: float, estimates: Callable[[], list[Estimate]]) -> bool:
        """Note an epoch of a model, and how to get what all models say after it; whether to stop."""
        self.elbo.append(epoch.elbo)
        self.latest = replace(
            self.latest,
            model=model,
            epoch=len(self.elbo),
            elbo=epoch.elbo,
            sigma=sigma,
            substitutions=epoch.substitutions,
            preview=lambda: self.preview(estimates()),
        )
        return self.work(1) or self.late

    def skip(self, epochs: int) -> None:
        """Count epochs that are not to be as if they had changed nothing."""
        self.elbo += self.elbo[-1:] * epochs
        self.work(epochs)

    def work(self, passes: float) -> bool:
        """Note work of so many passes; whether the callback asks to stop."""
        self.done += passes
        self.latest = replace(self.latest, share=min(self.done / self.passes, 1.0), seconds=self.seconds)
        return self.callback is not None and bool(self.callback(self.latest))


class Keep(ABC):
    """Where the progress of a restoration is kept."""

    @abstractmethod
    def load(self) -> Mapping[str, Tensor]:
        """What there is to go on from; may be empty."""

    @abstractmethod
    def offer(self, snapshot: Callable[[], Snapshot]) -> None:
        """Take a snapshot if it is time for one."""

    @abstractmethod
    def take(self, snapshot: Callable[[], Snapshot]) -> None:
        """Take a snapshot."""

    @abstractmethod
    def part(self, name: str, make: Callable[[], Snapshot]) -> Mapping[str, Tensor]:
        """A part of the result: as it was made before, or made now."""


class Nowhere(Keep):
    """Nothing is kept."""

    def load(self) -> Mapping[str, Tensor]:
        return {}

    def offer(self, snapshot: Callable[[], Snapshot]) -> None:
        pass

    def take(self, snapshot: Callable[[], Snapshot]) -> None:
        pass

    def part(self, name: str, make: Callable[[], Snapshot]) -> Mapping[str, Tensor]:
        return make()


class InFolder(Keep):
    """In a folder, from time to time."""

    def __init__(self, folder: Folder, seed: int) -> None:
        self.folder, self.seed, self.last = folder, seed, time.monotonic()

    def load(self) -> Mapping[str, Tensor]:
        kept = self.folder.load()
        self.seed = int(kept.get("seed", self.seed))
        return kept

    def offer(self, snapshot: Callable[[], Snapshot]) -> None:
        if time.monotonic() - self.last > INTERVAL:
            self.take(snapshot)

    def take(self, snapshot: Callable[[], Snapshot]) -> None:
        self.folder.save({**snapshot(), "seed": torch.tensor(self.seed)})
        self.last = time.monotonic()

    def part(self, name: str, make: Callable[[], Snapshot]) -> Mapping[str, Tensor]:
        return self.folder.part(name, make)


@dataclass
class Work:
    """What has been learnt so far: the models that have finished an epoch at least, and their estimates."""

    fitted: list[FittedPatches] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    drawn: Snapshot = field(default_factory=dict)

    def add(self, fitted: FittedPatches, estimate: Estimate) -> None:
        """One more."""
        self.fitted.append(fitted)
        self.estimates.append(estimate)

    def snapshot(self) -> Snapshot:
        """All of it."""
        tensors = dict(self.drawn)
        for number, (fitted, estimate) in enumerate(zip(self.fitted, self.estimates, strict=True)):
            tensors |= {f"model.{number}.{name}": tensor for name, tensor in fitted.model.state_dict().items()}
            others = {
                "image": torch.from_numpy(estimate.image),
                "std": torch.from_numpy(estimate.std),
                "commonest": fitted.commonest,
                "bound": torch.tensor(fitted.bound, dtype=torch.float64),
            }
            tensors |= {f"estimate.{number}.{name}": tensor for name, tensor in others.items()}
        return tensors

    def load(self, number: int, fitted: FittedPatches, kept: Mapping[str, Tensor]) -> None:
        """Take one model's share from a snapshot."""
        others = under(f"estimate.{number}.", kept)
        fitted.model.load_state_dict(under(f"model.{number}.", kept))
        fitted = replace(fitted, commonest=others["commonest"], bound=others["bound"].item())
        self.add(fitted, Estimate(others["image"].numpy(), others["std"].numpy()))
        self.drawn = {"generator": kept["generator"]}


def train(
    learners: Iterable[tuple[Sampling, Learner]], image: Image, watch: Watch, keep: Keep, kept: Mapping[str, Tensor]
) -> Work:
    """Train one learner after the other, on from the progress `kept`; an interrupt ends it with the best so far."""
    work = Work()
    try:
        _train(learners, image, work, watch, keep, kept)
    except KeyboardInterrupt:
        if not work.estimates:  # nothing has been learnt that would be worth returning
            raise
    return work


def _train(
    learners: Iterable[tuple[Sampling, Learner]],
    image: Image,
    work: Work,
    watch: Watch,
    keep: Keep,
    kept: Mapping[str, Tensor],
) -> None:
    before = 0
    for number, (sampling, learner) in enumerate(learners):
        if f"estimate.{number}.image" in kept:
            work.load(number, learner.fitted, kept)
            learner.generator.set_state(kept["generator"])
        else:
            stop = _learn(sampling, learner, number, before, work, watch, keep, under(f"training.{number}.", kept))
            if len(watch.elbo) > before:
                stop = _look(sampling, learner, stop, image, work, watch)
            if stop:
                return
            work.drawn = {"generator": learner.generator.get_state()}
            keep.take(lambda: {**work.snapshot(), **watch.snapshot()})
        before += learner.fitted.settings.length


def _look(sampling: Sampling, learner: Learner, asked: bool, image: Image, work: Work, watch: Watch) -> bool:
    """Add a learner's estimate after some of its epochs; returns whether to stop, which may have been asked for
    meanwhile.

    Where there is another estimate already, such a request ends the work on tiles; a first estimate is finished all the
    same.
    """

    def tick(passes: float) -> None:
        nonlocal asked
        asked |= watch.work(passes)
        if asked and work.estimates:
            raise KeyboardInterrupt

    try:
        estimate = sampling.learnt(learner, image, tick)
    except KeyboardInterrupt:
        if work.estimates:
            return True
        asked, estimate = True, sampling.learnt(learner, image, watch.work)
    work.add(learner.learnt, estimate)
    return asked


def _learn(
    sampling: Sampling,
    learner: Learner,
    number: int,
    before: int,
    work: Work,
    watch: Watch,
    keep: Keep,
    resume: Snapshot,
) -> bool:
    """Train one learner, after so many epochs of others; returns whether it was stopped before its end."""

    def snapshot(epoch: Epoch) -> Snapshot:
        training = {f"training.{number}.{name}": tensor for name, tensor in epoch.snapshot().items()}
        return {**work.snapshot(), **watch.snapshot(), **training}

    def estimates() -> list[Estimate]:
        return [*work.estimates, *sampling.glimpse(learner)]

    try:
        for epoch in learner.epochs(resume):
            stop = watch.enough(number, epoch, learner.fitted.level, estimates)
            (keep.take if stop else keep.offer)(partial(snapshot, epoch))
            if stop:
                return True
    except KeyboardInterrupt:
        if not watch.elbo:
            raise
        return True
    except DivergenceError as error:
        if len(watch.elbo) == before:
            raise
        warn(f"{error}; it is taken like that")
        watch.skip(learner.fitted.settings.length - len(watch.elbo) + before)
    return False
