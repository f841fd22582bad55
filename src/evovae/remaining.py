"""How long work will still take."""

import time
from math import nan


class Remaining:
    """Seconds until work is done, from its pace since the first report: what came before is over."""

    def __init__(self) -> None:
        self.first: tuple[float, float] | None = None

    def __call__(self, share: float) -> float:
        """Of work of which that share is done; NaN while its pace is not known."""
        now = time.monotonic()
        if self.first is None:
            self.first = now, share
        began, before = self.first
        return (now - began) * (1 - share) / (share - before) if share > before else nan
