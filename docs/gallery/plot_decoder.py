"""
Your own decoder: things that hide each other
=============================================

In pictures, things do not add up as in linear models: what is in front hides what is behind. A decoder may be any
``torch.nn.Module`` that turns states into data, so that this can be said as it is, in a few lines. This page writes one
for flat things on top of each other, trains it, and looks at what it has learnt.
"""

# %%
# Pictures of things that hide each other
# ---------------------------------------
#
# Eight shapes, each of its own grey, in a fixed order from back to front. Each is in a quarter of the pictures.

import matplotlib.pyplot as plt
import torch
from skimage import draw
from torch import nn

from evovae import TVAE, Search, States, fit
from evovae.decoders import Linear
from evovae.likelihoods import Gaussian
from evovae.priors import Bernoulli

H, size, N = 8, 16, 600
shapes = [draw.disk(place, 3.6) for place in ((4, 4), (5, 10), (11, 5), (11, 11))]
shapes += [draw.rectangle(start, extent=extent) for start, extent in (((7, 1), (3, 14)), ((1, 7), (14, 3)))]
shapes += [draw.polygon(*corners) for corners in (((1, 1, 9), (8, 15, 12)), ((8, 15, 15), (4, 0, 9)))]
greys = torch.tensor([0.9, -0.8, 0.6, -0.6, 0.4, -1.0, 1.0, -0.4])

generator = torch.Generator().manual_seed(1)
there = torch.rand(N, H, generator=generator) < 0.25
x = torch.zeros(N, size, size)
for h, shape in enumerate(shapes):
    drawn = torch.zeros(size, size, dtype=torch.bool)
    drawn[shape] = True
    x = torch.where(there[:, h, None, None] & drawn, greys[h], x)
x = x.flatten(1) + 0.1 * torch.randn(N, size**2, generator=generator)

# %%
# The decoder
# -----------
#
# Each latent has a grey of its own, and in each pixel a weight, which is large where the thing is, and larger for things in front:
# a pixel shows the weighted mean of all that is switched on, and of the empty ground, whose weight is one. The map from
# (..., H) to (..., D) is all that is asked of a decoder.


class Covering(nn.Module):
    """Things that hide each other."""

    def __init__(self, H, D, generator):
        super().__init__()
        self.log_weights = nn.Parameter(0.1 * torch.randn(H, D, generator=generator) - 1)
        self.greys = nn.Parameter(torch.randn(H, 1, generator=generator))

    def forward(self, z):
        weights = self.log_weights.exp()
        return z @ (weights * self.greys) / (1 + z @ weights)


# %%
# Training
# --------
#
# As with any other decoder. Beside it is a linear one, in which things add up. Of a few starts, the best is kept.


def train(make, seed):
    """A model and its bound in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    model = TVAE(make(H, size**2, generator=generator), Gaussian(0.2), Bernoulli(H, 0.25))
    run = fit(
        model,
        x,
        states=States.random(N, 16, H, generator),
        search=Search(parents=4, children=4),
        optimizer=torch.optim.Adam(model.parameters(), lr=0.05),
        epochs=30,
        batch_size=50,
        generator=generator,
    )
    return model, [epoch.elbo for epoch in run]


decoders = {"things add up": Linear, "things hide each other": Covering}
runs = {
    name: max((train(make, seed) for seed in range(3)), key=lambda run: run[1][-1]) for name, make in decoders.items()
}
for name, (model, bounds) in runs.items():
    print(f"{name:23} bound {bounds[-1]:.1f} nats per picture, noise {model.likelihood.sigma2.sqrt():.3f} (true: 0.1)")
