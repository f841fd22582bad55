"""Limits of one server."""

from dataclasses import dataclass, field

from evovae.restore.memory import free_memory

MIB = 2**20
DAY = 86400.0


def _memory() -> float:
    """What is to spare now, in whole MiB, so that the command in a report is short."""
    return max(free_memory() // MIB, 1) * MIB


@dataclass(frozen=True)
class Limits:
    """Bounds of a server; what is beyond them is refused in a sentence, or stopped with the best so far.

    Attributes
    ----------
    upload_bytes
        Of one upload.
    values
        Of one picture: pixels times channels times pages.
    queue, parallel
        How many jobs wait, and how many run at a time.
    seconds
        How long a job runs before it is asked to stop.
    grace
        How many seconds later it is ended, if it has not stopped by then.
    farewell
        How many seconds jobs have to stop when the server is ended.
    memory, beside
        Bytes that a job may use for its arrays (as estimated in advance), and what the process around them may take.
    kept_uploads, kept_jobs
        Seconds after which they are removed, when the server starts or takes another upload.
    """

    upload_bytes: int = 128 * MIB
    values: int = 2**26
    queue: int = 32
    parallel: int = 1
    seconds: float = 3600.0
    grace: float = 120.0
    farewell: float = 5.0
    memory: float = field(default_factory=_memory)
    beside: float = 1536.0 * MIB
    kept_uploads: float = DAY
    kept_jobs: float = 30 * DAY
