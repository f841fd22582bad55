"""Models of tables of data: trained by any number of processes, and drawn from."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Generator

from evovae import io
from evovae.checkpoint import load_model, save_model
from evovae.commands.shared import console, kept_elsewhere, one_line_errors, say, size
from evovae.devices import find_device
from evovae.em import Epoch
from evovae.model import TVAE
from evovae.restore.memory import free_memory
from evovae.sharding import PATIENCE, Shard, joined
from evovae.train import LIKELIHOODS, Settings, Stop
from evovae.train import train as train_on

Likelihood = StrEnum("Likelihood", [*LIKELIHOODS])  # type: ignore[misc]
app = typer.Typer()
USUAL, GAUSSIAN = Settings(), Likelihood(Settings().likelihood)


def _sizes(text: str) -> tuple[int, ...]:
    """Numbers between commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise typer.BadParameter(f"{text!r} are no layer sizes; write 128 or 128,64")
    return tuple(map(int, parts))


class _Told:
    """Shows each epoch: a bar with the time that is left on a terminal, a line elsewhere."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
        self.bar = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self.task = self.bar.add_task("", total=epochs)

    def __call__(self, epoch: Epoch, model: TVAE) -> None:
        text = f"epoch {epoch.number}/{self.epochs}  elbo {epoch.elbo:.4f}  new {epoch.substitutions:.2f}"
        self.bar.update(self.task, completed=epoch.number, description=text)
        if not console.is_terminal:
            say(f"{text}  seconds {epoch.seconds:.1f}", "default")


class _Board:
    """Writes what is told to TensorBoard, too."""

    def __init__(self, told: _Told, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise OSError("tensorboard is missing; pip install tensorboard brings it") from error
        self.told, self.writer = told, SummaryWriter(str(folder))

    def __call__(self, epoch: Epoch, model: TVAE) -> None:
        self.told(epoch, model)
        for name, value in (("elbo", epoch.elbo), ("substitutions", epoch.substitutions)):
            self.writer.add_scalar(name, value, epoch.number)
        self.writer.flush()


@app.command()
def train(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A table: .npy, .zarr, .h5, or data.h5:name.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where model, log and progress go.")],
    latents: Annotated[int, typer.Option(min=1, help="Binary latents.")] = USUAL.latents,
    hidden: Annotated[str, typer.Option(help="The decoder's layers, as in 128,64; empty for a linear one.")] = "128",
    likelihood: Annotated[Likelihood, typer.Option(help="What the data are like.")] = GAUSSIAN,
    states: Annotated[int, typer.Option(min=1, help="States that each data point keeps.")] = USUAL.states,
    parents: Annotated[int, typer.Option(min=1, help="States that get children in a step.")] = USUAL.parents,
    children: Annotated[int, typer.Option(min=1, help="Children of each.")] = USUAL.children,
    generations: Annotated[int, typer.Option(min=1, help="Generations in a step.")] = USUAL.generations,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = USUAL.epochs,
    batch_size: Annotated[int, typer.Option(min=1, help="Data points of each process in a step.")] = USUAL.batch_size,
    learning_rate: Annotated[float, typer.Option(min=0, help="Adam's, at its peak.")] = USUAL.learning_rate,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same numbers.")] = USUAL.seed,
    max_memory: Annotated[
        float | None, typer.Option(parser=size, metavar="SIZE", help="For all processes here; the rest lies in files.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, ..., auto.")] = "cpu",
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for another process.")] = PATIENCE,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write what TensorBoard shows, too.")] = False,
) -> None:
    """Train a model on the rows of DATA, and go on from what DIR holds.

    In several processes: torchrun --nproc-per-node 2 --max-restarts 3 -m evovae train DATA DIR
    """
    settings = Settings(
        latents, _sizes(hidden), likelihood.value, states, parents, children, generations, epochs, batch_size,
        learning_rate, seed,
    )  # fmt: skip
    stop = Stop()
    with one_line_errors(), joined(patience) as shard, stop.noticed():
        memory = (free_memory() if max_memory is None else max_memory) / shard.beside
        place, told = find_device(device), _Told(epochs)
        report = _Board(told, folder) if tensorboard and shard.rank == 0 else told
        with told.bar:
            train_on(data, folder, settings, shard, memory=memory, device=place, report=report, stop=stop, save=_saved)
        _conclude(shard, folder, stop)
    if stop.signal:
        raise typer.Exit(128 + stop.signal)


def _saved(path: Path, model: TVAE, about: Mapping[str, Any]) -> None:
    """Write the model, here or elsewhere."""
    with kept_elsewhere(path, lambda place: save_model(place, model, about)):
        save_model(path, model, about)


def _conclude(shard: Shard, folder: Path, stop: Stop) -> None:
    if shard.rank == 0:
        how = "stopped; the same command goes on" if stop.signal else "done"
        say(f"{how}; the model is in {folder / 'model.safetensors'}", "default")


@app.command()
def sample(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model that `train` wrote.")],
    n: Annotated[int, typer.Argument(metavar="N", min=1, help="How many.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Where they go: .npy, .zarr, ...")],
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Draw N data points from MODEL, in the units and the shape of what it was trained on."""
    with one_line_errors():
        drawn_from, about = load_model(model)
        missing = {"offset", "unit", "shape"} - {*about}
        if missing:
            raise ValueError(f"{model} does not say what units and shape its data have; write those of `evovae train`")
        io.check_place(target, overwrite=overwrite)
        x, _ = drawn_from.sample(n, Generator().manual_seed(seed))
        values = (x.double().numpy() * about["unit"] + np.asarray(about["offset"])).reshape(n, *about["shape"])
        content = io.Content(values.astype(np.float32))
        io.check_writable(target, content, overwrite=overwrite)
        with kept_elsewhere(target, lambda path: io.write(path, content)):
            io.write(target, content)
    say(f"{n} data points written: {target}", "default")
