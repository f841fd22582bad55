"""The patch models' work on an image, one after the other: reported, kept, and stopped with the best so far."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from evovae.checkpoint import Checkpointer, Record
from evovae.em import DivergenceError, Epoch, Snapshot
from evovae.notes import warn
from evovae.restore.ensemble import Estimate
from evovae.restore.fitted_patches import FittedPatches
from evovae.restore.image import Image
from evovae.restore.learner import Learner
from evovae.restore.result import Progress
from evovae.restore.tiling import Sampling


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
        kept: Record,
    ) -> None:
        """Expect so many epochs, and then work of so many passes over training data; some of it may be done already.

        preview makes the user's picture of what models say.
        """
        self.epochs, self.passes, self.preview, self.elbo, self.done = epochs, epochs + passes, preview, [], 0.0
        if kept:
            self.elbo = kept["elbo"].tolist()
            self.done, seconds = kept["watch"].tolist()
            self.started -= seconds
        nothing = float("nan")
        self.latest = Progress(0, len(self.elbo), epochs, nothing, nothing, nothing, 0.0, 0.0, partial(preview, []))

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
        )
        self.show(estimates)
        return self.work(1) or self.late

    def show(self, estimates: Callable[[], list[Estimate]]) -> None:
        """Make previews of what models say, which is kept alive until something else is to be shown."""
        preview = self.preview  # not self, or all of this would be freed late
        self.latest = replace(self.latest, preview=lambda: preview(estimates()))

    def skip(self, epochs: int) -> None:
        """Count epochs that are not to be as if they had changed nothing."""
        self.elbo += self.elbo[-1:] * epochs
        self.work(epochs)

    def work(self, passes: float) -> bool:
        """Note work of so many passes; whether the callback asks to stop."""
        self.done += passes
        self.latest = replace(self.latest, share=min(self.done / self.passes, 1.0), seconds=self.seconds)
        return self.callback is not None and bool(self.callback(self.latest))


@dataclass
class Work:
    """What has been learnt so far: the models that have finished an epoch at least, and their estimates."""

    seed: int
    fitted: list[FittedPatches] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    drawn: Snapshot = field(default_factory=dict)

    def add(self, fitted: FittedPatches, estimate: Estimate) -> None:
        """One more."""
        self.fitted.append(fitted)
        self.estimates.append(estimate)

    def snapshot(self) -> Snapshot:
        """All of it."""
        done = [
            {
                "model": fitted.model.state_dict(),
                "commonest": fitted.commonest,
                "bound": torch.tensor(fitted.bound, dtype=torch.float64),
                "image": torch.from_numpy(estimate.image),
                "std": torch.from_numpy(estimate.std),
            }
            for fitted, estimate in zip(self.fitted, self.estimates, strict=True)
        ]
        return {
            "seed": torch.tensor(self.seed),
            **self.drawn,
            "done": {str(number): record for number, record in enumerate(done)},
        }

    def load(self, fitted: FittedPatches, kept: Record, drawn: Snapshot) -> None:
        """Take one model's share from a snapshot."""
        fitted.model.load_state_dict(kept["model"])
        fitted = replace(fitted, commonest=kept["commonest"], bound=kept["bound"].item())
        self.add(fitted, Estimate(kept["image"].numpy(), kept["std"].numpy()))
        self.drawn = drawn


def train(
    learners: Iterable[tuple[Sampling, Learner]],
    image: Image,
    watch: Watch,
    checkpointer: Checkpointer,
    kept: Record,
    seed: int,
) -> Work:
    """Train one learner after the other, on from the progress `kept`; an interrupt ends it with the best so far.

    The seed is kept, for those who did not ask for one.
    """
    work, before = Work(seed), 0
    done, training = kept.get("done", {}), kept.get("training", {})
    try:
        for sampling, learner in learners:
            number = len(work.fitted)
            if str(number) in done:
                work.load(learner.fitted, done[str(number)], {"generator": kept["generator"]})
                learner.generator.set_state(kept["generator"])
            else:
                resume = training if number == len(done) else {}
                stop = _learn(sampling, learner, number, before, work, watch, checkpointer, resume)
                if len(watch.elbo) > before:
                    stop = _look(sampling, learner, stop, image, work, watch)
                if stop:
                    break
                work.drawn = {"generator": learner.generator.get_state()}
                checkpointer.save(lambda: {**work.snapshot(), **watch.snapshot()})
            before += learner.fitted.settings.length
            watch.show(work.estimates.copy)
            del sampling, learner  # before there is another one, as both together take much memory
    except KeyboardInterrupt:
        if not work.estimates:  # nothing has been learnt that would be worth returning
            raise
    return work


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
    checkpointer: Checkpointer,
    resume: Record,
) -> bool:
    """Train one learner, after so many epochs of others; returns whether it was stopped before its end."""

    def snapshot(epoch: Epoch) -> Snapshot:
        return {**work.snapshot(), **watch.snapshot(), "training": epoch.snapshot()}

    def estimates() -> list[Estimate]:
        return [*work.estimates, *sampling.glimpse(learner)]

    try:
        for epoch in learner.epochs(resume):
            stop = watch.enough(number, epoch, learner.fitted.level, estimates)
            checkpointer.save(partial(snapshot, epoch), now=stop)
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
