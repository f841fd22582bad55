"""How a frame is looked at: which one, which of its channels, and what is shown black and white."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import Depends, HTTPException, Query, Response

from evovae.web.layout import plane, upright
from evovae.web.paint import grey, histogram, png
from evovae.web.schemas import Histogram, Picture

Frame = Annotated[int, Query(ge=0, description="Which frame: the planes of the first page, then those of the next.")]
Channel = Annotated[int | None, Query(ge=0, description="Which channel alone; all of them if none is named.")]
Level = Annotated[float | None, Query(allow_inf_nan=False, description="In units of the picture.")]


@dataclass(frozen=True)
class Look:
    """A frame, a channel of it (None: all), and the values that are black and white (None: as the picture has them)."""

    frame: int
    channel: int | None
    low: float | None
    high: float | None

    def plane(self, path: Path, picture: Picture) -> np.ndarray:
        """That frame (Y, X, channels) of a file of arranged values, upright; 404 if it is not there."""
        check_frame(self.frame, picture)
        if self.channel is not None and self.channel >= picture.channels:
            have = f"there are {picture.channels}, counted from 0"
            raise HTTPException(404, f"channel {self.channel} is not there; {have}")
        values = upright(plane(np.load(path, mmap_mode="r"), self.frame), picture.orientation)
        return values if self.channel is None else values[..., self.channel, None]

    def window(self, picture: Picture) -> tuple[float, float]:
        """What is black and white."""
        low = picture.low if self.low is None else self.low
        high = picture.high if self.high is None else self.high
        return low, max(high, np.nextafter(low, np.inf))

    def png(self, values: np.ndarray, picture: Picture) -> Response:
        """Values in the picture's units as a file."""
        return as_response(grey(values, *self.window(picture)))

    def histogram(self, path: Path, picture: Picture) -> Histogram:
        """How often there are which values."""
        counts, (low, high) = histogram(self.plane(path, picture))
        return Histogram(low=low, high=high, counts=counts.tolist())


def _look(frame: Frame = 0, channel: Channel = None, low: Level = None, high: Level = None) -> Look:
    return Look(frame, channel, low, high)


TheLook = Annotated[Look, Depends(_look)]


def as_response(image: np.ndarray) -> Response:
    """An 8-bit picture as a PNG file."""
    return Response(png(image), media_type="image/png")


def check_frame(frame: int, picture: Picture) -> None:
    """Refuse with 404 a frame that is not there."""
    if frame >= picture.frames:
        raise HTTPException(404, f"frame {frame} is not there; there are {picture.frames} frames, counted from 0")
