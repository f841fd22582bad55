"""Uploads and jobs over HTTP: what the page uses, and anyone else may."""

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

import evovae
from evovae.io import Content, jpeg
from evovae.restore.image import as_dtype, check_levels
from evovae.web.folders import (
    CLEAN,
    EVENTS,
    HOLES,
    MODEL,
    PREVIEW,
    VALUES,
    models_file,
    new_place,
    painted,
    plain_name,
    restored_name,
)
from evovae.web.images import histogram, plane, upright
from evovae.web.schemas import ID, Histogram, Job, Part, Picture, Problem, Terms, Wish
from evovae.web.site import Id, TheJob, TheLook, TheSite, as_response, check_frame

Responses = dict[int | str, dict[str, Any]]
NOT_THERE: Responses = {404: {"model": Problem}}
NO_PICTURE: Responses = {code: {"model": Problem} for code in (413, 415, 422, 507)}
NO_JOB: Responses = {code: {"model": Problem} for code in (404, 422, 429, 507)}
BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}}
PNG: Responses = {200: {"content": {"image/png": {}}}}
BLOCK = 16  # pixels across a block of a JPEG with the coarsest colours
SIGMA = 25.0  # of the sample
LOOK = 0.2  # seconds between looks at how a job goes
router = APIRouter(prefix="/api")


@router.get("/terms")
def terms(site: TheSite) -> Terms:
    """What this server takes on."""
    limits = site.limits
    return Terms(
        version=evovae.__version__,
        upload_bytes=limits.upload_bytes,
        values=limits.values,
        seconds=limits.seconds,
    )


@router.post("/uploads", status_code=201, responses=NO_PICTURE, openapi_extra=BODY)
async def upload(
    request: Request,
    site: TheSite,
    x_file_name: Annotated[str, Header(description="What it is called, percent-encoded; for people alone.")] = "",
) -> Picture:
    """Send a picture (PNG, JPEG, TIFF, BMP, WebP, GIF, FITS, MRC, NIfTI) as the body itself; learn what it holds.

    A name is kept as text, for downloads and lists; where the file lies and what it is, it has no influence on.
    """
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise HTTPException(415, "the body is a form; send the file as the body itself, as curl --data-binary does")
    await run_in_threadpool(site.purge)
    length = request.headers.get("content-length")
    return await site.uploads.receive(request.stream(), length, plain_name(x_file_name))


@router.post("/sample", status_code=201)
def make_sample(site: TheSite) -> Picture:
    """Take the bundled sample with noise added to it, as if it had been uploaded."""
    from skimage.data import camera  # which takes long

    from evovae.demo import WINDOW

    clean = camera()[WINDOW]
    noisy = clean + SIGMA * np.random.default_rng(0).standard_normal(clean.shape)
    return site.uploads.add(Content(as_dtype(noisy, clean.dtype), "YX"), ".png", "sample.png", clean)


@router.get("/uploads/{upload}", responses=NOT_THERE)
def get_upload(upload: Id, site: TheSite) -> Picture:
    """What an upload holds."""
    return site.uploads.get(upload)


@router.get("/uploads/{upload}/preview.png", responses=NOT_THERE | PNG, response_class=Response)
def preview_upload(upload: Id, site: TheSite, look: TheLook) -> Response:
    """One frame of an upload, in 8 bits; where it has no value, in a colour."""
    return as_response(look.grey(site.uploads.place(upload) / VALUES, site.uploads.get(upload)))


@router.get("/uploads/{upload}/histogram", responses=NOT_THERE)
def histogram_of_upload(upload: Id, site: TheSite, look: TheLook) -> Histogram:
    """How often a frame has which values."""
    return histogram(look.plane(site.uploads.place(upload) / VALUES, site.uploads.get(upload)))


@router.post("/uploads/{upload}/parts", status_code=201, responses=NOT_THERE)
def cut(upload: Id, part: Part, site: TheSite) -> Picture:
    """Take a part of a frame, as if it had been uploaded, to be tried before the whole: upright, without alpha.

    It begins where a block of a JPEG does, and is coded as the whole is, so that its noise is of the same kind.
    """
    picture, place = site.uploads.get(upload), site.uploads.place(upload)
    check_frame(part.frame, picture)
    frame = upright(plane(np.load(place / VALUES, mmap_mode="r"), part.frame), picture.orientation)
    top, left = (
        min(max(middle - part.width // 2, 0), max(length - part.width, 0)) // BLOCK * BLOCK
        for middle, length in zip((part.row, part.column), frame.shape[:2], strict=True)
    )
    piece = np.array(frame[top : top + part.width, left : left + part.width])
    content = Content(piece, "YXS" if "S" in picture.axes else "YXC")
    if picture.channels == 1:
        content = Content(piece[..., 0], "YX")
    suffix = ".tif"
    if picture.format == "JPEG":
        (source,) = place.glob("input.*")
        content, suffix = replace(content, metadata=jpeg.coding(source)), ".jpg"
    title = f"part at row {top}, column {left} of {picture.name or 'a picture'}"
    return site.uploads.add(content, suffix, title).model_copy(update={"top": top, "left": left})


@router.get("/uploads/{upload}/models", responses=NOT_THERE)
def models_for_upload(upload: Id, site: TheSite) -> list[Job]:
    """The jobs whose models can restore an upload without training, the newest first."""
    picture = site.uploads.get(upload)
    return [job for job in site.jobs.all() if _fits(job, picture)]


def _fits(job: Job, picture: Picture) -> bool:
    """Whether models of a job are of pictures like this one, by their axes and channels."""
    return job.summary is not None and job.summary.reusable and job.picture.kind == picture.kind


@router.post("/jobs", status_code=202, responses=NO_JOB)
def submit(wish: Wish, site: TheSite) -> Job:
    """Queue a job."""
    source, picture = site.uploads.place(wish.upload), site.uploads.get(wish.upload)
    if wish.sigma is not None and picture.span > 0:  # otherwise there is nothing to restore
        try:
            check_levels(np.array(wish.sigma), picture.span)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
    if wish.model is not None and not _fits(site.jobs.get(wish.model), picture):
        raise HTTPException(422, f"job {wish.model} has no models for such a picture; choose another, or train")
    if wish.model is not None and wish.held_out:
        raise HTTPException(422, "held_out is a score of training, but there is none with models of another job")
    mask = None if wish.mask is None else np.load(site.uploads.place(wish.mask) / VALUES, mmap_mode="r")
    with new_place(site.jobs.folder, "job") as place:
        if mask is not None:
            np.save(place / HOLES, painted(mask, picture))
        for file in (*source.glob("input.*"), source / VALUES, *source.glob(CLEAN)):
            shutil.copyfile(file, place / file.name)
        if wish.model is not None:
            shutil.copyfile(site.jobs.place(wish.model) / models_file(0), place / MODEL)
        return site.jobs.submit(place.name, wish, picture)


@router.get("/jobs")
def list_jobs(site: TheSite) -> list[Job]:
    """All jobs, the newest first."""
    return site.jobs.all()


@router.get("/results.zip", responses=NOT_THERE, response_class=FileResponse)
def all_results(site: TheSite, job: Annotated[list[str], Query(max_length=1000)]) -> FileResponse:
    """The restored pictures of several finished jobs, in one file."""
    done = [found for name in job if re.match(ID, name) and (found := site.jobs.get(name)).summary]
    if not done:
        raise HTTPException(404, "none of these jobs has a result")
    seen: dict[str, int] = {}

    def pack(target: Path) -> None:
        with ZipFile(target, "w", ZIP_STORED) as archive:
            for found in done:
                (path,) = site.jobs.place(found.id).glob("restored.*")
                title = restored_name(found.picture.name, path.suffix)
                seen[title] = seen.get(title, 0) + 1
                stem, dot, suffix = title.rpartition(".")
                archive.write(path, title if seen[title] == 1 else f"{stem}-{seen[title]}{dot}{suffix}")

    return sent_once(pack, site.jobs.folder, "restored.zip", "application/zip")


def sent_once(write: Callable[[Path], object], folder: Path, name: str, kind: str) -> FileResponse:
    """A file that is written in a folder to be sent under a name, and is removed then, or if it cannot be written."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=Path(name).suffix, delete=False) as file:
        path = Path(file.name)
    try:
        write(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return FileResponse(path, media_type=kind, filename=name, background=BackgroundTask(path.unlink))


@router.get("/jobs/{job}", responses=NOT_THERE)
def status(job: TheJob) -> Job:
    """How a job stands, and what it found."""
    return job


@router.delete("/jobs/{job}", status_code=204, responses=NOT_THERE | {409: {"model": Problem}})
def remove(job: TheJob, site: TheSite) -> None:
    """Forget a finished job and all that came of it."""
    if not job.state.final:
        raise HTTPException(409, f"the job is {job.state}; cancel it first")
    site.jobs.remove(job.id)


@router.post("/jobs/{job}/cancel", status_code=202, responses=NOT_THERE)
def cancel(job: TheJob, site: TheSite) -> Job:
    """Ask a job to stop with the best so far, after the epoch that it is in; no matter if it has ended."""
    return site.jobs.cancel(job.id)


@router.get("/jobs/{job}/events", responses=NOT_THERE, response_class=EventSourceResponse)
async def events(
    job: TheJob, site: TheSite, last_event_id: Annotated[int, Header(ge=0, description="Tell only later ones.")] = 0
) -> AsyncIterator[ServerSentEvent]:
    """Follow a job: `epoch`, `preview` and `warning` events are numbered; `state` when that changes, `end` last.

    A client that goes away ends this, and nothing else.
    """
    path, count, offset, told = site.jobs.place(job.id) / EVENTS, 0, 0, None
    while True:
        job = await run_in_threadpool(site.jobs.get, job.id)  # first: no line comes after the end
        for line in await run_in_threadpool(_lines, path, offset):
            count, offset = count + 1, offset + len(line)
            if count > last_event_id:
                yield ServerSentEvent(id=str(count), event=json.loads(line)["type"], raw_data=line.decode().strip())
        state = {"state": job.state, "ahead": job.ahead}
        if state != told:
            yield ServerSentEvent(event="state", data=state)
            told = state
        if job.state.final:
            yield ServerSentEvent(event="end", data=job)
            return
        await asyncio.sleep(LOOK)


def _lines(path: Path, offset: int) -> list[bytes]:
    """Lines of a file from a place on; what is half written is left for the next time."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(offset)
        return [line for line in file if line.endswith(b"\n")]


@router.get("/jobs/{job}/preview.png", responses=NOT_THERE | PNG, response_class=FileResponse)
def preview(job: TheJob, site: TheSite) -> FileResponse:
    """The picture as it was at the last preview event."""
    path = site.jobs.place(job.id) / PREVIEW
    if not path.exists():
        raise HTTPException(404, "the job has no preview yet")
    return FileResponse(path, media_type="image/png")
