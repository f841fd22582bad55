"""States that a network proposes: distinct, its likeliest ones, and no worse an end of the search than without."""

import pytest
import torch
from helpers import seeded
from torch import nn
from torch.testing import assert_close

from evovae import Encoder, datasets, evaluate
from evovae.exact import all_states, log_likelihood
from evovae.states import repeats


class Given(nn.Module):
    """A network whose logits are the data."""

    def forward(self, x):
        return x


@pytest.mark.parametrize("S", [1, 5, 16, 32])
def test_the_likeliest_states_are_proposed_likeliest_first(S):
    logits = 2 * torch.randn(20, 5, generator=seeded())
    states = Encoder(Given()).propose(logits, S)
    every = all_states(5).float()
    log_q = (logits[:, None] * every).sum(-1)
    best = log_q.topk(S, dim=1)
    assert not repeats(states.words).any()
    assert_close((logits[:, None] * states.z).sum(-1), best.values)
    assert (states.lpj == -torch.inf).all()


def test_of_many_latents_the_states_are_distinct_and_start_with_the_mode():
    logits = torch.randn(7, 130, generator=seeded())
    states = Encoder(Given()).propose(logits, 40)
    assert not repeats(states.words).any()
    assert_close(states.z[:, 0], logits > 0)
    with pytest.raises(ValueError, match="there are 32 states of 5 bits, but 33 are wanted"):
        Encoder(Given()).propose(logits[:, :5], 33)


def test_what_is_learnt_saves_steps_and_changes_no_bound():
    model = datasets.bars_model()
    x, _ = model.sample(1500, seeded())
    known = evaluate(model, x[:1000], n_states=8, generator=seeded()).states
    encoder = Encoder.learn(x[:1000], known, generator=seeded())
    new = x[1000:]
    proposed = encoder.propose(new, 8)
    once = evaluate(model, new, n_states=8, generator=seeded(), start=proposed, patience=1, most_steps=1)
    alone = evaluate(model, new, n_states=8, generator=seeded(), patience=1, most_steps=1)
    true = log_likelihood(model, new, torch.ones_like(new, dtype=torch.bool)).mean().item()
    assert alone.mean < once.mean <= true + 1e-4
    assert true - once.mean < 0.2 * (true - alone.mean)
