"""Learning-rate schedules at the points that define them."""

import pytest
import torch
from torch.testing import assert_close

from evovae.em import fit
from evovae.schedules import constant, cyclical, warm_up_decay


def test_warm_up_then_decay():
    assert_close(warm_up_decay(0, 50), 0.02)
    assert_close(warm_up_decay(5, 50), 1.0)
    assert_close(warm_up_decay(27.5, 50), 0.51)
    assert_close(warm_up_decay(50, 50), 0.02)
    assert_close(warm_up_decay(51, 50), 0.02)


def test_triangles_of_the_paper():
    """Table 3: between 0.0001 and 0.01 with 20 epochs a cycle."""
    rates = [0.01 * cyclical(epoch, 500) for epoch in (0, 5, 10, 15, 20, 490)]
    assert_close(torch.tensor(rates), torch.tensor([0.0001, 0.00505, 0.01, 0.00505, 0.0001, 0.01]))


def test_constant_is_constant():
    assert {constant(epoch, 10) for epoch in range(11)} == {1.0}


@pytest.mark.parametrize("schedule", [warm_up_decay, cyclical, constant])
def test_the_optimiser_follows_the_schedule(schedule):
    from helpers import data, seeded, small_model

    from evovae.evolve import Search
    from evovae.states import States

    model = small_model(5)
    optimizer = torch.optim.Adam(model.decoder.parameters(), lr=0.5)
    run = fit(
        model,
        data(40),
        states=States.random(40, 4, 5, seeded()),
        search=Search(2, 2),
        optimizer=optimizer,
        schedule=schedule,
        epochs=4,
        batch_size=10,
        generator=seeded(),
    )
    for epoch in run:
        last = epoch.number - 1 / 4  # the last of four batches
        assert_close(optimizer.param_groups[0]["lr"], 0.5 * schedule(last, 4))
