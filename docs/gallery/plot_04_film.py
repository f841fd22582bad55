"""
A film: frames help each other
==============================

A film of a moving scene, each frame of it noisy. The next frame shows nearly the same things again, with other noise,
only that they have moved a little. Averaging frames would smear what moves. This page restores all frames together,
following the motion, and compares that with restoring each frame for itself.
"""

# %%
# A scene that moves
# ------------------
#
# A camera pans over coins, and one coin rolls through the view the other way.

import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

import evovae

frames, size = 10, 80
coins = data.coins().astype(float)
rolling = coins[113:145, 85:117]  # a square that one coin fills
disc = np.hypot(*(np.indices(rolling.shape) - 15.5)) < 15

clean = []
for t in range(frames):
    view = coins[180 + t : 180 + t + size, 60 + 2 * t : 60 + 2 * t + size].copy()
    part = view[20:52, 16 + t : 48 + t]
    part[disc] = rolling[disc]
    clean.append(view)
clean = np.stack(clean)

noisy = clean + np.random.default_rng(0).normal(0, 35, clean.shape)

# %%
# Together, and one by one
# ------------------------
#
# ``time_axis=0`` says which axis is time. Patches then reach through frames beside each other, and are moved to where
# their things are. ``time_width=1`` forbids that: each frame is for itself, though one model learns from all of them.

together = evovae.denoise(noisy, time_axis=0, preset="fast", rng=0)
alone = evovae.denoise(noisy, time_axis=0, time_width=1, preset="fast", rng=0)

films = {"noisy": noisy, "each frame for itself": alone, "frames together": together, "clean": clean}
figure, axes = plt.subplots(1, 4, figsize=(14, 3.9), layout="constrained")
for one, (title, film) in zip(axes, films.items(), strict=True):
    one.imshow(film[5], cmap="gray", vmin=0, vmax=255)
    one.set_title(title)
    one.set_axis_off()

# %%
# How much that helps, frame by frame. The first and the last ones have neighbours on one side only.

figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
for title in ("frames together", "each frame for itself", "noisy"):
    psnr = [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(clean, films[title], strict=True)]
    axes.plot(np.arange(1, frames + 1), psnr, "o-", label=f"{title}, {np.mean(psnr):.1f} dB on average")
axes.set(xlabel="frame", ylabel="PSNR (dB)", xticks=range(1, frames + 1))
axes.legend(loc="center right")

# %%
# Does it follow what moves?
# --------------------------
#
# A few frames one after another: the coin that rolls by must be where it is, without a tail, although neighbouring
# frames show it in other places. Its rim is a little frayed, since motion is found in whole pixels, and among noise.

times = [1, 3, 5, 7]
figure, axes = plt.subplots(3, 4, figsize=(11, 8.6), layout="constrained")
for row, title in zip(axes, ("noisy", "frames together", "clean"), strict=True):
    for one, t in zip(row, times, strict=True):
        one.imshow(films[title][t], cmap="gray", vmin=0, vmax=255)
        one.set_title(f"{title}, frame {t + 1}")
        one.set_axis_off()

# %%
# What was removed, as a mean over all frames, each moved back by the pan of the camera, would show the coins if they
# had lost anything in every frame. The mean of pure noise is left, which is small.

removed = noisy - together
shared = np.mean([np.roll(removed[t], (t, 2 * t), (0, 1)) for t in range(frames)], axis=0)[frames:, 2 * frames :]
print(f"standard deviation of what was removed: {removed.std():.1f}; of its mean over frames: {shared.std():.1f}")
print(f"that of {frames} frames of pure noise would be {35 / np.sqrt(frames):.1f}")

# %%
# **Where next.** Films in colour take ``channel_axis`` beside ``time_axis`` (:func:`evovae.denoise`). Long films
# never lie in memory as a whole: a memory-mapped file or a Zarr array will do. :func:`evovae.fit_denoiser` learns
# from a film once, for others like it.
