"""Models of tables of data: trained by any number of processes, and drawn from."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evovae.commands.shared import size
from evovae.settings import CROSS, LIKELIHOODS, MUTATE, PATIENCE, SCHEDULES, SELECT, Settings

Likelihood = StrEnum("Likelihood", [*LIKELIHOODS])  # type: ignore[misc]
Select = StrEnum("Select", [*SELECT])  # type: ignore[misc]
Mutate = StrEnum("Mutate", [*MUTATE])  # type: ignore[misc]
Cross = StrEnum("Cross", [*CROSS])  # type: ignore[misc]
Schedule = StrEnum("Schedule", [*SCHEDULES])  # type: ignore[misc]
app = typer.Typer()
USUAL, GAUSSIAN = Settings(), Likelihood(Settings().likelihood)
TOP, INFORMED, NO_CROSS = Select(USUAL.select), Mutate(USUAL.mutate), Cross(USUAL.cross)
WARM_UP_DECAY = Schedule(USUAL.schedule)


def _sizes(text: str) -> tuple[int, ...]:
    """Numbers between commas."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise typer.BadParameter(f"{text!r} are no layer sizes; write 128 or 128,64")
    return tuple(map(int, parts))


@app.command()
def train(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A table: .npy, .zarr, .h5, data.h5:name, .csv, .parquet.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where model, log and progress go.")],
    validation: Annotated[
        str | None, typer.Option(metavar="DATA", help="Rows to bound after each epoch, not to train on.")
    ] = None,
    latents: Annotated[int, typer.Option(min=1, help="Binary latents.")] = USUAL.latents,
    hidden: Annotated[str, typer.Option(help="The decoder's layers, as in 128,64; empty for a linear one.")] = "128",
    likelihood: Annotated[
        Likelihood, typer.Option(help="What the data are like; subspaces: latents switch linear subspaces, no decoder.")
    ] = GAUSSIAN,
    rank: Annotated[int, typer.Option(min=0, help="Dimension of the subspace of each latent.")] = USUAL.rank,
    always: Annotated[int, typer.Option(min=0, help="Dimension of the subspace that is always on.")] = USUAL.always,
    states: Annotated[int, typer.Option(min=1, help="States that each data point keeps.")] = USUAL.states,
    parents: Annotated[int, typer.Option(min=1, help="States that get children in a step.")] = USUAL.parents,
    children: Annotated[int, typer.Option(min=1, help="Children of each.")] = USUAL.children,
    generations: Annotated[int, typer.Option(min=1, help="Generations in a step.")] = USUAL.generations,
    select: Annotated[Select, typer.Option(help="How parents are selected.")] = TOP,
    mutate: Annotated[Mutate, typer.Option(help="How children are made.")] = INFORMED,
    cross: Annotated[Cross, typer.Option(help="How parents exchange bits.")] = NO_CROSS,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = USUAL.epochs,
    batch_size: Annotated[int, typer.Option(min=1, help="Data points of each process in a step.")] = USUAL.batch_size,
    learning_rate: Annotated[float, typer.Option(min=0, help="Adam's, at its peak.")] = USUAL.learning_rate,
    schedule: Annotated[Schedule, typer.Option(help="The course of the learning rate.")] = WARM_UP_DECAY,
    hold: Annotated[
        int | None, typer.Option(min=0, help="Epochs before the prior is updated. [default: a quarter]")
    ] = USUAL.hold,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same numbers.")] = USUAL.seed,
    max_memory: Annotated[
        float | None, typer.Option(parser=size, metavar="SIZE", help="For all processes here; the rest lies in files.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, cuda, cuda:1, ..., auto.")] = "cpu",
    patience: Annotated[float, typer.Option(min=1, help="Seconds to wait for another process.")] = PATIENCE,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write what TensorBoard shows, too.")] = False,
) -> None:
    """Train a model on the rows of DATA, and go on from what DIR holds; with more --epochs, a run is extended.

    In several processes: torchrun --nproc-per-node 2 --max-restarts 3 -m evovae train DATA DIR
    """
    settings = Settings(
        latents, _sizes(hidden), likelihood.value, states, parents, children, generations, epochs, batch_size,
        learning_rate, seed, rank, always, select.value, mutate.value, cross.value, schedule.value, hold,
    )  # fmt: skip
    from evovae.commands import training

    training.train(data, folder, settings, validation, max_memory, device, patience, tensorboard)


@app.command()
def sample(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model that `train` wrote.")],
    n: Annotated[int, typer.Argument(metavar="N", min=1, help="How many.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Where they go: .npy, .zarr, ...")],
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Draw N data points from MODEL, in the units and the shape of what it was trained on."""
    from evovae.commands import training

    training.sample(model, n, target, seed, overwrite)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model that `train` wrote.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A table that took no part in training, as for `train`.")],
    states: Annotated[int, typer.Option(min=1, help="States of each data point: more make the bound tighter.")] = 64,
    tolerance: Annotated[
        float, typer.Option(min=1e-9, help="Nats: the search ends when the bound grows by less.")
    ] = 0.02,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same numbers.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON, to stdout.")] = False,
) -> None:
    """Bound the log-likelihood of the rows of DATA under MODEL, in nats per row and in the units of the data."""
    from evovae.commands import training

    training.evaluate(model, data, states, tolerance, seed, as_json)
