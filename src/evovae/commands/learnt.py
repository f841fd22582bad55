"""Learn from pictures once, and restore others with what was learnt."""

from pathlib import Path
from typing import Annotated, Any

import typer

from evovae.commands.pictures import Kind, Source, Target, asking

app = typer.Typer()
Sources = Annotated[
    list[Path], typer.Argument(metavar="IN...", help="Pictures of one kind, stacks, or folders of them.")
]
Learnt = Annotated[Path, typer.Argument(metavar="MODEL", help="The file that holds what was learnt.")]
AsLearnt = Annotated[Kind | None, typer.Option(help="Kind of noise, if not the one that `fit` was told.")]


@app.command()
@asking("strength", "dtype", "held_out", "page", "mask", "std", "report", "tile")
def fit(sources: Sources, model: Learnt, **options: Any) -> None:  # noqa: ANN401
    """Learn from noisy pictures of one kind, and write what was learnt to MODEL, for `apply`."""
    from evovae.commands import files

    files.fit(sources, target=model, **options)


@app.command()
@asking("held_out", "time_width", "preset", "max_seconds")
def apply(model: Learnt, source: Source, target: Target, noise: AsLearnt = None, **options: Any) -> None:  # noqa: ANN401
    """Denoise IN with what `fit` has learnt, in seconds, and write OUT; noise and exposure may differ."""
    from evovae.commands import files

    files.apply(model, source=source, target=target, noise=noise, **options)
