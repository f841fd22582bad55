"""Pictures, stacks and sounds, one by one or by the folder: what can be asked for."""

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from evovae.commands.shared import levels, size
from evovae.settings import NOISE, NONFINITE, PRESETS, RAISE

Preset = StrEnum("Preset", [*PRESETS])  # type: ignore[misc]
Kind = StrEnum("Kind", [*NOISE])  # type: ignore[misc]
Nonfinite = StrEnum("Nonfinite", [*NONFINITE])  # type: ignore[misc]
Number = StrEnum("Number", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
BALANCED = Preset("balanced")
app = typer.Typer()

Source = Annotated[
    Path,
    typer.Argument(
        metavar="IN",
        help="Picture, stack or sound: PNG, JPEG, TIFF, FITS, MRC, NIfTI, npy, Zarr, WAV, ...; or a folder.",
    ),
]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="Where the restored picture goes, or the folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
MASK = "A picture that is white (or 1) where a pixel is to be filled, and black (0) elsewhere."


def _option(name: str, kind: Any, default: object, help: str, *names: str, **told: Any) -> Parameter:  # noqa: ANN401
    """An option of a type, with the default that it has where it is not given."""
    annotation = Annotated[kind, typer.Option(*names, help=help, **told)]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


OPTIONS = (
    _option(  # a number, or one for each channel
        "sigma", Any, None, "Noise level, if known, in units of the picture; a,b,c for channels.",
        parser=levels, metavar="LEVEL",
    ),
    _option(
        "noise", Kind, Kind("auto"), "Kind of noise: found (auto), the same everywhere (white), or growing as that of "
        "photons (poisson), radar (speckle) or MRI magnitudes (rician).",
    ),
    _option("strength", float, 1.0, "How much of the noise is removed: less than 1 leaves some of it.", min=0, max=1),
    _option("dtype", Number | None, None, "Type of numbers in OUT, if not that of IN: float32 is not rounded."),
    _option("held_out", float, 0.0, "Hide this share of the pixels, for a score: 0.02 is enough.", min=0),
    _option("channel_axis", int | None, None, "The axis of the channels, if the file does not say it."),
    _option("axes", str | None, None, "What the axes of IN are: TYX is a film, ZYX a volume, QYX pictures apart."),
    _option(
        "time_width", int | None, None, "Restore so many frames of a film together, also of less than 5; 0: found.",
        min=0,
    ),
    _option("page", int | None, None, "Take this page of IN only, or this plane of a stack.", min=0),
    _option("series", int | None, None, "Take this series of a TIFF, FITS or Zarr that holds several.", min=0),
    _option("nonfinite", Nonfinite, Nonfinite(RAISE), "Infinite pixels are an error, or filled (mask)."),
    _option("preset", Preset, BALANCED, "How long it may take."),
    _option("mask", Path | None, None, MASK),
    _option("std", Path | None, None, "Where the posterior standard deviation goes (.tif or .npy)."),
    _option("report", Path | None, None, "Where a JSON report goes."),
    Parameter("seed", Parameter.KEYWORD_ONLY, default=0, annotation=Seed),
    _option("max_seconds", float | None, None, "Stop after so many seconds, with the best so far.", min=0),
    _option("tile", int | None, None, "Work on large pictures in tiles of this width.", min=1),
    _option("max_memory", float | None, None, "Memory to use, such as 4G.", parser=size, metavar="SIZE"),
    _option(
        "device", str, "cpu", "Where networks are trained: cpu, cuda, cuda:1, auto.",
        autocompletion=lambda: ["cpu", "cuda", "auto"],
    ),
    _option("resume", Path | None, None, "Keep progress in DIR, and go on from what is there.", metavar="DIR"),
    Parameter("overwrite", Parameter.KEYWORD_ONLY, default=False, annotation=Overwrite),
    _option("recursive", bool, False, "Folders inside of IN, too.", "--recursive"),
    _option("quiet", bool, False, "Say nothing but warnings and errors.", "--quiet", "-q"),
    _option("json", bool, False, "Print a line of JSON for each picture, to stdout.", "--json"),
)  # fmt: skip


def asking(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command all options but those that it has itself or that are left out; it gets words for choices."""

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**given: Any) -> None:  # noqa: ANN401 - all of the command's
            command(**{name: value.value if isinstance(value, StrEnum) else value for name, value in given.items()})

        own = [p for p in signature(command).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        left = {*left_out, *(parameter.name for parameter in own)}
        options = [option for option in OPTIONS if option.name not in left]
        called.__signature__ = Signature([*own, *options])  # type: ignore[attr-defined]
        return called

    return with_options


@app.command()
@asking()
def denoise(source: Source, target: Target, **options: Any) -> None:  # noqa: ANN401
    """Denoise IN and write OUT, of the same size, type and range.  The noise level is found, not asked for."""
    _restore("denoise", source, target, **options)


@app.command()
@asking()
def inpaint(
    source: Source,
    target: Target,
    mask: Annotated[Path | None, typer.Option(help=MASK + "  NaN is filled too.")] = None,
    strength: Annotated[
        float,
        typer.Option(min=0, max=1, help="How much of the noise of known pixels is removed: 0 leaves them as they are."),
    ] = 0.0,
    **options: Any,  # noqa: ANN401
) -> None:
    """Fill the missing pixels of IN and write OUT; the others stay as they are (--strength 1 denoises them, too)."""
    _restore("inpaint", source, target, mask=mask, strength=strength, **options)


def _restore(function: str, source: Path, target: Path, **options: Any) -> None:  # noqa: ANN401 - of `files.restore`
    """What both commands do: the work is loaded when there is some."""
    import evovae
    from evovae.commands import files

    files.restore(getattr(evovae, function), source=source, target=target, **options)
