"""The files of an upload and of a job, each in a folder of its own."""

import re
from pathlib import Path

ID = r"^[0-9a-f]{32}$"

# Of an upload, and copied to its jobs: beside them the picture as it came, input.png, .tif or .jpg.
VALUES, PICTURE, CLEAN = "before.npy", "picture.json", "clean.npy"
# What a job is given.
WISH, HOLES = "wish.json", "holes.npy"
# What it tells while it runs.
EVENTS, PREVIEW, LOG, PROBLEM = "events.jsonl", "preview.png", "worker.log", "problem.txt"
# What it leaves, beside restored.png, .tif or .jpg; the summary last.
AFTER, STD, STD_FILE, REPORT, SUMMARY = "after.npy", "std.npy", "uncertainty.tif", "report.json", "summary.json"


def made(folder: Path) -> list[Path]:
    """The folders of uploads or jobs in another one; what else lies there is not ours."""
    return [place for place in folder.iterdir() if re.match(ID, place.name) and place.is_dir()]


def insight(page: int, model: int) -> str:
    """The file of a model that a page has taught."""
    return f"insight-{page}-{model}.safetensors"
