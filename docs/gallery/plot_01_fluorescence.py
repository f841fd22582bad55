"""
A fluorescence picture with few photons
=======================================

You have a picture from a fluorescence microscope, taken with little light to spare the sample. It is grainy, and the
grain is stronger where the picture is brighter, since photons arrive one by one. There is no second, clean picture to
learn from. This page takes the grain out, looks at what was found about it, and asks how sure each pixel is.
"""

# %%
# A picture to try it on
# ----------------------
#
# Nuclei in a section of colon stand in for the sample: the haematoxylin channel of a picture that comes with
# scikit-image. The camera of this page counts up to some 25 photons in a pixel, has a gain of 4 grey levels for each
# photon, read noise of 3 grey levels, and adds 100 to everything, as cameras do.

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage
from skimage import color, data

import evovae

stain = color.rgb2hed(data.immunohistochemistry())[300:460, 240:400, 0]
photons = 1 + 24 * np.clip(stain / np.quantile(stain, 0.999), 0, 1)
clean = 100 + 4 * photons

rng = np.random.default_rng(0)
noisy = np.round(100 + 4 * rng.poisson(photons) + rng.normal(0, 3, photons.shape)).astype(np.uint16)

# %%
# Taking the noise out
# --------------------
#
# Nothing is told: neither the gain nor the level of the noise. With ``full_output=True`` the answer is a
# :class:`evovae.Restoration`, which holds the picture and all that was found on the way.

result = evovae.denoise(noisy, preset="fast", rng=0, full_output=True)
print(result.noise.describe()["summary"])


def show(axes, picture, title, **options):
    """Draw one panel."""
    drawn = axes.imshow(picture, **{"cmap": "gray", "vmin": 95, "vmax": 200} | options)
    axes.set_title(title)
    axes.set_axis_off()
    return drawn


removed = noisy - result.image.astype(float)
figure, axes = plt.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
show(axes[0], noisy, "as the camera saw it")
show(axes[1], result.image, "restored")
drawn = show(axes[2], removed, "what was removed", vmin=-52, vmax=53)
figure.colorbar(drawn, ax=axes[2], label="grey levels", shrink=0.8)

# %%
# What was removed shows no nuclei, only grain, and more of it where the picture is bright. That is what it should
# look like: outlines in this panel would mean that some of the sample went with the noise.
#
# What the noise is like
# ----------------------
#
# The summary above says that the variance grows with the signal, and by how much: the gain of the camera has been
# found from this one picture. As a curve, beside the one that the picture was made with:

level = np.linspace(clean.min(), clean.max(), 200)
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.plot(level, result.noise.curves[0].std(level), label="found")
axes.plot(level, np.sqrt(4 * (level - 100) + 3**2), "--", color="black", label="true")
axes.set(xlabel="signal (grey levels)", ylabel="standard deviation of the noise (grey levels)", ylim=(0, None))
axes.legend()

# %%
# How sure each pixel is
# ----------------------
#
# :attr:`evovae.Restoration.std` is the standard deviation of the clean value of each pixel, in grey levels. Since
# this page knows the clean picture, it can compare: errors divided by their standard deviation should have a root
# mean square of about one.

error = result.image - clean
print(f"error before {np.sqrt(np.mean((noisy - clean) ** 2)):.2f}, after {np.sqrt(np.mean(error**2)):.2f} grey levels")
print(f"errors are {np.sqrt(np.mean((error / result.std) ** 2)):.2f} times what they were said to be")

around = np.sqrt(ndimage.uniform_filter(error**2, 9))
figure, axes = plt.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
show(axes[0], clean, "the clean picture")
show(axes[1], around, "error (rms of 9 x 9 pixels)", cmap="magma", vmin=0, vmax=10)
drawn = show(axes[2], result.std, "standard deviation that was reported", cmap="magma", vmin=0, vmax=10)
figure.colorbar(drawn, ax=axes[1:], label="grey levels", shrink=0.8)

# %%
# All of it in one line: :meth:`evovae.Restoration.plot` draws before, after, what was removed, and the standard
# deviation. (Handing a figure to ``plt.figure`` to have it shown takes matplotlib 3.11; ``savefig`` works with all.)

plt.figure(result.plot(noisy))

# %%
# **Where next.** :func:`evovae.denoise` lists what else can be told or asked, such as ``noise="poisson"`` for counts
# or ``strength`` to leave some grain. Stacks are restored as a whole in the same way: give the array with all its
# planes. For many pictures from one microscope, :func:`evovae.fit_denoiser` learns once.
