"""
A photograph taken in poor light
================================

You took a picture of your cat in the evening. The phone turned up its gain, and now there is coloured grain all over
it. This page restores a colour picture, looks at the noise of each channel, and leaves some grain where that looks
more natural.
"""

# %%
# A grainy photograph
# -------------------
#
# Chelsea the cat comes with scikit-image. Each channel gets noise as sensors make it: a part that grows with the
# light (photons) and a part that is always there (electronics). Blue gets least light, and so has most noise after
# white balance. In the end, everything is rounded to 8 bits.

import matplotlib.pyplot as plt
import numpy as np
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

import evovae

clean = data.chelsea()[40:200, 130:290]
gain, floor = np.array([1.5, 1.0, 2.5]), np.array([6.0, 4.0, 9.0])  # of red, green and blue

rng = np.random.default_rng(0)
light = clean.astype(float)
noisy = light + np.sqrt(gain * light + floor**2) * rng.standard_normal(light.shape)
noisy = np.clip(np.round(noisy), 0, 255).astype(np.uint8)

# %%
# Restoring it
# ------------
#
# ``channel_axis=-1`` says that the last axis holds colours. Patches then reach through all channels, so that an edge
# that is clear in green helps blue. An array of 8-bit numbers comes back as one.

result = evovae.denoise(noisy, channel_axis=-1, preset="fast", rng=0, full_output=True)
for name, picture in {"noisy": noisy, "restored": result.image}.items():
    print(f"{name:10} {peak_signal_noise_ratio(clean, picture):.2f} dB")


def show(panels, size=4.2):
    """Pictures beside each other, with titles."""
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), size), layout="constrained")
    for one, (title, picture) in zip(axes, panels.items(), strict=True):
        one.imshow(picture, cmap="gray", vmin=0, vmax=255)
        one.set_title(title)
        one.set_axis_off()


removed = np.clip(128 + noisy.astype(float) - result.image, 0, 255).astype(np.uint8)
show({"as it was taken": noisy, "restored": result.image, "what was removed (grey is nothing)": removed})

# %%
# The noise of each channel
# -------------------------
#
# How strong the noise is at each level of light has been found in the picture itself, channel by channel. Dashed
# lines are what it was made with.

print(result.noise.describe()["summary"])

level = np.linspace(10, 230, 100)
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for c, name in enumerate(("red", "green", "blue")):
    axes.plot(level, result.noise.curves[c].std(level), color=f"tab:{name}", label=name)
    axes.plot(level, np.sqrt(gain[c] * level + floor[c] ** 2), "--", color=f"tab:{name}")
axes.set(xlabel="light (grey levels)", ylabel="standard deviation of the noise (grey levels)", ylim=(0, None))
axes.legend()

# %%
# Channels together, and one by one
# ---------------------------------
#
# What the colours tell of each other is easy to measure: restore each channel as a grey picture of its own, with
# the settings that the preset chose for all of them together.

alone = np.stack([evovae.denoise(noisy[..., c], preset=result.patch_models, rng=0) for c in range(3)], axis=-1)
print(f"one by one {peak_signal_noise_ratio(clean, alone):.2f} dB")

eye = np.s_[30:90, 10:70]
show({"clean": clean[eye], "channels one by one": alone[eye], "channels together": result.image[eye]})

# %%
# Leaving some grain
# ------------------
#
# A picture without any grain can look like wax. ``strength=0.7`` takes off 70 % of what would be removed. Nothing has
# to be trained again for it: the models of the first run are in ``result.fitted``.

natural = result.fitted.restore(noisy, channel_axis=-1, strength=0.7)
show({"as it was taken": noisy[eye], "strength 0.7": natural[eye], "strength 1": result.image[eye]})

# %%
# **Where next.** :func:`evovae.denoise` also takes pictures of Pillow, and noise levels that are known, one for each
# channel. Of pictures that a camera has already smoothed and compressed, less can be removed; the result says so in
# :attr:`evovae.Restoration.notes`.
