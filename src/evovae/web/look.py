"""What is determined about a picture before any work: what it holds, and a first estimate of its noise."""

import warnings
from pathlib import Path

import numpy as np
from fastapi import HTTPException

from evovae import io
from evovae.io.exif import orientation
from evovae.io.places import shown
from evovae.pages import channel_axis
from evovae.restore.image import Image
from evovae.restore.memory import MemoryBudgetError
from evovae.restore.noise.level import estimate
from evovae.web.headers import check_claim, check_values
from evovae.web.layout import arranged
from evovae.web.limits import Limits
from evovae.web.paint import window
from evovae.web.schemas import Picture


def look(path: Path, form: str, name: str, title: str, limits: Limits) -> tuple[Picture, np.ndarray]:
    """Decode a file of a known form, once its header has been checked; what it holds, and its values, arranged.

    title is what people call it.

    Not to be called by several threads at a time, as warnings are recorded for all of them.

    Raises
    ------
    HTTPException
        413 if it is too large, 415 if it is of a kind that is not read, 422 if it is damaged or cannot be restored.
    """
    check_claim(path, form, limits.values)
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            content = io.read(path)
            check_values(content.values.size, limits.values)
            first = content.page(0) if content.batch_axes else content
            bordered = Image.of(first.values, None, channel_axis(content), "raise", limits.memory)
            io.check_writable(io.written_name(path), content, overwrite=True)
            values = arranged(content)
    except MemoryBudgetError as error:
        raise HTTPException(413, str(error)) from error
    except io.UnsupportedFormatError as error:
        raise HTTPException(415, _unnamed(error, path)) from error
    except (ValueError, TypeError) as error:
        raise HTTPException(422, _unnamed(error, path)) from error
    notes = [_unnamed(warning.message, path) for warning in said if issubclass(warning.category, UserWarning)]
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = window(values)
        span, deviation = bordered.span, float(bordered.values[bordered.observed].std(dtype=float))
        sigma = estimate(*bordered.tensors, len(bordered.shape))
    if not np.isfinite([low, high, span, deviation, sigma]).all():
        raise HTTPException(422, "the picture holds values too large to work with; scale them down")
    turned = orientation(content.metadata.get("exif"))
    about = Picture(
        id=name,
        name=title,
        format=form,
        dtype=content.values.dtype.name,
        shape=list(content.values.shape),
        axes=content.axes or "",
        width=values.shape[2 if turned > 4 else 3],
        height=values.shape[3 if turned > 4 else 2],
        orientation=turned,
        channels=values.shape[4],
        pages=values.shape[0],
        frames=values.shape[0] * values.shape[1],
        low=low,
        high=high,
        span=span,
        deviation=deviation,
        sigma=sigma,
        notes=notes,
    )
    return about, values


def _unnamed(error: object, path: Path) -> str:
    """What an error or a warning says, without where the file lies here."""
    return str(error).replace(shown(path), "the picture").replace(path.name, "the picture")
