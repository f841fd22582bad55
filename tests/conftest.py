"""Shared by all tests: the surroundings of kernels, the order of files, and the folder with test pictures."""

import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # some versions warn where it is not set
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports the kernels


LONGEST = "web_browser web denoise train public_pictures tiling cli noise fitted docs film estimators blocks cuda io"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest come first: of two processes, none waits for a long one that was begun last."""
    place = {f"test_{name}": number for number, name in enumerate(LONGEST.split())}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture
def pictures() -> Path:
    """The folder of test pictures named by EVOVAE_DATA."""
    folder = os.environ.get("EVOVAE_DATA")
    if not folder:
        pytest.skip("EVOVAE_DATA does not name a folder with the test pictures")
    return Path(folder)
