"""The engine for CUDA devices beyond conformance (`test_engines`), mostly as Triton interprets it on the CPU."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import data, holes, seeded, small_model
from torch.testing import assert_close

import evovae
from evovae import operators
from evovae.devices import find_device
from evovae.em import _Course, fit
from evovae.engines import Cuda, Reference, choose, cuda
from evovae.evolve import Search
from evovae.likelihoods import Gaussian, Laplace, LowRankGaussian
from evovae.model import TVAE
from evovae.posterior import elbo
from evovae.restore.estimates import _covered
from evovae.restore.noise.covariance import WHITE
from evovae.restore.patches import Patches
from evovae.states import States, repeats, unpack

kernels = pytest.importorskip("evovae.engines.cuda_kernels", reason="triton is not installed")
H = 70
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def network(H=H):
    return small_model(H, 13).to(DEVICE)


def table(N):
    """x and observed."""
    return data(N).to(DEVICE), holes(data(N)).to(DEVICE)


def populations(N, H=H):
    return States.random(N, 8, H, seeded()).to(DEVICE)


def stepped(engine, N=20, seed=1, search=None):
    """One step from the same populations: x, observed, states, and the sums."""
    x, observed = table(N)
    states = populations(N)
    totals = engine.step(x, observed, torch.arange(N), states, search or Search(4, 3, 2), seeded(seed))
    return x, observed, states, totals


def test_rounding_lowers_no_bound_and_costs_little():
    """Proposals in half precision find nearly as much as those in full precision, and lose nothing."""
    gained = {}
    for precision in (torch.float32, torch.bfloat16):
        model = network()
        x, observed, states, totals = stepped(Cuda(model, precision))
        before = populations(20)
        with torch.no_grad():
            bounds = [elbo(model.lpj(x, some.z, observed)) for some in (before, states)]
        assert (bounds[1] >= bounds[0] - 1e-5).all()
        assert_close(totals.elbo, bounds[1].sum().double(), rtol=1e-5, atol=1e-5)
        gained[precision] = float((bounds[1] - bounds[0]).sum())
    assert gained[torch.bfloat16] > 0.95 * gained[torch.float32]


def test_a_short_list_holds_the_best_children():
    """One child that is scored again gains more than a third of what all of them gain."""
    gains = []
    for shortlist in (1, 1000):
        *_, totals = stepped(Cuda(network(), torch.float32, shortlist))
        gains.append(float(totals.elbo))
    before = float(stepped(Cuda(network()), search=Search(4, 3, 0))[-1].elbo)
    assert gains[1] - before > gains[0] - before > (gains[1] - before) / 3


def test_tiles_change_nothing():
    results = []
    for tile in (4096, 13, 1):
        model = network()
        *_, states, totals = stepped(Cuda(model, tile=tile))
        results.append(
            (states.words, totals.elbo, totals.likelihood, totals.prior, model.decoder.layers[0].weight.grad)
        )
    for result in results[1:]:
        assert torch.equal(result[0], results[0][0])
        for ours, theirs in zip(result[1:], results[0][1:], strict=True):
            assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


class Scarce(Gaussian):
    """Memory runs out when more than so many data points are scored at once."""

    def __init__(self, most: int) -> None:
        super().__init__(0.2)
        self.most = most

    def log_prob(self, x, mean, observed, z):
        if len(x) > self.most:
            raise torch.OutOfMemoryError(f"no memory for {len(x)} data points")
        return super().log_prob(x, mean, observed, z)


def test_where_memory_runs_out_tiles_are_halved_and_the_result_is_the_same():
    results = []
    for most in (1000, 4):
        model = network()
        model.likelihood = Scarce(most).to(DEVICE)
        engine = Cuda(model)
        *_, states, totals = stepped(engine)
        results.append((states.words, totals.elbo, totals.prior, model.decoder.layers[0].weight.grad))
    assert engine.tile == 3
    assert torch.equal(results[0][0], results[1][0])
    for ours, theirs in zip(results[0][1:], results[1][1:], strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    model.likelihood.most = 0
    with pytest.raises(torch.OutOfMemoryError, match="no memory for 1 data points"):
        stepped(engine)


def test_training_ends_where_the_reference_does():
    """The mean over five seeds, within three standard errors."""
    x = small_model(9, seed=20).sample(32, seeded())[0].to(DEVICE)
    bounds = {}
    for make in (Cuda, Reference):
        bounds[make] = torch.tensor([trained(make(model := network(9)), model, x, seed) for seed in range(5)])
    ours, theirs = bounds.values()
    assert (ours.mean() - theirs.mean()).abs() < 3 * ((ours.var() + theirs.var()) / 5).sqrt() + 0.01


def trained(engine, model, x, seed, epochs=4, **options):
    generator = seeded(seed)
    states = States.random(len(x), 8, model.prior.n_latents, generator).to(DEVICE)
    optimizer = torch.optim.Adam(model.decoder.parameters(), lr=0.01)
    course = fit(
        model, x, states=states, search=Search(3, 3), optimizer=optimizer, epochs=epochs, batch_size=32,
        generator=generator, engine=engine, **options,
    )  # fmt: skip
    return [epoch.elbo for epoch in course][-1]


def test_a_batch_without_data_points_has_sums_of_zero():
    """As of a process that ran out of them before others did."""
    model = network()
    x, observed = table(5)
    totals = Cuda(model).step(x, observed, torch.arange(0), populations(5), Search(2, 2), seeded())
    assert totals.count == totals.elbo == totals.substitutions == 0
    assert not totals.likelihood.any() and not totals.prior.any()
    assert not model.decoder.layers[0].weight.grad.any()


class Nothing:
    """In place of a kernel: its results stay as they are allocated."""

    def __getitem__(self, grid):
        return lambda *arguments, **options: None


@pytest.mark.parametrize("likelihood", [Gaussian, Laplace])
def test_nobody_waits_for_the_device(monkeypatch, likelihood):
    """On torch's "meta" device tensors have no values: looking at one fails, and so does mixing in the CPU's."""
    for name in ("_select", "_mutate", "_distinct", "_best", "_unpack"):
        monkeypatch.setattr(kernels, name, Nothing())
    model = small_model(H, 13)
    model.likelihood = likelihood()
    model.to("meta")
    engine = choose(model, Search())
    assert isinstance(engine, Cuda)
    engine.proposals = torch.float32  # meta knows no other
    optimizer = torch.optim.Adam(model.decoder.parameters())
    x = data(20).to("meta")
    states = States.random(20, 8, H, seeded()).to("meta")
    course = _Course(model, optimizer, states, seeded(), 0)
    for rows in torch.randperm(20, generator=seeded()).split(9):
        totals = engine.step(x, holes(data(20)).to("meta"), rows.to("meta"), states, Search(4, 3, 2), seeded())
        optimizer.step()
        course.remember(totals, 0.5, 20)
        course.update(course.recent)
    recent = course.recent
    assert recent.elbo.device.type == recent.substitutions.device.type == "meta"


def test_patches_and_holes_are_worked_on_where_they_lie():
    known = torch.ones(5, 6, dtype=torch.bool, device="meta")
    patches = Patches.of(torch.ones(5, 6, device="meta"), known, (2, 3), centred=True, whitening=WHITE)
    assert patches.x.is_meta and patches.used.is_meta and patches.every_other().used.is_meta
    assert _covered(patches.used, (5, 6), (2, 3)).is_meta


def test_the_engine_is_chosen_where_it_applies():
    """On devices other than the CPU, for searches and likelihoods that it knows."""
    model = small_model(H, 13)
    assert not isinstance(choose(model, Search()), Cuda)
    model.to("meta")
    assert isinstance(choose(model, Search()), Cuda)
    assert isinstance(choose(model, Search(cross=operators.one_point)), Reference)
    assert isinstance(choose(small_model(H, 13).double().to("meta"), Search()), Reference)
    subspaces = TVAE(model.decoder, LowRankGaussian(H, 6), model.prior)
    assert isinstance(choose(subspaces, Search()), Reference)
    with pytest.raises(TypeError, match="Cuda needs a likelihood of the decoder's output alone"):
        Cuda(subspaces)
    with pytest.raises(TypeError, match="no_cross"):
        stepped(Cuda(network()), search=Search(2, 2, cross=operators.one_point))


def test_the_best_states_are_those_that_sorting_finds():
    """With repeats, ties, infinite values and NaN; sizes that fill their blocks, and others."""
    for N, K, S in ((3, 1, 1), (5, 16, 4), (17, 21, 8), (2, 130, 100), (1, 1100, 64)):
        words = torch.randint(-2, 3, (N, K, 2), generator=seeded(K)).to(DEVICE)
        lpj = torch.randint(-3, 3, (N, K), generator=seeded()).float().to(DEVICE)
        lpj[:, ::7] = torch.nan if K > 16 else -torch.inf
        kept, values, which = kernels.best(words, lpj, S)
        masked = lpj.nan_to_num(nan=-torch.inf, neginf=-torch.inf).masked_fill(repeats(words), -torch.inf)
        assert torch.equal(values, masked.sort(dim=1, descending=True, stable=True).values[:, :S])
        assert torch.equal(values, masked.gather(1, which.long()))
        assert torch.equal(kept, words.gather(1, which.long()[..., None].expand(N, S, 2)))
        assert all(len(row.unique()) == S for row in which)


def test_bits_come_out_as_they_were_packed():
    for size in ((2, 3), (70, 61), (1, 1)):
        for bits in (1, 64, 65, 200):
            words = torch.randint(-(2**62), 2**62, (*size, -(-bits // 64)), generator=seeded(bits)).to(DEVICE)
            assert torch.equal(kernels.unpack(words, bits), unpack(words, bits).float())


COMPILE = """
import sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from evovae.engines import cuda_kernels

POINTERS = {"words": "*i64", "parents": "*i64", "rows": "*i64", "seed": "*i64", "lpj": "*fp32", "gains": "*fp32",
            "kept_words": "*i64", "kept_lpj": "*fp32", "kept": "*i32", "beta": "fp32"}
CONSTANTS = {"FITNESS": 0, "UNIFORM": 0, "R": 2, "B": 128, "T": 16}
for name in ("_select", "_mutate", "_distinct", "_best", "_unpack"):
    kernel = getattr(cuda_kernels, name)
    for rule in (0, 1) if name in ("_select", "_mutate") else (0,):
        out = "*fp32" if name in ("_distinct", "_unpack") else "*i64"
        constants = {k: v for k, v in CONSTANTS.items() if k in kernel.arg_names}
        constants |= {k: rule for k in ("FITNESS", "UNIFORM") if k in constants}
        types = {k: "constexpr" if k in constants else {**POINTERS, "out": out}.get(k, "i32") for k in kernel.arg_names}
        source = ASTSource(kernel, types, {(kernel.arg_names.index(k),): v for k, v in constants.items()})
        for capability in (80, 90):
            assert compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"], name
"""


def test_kernels_compile_for_gpus(tmp_path):
    """To the machine code of two generations, which needs no GPU."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "TRITON_DEFAULT_FP_FUSION": "1"}
    subprocess.run([sys.executable, "-c", COMPILE], check=True, env=environment, timeout=300)


def test_devices_that_are_not_there_are_named(monkeypatch):
    """Row 37 of the contracts: at call start, with a list of those that are."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device(None) == find_device("cpu") == find_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:0", "mps", "gpu", ""):
        with pytest.raises(RuntimeError, match="finds only cpu here"):
            find_device(name)
    with pytest.raises(RuntimeError, match="'cuda'"):
        evovae.denoise(data(20, 20).numpy(), device="cuda")
    with pytest.raises(RuntimeError, match="'cuda'"):
        evovae.inpaint(data(20, 20).numpy(), device="cuda")


def test_processes_share_out_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for rank, own in (("0", 0), ("1", 1)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert find_device("cuda") == find_device("auto") == torch.device("cuda", own)
    assert find_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(RuntimeError, match="cpu, cuda:0, cuda:1"):
        find_device("cuda:2")
    monkeypatch.setenv("LOCAL_RANK", "2")  # two processes cannot share one
    with pytest.raises(RuntimeError, match="cpu, cuda:0, cuda:1"):
        find_device("cuda")


class Idle:
    """In place of streams, graphs and what surrounds them: recording does the work, and replaying does nothing."""

    def __init__(self, *arguments, **options):
        pass

    def __enter__(self):
        pass

    def __exit__(self, *error):
        pass

    def __getattr__(self, name):
        return lambda *arguments: None


def test_tiles_are_run_once_and_then_recorded(monkeypatch):
    """Each size and place on its own; here without a GPU, so that a second time is the last that does anything."""
    for name in ("Stream", "CUDAGraph", "graph", "stream", "current_stream", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, Idle)
    results = []
    for launch in (cuda.Eager(), cuda.Recorded(DEVICE)):
        engine = Cuda(network(), tile=8)
        engine.launch = launch
        states, (x, observed) = populations(12), table(12)
        for seed in range(2):
            rows = torch.randperm(12, generator=seeded(seed)).to(DEVICE)
            totals = engine.step(x, observed, rows, states, Search(3, 3), seeded(seed))
        results.append((states.words, totals))
    assert torch.equal(results[0][0], results[1][0])
    assert_close(results[0][1].elbo, results[1][1].elbo)
    recordings = launch.recordings
    assert [*recordings] == [8, 4]
    engine.step(x, observed, rows, states, Search(2, 2), seeded())
    assert launch.recordings.keys() == recordings.keys() and launch.recordings is not recordings


def test_what_cannot_be_recorded_is_run_each_time(monkeypatch, caplog):
    """As with decoders that look at values."""

    class Refusing(Idle):
        def __enter__(self):
            raise RuntimeError("operation not permitted when stream is capturing")

    for name, replacement in (("graph", Refusing), ("stream", Idle), ("set_stream", Idle)):
        monkeypatch.setattr(torch.cuda, name, replacement)
    for name in ("Stream", "CUDAGraph", "current_stream", "graph_pool_handle"):
        monkeypatch.setattr(torch.cuda, name, Idle)
    engine = Cuda(network())
    engine.launch = cuda.Recorded(DEVICE)
    (x, observed), states, bounds = table(12), populations(12), []
    for seed in range(4):
        rows = torch.arange(12).to(DEVICE)
        bounds.append(float(engine.step(x, observed, rows, states, Search(3, 3), seeded(seed)).elbo))
    assert bounds[0] < bounds[1] < bounds[2] < bounds[3]
    assert sum("not recorded" in record.message for record in caplog.records) == 1


@ON_GPU
def test_recordings_do_what_single_operations_do():
    """Three steps each, the second of which is recorded: the same populations, bounds and gradients."""
    results = []
    for launch in (cuda.Eager(), cuda.Recorded(torch.device("cuda", 0))):
        engine = Cuda(model := network())
        engine.launch = launch
        (x, observed), states = table(60), populations(60)
        for seed in range(3):
            rows = torch.randperm(60, generator=seeded(seed)).cuda()
            totals = engine.step(x, observed, rows, states, Search(4, 3, 2), seeded(seed))
        results.append((states.lpj, totals.elbo, totals.prior, model.decoder.layers[0].weight.grad))
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@ON_GPU
def test_no_step_waits():
    """Once they are recorded."""
    engine, (x, observed), states = Cuda(network()), table(60), populations(60)
    rows = torch.arange(60, device=DEVICE)
    for number in range(5):
        torch.cuda.set_sync_debug_mode("error" if number > 1 else "default")
        try:
            totals = engine.step(x, observed, rows, states, Search(4, 3), seeded(number))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert totals.elbo.is_cuda and torch.isfinite(totals.elbo)


@ON_GPU
def test_a_network_restores_a_picture_on_the_gpu_as_well_as_on_the_cpu():
    clean = 100 + 50 * torch.sin(torch.arange(40) / 4)[:, None].expand(40, 40).numpy()
    noisy = clean + 20 * data(40, 40).numpy()
    model = evovae.NetworkPatches(6, 16, 12, Search(4, 4), 8, False, (32,), 64, 0.01)
    errors = [
        ((evovae.denoise(noisy, preset=model, rng=0, device=place) - clean) ** 2).mean() for place in ("cpu", "cuda")
    ]
    assert errors[1] < 1.2 * errors[0]
    noisy[10:20, 10:20] = np.nan
    with pytest.warns(UserWarning, match="missing|wider"):
        assert np.isfinite(evovae.denoise(noisy, preset=model, rng=0, device="cuda")).all()
