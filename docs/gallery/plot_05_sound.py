"""
Sound, and other signals along one axis
=======================================

A recording hisses. A spike train is buried in noise. Both are arrays with one axis, and :func:`evovae.denoise` takes
them as it takes pictures: patches are short pieces of the signal, and what comes back again and again in them is
learnt.
"""

# %%
# A melody with hiss
# ------------------
#
# Six plucked notes, each with a few overtones that fade, at 8000 samples per second; and white noise.

import matplotlib.pyplot as plt
import numpy as np

import evovae

rate = 8000
notes = [261.6, 329.6, 392.0, 523.3, 392.0, 329.6]  # Hz
seconds = np.arange(rate // 4) / rate
clean = np.concatenate(
    [sum(np.sin(2 * np.pi * k * f * seconds) * np.exp(-(5 + 3 * k) * seconds) / k for k in (1, 2, 3)) for f in notes]
)
noisy = clean + np.random.default_rng(0).normal(0, 0.2, clean.shape)

# %%
# Taking the hiss out
# -------------------

result = evovae.denoise(noisy, preset="fast", rng=0, full_output=True)
print("noise:", result.noise.describe()["summary"], "(true: 0.2)")


def signal_to_noise(signal):
    """In dB, against the clean signal."""
    return 10 * np.log10(np.mean(clean**2) / np.mean((signal - clean) ** 2))


print(f"signal to noise {signal_to_noise(noisy):.1f} dB before, {signal_to_noise(result.image):.1f} dB after")

figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", sharey=True)
for one, (title, signal) in zip(axes, {"noisy": noisy, "restored": result.image, "clean": clean}.items(), strict=True):
    one.specgram(signal, NFFT=512, Fs=rate, noverlap=384, cmap="magma", vmin=-80, vmax=-25)
    one.set(title=title, xlabel="time (s)", ylim=(0, 2500))
axes[0].set_ylabel("frequency (Hz)")

# %%
# Spectrograms show the notes as steps, each with its overtones above it. The hiss between them is gone. A few
# hundredths of a second of the waveform, with the uncertainty that comes with it (two standard deviations to each
# side):

part = slice(2400, 2640)
time = 1000 * np.arange(len(clean))[part] / rate
figure, axes = plt.subplots(figsize=(11, 4), layout="constrained")
axes.plot(time, noisy[part], ".", color="0.6", label="noisy")
axes.plot(time, clean[part], "--", color="black", linewidth=1, label="clean")
axes.plot(time, result.image[part], label="restored")
axes.fill_between(time, *(result.image[part] + s * result.std[part] for s in (-2, 2)), alpha=0.25, label="within 2 std")
axes.set(xlabel="time (ms)", ylabel="amplitude")
axes.legend(loc="upper right", ncols=4)

# %%
# A signal with gaps
# ------------------
#
# A mask says which samples were lost; NaN in the signal does the same. Short gaps are filled from what such pieces
# look like elsewhere.

lost = (np.arange(len(noisy)) - 500) % 1000 < 12
filled = evovae.denoise(noisy, mask=lost, preset="fast", rng=0)

part = slice(2460, 2560)
time = 1000 * np.arange(len(clean))[part] / rate
figure, axes = plt.subplots(figsize=(11, 4), layout="constrained")
axes.plot(time, np.where(lost, np.nan, noisy)[part], ".", color="0.6", label="noisy, with a gap")
axes.plot(time, clean[part], "--", color="black", linewidth=1, label="clean")
axes.plot(time, filled[part], label="restored")
axes.axvspan(1000 * 2500 / rate, 1000 * 2511 / rate, color="tab:orange", alpha=0.15)
axes.set(xlabel="time (ms)", ylabel="amplitude")
axes.legend(loc="upper right", ncols=3)

# %%
# **Where next.** Stereo sound has ``channel_axis`` (:func:`evovae.denoise`). The command ``evovae denoise in.wav
# out.wav`` reads and writes sound files. :func:`evovae.fit_denoiser` learns from some recordings, and restores
# others.
