"""``evovae`` and ``python -m evovae``: the command line, if what it needs is installed."""

import sys


def main() -> None:
    """Run a command; without what commands need, say what brings it."""
    try:
        from evovae import cli
    except ModuleNotFoundError as error:
        sys.exit(f"evovae: {error}")
    cli.main()


if __name__ == "__main__":
    main()
