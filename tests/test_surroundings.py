"""Where and how the program is run: arrays of other libraries, processes, folders, signals."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from helpers import QUICK, noisy, python, quick, subspaces
from numpy.testing import assert_array_equal

import evovae
from evovae import io


def test_arrays_of_other_libraries(tmp_path):
    image = noisy().astype(np.float32)
    expected = subspaces(image)
    np.save(tmp_path / "a.npy", image)
    assert_array_equal(subspaces(torch.from_numpy(image)), expected)
    assert_array_equal(subspaces(np.load(tmp_path / "a.npy", mmap_mode="r")), expected)
    pytest.importorskip("zarr").save(tmp_path / "a.zarr", image)
    assert_array_equal(subspaces(pytest.importorskip("zarr").open(tmp_path / "a.zarr", mode="r")), expected)
    pil = pytest.importorskip("PIL.Image").fromarray(image)
    assert_array_equal(subspaces(pil), expected)
    assert_array_equal(np.load(tmp_path / "a.npy"), image)


def test_no_home_no_place_to_write_and_no_main_guard_are_needed():
    """Nothing is written but where it was asked for; no processes are started, so that spawned ones are no surprise."""
    environment = {key: value for key, value in os.environ.items() if key != "HOME"} | {"HOME": "/nonexistent"}
    code = "import numpy as np, evovae, multiprocessing as mp\n"
    code += "print(evovae.denoise(np.eye(20) * 9, preset='fast', rng=0).shape, mp.active_children())"
    done = python(code, env=environment, cwd="/proc")
    assert done.stdout == "(20, 20) []\n", done.stderr


def _in_child(queue):
    torch.set_num_threads(1)
    queue.put(evovae.denoise(noisy(), preset=QUICK, rng=0).tobytes())


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_works_after_its_parent_has():
    expected = quick(noisy()).tobytes()
    context = get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join(60)
    assert child.exitcode == 0


def test_a_second_interrupt_ends_at_once_and_leaves_files_whole(tmp_path):
    image = np.random.default_rng(0).normal(100, 20, (40, 40)).astype(np.float32)
    io.write(tmp_path / "in.npy", io.Content(image))
    io.write(tmp_path / "out.npy", io.Content(image))
    command = [sys.executable, "-m", "evovae", "denoise", "in.npy", "out.npy", "--preset", "paper", "--overwrite"]
    process = subprocess.Popen([*command, "--resume", "run"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    while not (tmp_path / "run").exists():  # it has begun, and needs minutes
        time.sleep(0.1)
    time.sleep(1)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    assert process.wait(60) in (130, -signal.SIGINT)
    assert io.read(tmp_path / "out.npy").values.shape == (40, 40)
    assert {path.name for path in tmp_path.iterdir()} <= {"in.npy", "out.npy", "run"}
