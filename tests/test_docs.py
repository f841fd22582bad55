"""The documentation's code runs, its links lead somewhere, and it builds without a warning."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _code(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("page", ["docs/explain/model.md", "docs/start.md"])
def test_code_blocks_run(page, capsys):
    for block in _code(page):
        exec(compile(block, page, "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::UserWarning")  # so small pictures say that they are
def test_what_the_readme_shows_runs(capsys):
    random = np.random.default_rng(0)
    pictures = {"noisy": random.normal(100, 10, (24, 24)), "colour": random.normal(100, 10, (24, 24, 3))}
    names = {**pictures, "damaged": pictures["noisy"], "mask": random.random((24, 24)) < 0.1}
    for block in _code("README.md"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["clean"].shape == names["colour"].shape
    assert len(capsys.readouterr().out.splitlines()) == 1 + 5


def test_docstring_examples():
    import importlib

    denoise = importlib.import_module("evovae.restore.api")
    assert doctest.testmod(denoise).failed == 0
    assert doctest.testmod(denoise).attempted > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()) if "://" not in link]
    built = re.compile(r"(\.\./)*tutorials/(\w+)\.rst")
    for link in links:
        made = built.fullmatch(link)
        place = ROOT / "docs" / "gallery" / f"{made[2]}.py" if made and made[2] != "index" else page.parent / link
        assert place.exists() or made and made[2] == "index", link


def test_the_documentation_builds_without_a_warning(tmp_path):
    """The gallery's pages as text alone: `make docs` runs them."""
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-D", "plot_gallery=0"]
    folders = [ROOT / "docs", tmp_path / "site", "-d", tmp_path / "trees"]
    done = subprocess.run([*build, *folders], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "evovae.denoise" in (tmp_path / "site" / "api" / "restoration.html").read_text()


def test_every_test_that_is_promised_exists():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "explain" / "robustness.md").read_text()))
    there = {name for path in (ROOT / "tests").glob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    assert len(named) > 50
    assert named <= there, named - there
