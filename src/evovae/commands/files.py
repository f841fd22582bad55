"""What commands do with pictures in files: one after another, read, restored or learnt from, written, told of."""

import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
import typer

import evovae
from evovae import io
from evovae.commands.bar import Bar
from evovae.commands.shared import Failed, kept_elsewhere, one_line_errors, say, tell
from evovae.doctor import versions
from evovae.files import let_go
from evovae.io.places import ending
from evovae.masks import missing
from evovae.pages import Pages, noise_of, page_places, time_axis
from evovae.pages import channel_axis as axis_of_channels
from evovae.pages import restore as restore_pages

DONE = "done"  # beside the progress of a picture in a folder that was restored to the end
MAYBE_ROWS = (".wav", ".npy", ".zarr", ".fits", ".fit", ".fts", ".nii")  # may hold a single row, which TIFF does not
NAMED = 5  # files that are left out, and are told by name


Work = Callable[..., object]
"""`evovae.denoise`, or what takes the same and returns a `Restoration`."""


def restore(work: Work, *, source: Path, recursive: bool, **arguments: Any) -> None:  # noqa: ANN401
    """One picture, or each one in a folder."""
    if _is_folder(source):
        _restore_all(work, source, recursive=recursive, **arguments)
    else:
        _restore_one(work, source=source, **arguments)


def apply(model: Path, **arguments: Any) -> None:  # noqa: ANN401 - those of `restore`
    """The same with what was learnt before."""
    with one_line_errors():
        fitted = evovae.FittedDenoiser.load(model)
    width = fitted.width if fitted.width > 1 else None

    def work(image: np.ndarray, *, max_seconds: None, time_width: int | None, **options: Any) -> object:  # noqa: ANN401
        return fitted.restore(image, **options)

    restore(work, max_seconds=None, time_width=width, as_stored=False, **arguments)


def fit(
    sources: list[Path],
    *,
    target: Path,
    axes: str | None,
    series: int | None,
    channel_axis: int | None,
    time_width: int | None,
    seed: int,
    overwrite: bool,
    recursive: bool,
    quiet: bool,
    json: bool,
    **options: Any,  # noqa: ANN401 - others of `evovae.fit_denoiser`, under its own names
) -> None:
    """Learn from all pages of pictures and of those in folders, and write what was learnt."""
    bar = Bar(quiet)
    with one_line_errors():
        io.check_place(target, overwrite=overwrite)
        pictures = _Pictures(sources, recursive, axes, series, film=time_width is not None)
        options |= {"time_axis": pictures.time_axis, "time_width": time_width or None}
        options["channel_axis"] = pictures.channel_axis if channel_axis is None else channel_axis
        with bar.running():
            fitted = evovae.fit_denoiser(pictures, rng=seed, callback=bar, **options)
    with kept_elsewhere(target, fitted.save):
        fitted.save(target)
    noise = fitted.noise.describe()["summary"]
    if not quiet:
        stopped = f"stopped after {bar.where}: the best so far   " * bool(bar.signal)
        tell(f"learnt from: {len(pictures)} pictures   noise: {noise}   {stopped}written: {target}")
    if json:
        inputs = [str(path) for path in sources]
        typer.echo(dumps({"input": inputs, "output": str(target), "pictures": len(pictures), "noise": noise}))
    bar.end()


class _Pictures(Sequence[np.ndarray]):
    """All pages of files and of those in folders, read when they are asked for: one file is in memory at a time.

    channel_axis and time_axis are those of a page, as the first file says.
    """

    def __init__(
        self, sources: list[Path], recursive: bool, axes: str | None, series: int | None, *, film: bool
    ) -> None:
        def read(path: Path) -> io.Content:
            content = io.read(path, axes=axes, series=series)
            return content.as_film() if film else content

        self.read = lru_cache(1)(read)
        paths: list[Path] = []
        for source in sources:
            paths += [source / path for path in _found(source, recursive)[0]] if _is_folder(source) else [source]
        if not paths:
            raise ValueError(f"{', '.join(map(str, sources))} holds no pictures of a known kind")
        self.channel_axis, self.time_axis = axis_of_channels(self.read(paths[0])), time_axis(self.read(paths[0]))
        self.pages = [(path, number) for path in paths for number in range(len(page_places(self.read(path))))]

    def __len__(self) -> int:
        return len(self.pages)

    def __getitem__(self, number: Any) -> Any:  # noqa: ANN401 - as sequences have it
        path, page = self.pages[number]
        content = self.read(path)
        return content.values[page_places(content)[page]]


def _restore_all(
    work: Work,
    source: Path,
    *,
    target: Path,
    mask: Path | None,
    std: Path | None,
    report: Path | None,
    resume: Path | None,
    overwrite: bool,
    recursive: bool,
    quiet: bool,
    **options: Any,  # noqa: ANN401 - others of `_restore_one`
) -> None:
    """Each picture in a folder, to one of the same name in another; a bad one does not keep the others from it.

    Of several processes that torchrun started, each takes its share.  --std, --report and --resume name folders, --mask
    one, or a picture for all.  With --resume, pictures that are there are done, unless a run that was stopped left them
    as the best so far.  Uncertainties and reports are named after the pictures: with their suffixes, where some of them
    differ in those alone.
    """
    with one_line_errors():
        paths, left_out = _found(source, recursive)
        if not paths:
            raise ValueError(f"{source} holds no pictures of a known kind{left_out and f'; {left_out}'}")
        mine = paths[int(os.environ.get("RANK", "0")) :: int(os.environ.get("WORLD_SIZE", "1"))]
        written = _written_names(paths)
        there = [out for path in mine if (out := target / written[path]).exists()]
        if there and resume is None and not overwrite:
            others = f" and {len(there) - 1} others exist" if there[1:] else " exists"
            raise FileExistsError(f"{there[0]}{others}; --overwrite replaces, --resume skips what is there")
        for folder in (target, std, report):
            for inner in {path.parent for path in mine} if folder is not None else ():
                (folder / inner).mkdir(parents=True, exist_ok=True)  # type: ignore[operator]
    if left_out and not quiet:
        say(left_out)
    differ = len({*map(_stem, paths)}) == len(paths)
    began, done, before, refused = time.monotonic(), 0, 0, dict[Path, Failed]()
    for path in mine:
        name, out = str(_stem(path)) if differ else str(path), target / written[path]
        progress = None if resume is None else resume / path
        begun = progress is not None and progress.exists() and not (progress / DONE).exists()  # and then stopped
        if progress is not None and out in there and not begun:
            before += 1
            continue
        form = "npy" if ending(path).removesuffix(".gz") in MAYBE_ROWS else "tif"
        try:
            _restore_one(
                work,
                source=source / path,
                target=out,
                mask=mask if mask is None or not mask.is_dir() else _mask(mask, path),
                std=None if std is None else std / f"{name}.{form}",
                report=None if report is None else report / f"{name}.json",
                resume=progress,
                overwrite=overwrite or out in there,
                quiet=quiet,
                **options,
            )
            if progress is not None:
                with one_line_errors():
                    progress.mkdir(parents=True, exist_ok=True)
                    (progress / DONE).touch()
            done += 1
        except Failed as failed:
            refused[path] = failed
            if options["json"]:
                typer.echo(dumps({"input": str(source / path), "error": failed.message}))
        except typer.Exit:  # a signal
            say(f"stopped at {path}; {_summary(done, before, refused, time.monotonic() - began)}", "yellow")
            raise
    if refused or not quiet:
        say(_summary(done, before, refused, time.monotonic() - began))
    if refused:
        raise typer.Exit([*refused.values()][-1].exit_code)


def _is_folder(source: Path) -> bool:
    """Whether pictures are in it, rather than that it is one, as Zarr stores are."""
    return source.is_dir() and not io.is_known(source)


def _found(source: Path, recursive: bool) -> tuple[list[Path], str]:
    """Pictures in a folder, relative to it, and in words what is left out; hidden files are skipped."""
    inside = sorted(source.rglob("*") if recursive else source.iterdir())
    seen = [path for path in inside if not any(part.startswith(".") for part in path.relative_to(source).parts)]
    known = {path for path in seen if io.is_known(path)}
    seen = [path for path in seen if not known & {*path.parents}]  # not inside of stores
    files = [path for path in seen if path not in known and not path.is_dir()]
    folders = [path for path in seen if path not in known and path.is_dir() and not recursive]
    told = []
    if files:
        told.append(f"left out {_names(files)}, of kinds that are not read")
    if folders:
        told.append(f"folders inside are left out ({_names(folders)}); --recursive takes them in")
    return [path.relative_to(source) for path in seen if path in known], "; ".join(told)


def _written_names(paths: list[Path]) -> dict[Path, Path]:
    """What each picture is written as: a.png for a.bmp, which is only read, but a.bmp.png where that would be two."""
    names = {path: io.written_name(path) for path in paths}
    shared = Counter(names.values())
    return {
        path: name if shared[name] == 1 or name == path else path.with_name(f"{path.name}.png")
        for path, name in names.items()
    }


def _names(paths: list[Path]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(path.name for path in paths[:NAMED]) + more


def _stem(path: Path) -> Path:
    """A name without the end that says what the file is: a of a.nii.gz."""
    return path.with_name(path.name[: -len(ending(path))] or path.name) if ending(path) else path


def _mask(folder: Path, path: Path) -> Path:
    """The mask of a picture: of the same name, or of one that differs in its suffix."""
    named = [folder / path, *sorted((folder / path).parent.glob(f"{_stem(path).name}.*"))]
    return next((mask for mask in named if mask.exists()), named[0])


def _summary(done: int, before: int, refused: dict[Path, Failed], seconds: float) -> str:
    """What became of a folder, in a line."""
    parts = [f"{done} restored in {seconds:.0f} s"]
    if before:
        parts.append(f"{before} were there already")
    if refused:
        why = "; ".join(f"{path}: {failed.message}" for path, failed in refused.items())
        parts.append(f"{len(refused)} not restored ({why})")
    return ", ".join(parts)


def _restore_one(
    work: Work,
    *,
    source: Path,
    target: Path,
    axes: str | None,
    page: int | None,
    series: int | None,
    mask: Path | None,
    std: Path | None,
    report: Path | None,
    overwrite: bool,
    dtype: str | None,
    seed: int,
    quiet: bool,
    json: bool,
    time_width: int | None,
    as_stored: bool = True,
    **options: Any,  # noqa: ANN401 - others of `evovae.denoise`, under its own names
) -> None:
    """Check all files, restore (as they are stored, where that is another way), write, and say what was done."""
    bar = Bar(quiet)
    with one_line_errors():
        content = io.read(source, axes=axes, page=page, series=series)
        holes = None if mask is None else missing(io.read(mask).drawn())
        nothing = np.broadcast_to(np.zeros((), dtype or content.values.dtype), content.values.shape)
        io.check_writable(target, content.replaced(nothing), overwrite=overwrite)
        if std is not None:
            nothing = np.broadcast_to(np.float32(0), content.values.shape)
            io.check_writable(std, replace(content, values=nothing, alpha=None), overwrite=overwrite)
        if report is not None:
            io.check_place(report, overwrite=overwrite)
        outputs = [path.resolve() for path in (target, std, report) if path is not None]
        if len({*outputs}) < len(outputs):
            raise ValueError("OUT, --std and --report must be different files")
        content = content if as_stored else replace(content, planes=None)
        content = content if time_width is None else content.as_film()
        options |= {"rng": seed, "dtype": dtype, "time_width": time_width or None}
        if options["channel_axis"] is None:
            options["channel_axis"] = axis_of_channels(content)
        with bar.running():
            done = restore_pages(work, content, holes, bar.begin, lambda: bar.signal > 0, callback=bar, **options)
    with kept_elsewhere(target, lambda path: io.write(path, content.replaced(done.values))):
        about: dict[str, Any] = {} if report is None else {"input": _file(source)}  # before it may be replaced
        io.write(target, content.replaced(done.values))
        let_go(content.values, done.values)
        if std is not None:
            values = done.std.astype(np.float32, copy=False)
            io.write(std, replace(content, values=values, alpha=None))
        if report is not None:
            plain = {name: v if isinstance(v, int | float | str | None) else str(v) for name, v in options.items()}
            about |= {
                "output": _file(target),
                "mask": None if mask is None else _file(mask),
                "command": ["evovae", *sys.argv[1:]],
                "evovae": evovae.__version__,
                "versions": versions(),
                "options": plain | {"axes": axes, "page": page, "series": series},
                "seed": seed,
                "pages": [result.report() for result in done.results],
                "restored": len(done.results),
                "of": done.count,
            }
            text = dumps(about, indent=1)
            io.write_atomically(report, lambda file: file.write(text.encode()))
    if not quiet:
        tell("   ".join(_told(done, holes, bar, target)))
    if json:
        typer.echo(_line(done, source, target))
    bar.end()


def _file(path: Path) -> dict[str, str]:
    """Where a file is, and the SHA-256 of it, or of all files in a store, in the order of their names."""
    digest = hashlib.sha256()
    for part in [path] if path.is_file() else sorted(inner for inner in path.rglob("*") if inner.is_file()):
        with part.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return {"path": str(path), "sha256": digest.hexdigest()}


def _told(done: Pages, holes: np.ndarray | None, bar: Bar, target: Path) -> Iterator[str]:
    """What was found and done, for people."""
    if holes is not None:
        yield f"filled: {holes.sum()} of {holes.size} pixels"
    kinds = [*dict.fromkeys(noise_of(result) for result in done.results)]
    yield f"noise: {kinds[0]}" + f" (of the first page; --report has those of {len(done.results)})" * (len(kinds) > 1)
    levels = [result.sigma for result in done.results]
    yield f"level after training: {min(levels):.4g}" + f" to {max(levels):.4g}" * (len(levels) > 1)
    yield f"seconds: {sum(result.seconds for result in done.results):.1f}"
    if any(result.interrupted for result in done.results):
        yield f"stopped by {'a signal' if bar.signal else '--max-seconds'} after {bar.where}: the best so far"
    if len(done.results) < done.count:
        yield f"{len(done.results)} of {done.count} pages restored, the others are as they were"
    yield f"written: {target}"


def _line(done: Pages, source: Path, target: Path) -> str:
    """The same, for programs."""
    results = done.results
    return dumps(
        {
            "input": str(source),
            "output": str(target),
            "noise": [noise_of(result) for result in results],
            "sigma": [result.sigma for result in results],
            "seconds": round(sum(result.seconds for result in results), 2),
            "interrupted": any(result.interrupted for result in results),
            "restored": len(results),
            "of": done.count,
        }
    )
