"""
The bars test
=============

Can the search find the causes of what it sees, when it sees only sums of them, with noise? The bars test asks that:
pictures are made of a few horizontal and vertical bars, and the model has to find the bars. Small as it is,
everything can be compared with the exact answer, since all states can be listed.
"""

# %%
# Pictures of bars
# ----------------
#
# On a grid of 5 x 5 pixels there are 10 bars; each picture has two of them on average. Where bars cross, they add up.

import matplotlib.pyplot as plt
import torch
from scipy.optimize import linear_sum_assignment

from evovae import TVAE, Search, States, datasets, exact, fit, infer
from evovae.decoders import MLP
from evovae.likelihoods import Gaussian
from evovae.priors import Bernoulli

size, N = 5, 400
H, D = 2 * size, size**2
x = datasets.bars_images(N, torch.Generator().manual_seed(0), size)
observed = torch.ones_like(x, dtype=torch.bool)  # nothing is missing

# %%
# Training
# --------
#
# A decoder with one hidden layer, Gaussian noise, and independent bits. Each picture keeps 40 of the 1024 states.
# There are local optima in which one latent stands for two bars; so a few starts are made, and the one with the best
# bound is kept.


def train(seed):
    """A model and its bound in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    model = TVAE(MLP(H, H, D, generator=generator), Gaussian(0.2), Bernoulli(H))
    run = fit(
        model,
        x,
        states=States.random(N, 40, H, generator),
        search=Search(parents=5, children=4),
        optimizer=torch.optim.Adam(model.decoder.parameters(), lr=0.05),
        epochs=60,
        batch_size=32,
        generator=generator,
    )
    return model, [epoch.elbo for epoch in run]


runs = [train(seed) for seed in range(4)]
model, bounds = max(runs, key=lambda run: run[1][-1])

# %%
# What it found
# -------------
#
# What the decoder draws when one bit is on, less what it draws when none is. Each bar is one latent's, and no latent
# is left over. (Which latent has which bar is a matter of chance; they are sorted by the bars that they are most
# like.)

true = datasets.bars(size)
with torch.no_grad():
    found = model.decode(torch.eye(H)) - model.decode(torch.zeros(1, H))
found = found[linear_sum_assignment(torch.cdist(true, found))[1]]

figure, axes = plt.subplots(4, 10, figsize=(11, 4.9), layout="constrained")
rows = torch.cat([x[:20], true, found]).view(4, 10, size, size).numpy()
titles = ("pictures", "more of them", "true bars", "found")
for row, pictures, title in zip(axes, rows, titles, strict=True):
    for one, picture in zip(row, pictures, strict=True):
        one.imshow(picture, cmap="gray", vmin=-0.3, vmax=1.3)
        one.set(xticks=[], yticks=[])
    row[0].set_ylabel(title, rotation=0, ha="right", va="center")

# %%
# The bound, and the truth
# ------------------------
#
# The model that made the pictures is known, and so is its exact log-likelihood of them (dashed). Runs that end below
# it are stuck in local optima. A little above it is where a model ends that fits these very pictures.

truth = exact.log_likelihood(datasets.bars_model(size), x, observed).mean().item()
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for _, one in runs:
    axes.plot(range(1, len(one) + 1), one, color="tab:blue" if one is bounds else "0.75")
axes.axhline(truth, linestyle="--", color="black", label="exact, of the model that made the pictures")
axes.set(xlabel="epoch", ylabel="bound (nats per picture)", ylim=(-15, truth + 3))
axes.legend(loc="lower right")

# %%
# How quickly does a search find the states?
# ------------------------------------------
#
# For the trained model, too, all 1024 states can be summed. :func:`evovae.infer` starts from 8 random states for each
# picture, and each step selects 4 parents and tries 4 flips of each. What is missing to the exact value is what the
# states that it keeps leave out. It never grows, and soon there is nothing left: with so little noise, a picture of
# bars has one explanation, and all others weigh nothing.

total = exact.log_likelihood(model, x, observed).mean().item()
missing = []
for steps in range(9):
    generator = torch.Generator().manual_seed(0)
    states = infer(model, x, n_states=8, search=Search(parents=4, children=4), steps=steps, generator=generator)
    missing.append(total - states.lpj.logsumexp(1).mean().item())
print(f"exact {total:.4f} nats per picture, missing after {steps} steps {missing[-1]:.1g}")

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.plot(missing, "o-")
axes.set_yscale("symlog", linthresh=0.1)
axes.set(xlabel="steps of the search", ylabel="exact log p(x) less bound (nats per picture)", ylim=(0, None))

# %%
# **Where next.** :class:`evovae.TVAE` says what a model is made of, :func:`evovae.fit` how it is trained, and
# :func:`evovae.infer` finds states of data that took no part in training. :mod:`evovae.exact` lists all states where
# H is small.
