"""The documentation's code runs."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["docs/model.md"])
def test_code_blocks_run(page, capsys):
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        exec(compile(block, page, "exec"), {})
    assert capsys.readouterr().out


def test_docstring_examples():
    import importlib

    denoise = importlib.import_module("evovae.restore.api")
    assert doctest.testmod(denoise).failed == 0
    assert doctest.testmod(denoise).attempted > 0


def test_every_file_that_the_readme_links_exists():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links and all((ROOT / link).exists() for link in links)


def test_every_test_that_is_promised_exists():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "robustness.md").read_text()))
    there = {name for path in (ROOT / "tests").glob("*.py") for name in re.findall(r"def (test_\w+)", path.read_text())}
    assert len(named) > 50
    assert named <= there, named - there
