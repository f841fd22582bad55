"""``python -m evovae``: the command line."""

from evovae.cli import main

main()
