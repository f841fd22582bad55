"""Where results go: checked before any work; directories are there whole or not at all, as files are."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile, mkdtemp

STORES = (".zarr",)
STORE_FILES = ("zarr.json", ".zarray", ".zgroup")


def ending(path: Path) -> str:
    """The end of a name that says what a file is, in small letters: .tif, or .nii.gz of what is packed."""
    return "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]).lower()


def shown(path: Path) -> str:
    """A path that can be printed on one line: no broken characters, and not 4 KB of them."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= 200 else f"{text[:80]}...{text[-80:]}"


def check_place(path: Path, *, overwrite: bool) -> None:
    """Fail before any work is done if no file, or no directory for names ending in .zarr, can be put at a path.

    Parameters
    ----------
    path
        Where something is to be written.
    overwrite
        Whether what is there may be replaced.

    Raises
    ------
    OSError, ValueError
        Each with the path and the reason in one sentence.
    """
    try:
        os.fsencode(path).decode("utf-8")
    except UnicodeError as error:
        raise ValueError(f"{shown(path)} is not UTF-8; choose another name") from error
    try:
        os.lstat(path)
        there = True  # a broken link included
    except (FileNotFoundError, NotADirectoryError):
        there = False
    except (OSError, ValueError) as error:  # the name is too long, or holds characters that names cannot
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{shown(path)} cannot be a file here: {reason}; choose another name") from error
    if there and path.suffix.lower() in STORES:
        if not path.is_dir() or not any((path / name).is_file() for name in STORE_FILES):
            raise FileExistsError(f"{shown(path)} is there, and no Zarr store that could be replaced")
    elif path.is_dir():
        raise IsADirectoryError(f"{shown(path)} is a directory")
    elif there and not path.is_file() and not path.is_symlink():
        raise FileExistsError(f"{shown(path)} is there, and no file that could be replaced")
    if there and not overwrite:
        raise FileExistsError(f"{shown(path)} exists; pass --overwrite to replace it")
    if not path.parent.is_dir():
        raise NotADirectoryError(f"{shown(path.parent)} is not a directory that can be written to")
    try:
        TemporaryFile(dir=path.parent).close()  # as rights alone do not say it: quotas can be used up
    except OSError as error:
        message = f"{shown(path.parent)} is not a directory that can be written to: {error.strerror}"
        raise NotADirectoryError(message) from error


def write_store_atomically(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` make a directory, flush it to the disk, and put it at path, in place of the store there was."""
    workshop = Path(mkdtemp(dir=path.parent, prefix=f".{path.name[:40]}."))
    new, old = workshop / "new", workshop / "old"
    try:
        save(new)
        for file in new.rglob("*"):
            if file.is_file():
                with file.open("rb") as saved:
                    os.fsync(saved.fileno())
        if path.is_dir():
            path.replace(old)
        try:
            new.replace(path)
        except BaseException:
            if old.exists():
                old.replace(path)
            raise
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        if not old.exists():
            workshop.rmdir()
        raise
    shutil.rmtree(workshop)
