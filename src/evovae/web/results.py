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
from evovae.web import holes, names
from evovae.web.api import NOT_THERE, PNG, Responses, sent_once
from evovae.web.frames import Frame, TheLook, as_response, check_frame
from evovae.web.layout import as_in, plane, stored_place, upright
from evovae.web.learnt import latents, population, sprite
from evovae.web.paint import grey, heat
from evovae.web.schemas import Histogram, Job, Latents, NoisePlots, Population, Problem
from evovae.web.site import Finished, Site, TheSite

MEDIA = {".png": "image/png", ".jpg": "image/jpeg", ".tif": "image/tiff", ".fits": "image/fits"}
MEDIA |= {".mrc": "application/octet-stream", ".nii": "application/octet-stream"}
NO_RESULT: Responses = NOT_THERE | {409: {"model": Problem}}
Model = Annotated[int, Query(ge=0, description="Which model of the page.")]
Page = Annotated[int, Query(ge=0, description="Which page of the file.")]
Strength = Annotated[float, Query(ge=0, le=1, description="How much of the noise is removed.")]
Place = Annotated[int, Query(ge=0)]
router = APIRouter(prefix="/api/jobs/{job}")


@router.get("/result", responses=NO_RESULT, response_class=FileResponse)
def result(job: Finished, site: TheSite, strength: Strength = 1.0) -> FileResponse:
    """The restored picture, in the format and the bit depth that came in; or with some of its noise left in it."""
    (path,) = site.place(job.id).glob("restored.*")
    kind, name = MEDIA[path.suffix], names.restored_name(job.picture.name, path.suffix)
    if strength == 1:
        return FileResponse(path, media_type=kind, filename=name)
    (source,) = site.place(job.id).glob("input.*")
    content = io.read(source)
    values = as_dtype(as_in(content, _blended(site, job, strength)), content.values.dtype)
    return sent_once(site, lambda weaker: io.write(weaker, content.replaced(values)), name, kind)


def _blended(site: Site, job: Job, strength: float) -> np.ndarray:
    """Arranged values with a part of the noise back in them; what was filled is filled."""
    before, after = (np.load(site.place(job.id) / name, mmap_mode="r") for name in (names.VALUES, names.AFTER))
    blended = before + strength * (after.astype(float) - before)
    return np.where(holes.filled(site.place(job.id), before)[..., None], after, blended)


@router.get("/uncertainty.tif", responses=NO_RESULT, response_class=FileResponse)
def uncertainty(job: Finished, site: TheSite) -> FileResponse:
    """The standard deviation of each pixel's clean value, float32, in the picture's units."""
    return FileResponse(site.place(job.id) / names.STD_FILE, media_type=MEDIA[".tif"], filename=names.STD_FILE)


@router.get("/report.json", responses=NO_RESULT, response_class=FileResponse)
def report(job: Finished, site: TheSite) -> FileResponse:
    """What was found, and the command that does the same."""
    return FileResponse(site.place(job.id) / names.REPORT, media_type="application/json", filename=names.REPORT)


@router.get("/model", responses=NO_RESULT, response_class=FileResponse)
def model(job: Finished, site: TheSite, page: Page = 0) -> FileResponse:
    """What a page has taught, for `evovae apply` and `FittedDenoiser.load`; or what it was restored with."""
    for path in (site.place(job.id) / names.MODEL, site.place(job.id) / names.fitted(page)):
        if path.exists():
            return FileResponse(path, media_type="application/octet-stream", filename=names.MODEL)
    raise HTTPException(404, f"page {page} has taught no models")


@router.get("/mask", responses=NO_RESULT, response_class=FileResponse)
def mask(job: Finished, site: TheSite) -> FileResponse:
    """The mask that the command needs, if holes were painted."""
    for path in site.place(job.id).glob("mask.*"):
        return FileResponse(path, media_type="application/octet-stream", filename=path.name)
    raise HTTPException(404, "no holes were painted")


@router.get("/view/before.png", responses=NO_RESULT | PNG, response_class=Response)
def before(job: Finished, site: TheSite, look: TheLook) -> Response:
    """A frame as it came in, in 8 bits; where it had no value, in a colour."""
    return look.png(look.plane(site.place(job.id) / names.VALUES, job.picture), job.picture)


@router.get("/view/after.png", responses=NO_RESULT | PNG, response_class=Response)
def after(job: Finished, site: TheSite, look: TheLook) -> Response:
    """A frame as restored, in 8 bits."""
    return look.png(look.plane(site.place(job.id) / names.AFTER, job.picture), job.picture)


@router.get("/view/filled.png", responses=NO_RESULT | PNG, response_class=Response)
def filled(job: Finished, site: TheSite, look: TheLook) -> Response:
    """What was filled of a frame, as restored, and transparent elsewhere."""
    place, picture = site.place(job.id), job.picture
    image = grey(look.plane(place / names.AFTER, picture), *look.window(picture))
    colours = image if image.ndim == 3 else np.stack([image] * 3, -1)
    stored = plane(np.load(place / names.VALUES, mmap_mode="r"), look.frame)
    opaque = 255 * upright(holes.filled(place, stored), picture.orientation).astype(np.uint8)
    return as_response(np.concatenate([colours, opaque[..., None]], -1))


@router.get("/histogram", responses=NO_RESULT)
def get_histogram(job: Finished, site: TheSite, look: TheLook) -> Histogram:
    """How often a frame has which values, as it came in."""
    return look.histogram(site.place(job.id) / names.VALUES, job.picture)


@router.get("/noise", responses=NO_RESULT)
def noise(job: Finished, site: TheSite, page: Page = 0) -> NoisePlots:
    """The noise of a page, in what can be plotted."""
    path = site.place(job.id) / names.noise_plots(page)
    if not path.exists():
        raise HTTPException(404, f"there are no plots of the noise of page {page}")
    return NoisePlots.model_validate_json(path.read_bytes())


@router.get("/view/uncertainty.png", responses=NO_RESULT | PNG, response_class=Response)
def view_uncertainty(job: Finished, site: TheSite, look: TheLook) -> Response:
    """Where the models are unsure: from black (not at all) to bright (`Summary.std_high` and above)."""
    assert job.summary is not None
    return as_response(heat(look.plane(site.place(job.id) / names.STD, job.picture), job.summary.std_high))


@router.get("/view/residual.png", responses=NO_RESULT | PNG, response_class=Response)
def residual(job: Finished, site: TheSite, look: TheLook) -> Response:
    """What was removed, grey where nothing, black and white at three noise levels; painted holes are grey."""
    assert job.summary is not None
    place = site.place(job.id)
    came, left = (look.plane(place / name, job.picture) for name in (names.VALUES, names.AFTER))
    off = came.astype(float) - left
    stored = np.load(place / names.VALUES, mmap_mode="r").shape[2:4]
    off[upright(holes.stored(place, stored), job.picture.orientation)] = 0
    reach = RESIDUAL * max(*job.summary.sigma, 1e-30)
    return as_response(grey(np.nan_to_num(off), -reach, reach))


@router.get("/latents", responses=NO_RESULT)
def get_latents(job: Finished, site: TheSite, page: Page = 0, model: Model = 0) -> Latents:
    """A model's latents."""
    return latents(_fitted(site, job, page, model), job.picture)


@router.get("/latents.png", responses=NO_RESULT | PNG, response_class=Response)
def get_sprite(job: Finished, site: TheSite, page: Page = 0, model: Model = 0) -> Response:
    """What each latent adds to a patch, in grey where nothing: a row for each."""
    return as_response(sprite(_fitted(site, job, page, model), job.picture))


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
    shape = values.shape[2:4]
    at = depth, *stored_place(row, column, shape, picture.orientation)
    painted = holes.stored(site.place(job.id), shape)
    return population(_fitted(site, job, page, model), values[page], painted, at, picture)


def _fitted(site: Site, job: Job, page: int, model: int) -> FittedPatches:
    assert job.summary is not None
    models = job.summary.models
    if page >= len(models) or model >= models[page]:
        raise HTTPException(404, f"page {page} has no model {model}; models by page: {', '.join(map(str, models))}")
    path = site.place(job.id) / names.fitted(page)
    if not path.exists():
        raise HTTPException(404, f"there are no models of page {page}, as an earlier version has made this result")
    return FittedDenoiser.load(path).members[model]
