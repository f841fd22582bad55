"""
Filling holes: writing, scratches, lost pixels
==============================================

There is a picture, but not all of it: somebody has written over it, the film is scratched, or half of the detector's
pixels are dead. :func:`evovae.inpaint` fills what a mask names and leaves everything else exactly as it is. It also
says how sure it is of what it has filled in.
"""

# %%
# Three kinds of damage
# ---------------------
#
# A mask is true where a pixel is missing. The first is print, taken from a page of a book; the second a few
# scratches; the third half of all pixels, at random.

import matplotlib.pyplot as plt
import numpy as np
from skimage import data, draw, filters, morphology

import evovae

clean = data.camera()[72:168, 176:272]
rng = np.random.default_rng(1)

page = data.page()[40:136, 48:144]
writing = page < filters.threshold_local(page, 35, offset=12)

scratches = np.zeros(clean.shape, bool)
for start, end in rng.integers(0, 96, (7, 2)):
    scratches[draw.line(0, start, 95, end)] = True
scratches = morphology.dilation(scratches, morphology.disk(1))

masks = {"writing": writing, "scratches": scratches, "half of the pixels": rng.random(clean.shape) < 0.5}

# %%
# Filling them
# ------------
#
# The values under the mask are never looked at. They are set to white here, so that the damage can be seen.
# ``preset="fast"`` would do as well; for small pictures with many holes, a small model of one's own takes a fraction of
# the time: here it has 32 latents, which look at patches of 7 x 7 pixels.

search = evovae.Search(2, 4, mutate=evovae.operators.exactly_informed_flip)
model = evovae.LowRankPatches(7, 32, 3, search, epochs=6, centred=False, rank=6)

results = {}
for name, mask in masks.items():
    damaged = np.where(mask, 255, clean).astype(np.uint8)
    results[name] = evovae.inpaint(damaged, mask, preset=model, rng=0, full_output=True)
    assert (results[name].image == clean)[~mask].all()  # known pixels stay as they are

figure, axes = plt.subplots(2, 3, figsize=(12, 8.4), layout="constrained")
for column, (name, mask) in zip(axes.T, masks.items(), strict=True):
    column[0].imshow(np.where(mask, 255, clean), cmap="gray", vmin=0, vmax=255)
    column[0].set_title(f"{name}: {mask.mean():.0%} missing")
    column[1].imshow(results[name].image, cmap="gray", vmin=0, vmax=255)
    column[1].set_title("filled")
for one in axes.flat:
    one.set_axis_off()

# %%
# How sure it is
# --------------
#
# Known pixels are known; of filled ones, :attr:`evovae.Restoration.std` gives the standard deviation. It is small where
# everything is alike, and large across edges, where neighbours say little. The errors that were in fact made lie in the
# same places. In size they come out somewhat larger than was said: details that nothing around a hole hints at are
# beyond any model.

figure, axes = plt.subplots(2, 3, figsize=(12.6, 8.2), layout="constrained")
for column, (name, mask) in zip(axes.T, masks.items(), strict=True):
    error = np.abs(results[name].image.astype(float) - clean)
    options = {"cmap": "magma", "vmin": 0, "vmax": 30}
    column[0].imshow(np.where(mask, results[name].std, 0), **options)
    column[0].set_title(f"{name}: how unsure")
    drawn = column[1].imshow(error, **options)
    column[1].set_title("how wrong")
    wrong, said = (np.sqrt(np.mean(values[mask] ** 2)) for values in (error, results[name].std))
    print(f"{name:20} rms error {wrong:4.1f}, rms standard deviation {said:4.1f} grey levels")
for one in axes.flat:
    one.set_axis_off()
figure.colorbar(drawn, ax=axes, label="grey levels", shrink=0.6)

# %%
# Noise and holes at once
# -----------------------
#
# Where the pixels that are left are noisy, too, :func:`evovae.denoise` takes a mask as well: it fills what is
# missing, and takes the noise off all the rest. (In arrays of floats, NaN marks what is missing, and then no mask is
# needed.)

mask = masks["half of the pixels"]
noisy = clean + rng.normal(0, 15, clean.shape)
restored = evovae.denoise(noisy, mask=mask, preset=model, rng=0)

figure, axes = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
panels = {"noisy, and half of it missing": np.where(mask, 255, noisy), "restored": restored, "clean": clean}
for one, (title, picture) in zip(axes, panels.items(), strict=True):
    one.imshow(picture, cmap="gray", vmin=0, vmax=255)
    one.set_title(title)
    one.set_axis_off()

# %%
# **Where next.** :func:`evovae.inpaint` has all the options of :func:`evovae.denoise`, colours and films among them.
# A map of levels as ``sigma`` says pixel by pixel what is exact, what is noisy, and what is missing.
