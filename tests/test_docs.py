"""The documentation's code runs, its links lead somewhere, and it builds without a warning."""

import doctest
import re
import subprocess
import sys
from importlib import import_module
from inspect import getdoc, isclass, isfunction
from itertools import chain
from pathlib import Path
from pkgutil import iter_modules
from traceback import extract_stack

import numpy as np
import pytest
from helpers import SUBSPACES
from numpydoc.validate import validate

import evovae
from evovae import TVAE, NetworkPatches, Search
from evovae.operators import uniform_flip
from evovae.restore.presets import PRESETS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _code(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.mark.parametrize("page", ["docs/explain/model.md", "docs/start.md"])
def test_code_blocks_run(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in _code(page):
        exec(compile(block, page, "exec"), {})
    assert capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::UserWarning")  # so small pictures say that they are
def test_what_the_readme_shows_runs(capsys, monkeypatch):
    for name in PRESETS:
        monkeypatch.setitem(PRESETS, name, lambda picture: (SUBSPACES,))
    random = np.random.default_rng(0)
    pictures = {"noisy": random.normal(100, 10, (16, 16)), "colour": random.normal(100, 10, (16, 16, 3))}
    names = {**pictures, "damaged": pictures["noisy"], "mask": random.random((16, 16)) < 0.1}
    for block in _code("README.md"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["clean"].shape == names["colour"].shape
    assert len(capsys.readouterr().out.splitlines()) == 1 + 5


def modules():
    """The public modules: those of the library's face, but for the packages that only commands and the page use."""
    inner = {
        "__main__",
        "cli",
        "colours",
        "commands",
        "demo",
        "doctor",
        "extras",
        "files",
        "notes",
        "pages",
        "progress",
        "remaining",
        "rng",
    }
    inner |= {"settings", "signals", "units", "web"}
    found = (info.name for info in iter_modules(evovae.__path__) if info.name not in inner)
    return [evovae, *(import_module(f"evovae.{name}") for name in found)]


def named(module):
    """What a module names as public, or what is defined in it without a leading underscore."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return [getattr(module, name) for name in names]


def ours(thing):
    """Whether something is a class or a function of this package: it may have a docstring that is ours to write."""
    return (isclass(thing) or isfunction(thing)) and thing.__module__.startswith("evovae.")


def members(cls):
    """The public methods and properties that a class or one of its bases in this package defines, by their names."""
    for base in filter(ours, cls.__mro__):
        for name, value in vars(base).items():
            function = getattr(value, "__func__", getattr(value, "fget", getattr(value, "func", value)))
            own = isfunction(function) and function.__qualname__ == f"{base.__qualname__}.{name}"
            if own and not name.startswith("_"):
                yield f"{base.__module__}.{base.__qualname__}.{name}", function


def public():
    """Names of all public classes, functions, methods and properties, and what they are."""
    found = {}
    for thing in filter(ours, chain.from_iterable(map(named, modules()))):
        found[f"{thing.__module__}.{thing.__qualname__}"] = thing
        found |= members(thing) if isclass(thing) else {}
    return found


# Left out: the layout of the first and last lines (GL01-03), the style of summaries, which may be formulas (SS02-06,
# ES01), types, which stand in signatures (PR04, RT02), and sections that not everything needs (SA01, EX01).
LEFT_OUT = {"GL01", "GL02", "GL03", "SS02", "SS03", "SS05", "SS06", "ES01", "PR04", "RT02", "SA01", "EX01"}


def test_public_docstrings_are_complete():
    found = public()
    assert len(found) > 300
    wrong = []
    for name, thing in found.items():
        assert getdoc(thing) or inherited(name, thing), f"{name} has no docstring"
        if thing.__doc__:
            mistakes = {code: text for code, text in validate(name)["errors"] if code not in LEFT_OUT}
            if isclass(thing) and "'*args'" in mistakes.get("PR01", ""):  # those of torch's Module, or of a Protocol
                del mistakes["PR01"]
            wrong += [f"{name}: {code} {text}" for code, text in mistakes.items()]
    assert not wrong, "\n".join(wrong)


def inherited(name, function):
    """The docstring of the method that one overrides."""
    place, _, method = name.rpartition(".")
    module, _, cls = place.rpartition(".")
    bases = getattr(import_module(module), cls).__mro__
    return next((doc for base in bases if (doc := getdoc(vars(base).get(method)))), None)


def documented():
    """The modules in which public things are defined, and those that only name them."""
    there = {import_module(thing.__module__) for thing in public().values()}
    return sorted(there | {*modules()}, key=lambda module: module.__name__)


@pytest.mark.parametrize("module", documented(), ids=lambda module: module.__name__)
def test_docstring_examples_run(module):
    assert doctest.testmod(module).failed == 0


def test_there_are_docstring_examples():
    finder = doctest.DocTestFinder()
    assert sum(len(test.examples) for module in documented() for test in finder.find(module)) > 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()) if "://" not in link]
    built = re.compile(r"(\.\./)*tutorials/(\w+)\.rst")
    for link in links:
        made = built.fullmatch(link)
        place = ROOT / "docs" / "gallery" / f"{made[2]}.py" if made and made[2] != "index" else page.parent / link
        assert place.exists() or made and made[2] == "index", link


@pytest.mark.slow  # links, docstrings and their examples are looked at above
def test_the_documentation_builds_without_a_warning(tmp_path):
    """The gallery's pages as text alone: `make docs` runs them."""
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-D", "plot_gallery=0"]
    folders = [ROOT / "docs", tmp_path / "site", "-d", tmp_path / "trees"]
    done = subprocess.run([*build, *folders], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "evovae.denoise" in (tmp_path / "site" / "api" / "restoration.html").read_text()


def test_every_promise_names_files_of_tests_that_exist():
    text = (ROOT / "docs" / "explain" / "robustness.md").read_text()
    rows = re.findall(r"^\| F?\d.*\| (.*) \|$", text, re.MULTILINE)
    assert len(rows) > 50
    for tests in rows:
        named = re.findall(r"`(test_\w+)`", tests)
        assert named and all((ROOT / "tests" / f"{name}.py").exists() for name in named), tests


def test_the_page_of_the_code_names_the_calls_that_lead_to_the_decoder(monkeypatch):
    page = (ROOT / "docs/explain/code.md").read_text().split("```text\n")[1].split("```")[0]
    named = [tuple(line.split()[:2]) for line in page.splitlines()]
    assert len(named) <= 12
    package, decode, found = Path(evovae.__file__).parent, TVAE.decode, set()

    def noted(model, z):
        ours = [call for call in extract_stack() if Path(call.filename).is_relative_to(package)]
        found.add(tuple((Path(call.filename).relative_to(package).as_posix(), call.name) for call in ours))
        return decode(model, z)

    monkeypatch.setattr(TVAE, "decode", noted)
    search = Search(2, 2, mutate=lambda *given: uniform_flip(*given))  # which no compiled engine knows
    small = NetworkPatches(patch=4, latents=4, states=4, search=search, epochs=1, hidden=())
    evovae.denoise(np.random.default_rng(0).normal(100, 10, (12, 12)), preset=small, rng=0)
    assert (*named[:-1],) in found
