"""Training on a table of data, by one process or by all that ``torchrun`` started: what `evovae train` does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator

from evovae.checkpoint import exclusively, save_model
from evovae.decoders import MLP
from evovae.devices import CPU
from evovae.em import Epoch, fit
from evovae.evolve import Search
from evovae.files import write_atomically
from evovae.likelihoods import Bernoulli, Gaussian, Laplace, Likelihood, Poisson
from evovae.model import TVAE
from evovae.notes import warn
from evovae.priors import Bernoulli as Bits
from evovae.progress import Progress, seed_of
from evovae.settings import Settings
from evovae.sharding import Shard
from evovae.signals import requests_to_end
from evovae.states import States
from evovae.tables import Room, Rows, digest, opened

INTERVAL = 60.0  # seconds between steps that are kept
DRAWN = 2**18  # populations that are drawn at once, which bounds the memory that this takes
LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "gaussian": lambda: Gaussian(0.25),
    "laplace": lambda: Laplace(0.5),
    "bernoulli": Bernoulli,
    "poisson": Poisson,
}


def _search(settings: Settings) -> Search:
    """The search of the E-step."""
    return Search(settings.parents, settings.children, settings.generations)


def _model(settings: Settings, D: int) -> TVAE:
    """The model that every process starts from."""
    H = settings.latents
    decoder = MLP(H, *settings.hidden, D, generator=Generator().manual_seed(settings.seed))
    return TVAE(decoder, LIKELIHOODS[settings.likelihood](), Bits(H, p=min(1 / H, 0.5)))


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
    device: torch.device = CPU,
    report: Callable[[Epoch, TVAE], object],
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
    device
        Where work is done; for a device other than the CPU, data and populations must fit into its memory.
    report
        Called with the `evovae.Epoch` and the model after each epoch, in the first process alone.
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
        run = _Run.prepared(source, folder, settings, shard, memory, device)
        kept = run.progress.load(run.states, run.generator)
        log = _Log(folder / "log.jsonl", int(kept["counts"][0]) if kept else 0, shard)
        last = 0.0
        for epoch in run.epochs(kept):
            ended = _agreed(stop.signal > 0, shard) or epoch.number == settings.epochs
            if ended or _agreed(epoch.seconds > last + INTERVAL, shard):
                run.progress.save(epoch.number, epoch.parameters(), run.states, run.generator)
                last = epoch.seconds
            if shard.rank == 0:
                log.write(epoch, run.model)
                report(epoch, run.model)
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
    progress: Progress
    about: Mapping[str, Any]

    @classmethod
    def prepared(
        cls, source: str | Path, folder: Path, settings: Settings, shard: Shard, memory: float, device: torch.device
    ) -> _Run:
        """Data read, and all else as it is at the start."""
        room = Room(folder, memory)
        with opened(source) as array:  # and closed again, as all that is read of it counts as memory
            run = {**asdict(settings), "hidden": list(settings.hidden), "data": digest(array)}
            shape = [int(n) for n in array.shape[1:]]
            rows = Rows.read(array, LIKELIHOODS[settings.likelihood](), shard, room).to(device)
        generator = Generator().manual_seed(seed_of(settings.seed, shard.rank))
        return cls(
            settings=settings,
            shard=shard,
            model=_model(settings, rows.x.shape[1]).to(device),
            rows=rows,
            states=_populations(len(rows.x), settings, generator, room).to(device),
            generator=generator,
            progress=Progress(folder / "progress", run, rows.N, shard),
            about={"run": run, "offset": torch.from_numpy(rows.offset), "unit": rows.unit, "shape": shape},
        )

    def epochs(self, kept: Mapping[str, torch.Tensor]) -> Iterator[Epoch]:
        """Train, from the parameters of a step on, or from the start."""
        settings = self.settings
        return fit(
            self.model,
            self.rows.x,
            observed=self.rows.observed,
            states=self.states,
            search=_search(settings),
            optimizer=torch.optim.Adam(self.model.decoder.parameters(), lr=settings.learning_rate, fused=True),
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            generator=self.generator,
            resume=kept,
            shard=self.shard,
        )


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


def _agreed(wish: bool, shard: Shard) -> bool:
    """Whether any process wishes it: all get the same answer."""
    return bool(shard.add(torch.tensor(wish, dtype=torch.int64)))


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

    def write(self, epoch: Epoch, model: TVAE) -> None:
        """Add an epoch, with the likelihood's own parameters."""
        own = {name: value.item() for name, value in model.likelihood.state_dict().items() if value.numel() == 1}
        line: dict[str, Any] = {
            "epoch": epoch.number,
            "elbo": epoch.elbo,
            "substitutions": epoch.substitutions,
            "seconds": epoch.seconds,
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
