"""The page for people who do not use a terminal."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from evovae.commands.shared import one_line_errors, say, size
from evovae.extras import needs

app = typer.Typer()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Where to listen; all but this machine's own are public.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where pictures and results are kept.  Default: with your data.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    queue: Annotated[int, typer.Option(min=1, help="How many jobs may wait.")] = 32,
    max_seconds: Annotated[float, typer.Option(min=0, help="Stop a job after this long, best so far.")] = 3600,
    max_values: Annotated[int, typer.Option(min=1, help="Pixels times channels times pages of a picture.")] = 2**26,
    max_memory: Annotated[
        float | None, typer.Option(parser=size, metavar="SIZE", help="Memory that a job may use, such as 4G.")
    ] = None,
) -> None:
    """Open a page in the browser that does what `denoise` and `inpaint` do."""
    with one_line_errors():
        with needs("web", "the page"):
            from evovae.web import app as page
            from evovae.web.limits import Limits
        limits = Limits(queue=queue, seconds=max_seconds, values=max_values)
        limits = limits if max_memory is None else replace(limits, memory=max_memory)
        place = folder or page.default_folder()
        page.serve(place, limits, host, port, browser, lambda text: say(text, "default"))
