"""The files of an upload and of a job, each in a folder of its own."""

import re
from pathlib import Path
from urllib.parse import unquote

ID = r"^[0-9a-f]{32}$"
LONGEST = 120  # letters of a file's name that are kept

# Of an upload, and copied to its jobs: beside them the picture as it came, input.png, .tif, ....
VALUES, PICTURE, CLEAN = "before.npy", "picture.json", "clean.npy"
# What a job is given.
WISH, HOLES, MODEL = "wish.json", "holes.npy", "model.safetensors"
# What it tells while it runs.
EVENTS, PREVIEW, LOG, PROBLEM = "events.jsonl", "preview.png", "worker.log", "problem.txt"
INTERRUPTED = 130  # its exit code, if it was asked to stop before there was anything worth keeping
# What it leaves, beside restored.png, .tif, ...; the summary last.
AFTER, STD, STD_FILE, REPORT, SUMMARY = "after.npy", "std.npy", "uncertainty.tif", "report.json", "summary.json"


def made(folder: Path) -> list[Path]:
    """The folders of uploads or jobs in another one; what else lies there is not ours."""
    return [place for place in folder.iterdir() if re.match(ID, place.name) and place.is_dir()]


def plain_name(encoded: str) -> str:
    """A file's name as text on one line, without folders: shown to people, never used as a path."""
    last = re.split(r"[/\\\\]", unquote(encoded))[-1]
    return "".join(letter for letter in last if letter.isprintable()).strip()[:LONGEST]


def restored_name(name: str, suffix: str) -> str:
    """What a restored picture is called when it is taken away."""
    return f"{Path(name.removesuffix('.gz')).stem or 'picture'}-restored{suffix}"


def noise_plots(page: int) -> str:
    """The file of plots of a page's noise."""
    return f"noise-{page}.json"


def fitted(page: int) -> str:
    """The file of the models that a page has taught."""
    return f"models-{page}.safetensors"
