"""
Looking inside: latents, and the states of a patch
==================================================

A restored picture comes from models of its patches, and these can be read. What has each latent learnt? Which latents
explain this patch, and is there another explanation that is nearly as good? This page opens a fitted denoiser and
looks.
"""

# %%
# A picture, and its models
# -------------------------
#
# The preset says how many models there are and of which kind. For this page it is one of subspaces that binary
# latents switch on: :class:`evovae.LowRankPatches` with 48 latents, each of which owns up to 4 directions, and
# patches of 8 x 8 pixels.

import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import evovae

clean = data.brick()[:128, :128].astype(float)
noisy = clean + np.random.default_rng(0).normal(0, 15, clean.shape)

search = evovae.Search(2, 5, mutate=evovae.operators.exactly_informed_flip)
model = evovae.LowRankPatches(8, 48, 8, search, epochs=10, centred=False, rank=4)
result = evovae.denoise(noisy, preset=model, rng=0, full_output=True)
fitted = result.fitted
print(fitted)

# %%
# What each latent adds to a patch
# --------------------------------
#
# ``dictionary()`` has an array of shape (latents, directions, height, width) for each model. Directions are in units of
# the noise's standard deviation; each is as long as it typically is in a patch, the longest first. Here is the first
# one of each latent, the 36 that are used most.

(dictionary,) = fitted.dictionary()
use = fitted.members[0].use
order = np.argsort(-use)[:36]
reach = np.abs(dictionary[order, 0]).max()

figure, axes = plt.subplots(3, 12, figsize=(12, 3.9), layout="constrained")
for one, h in zip(axes.flat, order, strict=True):
    drawn = one.imshow(dictionary[h, 0], cmap="RdBu_r", vmin=-reach, vmax=reach)
    one.set_title(f"{use[h]:.1%}", fontsize=9)
    one.set_axis_off()
figure.colorbar(drawn, ax=axes, label="standard deviations of the noise", shrink=0.8)
figure.suptitle("first direction of each latent, and how many patches use it")

# %%
# Joints between bricks have been found in all places of a patch, along both axes. These are all directions of one of
# the latents: the first one says most, and there is little left for the last ones.

figure, axes = plt.subplots(1, dictionary.shape[1], figsize=(9, 2.7), layout="constrained")
for r, one in enumerate(axes):
    one.imshow(dictionary[order[4], r], cmap="RdBu_r", vmin=-reach, vmax=reach)
    one.set_title(f"direction {r + 1}")
    one.set_axis_off()

# %%
# The states of one patch
# -----------------------
#
# ``posterior`` searches for the likeliest states of a patch: which latents are on, how probable that is, and what
# each state says that the clean patch looks like. The restored patch is their mean, weighted by probability.

row, column = 40, 60
place = np.s_[row : row + 8, column : column + 8]
population = fitted.posterior(noisy[place])
for q, z in zip(population.q, population.states, strict=True):
    print(f"{q:6.1%}  latents {np.flatnonzero(z)}")

figure, axes = plt.subplots(2, 4, figsize=(10, 5.4), layout="constrained")
panels = {"noisy": noisy[place], "restored: the mean": population.restored, "clean": clean[place]}
panels |= {f"state {s + 1}: {population.q[s]:.0%}": population.images[s] for s in range(5)}
for one, (title, picture) in zip(axes.flat, panels.items(), strict=True):
    one.imshow(picture, cmap="gray", vmin=60, vmax=200)
    one.set_title(title)
    one.set_axis_off()

# %%
# Where the picture is complicated
# --------------------------------
#
# The same for patches all over the picture: how many latents are on, and how undecided the model is between states
# (the entropy of their probabilities, in nats).

corners = range(0, 121, 6)
populations = [[fitted.posterior(noisy[i : i + 8, j : j + 8]) for j in corners] for i in corners]
active = np.array([[p.q @ p.states.sum(1) for p in row] for row in populations])
entropy = np.array([[-(p.q * np.log(p.q + 1e-30)).sum() for p in row] for row in populations])

figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
axes[0].imshow(result.image, cmap="gray", vmin=60, vmax=200)
axes[0].set_title("restored")
for one, values, title in zip(axes[1:], (active, entropy), ("latents that are on", "entropy (nats)"), strict=True):
    figure.colorbar(one.imshow(values, cmap="magma", vmin=0), ax=one, shrink=0.8)
    one.set_title(title)
for one in axes:
    one.set_axis_off()

# %%
# **Where next.** The same works for what :func:`evovae.denoise` and :func:`evovae.fit_denoiser` return with any
# preset: :meth:`evovae.FittedDenoiser.dictionary` and :meth:`evovae.FittedDenoiser.posterior`. Models on data other
# than patches are in the hands of :class:`evovae.TVAE` and :func:`evovae.infer`.
