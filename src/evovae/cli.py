"""The command line: the only place (with the presets) where words become objects."""

import typer

from evovae.commands import models, others, pictures, web
from evovae.commands.shared import INTERRUPTED
from evovae.sharding import leave

app = typer.Typer(
    help="Clean or fill a single picture, with nothing but the picture; binary latents for any data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for commands in (pictures, web, models, others):
    app.add_typer(commands.app)


def main() -> None:
    """Entry point of ``evovae`` and ``python -m evovae``."""
    try:
        app()
    except KeyboardInterrupt:
        leave(INTERRUPTED)
    except SystemExit as end:
        leave(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)
