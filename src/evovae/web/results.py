"""What became of a job, over HTTP: files, pictures to look at, and what its models have learnt."""

from typing import Annotated

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Response
from fastapi.responses import FileResponse

from evovae import io
from evovae.restore.figure import RESIDUAL
from evovae.restore.fitted import FittedDenoiser
from evovae.restore.fitted_patches import FittedPatches
from evovae.restore.image import as_dtype
from evovae.web import folders, images, learnt
from evovae.web.api import NOT_THERE, PNG, Responses, sent_once
from evovae.web.folders import AFTER, MODEL, REPORT, STD, STD_FILE, VALUES
from evovae.web.schemas import Histogram, Latents, NoisePlots, Population, Problem
from evovae.web.site import Frame, Result, TheLook, TheResult, as_response, check_frame

MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".tif": "image/tiff", ".fits": "image/fits"}
BYTES = "application/octet-stream"
NO_RESULT: Responses = NOT_THERE | {409: {"model": Problem}}
Model = Annotated[int, Query(ge=0, description="Which model of the page.")]
Page = Annotated[int, Query(ge=0, description="Which page of the file.")]
Strength = Annotated[float, Query(ge=0, le=1, description="How much of the noise is removed.")]
Place = Annotated[int, Query(ge=0)]
router = APIRouter(prefix="/api/jobs/{job}", responses=NO_RESULT)


@router.get("/result", response_class=FileResponse)
def result(job: TheResult, strength: Strength = 1.0) -> FileResponse:
    """The restored picture, in the format and the bit depth that came in; or with some of its noise left in it."""
    (path,) = job.place.glob("restored.*")
    kind, name = MEDIA.get(path.suffix, BYTES), folders.restored_name(job.picture.name, path.suffix)
    if strength == 1:
        return FileResponse(path, media_type=kind, filename=name)
    (source,) = job.place.glob("input.*")
    content = io.read(source)
    before, after = (np.load(job.place / name, mmap_mode="r") for name in (VALUES, AFTER))
    blended = before + strength * (after.astype(float) - before)
    blended = np.where(folders.filled(job.place, before)[..., None], after, blended)
    values = as_dtype(images.as_in(content, blended), content.values.dtype)
    return sent_once(lambda weaker: io.write(weaker, content.replaced(values)), job.place, name, kind)


@router.get("/uncertainty.tif", response_class=FileResponse)
def uncertainty(job: TheResult) -> FileResponse:
    """The standard deviation of each pixel's clean value, float32, in the picture's units."""
    return FileResponse(job.place / STD_FILE, media_type=MEDIA[".tif"], filename=STD_FILE)


@router.get("/report.json", response_class=FileResponse)
def report(job: TheResult) -> FileResponse:
    """What was found, and the command that does the same."""
    return FileResponse(job.place / REPORT, media_type="application/json", filename=REPORT)


@router.get("/model", response_class=FileResponse)
def model(job: TheResult, page: Page = 0) -> FileResponse:
    """What a page has taught, for `evovae apply` and `FittedDenoiser.load`; or what it was restored with."""
    for path in (job.place / MODEL, job.place / folders.models_file(page)):
        if path.exists():
            return FileResponse(path, media_type=BYTES, filename=MODEL)
    raise HTTPException(404, f"page {page} has taught no models")


@router.get("/mask", response_class=FileResponse)
def mask(job: TheResult) -> FileResponse:
    """The mask that the command needs, if holes were painted."""
    for path in job.place.glob("mask.*"):
        return FileResponse(path, media_type=BYTES, filename=path.name)
    raise HTTPException(404, "no holes were painted")


@router.get("/view/before.png", responses=PNG, response_class=Response)
def before(job: TheResult, look: TheLook) -> Response:
    """A frame as it came in, in 8 bits; where it had no value, in a colour."""
    return as_response(look.grey(job.place / VALUES, job.picture))


@router.get("/view/after.png", responses=PNG, response_class=Response)
def after(job: TheResult, look: TheLook) -> Response:
    """A frame as restored, in 8 bits."""
    return as_response(look.grey(job.place / AFTER, job.picture))


@router.get("/view/filled.png", responses=PNG, response_class=Response)
def filled(job: TheResult, look: TheLook) -> Response:
    """What was filled of a frame, as restored, and transparent elsewhere."""
    image = look.grey(job.place / AFTER, job.picture)
    colours = image if image.ndim == 3 else np.stack([image] * 3, -1)
    came = images.plane(np.load(job.place / VALUES, mmap_mode="r"), look.frame)
    opaque = 255 * images.upright(folders.filled(job.place, came), job.picture.orientation).astype(np.uint8)
    return as_response(np.concatenate([colours, opaque[..., None]], -1))


@router.get("/view/uncertainty.png", responses=PNG, response_class=Response)
def view_uncertainty(job: TheResult, look: TheLook) -> Response:
    """Where the models are unsure: from black (not at all) to bright (`Summary.std_high` and above)."""
    return as_response(images.heat(look.plane(job.place / STD, job.picture), job.summary.std_high))


@router.get("/view/residual.png", responses=PNG, response_class=Response)
def residual(job: TheResult, look: TheLook) -> Response:
    """What was removed, grey where nothing, black and white at three noise levels; painted holes are grey."""
    came, left = (look.plane(job.place / name, job.picture) for name in (VALUES, AFTER))
    off = came.astype(float) - left
    values = np.load(job.place / VALUES, mmap_mode="r")
    off[images.upright(folders.holes_of(job.place, values), job.picture.orientation)] = 0
    reach = RESIDUAL * max(*job.summary.sigma, 1e-30)
    return as_response(images.grey(np.nan_to_num(off), -reach, reach))


@router.get("/histogram")
def get_histogram(job: TheResult, look: TheLook) -> Histogram:
    """How often a frame has which values, as it came in."""
    return images.histogram(look.plane(job.place / VALUES, job.picture))


@router.get("/noise")
def noise(job: TheResult, page: Page = 0) -> NoisePlots:
    """The noise of a page, in what can be plotted."""
    path = job.place / folders.plots_file(page)
    if not path.exists():
        raise HTTPException(404, f"there are no plots of the noise of page {page}")
    return NoisePlots.model_validate_json(path.read_bytes())


@router.get("/latents")
def get_latents(job: TheResult, page: Page = 0, model: Model = 0) -> Latents:
    """A model's latents."""
    return learnt.latents(_fitted(job, page, model), job.picture)


@router.get("/latents.png", responses=PNG, response_class=Response)
def get_sprite(job: TheResult, page: Page = 0, model: Model = 0) -> Response:
    """What each latent adds to a patch, in grey where nothing: a row for each."""
    return as_response(learnt.sprite(_fitted(job, page, model), job.picture))


@router.get("/population")
def get_population(job: TheResult, row: Place, column: Place, frame: Frame = 0, model: Model = 0) -> Population:
    """The states of the patch around a pixel, as a model explains it."""
    picture = job.picture
    check_frame(frame, picture)
    if row >= picture.height or column >= picture.width:
        size = f"{picture.width} x {picture.height}"
        raise HTTPException(404, f"row {row}, column {column} is not there; the picture has {size} pixels")
    values = np.load(job.place / VALUES, mmap_mode="r")
    page, depth = divmod(frame, values.shape[1])
    at = depth, *images.stored_place(row, column, values.shape[2:4], picture.orientation)
    holes = folders.holes_of(job.place, values)
    return learnt.population(_fitted(job, page, model), values[page], holes, at, picture)


def _fitted(job: Result, page: int, model: int) -> FittedPatches:
    models = job.summary.models
    if page >= len(models) or model >= models[page]:
        raise HTTPException(404, f"page {page} has no model {model}; models by page: {', '.join(map(str, models))}")
    return FittedDenoiser.load(job.place / folders.models_file(page)).members[model]
