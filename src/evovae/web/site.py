"""What routes are handed: all that a server works with, a job, a result, and how a frame is looked at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import Depends, HTTPException, Query, Request, Response
from fastapi import Path as InPath

from evovae.web.images import grey, plane, png, upright
from evovae.web.jobs import Jobs
from evovae.web.limits import Limits
from evovae.web.schemas import ID, Job, Picture, Summary
from evovae.web.uploads import Uploads


@dataclass(frozen=True)
class Site:
    """Uploads and jobs, and how much of both is taken on."""

    limits: Limits
    uploads: Uploads
    jobs: Jobs

    def purge(self) -> None:
        """Remove uploads and jobs that are old."""
        self.uploads.purge()
        self.jobs.purge()


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


Id = Annotated[str, InPath(pattern=ID, description="As the server gave it.")]
TheSite = Annotated[Site, Depends(_site)]


def _job(site: TheSite, job: Id) -> Job:
    return site.jobs.get(job)


TheJob = Annotated[Job, Depends(_job)]


@dataclass(frozen=True)
class Result:
    """A job that has come to a result: where it lies, what it was of, and what was found."""

    place: Path
    picture: Picture
    summary: Summary


def _result(job: TheJob, site: TheSite) -> Result:
    if job.summary is None:
        raise HTTPException(409, f"the job has no result: {job.message or f'it is {job.state}'}")
    return Result(site.jobs.place(job.id), job.picture, job.summary)


TheResult = Annotated[Result, Depends(_result)]

Frame = Annotated[int, Query(ge=0, description="Which frame: the planes of the first page, then those of the next.")]
Channel = Annotated[int | None, Query(ge=0, description="Which channel alone; all of them if none is named.")]
Level = Annotated[float | None, Query(allow_inf_nan=False, description="In units of the picture.")]


@dataclass(frozen=True)
class Look:
    """A frame, a channel of it (None: all), and the values that are black and white (None: as the picture has them)."""

    frame: Frame = 0
    channel: Channel = None
    low: Level = None
    high: Level = None

    def plane(self, path: Path, picture: Picture) -> np.ndarray:
        """That frame (Y, X, channels) of a file of arranged values, upright; 404 if it is not there."""
        check_frame(self.frame, picture)
        if self.channel is not None and self.channel >= picture.channels:
            have = f"there are {picture.channels}, counted from 0"
            raise HTTPException(404, f"channel {self.channel} is not there; {have}")
        values = upright(plane(np.load(path, mmap_mode="r"), self.frame), picture.orientation)
        return values if self.channel is None else values[..., self.channel, None]

    def grey(self, path: Path, picture: Picture) -> np.ndarray:
        """The frame of a file in the picture's units, in 8 bits."""
        low = picture.low if self.low is None else self.low
        high = picture.high if self.high is None else self.high
        return grey(self.plane(path, picture), low, max(high, np.nextafter(low, np.inf)))


TheLook = Annotated[Look, Depends()]


def as_response(image: np.ndarray) -> Response:
    """An 8-bit picture as a PNG file."""
    return Response(png(image), media_type="image/png")


def check_frame(frame: int, picture: Picture) -> None:
    """Refuse with 404 a frame that is not there."""
    if frame >= picture.frames:
        raise HTTPException(404, f"frame {frame} is not there; there are {picture.frames} frames, counted from 0")
