"""Pictures, stacks and sounds, one by one or by the folder: what can be asked for."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from evovae.commands.shared import levels, size
from evovae.settings import NOISE, NONFINITE, PRESETS, RAISE

Preset = StrEnum("Preset", [*PRESETS])  # type: ignore[misc]
BALANCED = Preset("balanced")
Kind = StrEnum("Kind", [*NOISE])  # type: ignore[misc]
FOUND = Kind("auto")
Nonfinite = StrEnum("Nonfinite", [*NONFINITE])  # type: ignore[misc]
REFUSED = Nonfinite(RAISE)
Number = StrEnum("Number", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
app = typer.Typer()

Source = Annotated[
    Path,
    typer.Argument(
        metavar="IN",
        help="Picture, stack or sound: PNG, JPEG, TIFF, FITS, MRC, NIfTI, npy, Zarr, WAV, ...; or a folder.",
    ),
]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="Where the restored picture goes, or the folder.")]
Sigma = Annotated[
    Any,  # a number, or one for each channel
    typer.Option(
        parser=levels, metavar="LEVEL", help="Noise level, if known, in units of the picture; a,b,c for channels."
    ),
]
HeldOut = Annotated[
    float, typer.Option("--held-out", min=0, help="Hide this share of the pixels, for a score: 0.02 is enough.")
]
Noise = Annotated[
    Kind,
    typer.Option(
        "--noise",
        help="Kind of noise: found (auto), the same everywhere (white), or growing as that of photons (poisson), "
        "radar (speckle) or MRI magnitudes (rician).",
    ),
]
Strength = Annotated[
    float, typer.Option(min=0, max=1, help="How much of the noise is removed: less than 1 leaves some of it.")
]
Denoised = Annotated[
    float,
    typer.Option(
        "--strength", min=0, max=1, help="How much of the noise of known pixels is removed: 0 leaves them as they are."
    ),
]
DType = Annotated[
    Number | None,
    typer.Option("--dtype", help="Type of numbers in OUT, if not that of IN: float32 is not rounded."),
]
Channels = Annotated[
    int | None, typer.Option("--channel-axis", help="The axis of the channels, if the file does not say it.")
]
Infinite = Annotated[Nonfinite, typer.Option("--nonfinite", help="Infinite pixels are an error, or filled (mask).")]
Axes = Annotated[
    str | None, typer.Option(help="What the axes of IN are: TYX is a film, ZYX a volume, QYX pictures apart.")
]
TimeWidth = Annotated[
    int | None,
    typer.Option(min=0, help="Restore so many frames of a film together, also of less than 5; 0: found."),
]
Page = Annotated[int | None, typer.Option(min=0, help="Take this page of IN only, or this plane of a stack.")]
Series = Annotated[int | None, typer.Option(min=0, help="Take this series of a TIFF, FITS or Zarr that holds several.")]
Time = Annotated[Preset, typer.Option("--preset", help="How long it may take.")]
Std = Annotated[Path | None, typer.Option(help="Where the posterior standard deviation goes (.tif or .npy).")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Where a JSON report goes.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
MaxSeconds = Annotated[float | None, typer.Option(min=0, help="Stop after so many seconds, with the best so far.")]
Tile = Annotated[int | None, typer.Option(min=1, help="Work on large pictures in tiles of this width.")]
MaxMemory = Annotated[float | None, typer.Option(parser=size, metavar="SIZE", help="Memory to use, such as 4G.")]
Where = Annotated[
    str,
    typer.Option(
        "--device",
        help="Where networks are trained: cpu, cuda, cuda:1, auto.",
        autocompletion=lambda: ["cpu", "cuda", "auto"],
    ),
]
Resume = Annotated[Path | None, typer.Option(metavar="DIR", help="Keep progress in DIR, and go on from what is there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Recursive = Annotated[bool, typer.Option("--recursive", help="Folders inside of IN, too.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each picture, to stdout.")]
MASK = "A picture that is white (or 1) where a pixel is to be filled, and black (0) elsewhere."


@app.command()
def denoise(
    source: Source,
    target: Target,
    sigma: Sigma = None,
    noise: Noise = FOUND,
    strength: Strength = 1.0,
    dtype: DType = None,
    held_out: HeldOut = 0.0,
    channel_axis: Channels = None,
    axes: Axes = None,
    time_width: TimeWidth = None,
    page: Page = None,
    series: Series = None,
    nonfinite: Infinite = REFUSED,
    preset: Time = BALANCED,
    mask: Annotated[Path | None, typer.Option(help=MASK)] = None,
    std: Std = None,
    report: ReportFile = None,
    seed: Seed = 0,
    max_seconds: MaxSeconds = None,
    tile: Tile = None,
    max_memory: MaxMemory = None,
    device: Where = "cpu",
    resume: Resume = None,
    overwrite: Overwrite = False,
    recursive: Recursive = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Denoise IN and write OUT, of the same size, type and range.  The noise level is found, not asked for."""
    _restore("denoise", **locals())


@app.command()
def inpaint(
    source: Source,
    target: Target,
    mask: Annotated[Path | None, typer.Option(help=MASK + "  NaN is filled too.")] = None,
    sigma: Sigma = None,
    noise: Noise = FOUND,
    strength: Denoised = 0.0,
    dtype: DType = None,
    held_out: HeldOut = 0.0,
    channel_axis: Channels = None,
    axes: Axes = None,
    time_width: TimeWidth = None,
    page: Page = None,
    series: Series = None,
    nonfinite: Infinite = REFUSED,
    preset: Time = BALANCED,
    std: Std = None,
    report: ReportFile = None,
    seed: Seed = 0,
    max_seconds: MaxSeconds = None,
    tile: Tile = None,
    max_memory: MaxMemory = None,
    device: Where = "cpu",
    resume: Resume = None,
    overwrite: Overwrite = False,
    recursive: Recursive = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Fill the missing pixels of IN and write OUT; the others stay as they are (--strength 1 denoises them, too)."""
    _restore("inpaint", **locals())


def _restore(function: str, **arguments: Any) -> None:  # noqa: ANN401 - all of a command's
    """What both commands do: the work is loaded when there is some."""
    import evovae
    from evovae.commands import files

    files.restore(getattr(evovae, function), sys.argv[1:], **arguments)
