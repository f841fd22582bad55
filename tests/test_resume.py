"""Restorations that were stopped, killed or disturbed go on from what they kept: to the bit."""

import os
import random
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from test_denoise import QUICK, SUBSPACES, noisy

import evovae
from evovae.checkpoint import BusyError, Checkpointer, CheckpointError, exclusively
from evovae.restore import pipeline

MODELS = [
    replace(SUBSPACES, epochs=2, look=(2, 1)),
    replace(QUICK, epochs=2),
    evovae.MixturePatches(5, 21, epochs=3, splits=2),
]
MASK = np.random.default_rng(2).random((40, 40)) < 0.1


@pytest.fixture(autouse=True)
def keep_every_epoch(monkeypatch):
    monkeypatch.setattr(pipeline, "INTERVAL", 0.0)


def run(folder=None, **options):
    options = {"mask": MASK, "preset": MODELS, "rng": 0, "full_output": True, "resume": folder, **options}
    return evovae.denoise(options.pop("image", noisy()), **options)


def assert_same(a, b):
    assert_array_equal(a.image, b.image)
    assert_array_equal(a.std, b.std)
    assert a.elbo == b.elbo and a.sigma == b.sigma and not b.interrupted
    for one, other in zip(a.fitted.members, b.fitted.members, strict=True):
        for name, tensor in one.model.state_dict().items():
            assert_array_equal(tensor, other.model.state_dict()[name])


@pytest.fixture(scope="module")
def undisturbed():
    return run()


@pytest.mark.parametrize("epoch", range(1, 10))
def test_a_run_stopped_after_any_epoch_goes_on_to_the_bit(tmp_path, undisturbed, epoch):
    seen = []
    stopped = run(tmp_path, callback=lambda p: seen.append(p) or p.epoch == epoch)
    assert stopped.interrupted and len(stopped.elbo) == epoch
    assert_same(undisturbed, run(tmp_path, callback=lambda p: seen.append(p)))
    assert [p.epoch for p in seen] == list(range(1, 11)) and seen[-1].share == 1
    assert all(a.seconds < b.seconds for a, b in pairwise(seen))


def test_a_finished_run_is_all_there(tmp_path, undisturbed):
    run(tmp_path)
    assert_same(undisturbed, run(tmp_path, callback=lambda p: pytest.fail("there is nothing left to do")))


def test_without_a_seed_the_first_one_is_kept(tmp_path):
    run(tmp_path, rng=None, held_out=0.05, callback=lambda p: p.epoch == 2)
    one = run(tmp_path, rng=None, held_out=0.05)
    assert_array_equal(one.image, run(tmp_path, rng=None, held_out=0.05).image)
    assert one.held_out > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": noisy() + 1}, "other picture"),
        ({"mask": ~MASK}, "other picture"),
        ({"preset": MODELS[:1]}, "other memory or tiles, patch models"),
        ({"sigma": 14.0}, "other options"),
        ({"rng": 1}, "other seed"),
        ({"tile": 20}, "other memory or tiles"),
    ],
    ids=["picture", "mask", "models", "sigma", "seed", "tile"],
)
def test_the_progress_of_another_call_is_refused(tmp_path, change, message):
    run(tmp_path, callback=lambda p: True)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path, **change)
    assert before == {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}


def test_a_folder_in_use_is_refused(tmp_path):
    with exclusively(tmp_path), pytest.raises(BusyError, match="another process works in"):
        run(tmp_path)


def test_damage_costs_no_more_than_the_last_epochs(tmp_path, undisturbed):
    run(tmp_path, callback=lambda p: p.epoch == 4)
    last = max(tmp_path.glob("checkpoint-*/*.safetensors"))
    content = bytearray(last.read_bytes())
    content[-9] ^= 1
    last.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged: its checksum does not fit; the one before it is taken"):
        assert_same(undisturbed, run(tmp_path))


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("number", range(1, 14))
def test_killed_after_any_snapshot_it_ends_as_if_undisturbed(tmp_path, monkeypatch, undisturbed, number):
    """After each epoch, and between and after the models."""
    save, saved = Checkpointer.save, []

    def save_and_die(checkpointer, shared, **options):
        save(checkpointer, shared, **options)
        saved.append(shared)
        if len(saved) == number:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpointer, "save", save_and_die)
        with pytest.raises(Killed):
            run(tmp_path)
    assert_same(undisturbed, run(tmp_path))


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_undisturbed(tmp_path, undisturbed):
    """kill -9, again and again, until one attempt gets to the end."""
    script = (
        "import sys, numpy as np; sys.path.insert(0, 'tests')\n"
        "from evovae.restore import pipeline; pipeline.INTERVAL = 0.0\n"
        "import test_resume as t\n"
        f"print('ready', flush=True); r = t.run({str(tmp_path / 'run')!r})\n"
        f"np.save({str(tmp_path / 'a.npy')!r}, r.image)"
    )
    wait = random.Random(os.getpid())
    for attempt in range(4):
        command = [sys.executable, "-c", script]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent) as process:
            process.stdout.readline()
            try:
                process.wait(wait.uniform(0.1, 1.5) if attempt < 3 else None)
            except subprocess.TimeoutExpired:
                process.kill()
    assert_array_equal(np.load(tmp_path / "a.npy"), undisturbed.image)
