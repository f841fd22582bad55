"""Tensors on disk: what is written is read again to the bit, and what is damaged is refused or stepped over."""

import os
import pickle
import resource
import subprocess
import sys
import warnings
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import data, seeded, small_model
from torch import nn
from torch.testing import assert_close

from evovae import checkpoint, decoders, likelihoods, priors
from evovae.checkpoint import BusyError, Checkpointer, CheckpointError, exclusively
from evovae.model import TVAE

TENSORS = {
    "words": torch.arange(-3, 9).view(2, 3, 2),
    "lpj": torch.tensor([[0.1, -torch.inf]]),
    "pi": torch.rand(5, dtype=torch.float64, generator=seeded()),
    "state": seeded().get_state(),
    "number": torch.tensor(7),
    "nothing": torch.zeros(0, 3),
}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_tensors_come_back_to_the_bit(tmp_path):
    checkpoint.save_tensors(tmp_path / "a", TENSORS, {"epoch": 3})
    tensors, about = checkpoint.load_tensors(tmp_path / "a")
    assert same(tensors, TENSORS) and about == {"epoch": 3}
    assert os.listdir(tmp_path) == ["a"]


def test_any_flipped_bit_is_noticed(tmp_path):
    """A flipped bit raises, or lies where nothing is said (padding of the header)."""
    path = tmp_path / "a"
    checkpoint.save_tensors(path, TENSORS, {"epoch": 3})
    whole, damaged = path.read_bytes(), 0
    for place in range(0, 8 * len(whole), 61):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            tensors, about = checkpoint.load_tensors(path)
        except CheckpointError:
            damaged += 1
        else:
            assert same(tensors, TENSORS) and about == {"epoch": 3}
    assert damaged > 8 * len(whole) / 61 * 0.9


class Pickled:
    def __reduce__(self):
        return os.abort, ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        (2**60).to_bytes(8, "little") + b"{}",
        (2**21).to_bytes(8, "little") + b" " * 2**21,
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"null",
        (2).to_bytes(8, "little") + b"{}",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 99,
        pickle.dumps(Pickled()),
    ],
    ids=["empty", "no header", "header of 2^60", "header of 2 MB", "list", "null", "no metadata", "png", "pickle"],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        checkpoint.load_tensors(path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        checkpoint.load_model(path)


@pytest.mark.parametrize("cut", [1, 8, 100, 1000])
def test_truncated_files_are_refused(tmp_path, cut):
    path = tmp_path / "a"
    checkpoint.save_tensors(path, TENSORS, {})
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(CheckpointError):
        checkpoint.load_tensors(path)


def keep(folder, number):
    folder.save(lambda: {"number": torch.tensor(number)})


def test_a_folder_keeps_two_and_gives_the_last(tmp_path):
    folder = Checkpointer(tmp_path / "run", {"data": "a"})
    assert folder.load() == {}
    for number in range(4):
        keep(folder, number)
    assert folder.load()["number"] == 3
    assert len(list((tmp_path / "run").iterdir())) == 2


def test_progress_of_earlier_versions_is_refused_and_folders_of_others_stay(tmp_path):
    (tmp_path / "20240131").mkdir()
    Checkpointer(tmp_path, {}).save(lambda: TENSORS)
    assert (tmp_path / "20240131").exists()
    (tmp_path / "00000004.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="an earlier version; name another folder"):
        Checkpointer(tmp_path, {})


def test_names_that_files_cannot_tell_apart_are_refused(tmp_path):
    with pytest.raises(ValueError, match="leave out the slash"):
        checkpoint.save_tensors(tmp_path / "a", {"a/b": torch.ones(1)}, {})
    content = {"a": torch.ones(1), "a/b": torch.ones(1)}
    header = {"about": "{}", "sha256": checkpoint._checksum(content, "{}")}
    (tmp_path / "a").write_bytes(checkpoint.save(content, header))
    with pytest.raises(CheckpointError):
        checkpoint.load_tensors(tmp_path / "a")
    for names in (["a", "a/b"], ["a/b", "a"]):  # a file may hold them in any order
        with pytest.raises(CheckpointError, match="a is a tensor and a record of others"):
            checkpoint._nested({name: torch.ones(1) for name in names})


def test_records_come_back_nested(tmp_path):
    record = {"model": {"a.b": torch.ones(2), "c": {"0": torch.zeros(1)}}, "nothing": {}, "number": torch.tensor(7)}
    checkpoint.save_tensors(tmp_path / "a", record, {})
    again, _ = checkpoint.load_tensors(tmp_path / "a")
    assert again.keys() == {"model", "number"} and same(again["model"].pop("c"), {"0": torch.zeros(1)})
    assert same(again["model"], {"a.b": torch.ones(2)})


def test_checkpoints_are_made_when_it_is_time_or_asked_for(tmp_path):
    folder = Checkpointer(tmp_path, {}, every=1000.0)
    folder.save(lambda: pytest.fail("it is not time"), now=False)
    folder.save(lambda: {"number": torch.tensor(1)})
    folder.every = 0.0
    folder.save(lambda: {"number": torch.tensor(2)}, now=False)
    assert folder.load()["number"] == 2


def test_without_a_folder_nothing_is_kept():
    folder = Checkpointer(None, {})
    folder.save(lambda: pytest.fail("there is nowhere to keep it"))
    assert folder.load() == {} and folder.part("a", lambda: {"made": torch.ones(1)}).keys() == {"made"}


def test_a_damaged_snapshot_is_stepped_over_and_two_are_an_error(tmp_path):
    folder = Checkpointer(tmp_path, {})
    for number in range(2):
        keep(folder, number)
    first, second = sorted(tmp_path.rglob("*.safetensors"))
    second.write_bytes(second.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"00000002.*the one before it is taken"):
        assert folder.load()["number"] == 0
    first.write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(CheckpointError, match="name another folder to start anew"):
        folder.load()


def test_the_progress_of_another_run_is_refused(tmp_path):
    Checkpointer(tmp_path, {"picture": "a", "models": [1]}).save(lambda: TENSORS)
    with pytest.raises(CheckpointError, match="a run with other models, picture; name another folder"):
        Checkpointer(tmp_path, {"picture": "b", "models": [2]}).load()


@pytest.mark.parametrize("at", ["write", "fsync", "replace"])
def test_what_stops_a_write_anywhere_leaves_the_snapshots_before(tmp_path, monkeypatch, at):
    folder = Checkpointer(tmp_path, {})
    for number in range(2):
        keep(folder, number)

    def stop(*_, **__):
        raise SystemExit("killed")

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        if at == "write":
            patch.setattr(checkpoint, "save", lambda *a: stop())
        else:
            patch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[at], stop)
        keep(folder, 2)
    assert folder.load()["number"] == 1


def test_a_write_that_was_killed_is_swept_away(tmp_path):
    """kill -9 between two system calls leaves a temporary file, which is never taken for a snapshot."""
    folder = Checkpointer(tmp_path, {})
    keep(folder, 1)
    script = (
        "import os, signal, torch; from pathlib import Path; from evovae.checkpoint import Checkpointer\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Checkpointer(Path({str(tmp_path)!r}), {{}}).part('number', lambda: {{'number': torch.tensor(2)}})"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert list(tmp_path.glob(".*.tmp"))
    assert Checkpointer(tmp_path, {}).load()["number"] == 1
    assert not list(tmp_path.glob(".*.tmp"))


def _full_disk(folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Checkpointer(folder, {}).save(lambda: {"x": torch.zeros(10_000)})
    os._exit(0 if any("could not be kept" in str(w.message) for w in caught) else 1)


def test_a_full_disk_is_a_warning(tmp_path):
    folder = Checkpointer(tmp_path, {})
    keep(folder, 1)
    process = get_context("spawn").Process(target=_full_disk, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert folder.load()["number"] == 1 and len(os.listdir(tmp_path)) == 1


def test_two_processes_do_not_share_a_folder(tmp_path):
    script = (
        "from pathlib import Path; from evovae.checkpoint import BusyError, exclusively\n"
        f"try:\n    with exclusively(Path({str(tmp_path)!r})): pass\nexcept BusyError: print('busy')"
    )
    with exclusively(tmp_path):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "busy\n"
    assert issubclass(BusyError, FileExistsError)
    with exclusively(tmp_path):
        pass


MODELS = {
    "network": small_model(5, 7, slope=0.1),
    "linear": TVAE(decoders.Linear(5, 6, generator=seeded()), likelihoods.Laplace(0.3), priors.Bernoulli(5)),
    "binary": TVAE(
        decoders.MLP(5, 3, 6, generator=seeded()), likelihoods.Bernoulli(), priors.Bernoulli(5, margin=0.01)
    ),
    "counts": TVAE(decoders.MLP(5, 6, generator=seeded()), likelihoods.Poisson(), priors.Bernoulli(5)),
    "subspaces": TVAE(
        decoders.Silent(6), likelihoods.LowRankGaussian(5, 6, 2, offsets=True, generator=seeded()), priors.Bernoulli(5)
    ),
    "double": small_model(5).double(),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_models_come_back_whole(tmp_path, model):
    checkpoint.save_model(tmp_path / "m.safetensors", model, {"unit": 2.5})
    again, about = checkpoint.load_model(tmp_path / "m.safetensors")
    assert about == {"unit": 2.5}
    x = data(4).to(next(model.buffers()).dtype).abs().round()
    z = torch.rand(4, 3, 5, generator=seeded(9)) < 0.5
    everywhere = torch.ones_like(x, dtype=torch.bool)
    assert_close(again.lpj(x, z, everywhere), model.lpj(x, z, everywhere), rtol=0, atol=0)
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]
    statistics = model.prior.stats(z, torch.full((4, 3), 1 / 3))
    again.prior.update(statistics)
    model.prior.update(statistics)
    assert_close(again.prior.pi, model.prior.pi)


def test_much_can_be_said_of_a_model(tmp_path):
    offset = torch.rand(200_000, dtype=torch.float64, generator=seeded())
    checkpoint.save_model(tmp_path / "m", MODELS["network"], {"unit": 2.5, "offset": offset})
    _, about = checkpoint.load_model(tmp_path / "m")
    assert about.keys() == {"unit", "offset"} and about["unit"] == 2.5
    assert torch.equal(about["offset"], offset)


def test_models_that_cannot_be_built_again_are_refused(tmp_path):
    model = TVAE(nn.Linear(5, 6), likelihoods.Gaussian(), priors.Bernoulli(5))
    with pytest.raises(TypeError, match=r"a Linear cannot be built again.*state_dict"):
        checkpoint.save_model(tmp_path / "m", model)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "decoders.Unheard"},
        {"sizes": [5, 99, 6]},
        {"sizes": [5, 2**40, 6]},
        {"width": 3},
        {"kind": "priors.Bernoulli"},
    ],
    ids=str,
)
def test_files_of_models_that_do_not_fit_are_refused(tmp_path, change):
    path = tmp_path / "m"
    checkpoint.save_model(path, MODELS["network"])
    tensors, about = checkpoint.load_tensors(path)
    about["model"]["decoder"] |= change
    checkpoint.save_tensors(path, tensors, about)
    with pytest.raises(CheckpointError, match="no model of this version"):
        checkpoint.load_model(path)
    checkpoint.save_tensors(path, tensors, {"another": np.pi})
    with pytest.raises(CheckpointError, match="no model of this version"):
        checkpoint.load_model(path)


class Square(nn.Module):
    """A decoder of one's own: squares of sums."""

    def __init__(self, H, D):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(H, D, generator=seeded()))

    def config(self):
        return dict(zip(("H", "D"), self.weight.shape, strict=True))

    def forward(self, z):
        return (z @ self.weight).square()


class Exponential(likelihoods.Laplace):
    """A likelihood of one's own, which inherits its constructor."""


def test_parts_of_ones_own_are_built_again_by_their_config(tmp_path):
    model = TVAE(Square(5, 6), Exponential(0.3, floor=0.01), priors.Boltzmann(5))
    checkpoint.save_model(tmp_path / "m", model)
    again, _ = checkpoint.load_model(tmp_path / "m", own=[Square, Exponential])
    assert type(again.decoder) is Square and type(again.likelihood) is Exponential and again.likelihood.floor == 0.01
    x, z = data(4), torch.rand(4, 3, 5, generator=seeded(9)) < 0.5
    everywhere = torch.ones_like(x, dtype=torch.bool)
    assert_close(again.lpj(x, z, everywhere), model.lpj(x, z, everywhere), rtol=0, atol=0)
    with pytest.raises(CheckpointError, match=r"its decoder is a Square, which is no part of evovae; pass its class"):
        checkpoint.load_model(tmp_path / "m")


@pytest.mark.parametrize("kind", ["decoders.nn", "decoders.F", "likelihoods.Gaussian", "os.system", "own.Square", "x"])
def test_no_file_names_code_that_was_not_meant(tmp_path, kind):
    checkpoint.save_model(tmp_path / "m", MODELS["network"])
    tensors, about = checkpoint.load_tensors(tmp_path / "m")
    about["model"]["decoder"]["kind"] = kind
    checkpoint.save_tensors(tmp_path / "m", tensors, about)
    with pytest.raises(CheckpointError, match="no model of this version"):
        checkpoint.load_model(tmp_path / "m")
