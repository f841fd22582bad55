"""`evovae train`: tables larger than memory, runs that are stopped, killed, or go on with other processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import h5py
import numpy as np
import pyarrow
import pytest
import torch
import zarr
from helpers import seeded
from numpy.testing import assert_allclose, assert_array_equal
from pyarrow import parquet
from typer.testing import CliRunner

from evovae import States, checkpoint, datasets, likelihoods
from evovae import train as module
from evovae.checkpoint import BusyError, Checkpointer, CheckpointError, exclusively, load_model
from evovae.cli import app
from evovae.exact import log_likelihood
from evovae.sharding import Alone
from evovae.tables import Room, Rows, opened
from evovae.train import Settings, Stop, train

SETTINGS = Settings(6, (12,), "gaussian", 10, 4, 3, epochs=6, batch_size=50, learning_rate=0.02)
PLENTY = 1e9


def table(N: int = 300) -> np.ndarray:
    """Bars, not around zero and not of unit size, some of it missing."""
    values = 40 + 7 * datasets.bars_images(N, seeded(3)).double().numpy()
    values[np.random.default_rng(0).random(values.shape) < 0.1] = np.nan
    return values


@pytest.fixture
def data(tmp_path) -> Path:
    np.save(tmp_path / "data.npy", table())
    return tmp_path / "data.npy"


def run(data, folder, settings=SETTINGS, *, stop_after=None, memory=PLENTY, validation=None):
    stop, seen = Stop(), []

    def report(epoch, model, bound):
        seen.append(epoch.elbo)
        if epoch.number == stop_after:
            stop.signal = signal.SIGTERM

    options = {"memory": memory, "validation": validation, "report": report, "stop": stop}
    model = train(data, folder, settings, Alone(), **options)
    return model, seen


def parameters(model) -> np.ndarray:
    return np.concatenate([value.numpy().ravel() for value in model.state_dict().values()])


def logged(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_model_is_trained_logged_and_kept_with_its_units(data, tmp_path):
    model, bounds = run(data, tmp_path / "out")
    assert len(bounds) == SETTINGS.epochs and bounds[-1] > bounds[0] + 1
    assert [line["elbo"] for line in logged(tmp_path / "out")] == bounds
    again, about = load_model(tmp_path / "out" / "model.safetensors")
    assert_array_equal(parameters(model), parameters(again))
    mean = np.nanmean(table(), axis=0)
    assert_allclose(about["offset"], mean, rtol=1e-6)
    assert_allclose(about["unit"], np.nanstd(table() - mean), rtol=1e-5)
    assert about["shape"] == [16] and about["run"]["latents"] == 6


@pytest.mark.parametrize("epoch", [1, 3, 5])
def test_a_run_stopped_after_any_epoch_goes_on_to_the_bit(data, tmp_path, epoch):
    whole, bounds = run(data, tmp_path / "whole")
    _, first = run(data, tmp_path / "parts", stop_after=epoch)
    model, second = run(data, tmp_path / "parts")
    assert first + second == bounds
    assert_array_equal(parameters(model), parameters(whole))
    assert [line["epoch"] for line in logged(tmp_path / "parts")] == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_has_nothing_left_to_do(data, tmp_path):
    model, _ = run(data, tmp_path / "out")
    again, bounds = run(data, tmp_path / "out")
    assert bounds == [] and len(logged(tmp_path / "out")) == 6
    assert_array_equal(parameters(model), parameters(again))


def test_what_does_not_fit_in_memory_lies_in_files_that_vanish(data, tmp_path):
    model, bounds = run(data, tmp_path / "memory")
    other, same = run(data, tmp_path / "files", memory=0)
    assert bounds == same
    assert_array_equal(parameters(model), parameters(other))
    names = {path.name for path in (tmp_path / "files").iterdir()}
    assert names <= {"lock", "log.jsonl", "model.safetensors", "progress"}


def test_all_formats_say_the_same(tmp_path):
    values = table(90).reshape(90, 4, 4)
    np.save(tmp_path / "a.npy", values)
    zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(20, 4, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("group/images", data=values, chunks=(20, 4, 4))
        file["labels"] = np.arange(90)
    found = []
    for source in ("a.npy", "a.zarr", "a.h5:group/images"):
        with opened(tmp_path / source) as array:
            rows = Rows.read(array, likelihoods.Gaussian(), Alone(), Room(tmp_path, PLENTY))
        found.append(rows)
        assert rows.N == 90 and rows.x.shape == rows.observed.shape == (90, 16)
        assert_allclose(
            rows.x * rows.unit + torch.from_numpy(rows.offset),
            np.nan_to_num(values.reshape(90, 16)) * rows.observed.numpy() + ~rows.observed.numpy() * rows.offset,
            rtol=1e-5,
        )
    assert all(torch.equal(found[0].x, rows.x) for rows in found)


def test_tables_are_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("evovae.tables.BLOCK", 32)
    np.save(tmp_path / "a.npy", table(100))

    class Second(Alone):
        rank, world = 1, 2

    with opened(tmp_path / "a.npy") as array:
        whole = Rows.read(array, likelihoods.Bernoulli() and likelihoods.Laplace(), Alone(), Room(tmp_path, PLENTY))
        part = Rows.read(array, likelihoods.Laplace(), Second(), Room(tmp_path, 0))
    assert part.N == whole.N == 100 and len(part.x) == 50
    assert_array_equal(part.observed, whole.observed[50:])
    assert_allclose(
        part.x * part.unit + torch.from_numpy(part.offset) * part.observed,
        whole.x[50:] * whole.unit + torch.from_numpy(whole.offset) * part.observed,
        rtol=1e-4,
        atol=1e-3,
    )


@pytest.mark.parametrize(
    ("values", "change", "error", "message"),
    [
        (np.zeros(5), {}, ValueError, "rows of values are needed"),
        (np.zeros((0, 5)), {}, ValueError, "rows of values are needed"),
        (np.full((5, 4), np.nan), {}, ValueError, "no observed values"),
        (np.array([["a"]]), {}, TypeError, "numbers are needed"),
        (np.full((70, 4), np.inf), {}, ValueError, "rows 0 to 69 of the data hold infinite values"),
        (np.full((70, 4), 0.5), {"likelihood": "bernoulli"}, ValueError, "zeros and ones"),
        (np.full((70, 4), -1), {"likelihood": "poisson"}, ValueError, "counts 0, 1, 2"),
        (np.array([[0.0], [1e300]]), {}, ValueError, "too large to work with; scale them down"),
        (np.full((3, 1), 1.7e308), {}, ValueError, "too large to work with"),
        (np.full((3, 1), 1e39), {"likelihood": "poisson"}, ValueError, "too large to work with"),
        (np.zeros((70, 4)), {"states": 65}, ValueError, "there are 2\\^6 = 64 distinct states"),
        (np.zeros((70, 4)), {"parents": 11}, ValueError, "cannot select 11 distinct parents"),
        (np.zeros((70, 4)), {"children": 7}, ValueError, "7 children cannot differ"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_a_sentence(tmp_path, values, change, error, message):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(error, match=message):
        run(tmp_path / "a.npy", tmp_path / "out", replace(SETTINGS, **change))


def read(source, shard=None):
    with opened(source) as array:
        return Rows.read(array, likelihoods.Gaussian(), shard or Alone(), Room(Path(), PLENTY))


def test_small_differences_of_large_values_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("evovae.tables.BLOCK", 64)
    differences = np.random.default_rng(0).normal(size=(100, 4))
    differences -= differences.mean(0)
    np.save(tmp_path / "a.npy", 1e9 + 0.1 * differences)
    rows = read(tmp_path / "a.npy")
    assert_allclose(rows.unit, 0.1 * differences.std(), rtol=1e-5)
    assert_allclose(rows.x, differences / differences.std(), atol=1e-5)


class Side(Alone):
    """One of two processes, here threads."""

    world, meeting, values = 2, Barrier(2, timeout=60), [None, None]

    def __init__(self, rank):
        self.rank = rank

    def add(self, values):
        self.meeting.wait()
        self.values[self.rank] = values
        self.meeting.wait()
        return self.values[0] + self.values[1]


def test_processes_agree_on_offset_and_unit(tmp_path):
    values = table(101) * np.linspace(1, 9, 101)[:, None]
    values[:60, 3] = np.nan  # which the first process never sees
    np.save(tmp_path / "a.npy", values)
    with ThreadPoolExecutor(2) as pool:
        sides = list(pool.map(lambda rank: read(tmp_path / "a.npy", Side(rank)), range(2)))
    whole = read(tmp_path / "a.npy")
    for side in sides:
        assert_allclose(side.offset, whole.offset)
        assert_allclose(side.unit, whole.unit)
    assert_allclose(torch.cat([side.x for side in sides]), whole.x, atol=1e-6)


def test_colons_in_names_of_files_and_of_datasets(tmp_path):
    (tmp_path / "run:2").mkdir()
    np.save(tmp_path / "run:2" / "a.npy", table(9))
    with h5py.File(tmp_path / "run:2" / "a.H5", "w") as file:
        file["x:1.h5"], file["y"] = table(9), table(9) + 1
    for source in ("a.npy", "a.H5:x:1.h5"):
        with opened(f"{tmp_path}/run:2/{source}") as array:
            assert_array_equal(array[:], table(9))


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


@pytest.mark.parametrize("damage", ["npy empty", "npy cut", "npz", "zarr", "h5", "h5 cut"])
def test_damaged_tables_are_refused_in_a_sentence(tmp_path, damage):
    path = tmp_path / f"a.{damage[:4].strip()}".replace("npz", "npy")
    if damage == "npz":
        np.savez(tmp_path / "a.npz", table())
        (tmp_path / "a.npz").rename(path)
    elif path.suffix == ".npy":
        np.save(path, table())
        cut(path, share=0.5 if damage == "npy cut" else 0)
    elif path.suffix == ".zarr":
        zarr.create_array(path, data=table(), chunks=(100, 16))
        cut(path / "c" / "1" / "0")
    else:
        with h5py.File(path, "w") as file:
            chunks = file.create_dataset("x", data=table(), chunks=(100, 16), fletcher32=True).id
            place = chunks.get_chunk_info(1).byte_offset
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)
        cut(path, share=0.5 if damage == "h5 cut" else 1)
    done = CliRunner().invoke(app, ["train", str(path), f"{tmp_path}/run"])
    assert done.exit_code == 2 and len(done.output.splitlines()) == 1, done.output
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("sizes", ["-5", "64,0", "1e3", "wide"])
def test_layers_of_no_size_are_refused(tmp_path, sizes):
    np.save(tmp_path / "a.npy", table())
    done = CliRunner().invoke(app, ["train", f"{tmp_path}/a.npy", f"{tmp_path}/run", "--hidden", sizes])
    assert done.exit_code == 2 and "no layer sizes" in done.output and not (tmp_path / "run").exists()


def test_columns_of_csv_and_parquet_are_values_and_empty_cells_are_missing(tmp_path):
    values = [[1.0, 2.5], [np.nan, -3.0]]
    (tmp_path / "named.csv").write_text("a,b\n1,2.5\n,-3\n")
    (tmp_path / "bare.csv").write_text("1,2.5\n,-3\n")
    parquet.write_table(pyarrow.table({"a": [1, None], "b": [2.5, -3.0]}), tmp_path / "a.parquet")
    for name in ("named.csv", "bare.csv", "a.parquet"):
        with opened(tmp_path / name) as array:
            assert_array_equal(np.asarray(array), values)
    (tmp_path / "words.csv").write_text("a,b\n1,x\n2,y\n")
    with (
        pytest.raises(TypeError, match="holds string values in column b; leave it out"),
        opened(tmp_path / "words.csv"),
    ):
        pass
    (tmp_path / "broken.parquet").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no .parquet table, or damaged"), opened(tmp_path / "broken.parquet"):
        pass


def test_tables_that_are_none_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["y"] = np.zeros((3, 2)), np.zeros((3, 2))
    for source, message in (
        ("a.h5", "holds x, y; name one"),
        ("a.h5:z", "holds x, y; name one"),
        ("a.txt", "write it as"),
    ):
        with pytest.raises(ValueError, match=message), opened(f"{tmp_path}/{source}"):
            pass


def test_another_run_is_refused_and_damage_costs_one_step(data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    whole, _ = run(data, tmp_path / "whole")
    out = tmp_path / "out"
    run(data, out, stop_after=4)  # and the epoch that was under way
    with pytest.raises(CheckpointError, match="a run with other latents, seed; name another folder"):
        run(data, out, replace(SETTINGS, latents=7, seed=1))
    np.save(data.with_name("other.npy"), table() + 1)
    with pytest.raises(CheckpointError, match="other data"):
        run(data.with_name("other.npy"), out)
    steps = sorted((out / "progress").iterdir())
    assert [step.name for step in steps] == ["checkpoint-00000004", "checkpoint-00000005"]
    piece = next(steps[1].glob("rows-*"))
    content = bytearray(piece.read_bytes())
    content[-3] ^= 1
    piece.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged: its checksum does not fit; the one before it is taken"):
        model, bounds = run(data, out)
    assert len(bounds) == 2
    assert_array_equal(parameters(model), parameters(whole))


def test_what_others_put_beside_the_steps_is_left_alone(data, tmp_path):
    place = tmp_path / "out" / "progress"
    (place / "mine").mkdir(parents=True)
    (place / "mine" / "shared.safetensors").write_bytes(b"")
    (place / "notes.txt").write_text("mine")
    (place / "20240131").mkdir()
    run(data, tmp_path / "out", stop_after=2)
    run(data, tmp_path / "out")
    assert (
        (place / "20240131").exists()
        and (place / "notes.txt").exists()
        and (place / "mine" / "shared.safetensors").exists()
    )


def test_a_folder_in_use_is_refused(data, tmp_path):
    with exclusively(tmp_path), pytest.raises(BusyError, match="another process works in"):
        run(data, tmp_path)


def test_a_full_disk_is_a_warning_and_costs_no_step_that_was_kept(data, tmp_path, monkeypatch):
    whole, _ = run(data, tmp_path / "whole")
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    save, saved = checkpoint.save_tensors, []

    def fail_later(path, *rest):
        if len(saved) > 8 and "progress" in path.parts:
            path.write_bytes(b"half")
            raise OSError("No space left on device")
        saved.append(path)
        save(path, *rest)

    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="progress could not be kept: No space left"):
        patch.setattr("evovae.checkpoint.save_tensors", fail_later)
        _, bounds = run(data, tmp_path / "out", stop_after=5)
    assert len(bounds) == 6
    (tmp_path / "out" / "progress" / "checkpoint-00000005").mkdir()  # what a crash leaves
    (tmp_path / "out" / "progress" / "checkpoint-00000005" / "rows-000000000000-000000000050.safetensors").write_bytes(
        b"half"
    )
    model, bounds = run(data, tmp_path / "out")
    assert len(bounds) == 3
    assert_array_equal(parameters(model), parameters(whole))


def test_a_log_that_cannot_be_written_is_a_warning(data, tmp_path, monkeypatch):
    whole, bounds = run(data, tmp_path / "whole")
    opens = Path.open

    def full(path, *mode):
        if path.name == "log.jsonl":
            raise OSError(28, "No space left on device")
        return opens(path, *mode)

    monkeypatch.setattr(Path, "open", full)
    with pytest.warns(UserWarning, match="epoch . could not be logged: .*No space left"):
        model, same = run(data, tmp_path / "out")
    assert same == bounds
    assert_array_equal(parameters(model), parameters(whole))


def test_models_and_samples_that_cannot_be_written_are_put_elsewhere(data, tmp_path, monkeypatch):
    run(data, tmp_path / "whole", replace(SETTINGS, epochs=1))
    model = tmp_path / "whole" / "model.safetensors"
    replaces = Path.replace

    def full(path, target):
        if path.parent in (tmp_path, tmp_path / "out") and target.suffix in (".safetensors", ".npy"):
            raise OSError(28, "No space left on device")
        return replaces(path, target)

    monkeypatch.setattr(Path, "replace", full)
    options = [word for name in ("latents", "states", "parents", "children") for word in (f"--{name}", "3")]
    for words in (
        ["train", str(data), f"{tmp_path}/out", "--epochs", "1", *options],
        ["sample", str(model), "5", f"{tmp_path}/new.npy"],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 4 and "could not write: [Errno 28] No space left" in done.output, done.output
        place = Path(done.output.split("the result is in")[1].strip())
        assert len(load_model(place)[1]["offset"] if words[0] == "train" else np.load(place)[0]) == 16
        shutil.rmtree(place.parent)


@pytest.mark.slow
def test_models_of_many_features_can_be_read_again(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(3, 60_000)))
    run(tmp_path / "a.npy", tmp_path / "out", replace(SETTINGS, hidden=(), latents=4, epochs=1))
    done = CliRunner().invoke(app, ["sample", f"{tmp_path}/out/model.safetensors", "2", f"{tmp_path}/new.npy"])
    assert done.exit_code == 0, done.output
    assert np.load(tmp_path / "new.npy").shape == (2, 60_000)


@pytest.mark.parametrize("pieces", [(1, 3), (3, 2), (2, 1)])
def test_populations_move_to_other_shares(tmp_path, monkeypatch, pieces):
    """What several processes kept is brought back by another number of them, each a part."""
    monkeypatch.setattr("evovae.checkpoint.PIECE", 40)

    class Nth(Alone):
        def __init__(self, rank, world):
            self.rank, self.world = rank, world

        def add(self, values):  # of all, where each has the same as this one
            return torch.tensor(N) if values.numel() == 1 and values > 1 else values

    N, (before, after) = 101, pieces
    all_states = States.random(N, 5, 70, seeded())
    every = [Checkpointer(tmp_path, {}, shard=Nth(rank, before)) for rank in range(before)]
    for checkpointer in reversed(every):  # the first process is the last one that writes
        own = all_states[torch.arange(N)[checkpointer.shard.rows(N)]]
        rows, rank = {"words": own.words, "lpj": own.lpj}, torch.tensor(checkpointer.shard.rank)
        checkpointer.save(lambda: {"counts": torch.ones(1)}, rows=rows, own={"rank": rank})
    for rank in range(after):
        shard = Nth(rank, after)
        own = torch.arange(N)[shard.rows(N)]
        states = States.random(len(own), 5, 70, seeded(1))
        kept = Checkpointer(tmp_path, {}, shard=shard).load({"words": states.words, "lpj": states.lpj})
        assert kept == {"counts": torch.ones(1)}
        assert torch.equal(states.words, all_states.words[own]) and torch.equal(states.lpj, all_states.lpj[own])


@pytest.mark.parametrize("text", ["\ufeff1,2\n3,4\n", "1,NA\n3,4\n", "1,\n3,4\n", "a,b\n1,2\n3,4\n"])
def test_the_first_line_of_a_table_holds_names_only_if_it_does(text, tmp_path):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with opened(tmp_path / "a.csv") as array:
        assert array.shape == (2, 2) and array[1].tolist() == [3, 4]


def test_samples_and_bounds_have_the_units_and_shape_of_the_data(tmp_path):
    values = table(400).reshape(400, 4, 4)
    np.save(tmp_path / "a.npy", values)
    arguments = ["--latents", "8", "--hidden", "12", "--states", "16", "--epochs", "40", "--learning-rate", "0.02"]
    runner = CliRunner()
    done = runner.invoke(app, ["train", f"{tmp_path}/a.npy", f"{tmp_path}/run", *arguments])
    assert done.exit_code == 0, done.output
    assert "epoch 40/40" in done.output and "the model is in" in done.output
    done = runner.invoke(app, ["sample", f"{tmp_path}/run/model.safetensors", "3000", f"{tmp_path}/new.npy"])
    assert done.exit_code == 0, done.output
    new = np.load(tmp_path / "new.npy")
    assert new.shape == (3000, 4, 4)
    assert_allclose(new.mean(0), np.nanmean(values, 0), atol=0.6)
    assert_allclose(new.std(), np.nanstd(values), rtol=0.1)
    assert (
        runner.invoke(app, ["sample", f"{tmp_path}/run/model.safetensors", "3", f"{tmp_path}/new.npy"]).exit_code == 3
    )
    np.save(tmp_path / "small.npy", values[:50] / 1000)
    held = f"{tmp_path}/run/model.safetensors", f"{tmp_path}/a.npy"
    done = runner.invoke(app, ["evaluate", *held, "--states", "300", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert (found["rows"], found["states"], found["converged"]) == (400, 256, True)  # all states of 8 bits
    model, about = load_model(Path(held[0]))
    x = torch.from_numpy((values.reshape(400, 16) - about["offset"].numpy()) / about["unit"]).float()
    seen = ~x.isnan()
    exact = log_likelihood(model, torch.where(seen, x, 0), seen).double() - seen.sum(1) * np.log(about["unit"])
    assert found["bound"] == pytest.approx(exact.mean().item(), abs=1e-3)
    done = runner.invoke(app, ["evaluate", held[0], f"{tmp_path}/small.npy", "--states", "4"])
    assert done.exit_code == 0 and "nats (N = 50," in done.output and "4 states" in done.output
    np.save(tmp_path / "other.npy", values[:, :3])
    done = runner.invoke(app, ["evaluate", held[0], f"{tmp_path}/other.npy"])
    assert done.exit_code == 2 and "rows of shape (3, 4)" in done.output
    done = runner.invoke(app, ["train", f"{tmp_path}/a.npy", f"{tmp_path}/run", "--latents", "9"])
    assert done.exit_code == 2 and "other" in done.output and "Traceback" not in done.output


# --- several processes -----------------------------------------------------------------------

COMMAND = [
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "3", "--nproc-per-node", "2"),
    *("-m", "evovae", "train"),
]
LONG = [
    "--latents",
    "6",
    "--hidden",
    "12",
    "--states",
    "10",
    "--parents",
    "4",
    "--children",
    "3",
    "--learning-rate",
    "0.02",
]


def workers(parent: int) -> list[int]:
    """Processes that a process started."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def wait_for(condition, seconds: float = 90.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.fixture
def keeping_each_epoch(tmp_path) -> dict[str, str]:
    """An environment in which each epoch is kept, and takes a while."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'LOCAL_RANK' in os.environ:\n"
        "    import time, evovae.train as t\n"
        "    t.INTERVAL = 0.0\n"
        "    write = t._Log.write\n"
        "    t._Log.write = lambda self, *a: (write(self, *a), time.sleep(0.1))\n"
    )
    return {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "PYTHONWARNINGS": "default"}


def undisturbed(data, folder, environment):
    done = subprocess.run(
        [*COMMAND, str(data), str(folder), *LONG, "--epochs", "40"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return logged(folder)


@pytest.mark.parametrize("fault", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_run_that_loses_a_process_ends_like_an_undisturbed_one(data, tmp_path, keeping_each_epoch, fault):
    """One worker is killed, or hangs: torchrun starts all again, and they go on from the last step that all kept."""
    out = tmp_path / "out"
    command = [*COMMAND, str(data), str(out), *LONG, "--epochs", "40", "--patience", "10"]
    with subprocess.Popen(command, env=keeping_each_epoch, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (out / "log.jsonl").exists() and len(logged(out)) > 8)
        victim = workers(process.pid)[-1]
        started = time.monotonic()
        os.kill(victim, fault)
        _, errors = process.communicate(timeout=150)
    assert process.returncode == 0, errors
    assert time.monotonic() - started < 150
    ours, theirs = logged(out), undisturbed(data, tmp_path / "other", keeping_each_epoch)
    assert [line["epoch"] for line in ours] == list(range(1, 41))
    assert [line["elbo"] for line in ours] == [line["elbo"] for line in theirs]


def test_a_request_to_end_keeps_the_step_and_other_processes_go_on(data, tmp_path, keeping_each_epoch):
    """Two processes are asked to end; one goes on, from the same parameters and populations."""
    out = tmp_path / "out"
    command = [*COMMAND, str(data), str(out), *LONG, "--epochs", "40"]
    with subprocess.Popen(command, env=keeping_each_epoch, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (out / "log.jsonl").exists() and len(logged(out)) > 8)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    done = len(logged(out))
    assert 8 < done < 40
    settings = Settings(6, (12,), "gaussian", 10, 4, 3, epochs=40, learning_rate=0.02)
    _, bounds = run(data, out, settings)
    assert len(bounds) == 40 - done and [line["epoch"] for line in logged(out)] == list(range(1, 41))
    assert abs(bounds[0] - logged(out)[done - 1]["elbo"]) < 1


def test_a_run_can_be_extended(data, tmp_path):
    short, first = run(data, tmp_path / "out", replace(SETTINGS, epochs=4))
    model, rest = run(data, tmp_path / "out")
    assert len(first) == 4 and len(rest) == 2
    assert [line["epoch"] for line in logged(tmp_path / "out")] == [1, 2, 3, 4, 5, 6]
    assert not np.array_equal(parameters(short), parameters(model))
    _, none = run(data, tmp_path / "out", replace(SETTINGS, epochs=4))
    assert none == []


def test_an_extended_run_does_not_hold_its_prior_again(data, tmp_path):
    short, _ = run(data, tmp_path / "out", replace(SETTINGS, epochs=4))
    model, _ = run(data, tmp_path / "out", replace(SETTINGS, epochs=40), stop_after=5)
    assert not torch.equal(short.prior.pi, model.prior.pi)


def test_validation_data_are_bounded_after_each_epoch_and_change_nothing(data, tmp_path):
    np.save(tmp_path / "held.npy", table(400)[300:])
    whole, bounds = run(data, tmp_path / "whole")
    model, same = run(data, tmp_path / "out", validation=tmp_path / "held.npy")
    assert same == bounds
    assert_array_equal(parameters(model), parameters(whole))
    found = [line["validation"] for line in logged(tmp_path / "out")]
    assert len(found) == 6 and found[-1] > found[0] + 0.3
    assert all("validation" not in line for line in logged(tmp_path / "whole"))
    with opened(tmp_path / "held.npy") as array:
        about = load_model(tmp_path / "out" / "model.safetensors")[1]
        units = about["offset"].numpy(), about["unit"]
        rows = Rows.read(array, model.likelihood, Alone(), Room(tmp_path, PLENTY), units)
    true = log_likelihood(model, rows.x, rows.observed).mean().item()
    assert true - 0.3 < found[-1] <= true + 1e-4


def test_validation_data_of_several_processes_are_those_of_all(data, tmp_path):
    np.save(tmp_path / "held.npy", table(401)[300:])
    settings = replace(SETTINGS, states=64, parents=4)  # all states, so that what is found is exact
    with ThreadPoolExecutor(2) as pool:
        sides = list(pool.map(lambda rank: _bound_of(data, tmp_path, settings, Side(rank)), range(2)))
    alone = _bound_of(data, tmp_path, settings, Alone())
    assert_allclose(sides, alone, rtol=1e-5)


def _bound_of(data, tmp_path, settings, shard):
    model = module._model(settings, 16)
    with opened(data) as array:
        rows = Rows.read(array, model.likelihood, Alone(), Room(tmp_path, PLENTY))
    cpu = torch.device("cpu")
    held = module._HeldOut.read(tmp_path / "held.npy", data, model, rows, settings, shard, Room(tmp_path, PLENTY), cpu)
    return held.bound(model)


@pytest.mark.parametrize(
    ("rows", "message"), [(np.zeros((5, 9)), "has rows of 9 values, but .* of 16"), (np.zeros(5), "rows of values")]
)
def test_validation_data_that_do_not_fit_are_refused(data, tmp_path, rows, message):
    np.save(tmp_path / "held.npy", rows)
    with pytest.raises(ValueError, match=message):
        run(data, tmp_path / "out", validation=tmp_path / "held.npy")


@pytest.mark.parametrize(
    "change",
    [
        {"likelihood": "subspaces", "rank": 2},
        {"select": "by_fitness", "mutate": "uniform_flip"},
        {"mutate": "sparse_flip", "cross": "one_point"},
        {"schedule": "cyclical", "hold": 0},
    ],
    ids=str,
)
def test_operators_schedules_and_subspaces(data, tmp_path, change):
    settings = replace(SETTINGS, **change)
    model, bounds = run(data, tmp_path / "out", settings)
    assert bounds[-1] > bounds[0] + 0.5
    again, about = load_model(tmp_path / "out" / "model.safetensors")
    assert_array_equal(parameters(model), parameters(again))
    assert about["run"].items() >= change.items()


def test_options_of_the_command_are_those_of_the_settings(data, tmp_path):
    words = "--likelihood subspaces --rank 1 --always 0 --select by_fitness --mutate uniform_flip --cross one_point"
    words += " --schedule constant --hold 2 --latents 5 --states 8 --parents 3 --children 3 --epochs 2"
    done = CliRunner().invoke(app, ["train", str(data), f"{tmp_path}/out", "--validation", str(data), *words.split()])
    assert done.exit_code == 0 and "validation" in done.output, done.output
    settings = load_model(tmp_path / "out" / "model.safetensors")[1]["run"]
    expected = {"rank": 1, "always": 0, "select": "by_fitness", "cross": "one_point", "schedule": "constant", "hold": 2}
    assert settings.items() >= expected.items()
