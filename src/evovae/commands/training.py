"""What `train`, `sample` and `evaluate` do with files."""

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Generator

from evovae import io
from evovae.checkpoint import load_model, save_model
from evovae.commands.shared import console, kept_elsewhere, one_line_errors, say
from evovae.devices import find_device
from evovae.em import Epoch
from evovae.evaluation import evaluate as evaluate_bound
from evovae.model import TVAE
from evovae.restore.memory import free_memory
from evovae.settings import Settings
from evovae.sharding import Alone, joined
from evovae.tables import Room, Rows, opened
from evovae.train import Stop
from evovae.train import train as train_on


class _Told:
    """Shows each epoch: a bar with the time that is left on a terminal, a line elsewhere."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
        self.bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task("", total=epochs)

    def __call__(self, epoch: Epoch, model: TVAE, bound: float) -> None:
        text = f"epoch {epoch.number}/{self.epochs}  elbo {epoch.elbo:.4f}  new {epoch.substitutions:.2f}"
        text += "" if math.isnan(bound) else f"  validation {bound:.4f}"
        self.bar.update(self.task, completed=epoch.number, description=text)
        if not console.is_terminal:
            say(f"{text}  seconds {epoch.seconds:.1f}")


class _Board:
    """Writes what is told to TensorBoard, too."""

    def __init__(self, told: _Told, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise OSError("tensorboard is missing; pip install tensorboard brings it") from error
        self.told, self.writer = told, SummaryWriter(str(folder))

    def __call__(self, epoch: Epoch, model: TVAE, bound: float) -> None:
        self.told(epoch, model, bound)
        for name, value in (("elbo", epoch.elbo), ("substitutions", epoch.substitutions), ("validation", bound)):
            if not math.isnan(value):
                self.writer.add_scalar(name, value, epoch.number)
        self.writer.flush()


def train(
    data: str,
    folder: Path,
    settings: Settings,
    validation: str | None,
    max_memory: float | None,
    device: str,
    patience: float,
    board: bool,
) -> None:
    """Train, and go on from what the folder holds; board is whether TensorBoard is told, too."""
    stop = Stop()
    with one_line_errors(), joined(patience) as shard, stop.noticed():
        memory = (free_memory() if max_memory is None else max_memory) / shard.beside
        place, told = find_device(device), _Told(settings.epochs)
        report = _Board(told, folder) if board and shard.rank == 0 else told
        with told.bar:
            train_on(
                data,
                folder,
                settings,
                shard,
                memory=memory,
                validation=validation,
                device=place,
                report=report,
                stop=stop,
                save=_saved,
            )
        if shard.rank == 0:
            how = "stopped; the same command goes on" if stop.signal else "done"
            say(f"{how}; the model is in {folder / 'model.safetensors'}")
    if stop.signal:
        raise typer.Exit(128 + stop.signal)


def _saved(path: Path, model: TVAE, about: Mapping[str, Any]) -> None:
    """Write the model, here or elsewhere."""
    with kept_elsewhere(path, lambda place: save_model(place, model, about)):
        save_model(path, model, about)


def sample(model: Path, n: int, target: Path, seed: int, overwrite: bool) -> None:
    """Draw n data points, and write them."""
    with one_line_errors():
        drawn_from, about = _loaded(model)
        io.check_place(target, overwrite=overwrite)
        x, _ = drawn_from.sample(n, Generator().manual_seed(seed))
        values = (x.double().numpy() * about["unit"] + np.asarray(about["offset"])).reshape(n, *about["shape"])
        content = io.Content(values.astype(np.float32))
        io.check_writable(target, content, overwrite=overwrite)
        with kept_elsewhere(target, lambda path: io.write(path, content)):
            io.write(target, content)
    say(f"{n} data points written: {target}")


def evaluate(model: Path, data: str, n_states: int, tolerance: float, seed: int, as_json: bool) -> None:
    """Bound the log-likelihood of data, and print it."""
    with one_line_errors(), tempfile.TemporaryDirectory() as folder, opened(data) as array:
        trained, about = _loaded(model)
        if list(array.shape[1:]) != list(about["shape"]):
            raise ValueError(f"{data} has rows of shape {array.shape[1:]}, but {model} was trained on {about['shape']}")
        units = np.asarray(about["offset"]), float(about["unit"])
        rows = Rows.read(array, trained.likelihood, Alone(), Room(Path(folder), free_memory() / 2), units)
        found = evaluate_bound(
            trained,
            rows.x,
            rows.observed,
            n_states=n_states,
            tolerance=tolerance,
            generator=Generator().manual_seed(seed),
        )
        found = replace(found, bound=found.bound.double() - rows.observed.sum(1) * math.log(rows.unit))
    if as_json:
        error = None if math.isnan(found.error) else found.error
        line = {"bound": found.mean, "error": error, "rows": len(found.bound), "states": found.states.lpj.shape[1]}
        typer.echo(json.dumps({**line, "steps": found.steps, "converged": found.converged}))
    else:
        typer.echo(f"bound: {found}, {found.states.lpj.shape[1]} states")


def _loaded(path: Path) -> tuple[TVAE, dict[str, Any]]:
    """A model that says what units its data have, and what it says."""
    model, about = load_model(path)
    if {"offset", "unit", "shape"} - {*about}:
        raise ValueError(f"{path} does not say what units and shape its data have; write those of `evovae train`")
    return model, about
