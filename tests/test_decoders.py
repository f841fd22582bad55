"""Decoders: the function they compute, how they start, and that gradients reach every weight."""

import pytest
import torch
from helpers import seeded
from torch import nn
from torch.testing import assert_close

from evovae.decoders import MLP, Linear

MEMBERS = {
    "linear": (Linear(5, 7, generator=seeded()), 0.0),
    "one layer": (MLP(5, 9, 7, generator=seeded()), 0.0),
    "three layers, leaky": (MLP(5, 9, 8, 6, 7, slope=0.2, generator=seeded()), 0.2),
}


@pytest.fixture(params=MEMBERS)
def member(request):
    return MEMBERS[request.param]


def test_it_is_the_function_it_says(member):
    decoder, slope = member
    z = torch.rand(3, 4, 5, generator=seeded(1))
    out = z
    for i, layer in enumerate(decoder.layers):
        out = out if i == 0 else torch.where(out > 0, out, slope * out)
        out = out @ layer.weight.T + layer.bias
    assert_close(decoder(z), out)


def test_weights_start_as_glorot_and_biases_at_zero(member):
    for layer in member[0].layers:
        bound = (6 / sum(layer.weight.shape)) ** 0.5
        assert (layer.bias == 0).all()
        assert 0.7 * bound < layer.weight.abs().max() <= bound


def test_gradients_reach_everything(member):
    decoder = member[0]
    decoder.zero_grad()
    decoder(torch.rand(50, 5, generator=seeded(1))).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in decoder.parameters())


def test_the_generator_decides():
    a, b, c = (MLP(5, 6, 7, generator=seeded(s)).layers[0].weight for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_too_few_sizes():
    with pytest.raises(ValueError, match="sizes H and D"):
        MLP(5)


def test_any_module_will_do():
    from evovae.likelihoods import Gaussian
    from evovae.model import TVAE
    from evovae.priors import Bernoulli

    model = TVAE(nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 7)), Gaussian(), Bernoulli(5))
    x, z = model.sample(4, seeded())
    assert model.lpj(x, z[:, None], torch.ones_like(x, dtype=torch.bool)).shape == (4, 1)
