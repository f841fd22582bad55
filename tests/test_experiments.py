"""Every experiment runs, in its smoke setting."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from helpers import slow

ROOT = Path(__file__).parents[1]
NOT_EXPERIMENTS = {"__init__", "common"}
EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.py") if path.stem not in NOT_EXPERIMENTS)


@pytest.mark.parametrize("folder", ["benchmarks", "experiments"])
def test_each_one_can_be_imported(folder):
    for path in (ROOT / folder).rglob("*.py"):
        import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))


@pytest.mark.parametrize("name", [name if name == "table3" else slow(name) for name in EXPERIMENTS])
def test_smoke(name, pictures, tmp_path):
    out = tmp_path / "record.json"
    subprocess.run(
        [sys.executable, "-W", "error", "-m", f"experiments.{name}", "--smoke", "--out", str(out)],
        cwd=ROOT,
        check=True,
        timeout=300,
        env={**os.environ, "EVOVAE_DATA": str(pictures)},
    )
    assert out.stat().st_size > 0
