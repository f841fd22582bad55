"""The jobs there are, in a small SQLite file: they outlive the server."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from evovae.web.schemas import Job, Picture, State, Wish

TABLE = """
create table if not exists jobs (
    id text primary key, state text not null, created real not null, started real, ended real,
    message text not null default '', wish text not null, picture text not null
)
"""
LOST = "the server was ended before this job was; start it again"


class Jobs:
    """A table of jobs; any thread may use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._changing() as table:
            table.execute(TABLE)

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept together, or not at all."""
        with closing(sqlite3.connect(self.path, timeout=30)) as connection, connection:
            connection.row_factory = sqlite3.Row
            yield connection

    def add(self, name: str, wish: Wish, picture: Picture) -> Job:
        """A new job, queued."""
        row = (name, State.QUEUED, time.time(), wish.model_dump_json(), picture.model_dump_json())
        with self._changing() as table:
            table.execute("insert into jobs (id, state, created, wish, picture) values (?, ?, ?, ?, ?)", row)
        return self.get(name)

    def get(self, name: str) -> Job:
        """A job.

        Raises
        ------
        KeyError
            If there is none of that name.
        """
        with self._changing() as table:
            row = table.execute("select * from jobs where id = ?", (name,)).fetchone()
        if row is None:
            raise KeyError(name)
        return _job(row)

    def all(self) -> list[Job]:
        """All of them, the newest first."""
        with self._changing() as table:
            return [_job(row) for row in table.execute("select * from jobs order by created desc")]

    def started(self, name: str) -> None:
        """A job runs now."""
        self._set("state = ?, started = ?", State.RUNNING, time.time(), name)

    def ended(self, name: str, state: State, message: str) -> None:
        """A job has come to an end."""
        self._set("state = ?, message = ?, ended = ?", state, message, time.time(), name)

    def _set(self, changes: str, *values: Any) -> None:  # noqa: ANN401 - whatever SQLite holds
        with self._changing() as table:
            table.execute(f"update jobs set {changes} where id = ?", values)

    def mark_lost(self) -> None:
        """What a server that was ended has left unfinished has failed."""
        with self._changing() as table:
            table.execute(
                "update jobs set state = ?, message = ?, ended = ? where state in (?, ?)",
                (State.FAILED, LOST, time.time(), State.QUEUED, State.RUNNING),
            )

    def remove(self, name: str) -> None:
        """Forget a job."""
        with self._changing() as table:
            table.execute("delete from jobs where id = ?", (name,))


def new_name() -> str:
    """A name that no one can guess, and that is safe as one of a folder."""
    return uuid4().hex


def _job(row: sqlite3.Row) -> Job:
    held = {name: row[name] for name in row.keys()}  # noqa: SIM118 - of a row, `in` looks at the values
    held["wish"], held["picture"] = Wish.model_validate_json(row["wish"]), Picture.model_validate_json(row["picture"])
    return Job(**held)
