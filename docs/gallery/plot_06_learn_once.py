"""
Learning once, for many pictures
================================

A microscope or a camera gives hundreds of pictures of the same kind, and training on each of them anew takes time.
This page learns from two noisy pictures, writes what has been learnt to a file, reads it again, and restores other
pictures with it, among them noisier ones, and one of another kind.
"""

# %%
# Learning
# --------
#
# Cuts of a photograph of gravel stand for the pictures. Only noisy ones are ever seen.

import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

import evovae

gravel = data.gravel().astype(float)
rng = np.random.default_rng(0)


def cut(row, column, sigma, picture=gravel):
    """A clean piece, and the same with noise of standard deviation sigma."""
    clean = picture[row : row + 80, column : column + 80]
    return clean, clean + rng.normal(0, sigma, clean.shape)


seen = [cut(row, 0, 20)[1] for row in (0, 200)]
start = time.perf_counter()
fitted = evovae.fit_denoiser(seen, preset="fast", rng=0)
learning = time.perf_counter() - start
print(fitted)

# %%
# Keeping it
# ----------
#
# A file holds numbers, and nothing that could be run.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "gravel.safetensors"
    fitted.save(path)
    print(f"{path.stat().st_size / 1000:.0f} kB")
    fitted = evovae.FittedDenoiser.load(path)

# %%
# Applying it
# -----------
#
# To a picture with the same noise, to one with twice as much, and to one with half of the exposure on top of a
# pedestal. The noise is found anew in each, and the models are moved to it.

clean, noisy = cut(250, 300, 20)
pictures = {
    "the same noise": (clean, noisy),
    "twice the noise": cut(120, 380, 40),
    "half the exposure": (50 + clean / 2, 50 + noisy / 2),
}

answers = {}
figure, axes = plt.subplots(3, 3, figsize=(9, 9.6), layout="constrained")
for row, (name, (clean, noisy)) in zip(axes, pictures.items(), strict=True):
    start = time.perf_counter()
    restored = answers[name] = fitted.restore(noisy)
    seconds = time.perf_counter() - start
    before, after = (peak_signal_noise_ratio(clean, picture, data_range=255) for picture in (noisy, restored))
    print(f"{name:18} {before:.1f} dB, restored {after:.1f} dB, {seconds:.1f} s (learning took {learning:.1f} s)")
    low, high = np.quantile(clean, (0.001, 0.999))
    for one, picture, title in zip(row, (noisy, restored, clean), (name, "restored", "clean"), strict=True):
        one.imshow(picture, cmap="gray", vmin=low, vmax=high)
        one.set_title(title)
        one.set_axis_off()

# %%
# Against training on the picture itself
# --------------------------------------
#
# What is lost by not training anew? For the picture with twice the noise:

clean, noisy = pictures["twice the noise"]
own = evovae.denoise(noisy, preset="fast", rng=0)
for name, picture in {"learnt once": answers["twice the noise"], "trained on itself": own}.items():
    print(f"{name:18} {peak_signal_noise_ratio(clean, picture, data_range=255):.1f} dB")

# %%
# A picture of another kind
# -------------------------
#
# Models of gravel know nothing of print. That is noticed, and said in :attr:`evovae.Restoration.notes`; what the
# models cannot explain stays in the picture.

clean, noisy = cut(30, 40, 8, data.page().astype(float))
result = fitted.restore(noisy, full_output=True)
print(*result.notes, sep="\n")

figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
for one, picture, title in zip(
    axes, (noisy, result.image, clean), ("print", "by models of gravel", "clean"), strict=True
):
    one.imshow(picture, cmap="gray", vmin=0, vmax=255)
    one.set_title(title)
    one.set_axis_off()

# %%
# **Where next.** :func:`evovae.fit_denoiser` takes any number of pictures, colours and films, too, and
# :class:`evovae.FittedDenoiser` has all that can be done with the result. In scikit-learn's terms it is
# :class:`evovae.estimators.Denoiser`. On the command line: ``evovae fit`` and ``evovae apply``.
