"""Populations: packing, distinct random starts, and truncation to the best distinct states."""

import pytest
import torch
from helpers import seeded
from torch.testing import assert_close

from evovae import states as module
from evovae.states import States, pack, repeats, unpack


@pytest.mark.parametrize("H", [1, 5, 63, 64, 65, 130])
def test_pack_and_unpack_are_inverse(H):
    z = torch.rand(4, 7, H, generator=seeded()) < 0.4
    words = pack(z)
    assert words.shape == (4, 7, -(-H // 64))
    assert torch.equal(unpack(words, H), z)


@pytest.mark.parametrize("H", [3, 64, 130])
def test_repeats_are_the_later_twins(H):
    z = torch.rand(30, 12, H, generator=seeded()) < (0.5 if H == 3 else 0.01)
    found = repeats(pack(z))
    for row, flags in zip(z.tolist(), found.tolist(), strict=True):
        assert flags == [state in row[:s] for s, state in enumerate(row)]


@pytest.mark.parametrize(("S", "H"), [(1, 1), (2, 1), (8, 3), (5, 3), (40, 12), (64, 8), (30, 128), (200, 70)])
def test_random_states_are_distinct(S, H):
    states = States.random(50, S, H, seeded())
    assert states.words.shape == (50, S, -(-H // 64)) and states.words.dtype == torch.int64
    assert not repeats(states.words).any()


def test_a_single_random_state_has_the_asked_for_density():
    z = States.random(4000, 1, 100, seeded(), p=0.1).z
    assert_close(z.float().mean((0, 1)), torch.full((100,), 0.1), atol=0.025, rtol=0)
    assert_close(z.float().mean(), torch.tensor(0.1), atol=0.003, rtol=0)


def test_more_states_than_exist_is_an_error_in_a_sentence():
    with pytest.raises(ValueError, match="2\\^3 = 8 distinct states"):
        States.random(2, 9, 3, seeded())


@pytest.mark.parametrize("H", [4, 70])
def test_merge_keeps_the_best_distinct_states(H):
    """Against a plain-Python oracle: best by lpj, each state once, old ones and children alike."""
    N, S, C = 25, 5, 9
    score = torch.randn(H, generator=seeded(1))
    fitness = lambda z: (z * score).sum(-1)  # noqa: E731
    states = States.random(N, S, H, seeded(), p=0.3)
    states.lpj = fitness(states.z)
    z = torch.rand(N, C, H, generator=seeded(2)) < 0.3
    z[:, :3] = states.z[:, :3]  # twins of old states
    z[:, 4] = z[:, 3]  # and of each other
    merged, new = states.merge(z, fitness(z))
    pool = torch.cat([states.z, z], 1)
    count = 0
    for n in range(N):
        candidates = {tuple(state): fitness(torch.tensor(state)).item() for state in pool[n].tolist()}
        best = sorted(candidates.values(), reverse=True)[:S]
        assert_close(merged.lpj[n], torch.tensor(best))
        assert_close(fitness(merged.z[n]), merged.lpj[n])
        count += len({*map(tuple, merged.z[n].tolist())} - {*map(tuple, states.z[n].tolist())})
    assert not repeats(merged.words).any()
    assert new == count


def test_usage_is_the_expected_number_of_bits(monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 4)
    states = States.random(10, 5, 7, seeded(), p=0.3)
    states.lpj.copy_(torch.randn(10, 5, generator=seeded()))
    expected = (states.lpj.softmax(1)[..., None] * states.z).sum((0, 1))
    assert_close(states.usage(), expected.double(), rtol=1e-5, atol=1e-5)


def test_populations_take_the_bytes_they_should():
    assert States.random(10, 7, 65, seeded()).words.nbytes == 10 * 7 * 2 * 8


def test_rows_can_be_taken_and_put_back():
    states = States.random(6, 3, 5, seeded())
    rows = torch.tensor([4, 1])
    part = states[rows]
    part.lpj = torch.zeros(2, 3)
    states[rows] = part
    assert (states.lpj[rows] == 0).all() and torch.isinf(states.lpj[[0, 2, 3, 5]]).all()
    assert len(states) == 6 and len(part) == 2


@pytest.mark.parametrize("H", [4, 70])
def test_the_commonest_states_have_most_of_the_mass(H):
    states = States.random(200, 6, H, seeded(), p=0.05)
    states.lpj.copy_(torch.randn(200, 6, generator=seeded(1)))
    mass = {}
    for row, q in zip(states.words.tolist(), states.lpj.double().softmax(1).tolist(), strict=True):
        for word, share in zip(map(tuple, row), q, strict=True):
            mass[word] = mass.get(word, 0) + share
    best = sorted(mass, key=mass.get, reverse=True)
    assert list(map(tuple, states.commonest(5).tolist())) == best[:5]
    assert len(states.commonest(10_000)) == len(mass)
