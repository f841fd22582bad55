"""Trains some models on shares of the same data; what the processes of tests/test_sharding.py run."""

import json

import torch
from helpers import seeded

from evovae import States, fit
from evovae.cli import leave
from evovae.datasets import bars_images
from evovae.decoders import MLP, Silent
from evovae.evolve import Search
from evovae.likelihoods import Bernoulli, Gaussian, LowRankGaussian
from evovae.model import TVAE
from evovae.operators import exactly_informed_flip
from evovae.priors import Bernoulli as Bits
from evovae.sharding import joined

N, H = 101, 5
GAINS = Search(3, 2, mutate=exactly_informed_flip)


def network(likelihood):
    return TVAE(MLP(H, 7, 16, generator=seeded()), likelihood, Bits(H))


def subspaces():
    return TVAE(Silent(16), LowRankGaussian(H, 16, 2, sigma2=0.1, generator=seeded()), Bits(H))


CASES = {
    "gaussian": (lambda: network(Gaussian(0.2)), Search(3, 2), {}),
    "bernoulli": (lambda: network(Bernoulli()), Search(3, 2), {}),
    "sums that fade": (lambda: network(Gaussian(0.2)), Search(3, 2), {"forgetting": 0.5}),
    "subspaces": (subspaces, GAINS, {"forgetting": 0.5}),
}


def trained(name, shard, batch_size=N, S=2**H):
    """After some epochs: the bounds, and the parameters one after another."""
    make, search, options = CASES[name]
    model = make()
    own = shard.rows(N)
    x = bars_images(N, seeded(1)).clone()
    x = (x > 0.5).float() if name == "bernoulli" else x
    observed = torch.rand(N, 16, generator=seeded(2)) < 0.9
    generator = seeded(shard.rank)
    epochs = fit(
        model,
        x[own],
        observed=observed[own],
        states=States.random(own.stop - own.start, S, H, generator),
        search=search,
        optimizer=torch.optim.Adam([{"params": [*model.decoder.parameters()]}], lr=0.01),
        epochs=4,
        batch_size=batch_size,
        generator=generator,
        shard=shard,
        **options,
    )
    bounds = [epoch.elbo for epoch in epochs]
    return bounds, torch.cat([value.flatten().double() for value in model.state_dict().values()])


def main():
    with joined(patience=30) as shard:
        assert shard.beside == shard.world  # all on this machine
        found = {}
        for name in CASES:
            whole = trained(name, shard)
            uneven, parameters = trained(name, shard, batch_size=1 + N // (2 * shard.world), S=8)
            spread = shard.add(parameters) / shard.world - parameters
            found[name] = {
                "bounds": whole[0],
                "parameters": whole[1].tolist(),
                "uneven": uneven,
                "spread": shard.add(spread.abs()).max().item(),
            }
        if shard.rank == 0:
            print("found:" + json.dumps(found))
    leave(0)


if __name__ == "__main__":
    main()
