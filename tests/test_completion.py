"""The shell completes what there is to choose from, and leaves the names of files to itself."""

import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("typer", reason="typer is not installed")
MAIN = "import sys; sys.argv[0] = 'evovae'; from evovae.cli import main; main()"


def completed(words: str, shell: str = "bash") -> str:
    """What the program tells a shell of the last of some words."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_TYPER_COMPLETE_ARGS": words}
    environment = os.environ | asked | {"_EVOVAE_COMPLETE": f"complete_{shell}"}
    command = [sys.executable, "-c", MAIN]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        ("evovae den", ["denoise"]),
        ("evovae denoise in.tif out.tif --preset ", ["fast", "balanced", "best", "paper"]),
        ("evovae denoise in.tif out.tif --preset f", ["fast"]),
        ("evovae fit in.tif model --noise p", ["poisson"]),
        ("evovae train data.npy run --likelihood b", ["bernoulli"]),
        ("evovae denoise in.tif out.tif --device c", ["cpu", "cuda"]),
        ("evovae denoise in.tif out.tif --st", ["--strength", "--std"]),
        ("evovae denoise in", []),  # of a file, which the shell looks for
        ("evovae denoise in.tif out.tif --mask ho", []),
    ],
)
def test_what_bash_is_told(words, choices):
    assert completed(words).split() == choices


def test_zsh_looks_for_files():
    assert "_files" in completed("evovae denoise in", "zsh") and "fast" in completed("evovae demo a --preset f", "zsh")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_itself_completes(tmp_path):
    """By the script that --show-completion prints."""
    environment = os.environ | {"_EVOVAE_COMPLETE": "source_bash"}
    script = subprocess.run([sys.executable, "-c", MAIN], env=environment, capture_output=True, text=True, check=True)
    assert "complete -o default" in script.stdout  # files, where the program says nothing
    program = tmp_path / "evovae"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{MAIN}" "$@"\n')
    program.chmod(0o755)
    words = "COMP_WORDS=(evovae denoise a b --preset b) COMP_CWORD=5; _evovae_completion evovae; echo ${COMPREPLY[*]}"
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", f"{script.stdout}\n{words}"], env=os.environ | path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["balanced", "best"], done.stderr
