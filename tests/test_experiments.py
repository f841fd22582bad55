"""Every experiment runs, in its smoke setting."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))


@pytest.mark.parametrize("script", EXPERIMENTS, ids=lambda path: path.stem)
def test_smoke(script, pictures, tmp_path):
    out = tmp_path / "record.json"
    subprocess.run(
        [sys.executable, "-W", "error", str(script), "--smoke", "--out", str(out)],
        check=True,
        timeout=300,
        env={**os.environ, "EVOVAE_DATA": str(pictures)},
    )
    assert out.stat().st_size > 0
