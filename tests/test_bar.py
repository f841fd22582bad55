"""The progress bar: in a terminal, in a notebook, and nowhere else."""

import re
import sys
from io import StringIO
from types import ModuleType

import numpy as np
import pytest
from helpers import quarters as noisy

import evovae
from evovae import LowRankPatches, ProgressBar, Search

rich = pytest.importorskip("rich.console", reason="rich is not installed")
QUICK = {"preset": LowRankPatches(4, 8, 4, Search(2, 4), 2, rank=1), "noise": "white", "rng": 0}


def terminal() -> rich.Console:
    return rich.Console(file=StringIO(), force_terminal=True, force_jupyter=False, width=80, color_system=None)


def said(console: rich.Console) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", console.file.getvalue()).replace("\r", "\n")


def test_a_terminal_shows_how_far_it_is():
    console = terminal()
    bar = ProgressBar(console)
    result = evovae.denoise(noisy(), callback=bar, **QUICK)
    assert "begins" in said(console) and "epoch 5/5" in said(console) and "noise 1" in said(console)
    assert max(map(len, said(console).splitlines())) <= 80
    assert console.file.getvalue().endswith("\x1b[?25h")  # the cursor is back
    np.testing.assert_array_equal(result, evovae.denoise(noisy(), **QUICK))


def test_one_bar_serves_all_that_takes_a_callback():
    console = terminal()
    bar = ProgressBar(console)
    with bar:
        fitted = evovae.fit_denoiser(noisy(), callback=bar, **QUICK)
        evovae.inpaint(noisy(), noisy() > 200, callback=lambda report: bar(report), **QUICK)
    assert "epoch 5/5" in said(console)
    fitted.restore(noisy(1), callback=bar)
    assert "restored" in said(console)
    assert not console._live_stack


def test_an_error_leaves_the_line():
    console = terminal()
    with pytest.raises(ValueError, match="no observed pixels"):
        evovae.denoise(np.full((24, 24), np.nan), callback=ProgressBar(console), **QUICK)
    assert console.file.getvalue().endswith("\x1b[2K")  # which is empty
    assert not console._live_stack


def test_without_a_terminal_it_is_silent(capfd):
    evovae.denoise(noisy(), callback=ProgressBar(), **QUICK)
    assert capfd.readouterr() == ("", "")


def test_a_notebook_shows_it_in_one_place(monkeypatch):
    """By what IPython has for that, as far as it matters here."""
    shown, updates = [], []

    class Handle:
        def update(self, thing):
            updates.append(thing._repr_mimebundle_([], [])["text/plain"])

    def display(thing, display_id):
        shown.append(thing._repr_mimebundle_([], [])["text/html"])
        return Handle()

    module = ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    evovae.denoise(noisy(), callback=ProgressBar(rich.Console(force_jupyter=True)), **QUICK)
    assert len(shown) == 1 and "begins" in shown[0]
    assert len(updates) >= 5 and "epoch 1/5" in updates[0] and "epoch 5/5" in updates[-1]
