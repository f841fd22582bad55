"""
Your own decoder: things that hide each other
=============================================

In pictures, things do not add up as in linear models: what is in front hides what is behind. A decoder may be any
``torch.nn.Module`` that turns states into data, so that this can be said as it is, in a few lines. This page writes
one for flat things on top of each other, trains it, and looks at what it has learnt.
"""

# %%
# Pictures of things that hide each other
# ---------------------------------------
#
# Eight shapes, each with a value of its own (in the figures, red is above zero and blue below), in a fixed order from
# back to front. Each is in a quarter of the pictures.

import matplotlib.pyplot as plt
import torch
from skimage import draw
from torch import nn

from evovae import TVAE, Search, States, fit, infer
from evovae.decoders import Linear
from evovae.likelihoods import Gaussian
from evovae.priors import Bernoulli

size, N = 16, 600
shapes = [draw.disk(place, 3.6) for place in ((4, 4), (5, 10), (11, 5), (11, 11))]
shapes += [draw.rectangle(start, extent=extent) for start, extent in (((7, 1), (3, 14)), ((1, 7), (14, 3)))]
shapes += [draw.polygon(*corners) for corners in (((1, 1, 9), (8, 15, 12)), ((8, 15, 15), (4, 0, 9)))]
values = torch.tensor([0.9, -0.8, 0.6, -0.6, 0.4, -1.0, 1.0, -0.4])

generator = torch.Generator().manual_seed(1)
there = torch.rand(N, len(shapes), generator=generator) < 0.25
x = torch.zeros(N, size, size)
for h, shape in enumerate(shapes):
    drawn = torch.zeros(size, size, dtype=torch.bool)
    drawn[shape] = True
    x = torch.where(there[:, h, None, None] & drawn, values[h], x)
x = x.flatten(1) + 0.1 * torch.randn(N, size**2, generator=generator)

# %%
# The decoder
# -----------
#
# Each latent has a value of its own, and in each pixel a weight, which is large where the thing is, and larger for
# things in front: a pixel shows the weighted mean of all that is switched on, and of the empty ground, whose value is
# zero and whose weight is one. The map from (..., H) to (..., D) is all that is asked of a decoder.


class Covering(nn.Module):
    """Things that hide each other."""

    def __init__(self, H, D, generator):
        super().__init__()
        self.log_weights = nn.Parameter(0.1 * torch.randn(H, D, generator=generator) - 3)
        self.values = nn.Parameter(torch.randn(H, 1, generator=generator))

    def forward(self, z):
        weights = self.log_weights.exp()
        return z @ (weights * self.values) / (1 + z @ weights)


# %%
# Training
# --------
#
# As with any other decoder. Beside it is a linear one, in which things add up. There are 12 latents for the 8 shapes,
# since how many there are is not known in practice. Of two starts, the better one is kept.

H = 12


def train(make, seed):
    """A model and its bound in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    model = TVAE(make(H, size**2, generator=generator), Gaussian(0.2), Bernoulli(H, 2 / H))
    run = fit(
        model,
        x,
        states=States.random(N, 16, H, generator),
        search=Search(parents=4, children=4),
        optimizer=torch.optim.Adam(model.parameters(), lr=0.1),
        epochs=30,
        batch_size=50,
        generator=generator,
    )
    return model, [epoch.elbo for epoch in run]


decoders = {"things add up": Linear, "things hide each other": Covering}
runs = {
    name: max((train(make, seed) for seed in range(2)), key=lambda run: run[1][-1]) for name, make in decoders.items()
}
for name, (model, bounds) in runs.items():
    print(f"{name:23} bound {bounds[-1]:.1f} nats per picture, noise {model.likelihood.sigma2.sqrt():.3f} (true: 0.1)")

# %%
# What was learnt
# ---------------
#
# What each latent draws when it alone is on, the most used first. Where things add up, latents are spent on correcting
# what is wrong wherever things meet. Where they hide each other, the shapes are whole; latents that are left over see
# to small corrections.

figure, axes = plt.subplots(3, 12, figsize=(13, 3.7), layout="constrained")
rows = {"pictures": x[:12]}
for name, (model, _) in runs.items():
    with torch.no_grad():
        alone = model.decode(torch.eye(H)) - model.decode(torch.zeros(1, H))
    rows[name] = alone[model.prior.pi.argsort(descending=True)]
for row, (name, pictures) in zip(axes, rows.items(), strict=True):
    for one, picture in zip(row, pictures, strict=True):
        one.imshow(picture.view(size, size).numpy(), cmap="RdBu_r", vmin=-1.2, vmax=1.2)
        one.set(xticks=[], yticks=[])
    row[0].set_ylabel(name.replace(" hide", "\nhide"), rotation=0, ha="right", va="center")

# %%
# A picture taken apart
# ---------------------
#
# :func:`evovae.infer` finds the states of a picture. The likeliest one says what is there; things that are partly
# hidden are known as a whole.

model = runs["things hide each other"][0]
full = there.sum(1).topk(3).indices
generator = torch.Generator().manual_seed(0)
states = infer(model, x[full], n_states=16, search=Search(4, 4), steps=30, generator=generator)
figure, axes = plt.subplots(3, 8, figsize=(11, 4.6), layout="constrained")
for row, picture, z, lpj in zip(axes, x[full], states.z, states.lpj, strict=True):
    best = z[lpj.argmax()]
    with torch.no_grad():
        parts = [model.decode(best[None])[0], *model.decode(torch.eye(H)[best])]
    for one, title, part in zip(row, ("picture", "restored", *"123456"), [picture, *parts], strict=False):
        one.imshow(part.view(size, size).numpy(), cmap="RdBu_r", vmin=-1.2, vmax=1.2)
        one.set_title(title)
    for one in row:
        one.set_axis_off()

# %%
# **Where next.** :class:`evovae.TVAE` joins a decoder with a likelihood and a prior, :func:`evovae.fit` trains it.
# :mod:`evovae.decoders` has the ones that come with the library, for which there are compiled engines; any other one
# runs on plain torch.
