"""The command line: the only place (with the presets) where words become objects."""

import os
import sys
from typing import Annotated, NoReturn

from evovae import __version__
from evovae.extras import needs

with needs("cli", "the command line"):
    import typer

    from evovae.commands import learnt, models, others, pictures, web
    from evovae.commands.shared import INTERRUPTED

app = typer.Typer(
    help="Clean or fill a single picture, with nothing but the picture; binary latents for any data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for commands in (pictures, learnt, web, models, others):
    app.add_typer(commands.app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"evovae {__version__}")
        raise typer.Exit


@app.callback()
def _all(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """What goes before any command."""


def main() -> None:
    """Entry point of ``evovae`` and ``python -m evovae``."""
    try:
        app()
    except KeyboardInterrupt:
        leave(INTERRUPTED)
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)


def leave(code: int) -> NoReturn:
    """End this process with an exit code: at once if it is one of several.

    Threads of gloo do not always survive the interpreter's own end, which then aborts when all has been done.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
