"""What became of a job, over HTTP: files, pictures to look at, and what its models have learnt."""

from typing import Annotated

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Response
from fastapi.responses import FileResponse

from evovae.restore.fitted import Insight
from evovae.web import names
from evovae.web.api import NOT_THERE, PNG, Frame, Responses, check_frame
from evovae.web.insights import latents, population, sprite
from evovae.web.layout import plane, stored_place, upright
from evovae.web.paint import grey, heat, png
from evovae.web.schemas import Job, Latents, Population, Problem
from evovae.web.site import Finished, Site, TheSite

MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".tif": "image/tiff"}
NO_RESULT: Responses = NOT_THERE | {409: {"model": Problem}}
RESIDUAL = 3.0  # noise levels to each side of grey
Model = Annotated[int, Query(ge=0, description="Which model of the page.")]
Page = Annotated[int, Query(ge=0, description="Which page of the file.")]
Place = Annotated[int, Query(ge=0)]
router = APIRouter(prefix="/api/jobs/{job}")


@router.get("/result", responses=NO_RESULT, response_class=FileResponse)
def result(job: Finished, site: TheSite) -> FileResponse:
    """The restored picture, in the format and the bit depth that came in."""
    (path,) = site.place(job.id).glob("restored.*")
    return FileResponse(
        path, media_type=MEDIA[path.suffix], filename=names.restored_name(job.picture.name, path.suffix)
    )


@router.get("/uncertainty.tif", responses=NO_RESULT, response_class=FileResponse)
def uncertainty(job: Finished, site: TheSite) -> FileResponse:
    """The standard deviation of each pixel's clean value, float32, in the picture's units."""
    return FileResponse(site.place(job.id) / names.STD_FILE, media_type=MEDIA[".tif"], filename=names.STD_FILE)


@router.get("/report.json", responses=NO_RESULT, response_class=FileResponse)
def report(job: Finished, site: TheSite) -> FileResponse:
    """What was found, and the command that does the same."""
    return FileResponse(site.place(job.id) / names.REPORT, media_type="application/json", filename=names.REPORT)


@router.get("/mask", responses=NO_RESULT, response_class=FileResponse)
def mask(job: Finished, site: TheSite) -> FileResponse:
    """The mask that the command needs, if holes were painted."""
    for path in site.place(job.id).glob("mask.*"):
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)
    raise HTTPException(404, "no holes were painted")


@router.get("/view/before.png", responses=NO_RESULT | PNG, response_class=Response)
def before(job: Finished, site: TheSite, frame: Frame = 0) -> Response:
    """A frame as it came in, in 8 bits."""
    return _png(grey(_plane(site, job, names.VALUES, frame), job.picture.low, job.picture.high))


@router.get("/view/after.png", responses=NO_RESULT | PNG, response_class=Response)
def after(job: Finished, site: TheSite, frame: Frame = 0) -> Response:
    """A frame as restored, in 8 bits."""
    return _png(grey(_plane(site, job, names.AFTER, frame), job.picture.low, job.picture.high))


@router.get("/view/uncertainty.png", responses=NO_RESULT | PNG, response_class=Response)
def view_uncertainty(job: Finished, site: TheSite, frame: Frame = 0) -> Response:
    """Where the models are unsure: from black (not at all) to bright (`Summary.std_high` and above)."""
    assert job.summary is not None
    return _png(heat(_plane(site, job, names.STD, frame), job.summary.std_high))


@router.get("/view/residual.png", responses=NO_RESULT | PNG, response_class=Response)
def residual(job: Finished, site: TheSite, frame: Frame = 0) -> Response:
    """What was removed, grey where nothing, black and white at three noise levels; painted holes are grey."""
    assert job.summary is not None
    off = _plane(site, job, names.VALUES, frame).astype(float) - _plane(site, job, names.AFTER, frame)
    if (site.place(job.id) / names.HOLES).exists():
        off[upright(np.load(site.place(job.id) / names.HOLES), job.picture.orientation)] = 0
    reach = RESIDUAL * max(*job.summary.sigma, 1e-30)
    return _png(grey(np.nan_to_num(off), -reach, reach))


@router.get("/latents", responses=NO_RESULT)
def get_latents(job: Finished, site: TheSite, page: Page = 0, model: Model = 0) -> Latents:
    """A model's latents."""
    return latents(_insight(site, job, page, model), job.picture)


@router.get("/latents.png", responses=NO_RESULT | PNG, response_class=Response)
def get_sprite(job: Finished, site: TheSite, page: Page = 0, model: Model = 0) -> Response:
    """What each latent adds to a patch, in grey where nothing: a row for each."""
    return _png(sprite(_insight(site, job, page, model), job.picture))


@router.get("/population", responses=NO_RESULT)
def get_population(
    job: Finished, site: TheSite, row: Place, column: Place, frame: Frame = 0, model: Model = 0
) -> Population:
    """The states of the patch around a pixel, as a model explains it."""
    picture = job.picture
    check_frame(frame, picture)
    if row >= picture.height or column >= picture.width:
        size = f"{picture.width} x {picture.height}"
        raise HTTPException(404, f"row {row}, column {column} is not there; the picture has {size} pixels")
    values = np.load(site.place(job.id) / names.VALUES, mmap_mode="r")
    page, depth = divmod(frame, values.shape[1])
    path = site.place(job.id) / names.HOLES
    shape = values.shape[2:4]
    holes = np.load(path) if path.exists() else np.zeros(shape, bool)
    at = depth, *stored_place(row, column, shape, picture.orientation)
    return population(_insight(site, job, page, model), values[page], holes, at, picture)


def _png(image: np.ndarray) -> Response:
    return Response(png(image), media_type="image/png")


def _plane(site: Site, job: Job, name: str, frame: int) -> np.ndarray:
    check_frame(frame, job.picture)
    return upright(plane(np.load(site.place(job.id) / name, mmap_mode="r"), frame), job.picture.orientation)


def _insight(site: Site, job: Job, page: int, model: int) -> Insight:
    assert job.summary is not None
    models = job.summary.models
    if page >= len(models) or model >= models[page]:
        raise HTTPException(404, f"page {page} has no model {model}; models by page: {', '.join(map(str, models))}")
    return Insight.load(site.place(job.id) / names.insight(page, model))
