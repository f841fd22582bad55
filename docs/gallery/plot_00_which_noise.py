"""
Which noise do I have?
======================

Noise is what the camera adds to the scene: some of it is different in every exposure, some (lines, hot pixels) is
always the same. Where it comes from decides what it looks like, and what can be done about it. This page shows the
kinds that are common, what to look for in a picture of your own, and what evovae finds when it is told nothing.
"""

# %%
# One scene, seven kinds of noise
# -------------------------------
# The scene is part of a photograph that ships with scikit-image. To each copy, noise of another kind is added; the
# generator is seeded, so that you get the same pictures.

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import uniform_filter
from skimage import data

import evovae

scene = data.camera()[60:188, 180:308].astype(float)
rng = np.random.default_rng(0)
shape = scene.shape
white = rng.normal(size=shape)

salt = scene + 10 * white
broken = rng.random(shape) < 0.03
salt[broken] = rng.choice([0.0, 255.0], broken.sum())

pictures = {
    "white": scene + 20 * white,
    "photons": 5.0 * rng.poisson(scene / 5),
    "multiplied": scene * (1 + 0.2 * white),
    "correlated": scene + 20 * uniform_filter(white, 3, mode="wrap") * 3,
    "lines": scene + 8 * rng.normal(size=(shape[0], 1)) + 8 * white,
    "broken pixels": salt,
    "missing": np.where(rng.random(shape) < 0.3, np.nan, scene + 10 * white),
}

# %%
# evovae is told nothing about any of them:

results = {
    name: evovae.denoise(noisy, mask=np.isnan(noisy), preset="fast", rng=0, full_output=True)
    for name, noisy in pictures.items()
}

# %%
# Here they are, with a part enlarged, and what came out:


def show(names):
    figure, axes = plt.subplots(len(names), 3, figsize=(8.4, 2.9 * len(names)), layout="constrained", squeeze=False)
    for row, name in zip(axes, names, strict=True):
        noisy, result = pictures[name], results[name]
        row[0].imshow(noisy, cmap="gray", vmin=0, vmax=255)
        row[0].set_title(name)
        row[1].imshow(noisy[36:68, 64:96], cmap="gray", vmin=0, vmax=255)
        row[1].set_title("enlarged")
        row[2].imshow(result.image, cmap="gray", vmin=0, vmax=255)
        row[2].set_title("restored")
    for axis in axes.flat:
        axis.set_axis_off()


show(["white", "photons", "multiplied"])

# %%
# - **White Gaussian noise** is equally strong everywhere, and each pixel has its own. Electronics of a camera in good
#   light, many scanners, heat.
# - **Photon noise** is strong where the picture is bright: the variance grows with the signal. Microscopes, cameras
#   in low light, telescopes, X-rays.
# - **Multiplied noise** (speckle) is proportional to the signal: its standard deviation grows with it. Radar,
#   ultrasound, lasers.
#
# How to tell: compare a dark area with a bright one. If both are equally grainy, the strength does not depend on the
# signal; if the bright one is grainier, the noise is that of photons, or multiplied.

show(["correlated", "lines"])

# %%
# - **Correlated noise** comes in blobs of several pixels: the picture was enlarged, smoothed, demosaiced or
#   compressed after the noise came in.
# - **Lines** are offsets of whole rows or columns: scanning microscopes, cheap sensors, old video.
#
# How to tell: enlarge an area that should be even until you see single pixels.

show(["broken pixels", "missing"])

# %%
# - **Broken pixels** (impulses) have values that have nothing to do with the scene: hot and dead pixels, salt and
#   pepper, cosmic rays.
# - **Missing pixels** are those that you know to be missing. Say so with NaN, or with a mask and
#   :func:`evovae.inpaint`.
#
# What was found, and by how much the error went down
# ---------------------------------------------------

for name, result in results.items():
    before = np.sqrt(np.nanmean((pictures[name] - scene) ** 2))
    after = np.sqrt(np.mean((result.image - scene) ** 2))
    print(f"{name:14} error {before:5.1f} -> {after:4.1f}   found: {result.noise.describe()['summary']}")

# %%
# The standard deviation of the noise against the signal is a picture of its own. It is measured in what was removed,
# in eight classes of brightness:

figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
for name in ("white", "photons", "multiplied"):
    restored, removed = results[name].image, pictures[name] - results[name].image
    edges = np.quantile(restored, np.linspace(0, 1, 9))
    classes = [(restored >= low) & (restored <= high) for low, high in zip(edges[:-1], edges[1:], strict=True)]
    axis.plot([restored[c].mean() for c in classes], [removed[c].std() for c in classes], "o-", label=name)
axis.set(xlabel="signal (grey levels)", ylabel="deviation of what was removed", ylim=(0, None))
axis.legend()

# %%
# What if it is mistaken?
# -----------------------
# ``result.notes`` says where the noise found and the noise removed do not agree. If you know better, say it:
# ``noise="poisson"``, ``sigma=20``, or the ``noise`` of another result of the same camera. The page on noise says how
# each kind is found, and how often it is right.
#
# Where next: :func:`evovae.denoise` has all parameters, and :mod:`evovae.noise` the noise models.
