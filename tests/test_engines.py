"""Conformance: the fused engines against the reference, member by member."""

import os
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import product

import pytest
import torch
from helpers import data, holes, seeded, small_model
from torch.testing import assert_close

from evovae import operators
from evovae.decoders import MLP
from evovae.em import fit
from evovae.engines import Cuda, NumbaNetwork, Reference, choose, workers
from evovae.engines.workers import Workers
from evovae.evolve import Search
from evovae.likelihoods import Bernoulli, Gaussian, Laplace, Likelihood, Poisson
from evovae.model import TVAE
from evovae.posterior import elbo
from evovae.states import States, repeats

pytest.importorskip("numba")


def on_cpu(model):
    return NumbaNetwork(model, q_min=0)


def on_cuda(model):
    """In full precision, all children scored again: exact, on a GPU where there is one, interpreted elsewhere."""
    pytest.importorskip("triton")
    return Cuda(model, torch.float32, shortlist=1000)


DEVICES = {on_cpu: "cpu", on_cuda: "cuda" if torch.cuda.is_available() else "cpu", Reference: "cpu"}
engines = pytest.mark.parametrize("make_engine", [on_cpu, on_cuda])

# Sizes: H in one word and in two; layers that fill no vector, and wide ones with all kinds of remainders.
DECODERS = {
    "linear": ((9, 6), 0.0),
    "one hidden layer": ((70, 13, 6), 0.0),
    "wide": ((70, 83, 85), 0.0),
    "two hidden layers, leaky": ((9, 13, 10, 6), 0.1),
}
SELECT = [operators.gumbel_top, operators.uniformly, operators.by_fitness]
MUTATE = [operators.informed_flip, operators.uniform_flip]
LIKELIHOODS = [Gaussian(0.2), Laplace(0.3), Bernoulli(), Poisson()]


class Heavy(Laplace):
    """A likelihood of someone's own, which no kernel knows."""


def make(name: str) -> TVAE:
    sizes, slope = DECODERS[name]
    model = small_model(sizes[0])
    model.decoder = MLP(*sizes, slope=slope, generator=seeded(7))
    return model


def interpreted(*case):
    """Triton's interpreter takes its time: one decoder and one rule of each kind of operator are enough at first."""
    make_engine, name, select, mutate = case
    many = make_engine is on_cuda and (name != "wide" or (select is operators.by_fitness) != (mutate is MUTATE[1]))
    names = (make_engine.__name__, name, select.__name__, mutate.__name__)
    return pytest.param(*case, marks=[pytest.mark.slow] * many, id="-".join(names))


@pytest.mark.parametrize(
    ("make_engine", "name", "select", "mutate"),
    [interpreted(*case) for case in product((on_cpu, on_cuda), DECODERS, SELECT, MUTATE)],
)
def test_a_step_agrees_with_the_reference_on_the_states_it_found(make_engine, name, select, mutate):
    step_as_the_reference(make_engine, make(name), Search(4, 3, 2, select, mutate))


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=lambda part: type(part).__name__)
def test_each_likelihood_agrees_with_the_reference(name, likelihood):
    model = make(name)
    step_as_the_reference(on_cpu, TVAE(model.decoder, likelihood, model.prior), Search(4, 3, 2))


def test_outputs_of_any_size_have_the_likelihood_that_they_should():
    """Log-odds so large that a naive exponential would overflow, and counts of hundreds."""
    H, D = 6, 20
    for likelihood, most, error in ((Bernoulli(), 400.0, 1e-4), (Poisson(), 6.0, 1e-2)):
        model = TVAE(MLP(H, D, generator=seeded()), likelihood, small_model(H).prior)
        with torch.no_grad():
            model.decoder.layers[0].bias.copy_(torch.linspace(-most, most, D))
        x, _ = model.sample(10, seeded())
        states, seen = States.random(10, 8, H, seeded()), torch.ones_like(x, dtype=torch.bool)
        on_cpu(model).search(x, seen, torch.arange(10), states, Search(2, 2), seeded())
        exact = TVAE(model.decoder.double(), likelihood.double(), model.prior.double())
        assert_close(states.lpj.double(), exact.lpj(x.double(), states.z, seen).detach(), rtol=2e-6, atol=error)


def step_as_the_reference(make_engine, model, search):
    """lpj, bound, gradients, statistics and moments, with missing pixels; monotone and without repeats."""
    device = torch.device(DEVICES[make_engine])
    model = model.to(device)
    H, D = model.decoder.sizes[0], model.decoder.sizes[-1]
    x = drawn_for(model.likelihood, data(45, D)).to(device)
    observed = holes(x.cpu()).to(device)
    x = torch.where(observed, x, 0)
    states = States.random(45, 8, H, seeded()).to(device)
    rows = torch.randperm(45, generator=seeded())[:33]
    before = states.words.clone()
    with torch.no_grad():
        bound = elbo(model.lpj(x, states.z, observed))
    engine = make_engine(model)
    totals = engine.step(x, observed, rows, states, search, seeded(1))
    gradients = [p.grad.clone() for p in model.decoder.parameters()]

    frozen = Search(4, 3, generations=0)  # the reference on the same states: no search, only the sums
    model.decoder.zero_grad()
    expected = Reference(model).step(x, observed, rows, states[torch.arange(45)], frozen, seeded(1))
    lpj = model.lpj(x[rows], states[rows].z, observed[rows]).detach()
    assert_close(states.lpj[rows], lpj, rtol=1e-4, atol=1e-4)
    assert_close(totals.elbo, expected.elbo, rtol=1e-4, atol=1e-4)
    assert_close(totals.likelihood, expected.likelihood, rtol=1e-4, atol=1e-4)
    assert_close(totals.prior, expected.prior, rtol=1e-4, atol=1e-4)
    for ours, p in zip(gradients, model.decoder.parameters(), strict=True):
        assert_close(ours, p.grad, rtol=1e-3, atol=1e-5)
    for ours, theirs in zip(
        engine.moments(x, observed, rows, states), Reference(model).moments(x, observed, rows, states), strict=True
    ):
        assert_close(ours, theirs, rtol=1e-3, atol=1e-5)

    untouched = torch.ones(45, dtype=torch.bool)
    untouched[rows] = False
    assert torch.equal(states.words[untouched], before[untouched])
    assert (elbo(states.lpj[rows]) >= bound[rows] - 1e-4).all()
    assert not repeats(states.words).any()
    new = (~(states.words[:, :, None] == before[:, None]).all(-1).any(-1)).sum()
    assert int(totals.substitutions) == new > 0
    assert totals.count == 33


def drawn_for(likelihood: Likelihood, x: torch.Tensor) -> torch.Tensor:
    """Data in the support of a likelihood, made from real numbers."""
    return {Bernoulli: lambda: (x > 0).float(), Poisson: lambda: x.exp().round()}.get(type(likelihood), lambda: x)()


def chosen_children(engine, model, search, N=6000):
    """Children of one and the same population, N times: which states are drawn how often."""
    x = data(1).expand(N, 6).to(next(model.parameters()).device).contiguous()
    observed = torch.ones_like(x, dtype=torch.bool)
    words = States.random(1, 4, 9, seeded(5)).words.expand(N, 4, 1).contiguous()
    states = States(words, torch.zeros(N, 4), 9).to(x.device)
    engine.step(x, observed, torch.arange(N), states, search, seeded(2))
    found, counts = states.words[..., 0].unique(return_counts=True)
    return dict(zip(found.tolist(), (counts / N).tolist(), strict=True))


@pytest.mark.parametrize("make_engine", [on_cpu, pytest.param(on_cuda, marks=pytest.mark.slow)])
@pytest.mark.parametrize("select", SELECT, ids=lambda f: f.__name__)
@pytest.mark.parametrize("mutate", MUTATE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("generations", [1, 2])
def test_searches_draw_what_the_reference_draws(make_engine, select, mutate, generations):
    """The frequencies with which states enter a population agree, to sampling error."""
    search = Search(2, 2, generations, select, mutate)
    ours, theirs = (
        chosen_children(make_one(model := make("two hidden layers, leaky").to(DEVICES[make_one])), model, search)
        for make_one in (make_engine, Reference)
    )
    for state in ours.keys() | theirs.keys():
        assert abs(ours.get(state, 0) - theirs.get(state, 0)) < 0.05, state


def test_temperatures_are_those_that_were_asked_for():
    hot = Search(
        2, 2, 1, partial(operators.gumbel_top, temperature=0.7), partial(operators.informed_flip, temperature=9.0)
    )
    ours, theirs = (
        chosen_children(make_one(model := make("two hidden layers, leaky")), model, hot)
        for make_one in (on_cpu, Reference)
    )
    usual = chosen_children(NumbaNetwork(model := make("two hidden layers, leaky")), model, Search(2, 2))
    assert max(abs(ours[s] - theirs.get(s, 0)) for s in ours) < 0.05
    assert max(abs(ours[s] - usual.get(s, 0)) for s in ours) > 0.05


def run(model, engine, x, seed, epochs=5):
    generator = seeded(seed)
    states = States.random(len(x), 8, model.prior.pi.numel(), generator)
    optimizer = torch.optim.Adam(model.decoder.parameters(), lr=0.01)
    options = {"states": states, "search": Search(3, 3), "optimizer": optimizer, "generator": generator}
    bound = [e.elbo for e in fit(model, x, epochs=epochs, batch_size=32, engine=engine, **options)]
    return bound[-1], states, [p.detach().clone() for p in model.decoder.parameters()]


def test_training_ends_at_the_same_bound():
    """The mean over 12 seeds of the bound after 5 epochs, within three standard errors."""
    x = small_model(9, seed=20).sample(200, seeded())[0]
    ours, theirs = (
        torch.tensor([run(m := make("one hidden layer"), engine(m), x, seed)[0] for seed in range(12)])
        for engine in (NumbaNetwork, Reference)
    )
    error = ((ours.var() + theirs.var()) / 12).sqrt()
    assert (ours.mean() - theirs.mean()).abs() < 3 * error + 0.01


def test_any_number_of_threads_gives_the_same_bytes():
    x = data(150)
    results = [run(m := make("one hidden layer"), NumbaNetwork(m, threads=threads), x, 0, 2) for threads in (1, 2, 5)]
    for bound, states, weights in results[1:]:
        assert bound == results[0][0]
        assert torch.equal(states.words, results[0][1].words)
        assert all(torch.equal(a, b) for a, b in zip(weights, results[0][2], strict=True))


def test_two_python_threads_at_once():
    x = data(150)
    alone = run(m := make("one hidden layer"), NumbaNetwork(m), x, 0, 3)[0]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(lambda: run(m := make("one hidden layer"), NumbaNetwork(m), x, 0, 3)[0]) for _ in range(4)]
        assert [job.result() for job in jobs] == [alone] * 4


def test_arrays_of_any_layout():
    x = data(150)
    bounds = {run(m := make("one hidden layer"), NumbaNetwork(m), y, 0, 2)[0] for y in (x, x.T.contiguous().T)}
    assert len(bounds) == 1


def test_sizes_and_operators_that_do_not_fit_are_refused():
    """Nothing is read or written out of bounds, and nothing that was asked for is left out."""
    model = make("one hidden layer")
    engine = NumbaNetwork(model)
    rows = torch.arange(5)

    def step(D=6, H=70, **search):
        x = data(5, D)
        engine.step(
            x,
            torch.ones_like(x, dtype=torch.bool),
            rows,
            States.random(5, 8, H, seeded()),
            Search(2, **search),
            seeded(),
        )

    for message, bad in {
        "7 values": {"D": 7},
        "71 bits": {"H": 71},
        "71 children": {"children": 71},
    }.items():
        with pytest.raises(ValueError, match=message):
            step(**bad)
    with pytest.raises(TypeError, match="no_cross"):
        step(cross=operators.one_point)
    with pytest.raises(TypeError, match="NumbaNetwork needs a likelihood of Gaussian, Laplace, Bernoulli, Poisson"):
        NumbaNetwork(TVAE(model.decoder, Heavy(), model.prior))


def test_flat_posteriors_over_many_states_still_give_gradients():
    model = make("linear")
    model.likelihood.sigma2.fill_(1e6)
    x = data(10)
    states = States.random(10, 500, 9, seeded())
    observed = torch.ones_like(x, dtype=torch.bool)
    NumbaNetwork(model, q_min=0.5).step(x, observed, torch.arange(10), states, Search(2, 2), seeded())
    assert model.decoder.layers[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("make_engine", DEVICES)
def test_no_data_points_give_no_gradients(make_engine):
    model = make("one hidden layer").to(DEVICES[make_engine])
    x = data(5).to(DEVICES[make_engine])
    states = States.random(5, 8, 70, seeded()).to(x.device)
    observed, nothing = torch.ones_like(x, dtype=torch.bool), torch.arange(0)
    totals = make_engine(model).step(x, observed, nothing, states, Search(2, 2), seeded())
    assert totals.count == 0 and totals.elbo == 0
    assert all((p.grad == 0).all() for p in model.decoder.parameters())


def test_skipping_states_of_little_mass_changes_gradients_little():
    model, x = make("one hidden layer"), data(60)
    observed = torch.ones_like(x, dtype=torch.bool)
    gradients = []
    for q_min in (0, 1e-3):
        states = States.random(60, 30, 70, seeded())
        NumbaNetwork(model, q_min=q_min).step(x, observed, torch.arange(60), states, Search(), seeded())
        gradients.append(torch.cat([p.grad.flatten() for p in model.decoder.parameters()]))
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[0].norm()
    assert not torch.equal(*gradients)


def test_the_fused_engine_is_chosen_where_it_applies():
    model = make("one hidden layer")
    assert isinstance(choose(model, Search()), NumbaNetwork)
    for likelihood in LIKELIHOODS:
        assert isinstance(choose(TVAE(model.decoder, likelihood, model.prior), Search()), NumbaNetwork)
    other = TVAE(model.decoder, Heavy(), model.prior)
    for unsupported, search in (
        (other, Search()),
        (make("linear").double(), Search()),
        (model, Search(cross=operators.one_point)),
        (model, Search(mutate=operators.SparseFlip(model.prior))),
    ):
        assert isinstance(choose(unsupported, search), Reference)


def test_everything_works_without_numba():
    """With numba blocked, the library imports and the reference engine denoises."""
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import numpy as np, evovae\n"
        "from evovae.evolve import Search\n"
        "s = evovae.NetworkPatches(4, 6, 6, Search(2, 2), 1, False, (8,), 64, 0.01)\n"
        "out = evovae.denoise(np.random.default_rng(0).normal(size=(12, 12)), preset=s, rng=0)\n"
        "assert np.isfinite(out).all()\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)


def test_compilation_is_announced_once(caplog, monkeypatch):
    class Loop:
        signatures = ()

    workers._say_compiling.cache_clear()
    monkeypatch.setattr(workers, "SOON", 0.01)
    for signatures in ((), (), ("compiled",)):
        Loop.signatures = signatures
        Workers().run(Loop, time.sleep, [0.1])
    assert sum("compiling" in record.message for record in caplog.records) == 1


def test_loops_that_are_there_are_not_announced(caplog, monkeypatch):
    class Loop:
        signatures = ("compiled",)

    workers._say_compiling.cache_clear()
    monkeypatch.setattr(workers, "SOON", 0.01)
    Workers().run(Loop, time.sleep, [0.1])
    assert not caplog.records


def test_trainings_side_by_side_leave_torch_its_threads():
    """Two that overlap, in this thread and in another one."""
    before, pool = torch.get_num_threads(), Workers()
    torch.set_num_threads(2)
    inside, ended = threading.Event(), threading.Event()
    seen = []

    def other():
        with pool.alone():
            inside.set()
            ended.wait(10)
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=other)
    try:
        with ExitStack() as stack:
            stack.enter_context(pool.alone())
            thread.start()
            assert inside.wait(10) and torch.get_num_threads() == 1
            assert Workers().pool._max_workers == 2
        assert torch.get_num_threads() == 2
        ended.set()
        thread.join()
        assert seen == [2] and torch.get_num_threads() == 2
    finally:
        ended.set()
        torch.set_num_threads(before)


FALLBACKS = """
import builtins
usual = builtins.__import__
def without_llvmlite(name, globals=None, *rest, **others):
    if name == "llvmlite" and globals["__name__"] == "evovae.engines.simd":
        raise ImportError(name)
    return usual(name, globals, *rest, **others)
builtins.__import__ = without_llvmlite
import numpy as np
from numba import njit
from evovae.engines import simd

@njit  # parts can be called from compiled functions alone
def add(*given):
    simd.add_rows(*given)
@njit
def subtract(*given):
    simd.subtract_products(*given)
@njit
def count(v):
    return simd.trailing_zeros(v)

assert simd.trailing_zeros is simd.count_plainly and simd._wide is None
out, rows = np.ones(85, np.float32), np.arange(340, dtype=np.float32).reshape(4, 85)
idx, val = np.array([2, 0, 3, 9]), np.array([0.5, 2, 1, 9], np.float32)
add(out, rows, idx, val, 3)
assert np.allclose(out, 1 + val[:3] @ rows[idx[:3]])
x, out = np.arange(192, dtype=np.float32).reshape(4, 48), np.ones(16, np.float32)
subtract(out, x, 0, 32, 48, 3)
assert np.allclose(out, 1 - (x[:3, :16] * x[:3, 32:]).sum(0))
assert [count(np.uint64((5 << n) % 2**64)) for n in range(64)] == [*range(64)]
"""


def test_without_private_parts_of_numba_plain_loops_do_the_same(tmp_path):
    """What is compiled here is kept apart: the cache does not know of these parts."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "error", "-c", FALLBACKS], check=True, env=environment, timeout=120)


@pytest.mark.parametrize("there", [None, types.SimpleNamespace(CPUTargetOptions=object)])
def test_a_numba_without_an_option_for_reference_counts_gets_none(monkeypatch, there):
    from evovae.engines.jit import uncounted

    assert uncounted() == {"_nrt": False}
    monkeypatch.setitem(sys.modules, "numba.core.cpu", there)
    assert uncounted() == {}
