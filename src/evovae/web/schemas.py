"""What goes over the wire, as OpenAPI describes it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ID = r"^[0-9a-f]{32}$"
Preset = Literal["fast", "balanced", "best"]
Kind = Literal["auto", "white", "poisson", "speckle", "rician"]


class Problem(BaseModel):
    """Why a request was refused, in one sentence."""

    detail: str


class Picture(BaseModel):
    """An uploaded picture.

    `frames` counts the pictures that can be looked at, one by one: pages times planes.  `sigma` is the noise level as
    its finest details suggest it, in the picture's units; `low` and `high` are shown black and white, and
    `span` and `deviation` are the range and standard deviation of its first page.
    """

    id: str
    name: str = Field(default="", description="What the file was called, for people to read; never a path.")
    format: str
    dtype: str
    shape: list[int]
    axes: str
    width: int
    height: int
    orientation: int = Field(default=1, description="How stored pixels are turned to be upright, as EXIF numbers it.")
    channels: int
    pages: int
    frames: int
    low: float
    high: float
    span: float
    deviation: float
    sigma: float
    notes: list[str]
    top: int = Field(default=0, description="Of a part: the first of its rows in the whole.")
    left: int = 0

    @property
    def film(self) -> bool:
        """Whether its frames are restored together, as those of a film."""
        return self.frames > self.pages and "T" in self.axes and "Z" not in self.axes

    @property
    def kind(self) -> tuple[int, bool, bool, bool]:
        """What models have to share with the picture: channels, and whether it is a film, a stack, a line."""
        return self.channels, self.film, self.frames > self.pages, min(self.height, self.width) == 1


class Wish(BaseModel):
    """What is to be done with an uploaded picture."""

    model_config = ConfigDict(extra="forbid")

    upload: Annotated[str, Field(pattern=ID)]
    mask: Annotated[str | None, Field(pattern=ID, description="An upload that is white where pixels are missing.")] = (
        None
    )
    model: Annotated[
        str | None, Field(pattern=ID, description="A job whose models are used as they are, in place of training.")
    ] = None
    preset: Preset = "balanced"
    sigma: Annotated[float | None, Field(gt=0, allow_inf_nan=False, description="A known noise level.")] = None
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    noise: Annotated[Kind, Field(description="What noise is like; `auto` finds out.")] = "auto"
    strength: Annotated[
        float, Field(ge=0, le=1, description="How much of the noise is removed; of filled pictures, of what is known.")
    ] = 1.0
    held_out: Annotated[float, Field(ge=0, le=0.5, description="Share of the pixels to be hidden, for a score.")] = 0.0


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self not in (State.QUEUED, State.RUNNING)


class Quality(BaseModel):
    """PSNR before and after in dB, where the clean picture is known."""

    before: float
    after: float


class Summary(BaseModel):
    """What a job found, by page and in the picture's units: noise in words, its level, scores, scales of pictures."""

    sigma: list[float]
    held_out: list[float | None]
    noise: list[str]
    seconds: float
    interrupted: bool
    filled: int = Field(description="How many pixels were missing, painted over or without a value.")
    restored: int = Field(description="How many pages were restored; the others are as they came.")
    std_high: float
    models: list[int] = Field(description="How many models can be looked at, by page.")
    reusable: bool = Field(description="Whether the first page's models can restore other pictures.")
    command: str
    exact: bool = Field(description="Whether the command gives the same bytes: not where time or a person ended it.")
    quality: Quality | None = None


class Job(BaseModel):
    """A job: times are seconds since 1970; `ahead` counts those to be done before it."""

    id: str
    state: State
    created: float
    started: float | None = None
    ended: float | None = None
    message: str = ""
    ahead: int = 0
    wish: Wish
    picture: Picture
    summary: Summary | None = None


class Latents(BaseModel):
    """A model's latents, the most used first; a sprite shows each in a row, and what it adds to a patch in columns."""

    height: int
    width: int
    directions: int
    numbers: list[int]
    use: list[float]


class Choice(BaseModel):
    """One state of a population: its weight, and which latents are on, by their place in `Latents`."""

    q: float
    on: list[int]


class Population(BaseModel):
    """The states of a patch.  The sprite holds, side by side, the patch, its mean under q, and each state's patch."""

    height: int
    width: int
    top: int
    left: int
    sprite: str = Field(description="A PNG as a data URL.")
    states: list[Choice]


class Histogram(BaseModel):
    """How many values of a frame lie in each of equal parts of a range."""

    low: float
    high: float
    counts: list[int]


class NoisePlots(BaseModel):
    """The noise of a page: its standard deviation against the signal, as found and in what was removed; and how much
    neighbours share of what was removed, by the lag down and across, from -3 to 3.
    """

    signal: list[float]
    found: list[float]
    removed: list[float]
    correlation: list[list[float]]


class Part(BaseModel):
    """A part of a frame, to be tried before the whole: its middle, as people see the picture."""

    model_config = ConfigDict(extra="forbid")

    row: Annotated[int, Field(ge=0)]
    column: Annotated[int, Field(ge=0)]
    frame: Annotated[int, Field(ge=0)] = 0
    width: Annotated[int, Field(ge=16, le=512, description="Pixels along each side.")] = 128


class Terms(BaseModel):
    """What a server takes on, and which version it is of."""

    version: str
    upload_bytes: int
    values: int
    seconds: float = Field(description="How long a job may take.")
