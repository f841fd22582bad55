"""Training on a table of data, by one process or by all that ``torchrun`` started: what `evovae train` does."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, nn

from evovae import operators, schedules
from evovae.checkpoint import Checkpointer, exclusively, save_model
from evovae.decoders import MLP, Silent
from evovae.devices import CPU
from evovae.em import Epoch, Training
from evovae.evaluation import evaluate
from evovae.evolve import Search
from evovae.files import write_atomically
from evovae.likelihoods import Bernoulli, Gaussian, Laplace, Likelihood, LowRankGaussian, Poisson
from evovae.model import TVAE
from evovae.notes import warn
from evovae.priors import Bernoulli as Bits
from evovae.settings import Settings
from evovae.sharding import Shard, seed_of
from evovae.signals import requests_to_end
from evovae.states import States
from evovae.tables import Room, Rows, digest, opened

logger = logging.getLogger(__name__)

INTERVAL = 60.0  # seconds from one checkpoint to the next
_Parts = tuple[nn.Module, Likelihood]
DRAWN = 2**18  # populations that are drawn at once, which bounds the memory that this takes
TOLERANCE, TRIES, MOST = 0.1, 2, 50  # E-steps on held-out data in an epoch go on while TRIES gain so many nats


def _network(make: Callable[[], Likelihood], settings: Settings, D: int, generator: Generator) -> _Parts:
    """A decoder that is trained by its gradient."""
    return MLP(settings.latents, *settings.hidden, D, generator=generator), make()


def _subspaces(settings: Settings, D: int, generator: Generator) -> _Parts:
    """Latents that switch linear subspaces on, and no decoder."""
    sizes = settings.latents, D, settings.rank, settings.always
    return Silent(D), LowRankGaussian(*sizes, offsets=True, sigma2=0.25, generator=generator)


LIKELIHOODS: dict[str, Callable[[Settings, int, Generator], _Parts]] = {
    "gaussian": partial(_network, partial(Gaussian, 0.25)),
    "laplace": partial(_network, partial(Laplace, 0.5)),
    "bernoulli": partial(_network, Bernoulli),
    "poisson": partial(_network, Poisson),
    "subspaces": _subspaces,
}


def _model(settings: Settings, D: int) -> TVAE:
    """The model that every process starts from."""
    H = settings.latents
    parts = LIKELIHOODS[settings.likelihood](settings, D, Generator().manual_seed(settings.seed))
    return TVAE(*parts, Bits(H, p=min(1 / H, 0.5)))


def _search(settings: Settings, model: TVAE) -> Search:
    """The search of the E-step."""
    exact = isinstance(model.likelihood, LowRankGaussian)  # which subspaces are on has no gradient
    mutate: dict[str, Callable] = {
        "informed_flip": operators.exactly_informed_flip if exact else operators.informed_flip,
        "uniform_flip": operators.uniform_flip,
        "sparse_flip": operators.SparseFlip(model.prior),  # type: ignore[arg-type]
    }
    return Search(
        settings.parents,
        settings.children,
        settings.generations,
        select=getattr(operators, settings.select),
        mutate=mutate[settings.mutate],
        cross=getattr(operators, settings.cross),
    )


def _training(settings: Settings, model: TVAE) -> Training:
    """How it is trained."""
    return Training(
        _search(settings, model),
        settings.epochs,
        settings.batch_size,
        settings.learning_rate,
        getattr(schedules, settings.schedule),
        hold=settings.hold,
    )


class Stop:
    """Notices requests to end: the first one lets the epoch end, the second one interrupts at once.

    Attributes
    ----------
    signal
        The number of the signal that was noticed; 0 before.
    """

    def __init__(self) -> None:
        self.signal = 0

    def _notice(self, number: int, _: object) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number

    def noticed(self) -> AbstractContextManager[None]:
        """Listen to Ctrl-C and SIGTERM for the time of a ``with`` block.

        Returns
        -------
        AbstractContextManager
            To be entered.
        """
        return requests_to_end(self._notice)


def train(
    source: str | Path,
    folder: Path,
    settings: Settings,
    shard: Shard,
    *,
    memory: float,
    validation: str | Path | None = None,
    device: torch.device = CPU,
    report: Callable[[Epoch, TVAE, float], object],
    stop: Stop,
    save: Callable[[Path, TVAE, Mapping[str, Any]], object] = save_model,
) -> TVAE:
    """Train on a table, keep progress, log and model in a folder, and go on from what is there.

    Parameters
    ----------
    source
        The table; see `evovae.tables.opened`.
    folder
        Where progress, ``log.jsonl`` and ``model.safetensors`` are kept; made if it is not there.  All processes see
        the same folder.
    settings
        The model, and how it is trained.
    shard
        This process's share of the data.
    memory
        Bytes that data and populations may take in this process; what goes beyond lies in files.
    validation
        A table of data points that take no part in training, whose bound is reported after each epoch; see `evaluate`.
        Default: none, whose bound is NaN.
    device
        Where work is done; for a device other than the CPU, data and populations must fit into its memory.
    report
        Called with the `evovae.Epoch`, the model and the mean bound of validation data after each epoch, in the first
        process alone.
    stop
        What ends the training after an epoch.
    save
        Writes the model at the end, in the first process alone, from a path, the model, and a description.

    Returns
    -------
    TVAE
        The trained model, in the units of `evovae.tables.Rows`.

    Raises
    ------
    ValueError, TypeError, OSError
        For tables and settings that make no sense, before any work is done.
    CheckpointError, BusyError
        If the folder holds another run, or is in use.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, shard):
        run = _Run.prepared(source, validation, folder, settings, shard, memory, device)
        kept = run.kept()
        log = _Log(folder / "log.jsonl", int(kept["counts"][0]) if kept else 0, shard)
        for epoch in run.epochs(kept):
            ended = shard.any(stop.signal > 0) or epoch.number == settings.epochs
            run.keep(epoch, now=ended)
            bound = run.held_out(run.model)
            if shard.rank == 0:
                log.write(epoch, run.model, bound)
                report(epoch, run.model, bound)
            if ended:
                break
        if shard.rank == 0:
            save(folder / "model.safetensors", run.model, run.about)
    return run.model


@dataclass(frozen=True)
class _Run:
    """All that one process trains with, and the description of the model."""

    settings: Settings
    shard: Shard
    model: TVAE
    rows: Rows
    states: States
    generator: Generator
    checkpointer: Checkpointer
    held_out: Callable[[TVAE], float]
    about: Mapping[str, Any]

    @classmethod
    def prepared(
        cls,
        source: str | Path,
        validation: str | Path | None,
        folder: Path,
        settings: Settings,
        shard: Shard,
        memory: float,
        device: torch.device,
    ) -> _Run:
        """Data read, and all else as it is at the start."""
        room = Room(folder, memory)
        with opened(source) as array:  # and closed again, as all that is read of it counts as memory
            run = {**asdict(settings), "hidden": list(settings.hidden), "data": digest(array)}
            shape = [int(n) for n in array.shape[1:]]
            model = _model(settings, math.prod(shape))
            rows = Rows.read(array, model.likelihood, shard, room).to(device)
        generator = Generator().manual_seed(seed_of(settings.seed, shard.rank))
        told = {name: value for name, value in run.items() if name != "epochs"}  # a run can be extended
        held_out = _no_bound
        if validation is not None:
            held_out = _HeldOut.read(validation, source, model, rows, settings, shard, room, device).bound
        return cls(
            settings=settings,
            shard=shard,
            model=model.to(device),
            rows=rows,
            states=_populations(len(rows.x), settings, generator, room).to(device),
            generator=generator,
            checkpointer=Checkpointer(folder / "progress", told, INTERVAL, shard),
            held_out=held_out,
            about={"run": run, "offset": torch.from_numpy(rows.offset), "unit": rows.unit, "shape": shape},
        )

    def kept(self) -> Mapping[str, Any]:
        """The last checkpoint, if there is one, with populations brought back.

        With another number of processes than before, draws start anew: the run goes on from the same parameters and
        populations, but not to the bit.
        """
        kept = self.checkpointer.load(self._rows)
        if kept and "generator" not in kept:
            logger.info("there were other processes before: draws start anew, so that this is not to the bit")
            epoch = int(kept["counts"][0])
            self.generator.manual_seed(seed_of(self.generator.initial_seed(), epoch, self.shard.rank))
        return kept

    def keep(self, epoch: Epoch, now: bool) -> None:
        """Make a checkpoint now, or when it is time for one."""
        own = {"generator": self.generator.get_state()}
        self.checkpointer.save(epoch.parameters, rows=self._rows, own=own, now=now)

    @property
    def _rows(self) -> Mapping[str, torch.Tensor]:
        return {"words": self.states.words, "lpj": self.states.lpj}

    def epochs(self, kept: Mapping[str, Any]) -> Iterator[Epoch]:
        """Train, from a checkpoint on, or from the start."""
        return _training(self.settings, self.model).fit(
            self.model,
            self.rows.x,
            observed=self.rows.observed,
            states=self.states,
            generator=self.generator,
            resume=kept,
            shard=self.shard,
        )


def _no_bound(model: TVAE) -> float:
    """That of no data."""
    return math.nan


@dataclass
class _HeldOut:
    """Rows that take no part in training, with populations that each look at them improves."""

    rows: Rows
    shard: Shard
    evaluate: Callable[..., Any]
    states: States | None = None

    @classmethod
    def read(
        cls,
        source: str | Path,
        beside: str | Path,
        model: TVAE,
        training: Rows,
        settings: Settings,
        shard: Shard,
        room: Room,
        device: torch.device,
    ) -> _HeldOut:
        """In the units of the training data."""
        with opened(source) as array:
            n, D = array.shape[0], math.prod(array.shape[1:])
            if len(training.offset) != D:
                raise ValueError(f"{source} has rows of {D} values, but {beside} of {len(training.offset)}")
            if n < shard.world:
                raise ValueError(f"{source} has {n} rows for {shard.world} processes; each needs one at least")
            rows = Rows.read(array, model.likelihood, shard, room, (training.offset, training.unit)).to(device)
        look = partial(
            evaluate,
            n_states=settings.states,
            search=_search(settings, model),
            tolerance=TOLERANCE,
            patience=TRIES,
            most_steps=MOST,
            generator=Generator().manual_seed(seed_of(settings.seed, shard.rank, 1)),
        )
        return cls(rows, shard, look)

    def bound(self, model: TVAE) -> float:
        """The mean of a data point of all processes, in nats."""
        found = self.evaluate(model, self.rows.x, self.rows.observed, start=self.states)
        self.states = found.states
        return float(self.shard.add(found.bound.double().sum())) / self.rows.N


def _populations(n: int, settings: Settings, generator: Generator, room: Room) -> States:
    """Random ones, drawn some at a time."""
    S, H = settings.states, settings.latents
    first = States.random(1, S, H, generator)
    words = room.empty((n, *first.words.shape[1:]), torch.int64)
    states = States(words, room.empty((n, S), torch.float32), H)
    for start in range(0, n, DRAWN):
        stop = min(start + DRAWN, n)
        drawn = States.random(stop - start, S, H, generator)
        states.words[start:stop], states.lpj[start:stop] = drawn.words, drawn.lpj
    return states


@contextmanager
def _locked(folder: Path, shard: Shard) -> Iterator[None]:
    """Keep other runs out of the folder; the first process holds the lock for all."""
    with exclusively(folder) if shard.rank == 0 else nullcontext():
        yield


class _Log:
    """One line of JSON for each epoch; those of epochs that are to be done again are dropped."""

    def __init__(self, path: Path, number: int, shard: Shard) -> None:
        self.path = path
        if shard.rank == 0:
            lines = path.read_text().splitlines() if path.exists() else []
            good = [line for line in lines if _number(line) <= number]
            text = "".join(line + "\n" for line in good)
            write_atomically(path, lambda file: file.write(text.encode()))

    def write(self, epoch: Epoch, model: TVAE, bound: float) -> None:
        """Add an epoch, with the likelihood's own parameters and the bound of validation data, if there are any."""
        own = {name: value.item() for name, value in model.likelihood.state_dict().items() if value.numel() == 1}
        line: dict[str, Any] = {
            "epoch": epoch.number,
            "elbo": epoch.elbo,
            "substitutions": epoch.substitutions,
            "seconds": epoch.seconds,
            **({} if math.isnan(bound) else {"validation": bound}),
            **own,
        }
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:  # training goes on without it
            warn(f"epoch {epoch.number} could not be logged: {error}")


def _number(line: str) -> float:
    """The epoch of a line of the log; infinite where a crash left half of one."""
    try:
        return json.loads(line)["epoch"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
