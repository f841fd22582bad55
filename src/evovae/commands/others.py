"""Is this machine fit for the work, and what does it do?"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evovae.commands.bar import Bar
from evovae.commands.pictures import BALANCED, Overwrite, Preset, Seed
from evovae.commands.shared import one_line_errors

app = typer.Typer()


@app.command()
def doctor() -> None:
    """Say what is installed, and test whether this machine computes what it should."""
    from evovae.doctor import findings

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    found = findings()
    for finding in found:
        table.add_row("[green]ok[/]" if finding.good else "[red]bad[/]", escape(finding.what), escape(finding.found))
    Console().print(table)
    if not all(finding.good for finding in found):
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the pictures go; made if it is not there.")],
    sigma: Annotated[float, typer.Option(min=0.01, help="Noise that is added, in grey levels of 0-255.")] = 25.0,
    preset: Annotated[Preset, typer.Option(help="How long it may take.")] = BALANCED,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Add noise to a real picture, denoise it, and write and print before and after."""
    from evovae.demo import run

    with one_line_errors():
        folder.mkdir(parents=True, exist_ok=True)
        bar = Bar()
        with bar.running():
            summary = run(folder, sigma, preset.value, seed, bar, overwrite)
    typer.echo(summary)
    bar.end()
