"""Learn from pictures once, and restore others with what was learnt."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from evovae.commands.pictures import (
    BALANCED,
    FOUND,
    MASK,
    REFUSED,
    Axes,
    Channels,
    DType,
    Infinite,
    Json,
    Kind,
    MaxMemory,
    MaxSeconds,
    Noise,
    Overwrite,
    Page,
    Quiet,
    Recursive,
    ReportFile,
    Resume,
    Seed,
    Series,
    Sigma,
    Source,
    Std,
    Strength,
    Target,
    Tile,
    Time,
    TimeWidth,
    Where,
)

app = typer.Typer()
Sources = Annotated[
    list[Path], typer.Argument(metavar="IN...", help="Pictures of one kind, stacks, or folders of them.")
]
Learnt = Annotated[Path, typer.Argument(metavar="MODEL", help="The file that holds what was learnt.")]
AsLearnt = Annotated[Kind | None, typer.Option("--noise", help="Kind of noise, if not the one that `fit` was told.")]


@app.command()
def fit(
    sources: Sources,
    model: Learnt,
    sigma: Sigma = None,
    noise: Noise = FOUND,
    channel_axis: Channels = None,
    axes: Axes = None,
    time_width: TimeWidth = None,
    series: Series = None,
    nonfinite: Infinite = REFUSED,
    preset: Time = BALANCED,
    seed: Seed = 0,
    max_seconds: MaxSeconds = None,
    max_memory: MaxMemory = None,
    device: Where = "cpu",
    resume: Resume = None,
    overwrite: Overwrite = False,
    recursive: Recursive = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Learn from noisy pictures of one kind, and write what was learnt to MODEL, for `apply`."""
    options = locals()
    from evovae.commands import files

    files.fit(options.pop("sources"), target=options.pop("model"), **options)


@app.command()
def apply(
    model: Learnt,
    source: Source,
    target: Target,
    sigma: Sigma = None,
    noise: AsLearnt = None,
    strength: Strength = 1.0,
    dtype: DType = None,
    channel_axis: Channels = None,
    axes: Axes = None,
    page: Page = None,
    series: Series = None,
    nonfinite: Infinite = REFUSED,
    mask: Annotated[Path | None, typer.Option(help=MASK)] = None,
    std: Std = None,
    report: ReportFile = None,
    seed: Seed = 0,
    tile: Tile = None,
    max_memory: MaxMemory = None,
    device: Where = "cpu",
    resume: Resume = None,
    overwrite: Overwrite = False,
    recursive: Recursive = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Denoise IN with what `fit` has learnt, in seconds, and write OUT; noise and exposure may differ."""
    options = locals()
    from evovae.commands import files

    files.apply(options.pop("model"), sys.argv[1:], **options)
