"""Several processes: their sums are those of one, however uneven their shares are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sharded
from helpers import slow
from torch import Tensor, tensor
from torch.testing import assert_close

from evovae.sharding import Alone, Group, joined

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


class Nth(Alone):
    """One of several, as far as it matters to its rows."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world


@pytest.mark.parametrize(("N", "world"), [(100, 1), (100, 3), (7, 7), (3, 5)])
def test_shards_cover_all_rows_once(N, world):
    shares = [range(N)[Nth(rank, world).rows(N)] for rank in range(world)]
    assert [row for share in shares for row in share] == list(range(N))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.fixture(scope="module", params=[slow(2), 3])
def of_several(request) -> dict:
    """What several processes find."""
    command = [*TORCHRUN, "--nproc-per-node", str(request.param), "sharded.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("found:")]
    return json.loads(line.removeprefix("found:"))


@pytest.mark.parametrize("name", sharded.CASES)
def test_several_processes_give_the_totals_of_one(of_several, name):
    """With all states in each population, and all data in a step, nothing depends on draws."""
    bounds, parameters = sharded.trained(name, Alone())
    assert_close(of_several[name]["bounds"], bounds, rtol=1e-5, atol=1e-5)
    assert_close(tensor(of_several[name]["parameters"], dtype=parameters.dtype), parameters, rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("name", sharded.CASES)
def test_processes_agree_where_some_have_fewer_batches(of_several, name):
    assert of_several[name]["spread"] == 0
    bounds = of_several[name]["uneven"]
    assert bounds == sorted(bounds) and bounds[0] < bounds[-1]


def test_one_process_is_the_identity(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as shard:
        values = tensor([1.0, 2.0])
        assert isinstance(shard, Alone) and shard.add(values) is values and shard.most(3) == 3


def test_a_group_counts_what_it_sends(monkeypatch):
    """A group of one, in this process."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        group = Group()
        values: Tensor = tensor([1.0, 2.0])
        assert_close(group.add(values), values)
        assert group.sent == 8 and group.most(5) == 5
    finally:
        dist.destroy_process_group()
