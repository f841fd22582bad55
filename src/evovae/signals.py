"""Requests to end: Ctrl-C and SIGTERM."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def requests_to_end(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Give requests to end to a handler, for the time of a ``with`` block; then former handlers are put back."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
