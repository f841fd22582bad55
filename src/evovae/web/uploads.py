"""Uploads: counted while they stream in, named by the server, looked at before anything is decoded."""

import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
from fastapi import HTTPException
from starlette.concurrency import run_in_threadpool

from evovae import io
from evovae.web.headers import SUFFIXES, kind
from evovae.web.limits import Limits
from evovae.web.look import look
from evovae.web.names import CLEAN, PICTURE, VALUES, made
from evovae.web.schemas import Picture

HALF_RECEIVED = 3600.0  # seconds after which nobody sends the rest


def no_room(what: str, error: Exception) -> HTTPException:
    """507 for a picture or a job that could not be written down."""
    why = getattr(error, "strerror", None) or error
    return HTTPException(507, f"the {what} cannot be kept: {why}; free some space")


class Uploads:
    """Pictures in a folder, each in one of its own: the file as it came, its values, and what is known of it."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits
        self._one = threading.Lock()  # of what is decoded, only one has to fit into memory
        folder.mkdir(parents=True, exist_ok=True)

    def purge(self) -> None:
        """Remove what is old, and what was left half received by a server that was ended."""
        for place in made(self.folder):
            keep = self.limits.kept_uploads if (place / PICTURE).exists() else HALF_RECEIVED
            if time.time() - place.stat().st_mtime > keep:
                shutil.rmtree(place, ignore_errors=True)

    def place(self, name: str) -> Path:
        """The folder of an upload; 404 if there is none."""
        place = self.folder / name
        if not (place / PICTURE).exists():
            raise HTTPException(404, f"there is no upload {name}; it may have been removed, so send the picture again")
        return place

    def get(self, name: str) -> Picture:
        """What is known of an upload; 404 if there is none."""
        return Picture.model_validate_json((self.place(name) / PICTURE).read_bytes())

    async def receive(self, body: AsyncIterator[bytes], length: str | None, title: str = "") -> Picture:
        """Take in the body of a request, which says to have that length, or does not; title is the file's own name.

        Raises
        ------
        HTTPException
            413 if it is too large, 415 if it is no picture of a known kind, 422 if it cannot be read or restored, 507
            if it cannot be kept.
        """
        if length and length.isdecimal() and int(length) > self.limits.upload_bytes:
            raise self._too_large()
        with self._new_place() as place:
            await self._store(body, place / "body")
            return await run_in_threadpool(self._take_in, place, title)

    def add(self, content: io.Content, suffix: str, title: str, clean: np.ndarray | None = None) -> Picture:
        """Take in a picture that is there already, as a file of a kind, and its clean version, if that is known.

        Raises
        ------
        HTTPException
            507 if it cannot be kept.
        """
        with self._new_place() as place:
            io.write(place / f"body{suffix}", content)
            (place / f"body{suffix}").rename(place / "body")
            if clean is not None:
                np.save(place / CLEAN, clean)
            return self._take_in(place, title)

    @contextmanager
    def _new_place(self) -> Iterator[Path]:
        """A folder for an upload, of which nothing is left if it comes to none."""
        place = self.folder / uuid4().hex
        try:
            place.mkdir()
            yield place
        except BaseException as error:
            shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, OSError):
                raise no_room("picture", error) from error
            raise

    async def _store(self, body: AsyncIterator[bytes], path: Path) -> None:
        count = 0
        with path.open("wb") as file:
            async for chunk in body:
                count += len(chunk)
                if count > self.limits.upload_bytes:
                    raise self._too_large()
                file.write(chunk)

    def _too_large(self) -> HTTPException:
        most = f"{self.limits.upload_bytes:,}"
        return HTTPException(413, f"the file has more than {most} bytes; cut the picture, or use the command line")

    def _take_in(self, place: Path, title: str) -> Picture:
        """Make an upload of a folder with a body in it."""
        form = kind(place / "body")
        path = (place / "body").rename(place / f"input{SUFFIXES[form]}")
        with self._one:
            picture, values = look(path, form, place.name, title, self.limits)
            np.save(place / VALUES, values)
        io.write_atomically(place / PICTURE, lambda file: file.write(picture.model_dump_json().encode()))
        return picture
