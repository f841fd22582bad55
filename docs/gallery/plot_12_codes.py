"""
Binary codes for a decoder that is already trained
==================================================

A network that turns binary codes into data may come from anywhere: an autoencoder with straight-through gradients, a
hashing network, a generator of textures. Which code is best for a given data point? Its encoder answers at once, but
not well. The search of this library needs nothing but the decoder. This page trains an autoencoder with codes of 256
bits, freezes it, and looks for better codes than those of its encoder.
"""

# %%
# An autoencoder with binary codes
# --------------------------------
#
# Patches of 16 x 16 pixels, a code of 256 bits, and a straight-through gradient through the rounding: plain torch,
# nothing of this library.

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from skimage import data
from torch import nn

from evovae import TVAE, Encoder, Search, evaluate, infer
from evovae.decoders import MLP
from evovae.likelihoods import Gaussian
from evovae.priors import Bernoulli

size, bits = 16, 256
image = torch.from_numpy(data.camera()).float() / 255
patches = image.unfold(0, size, 4).unfold(1, size, 4).reshape(-1, size * size)
generator = torch.Generator().manual_seed(0)
patches = patches[torch.randperm(len(patches), generator=generator)] - 0.5
x, held_out = patches[1000:], patches[:200]

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(size**2, 512), nn.ReLU(), nn.Linear(512, bits))
decoder = MLP(bits, 512, size**2, generator=generator)
adam = torch.optim.Adam([*network.parameters(), *decoder.parameters()], lr=0.001)
for _ in range(10):
    for batch in x[torch.randperm(len(x), generator=generator)].split(100):
        p = network(batch).sigmoid()
        code = (p > 0.5).float() + (p - p.detach())  # straight through
        adam.zero_grad()
        F.mse_loss(decoder(code), batch).backward()
        adam.step()


def error(codes):
    """Root mean square error of what codes (N, 256) decode to, on held-out patches."""
    with torch.no_grad():
        return (decoder(codes.float()) - held_out).square().mean().sqrt().item()


with torch.no_grad():
    first = network(held_out) > 0
print(f"error of the encoder's codes: {error(first):.4f}")

# %%
# The decoder as a model
# ----------------------
#
# A :class:`evovae.TVAE` joins it with a likelihood and a prior. For the best code in the sense of least squares, noise
# is Gaussian, and all codes are as likely: each bit is on with probability one half. The variance says how sharp the
# posterior is; here it is that of the encoder's errors.

model = TVAE(decoder, Gaussian(error(first) ** 2), Bernoulli(bits, p=0.5))

# %%
# The search
# ----------
#
# :func:`evovae.infer` keeps a population of codes for each patch, and improves it with the parameters as they are.
# Each child of a code differs from it in one bit, which is chosen by the gradient of the log joint. Any module can be
# the decoder: for `MLP` there is a compiled engine, others run on plain torch.
#
# It starts from what the encoder proposes (:class:`evovae.Encoder` takes any network of logits): its code, and codes
# that differ in the bits that it is least sure of. No step makes a population worse, so that the result is at least as
# good as the encoder.

states = Encoder(network).propose(held_out, n_states=16)
search = Search(parents=4, children=8)
errors = [error(first)]
for _ in range(12):
    states = infer(model, held_out, n_states=16, search=search, steps=10, generator=generator, start=states)
    best = states.z[torch.arange(len(held_out)), states.lpj.argmax(1)]
    errors.append(error(best))
flipped = (best ^ first).sum(1).float().mean()
print(f"error of the codes that were found: {errors[-1]:.4f}; {flipped:.0f} of {bits} bits differ from the encoder's")

figure, axis = plt.subplots(figsize=(5.5, 3.5), layout="constrained")
axis.plot(range(0, 121, 10), errors, "o-")
axis.set(xlabel="E-steps", ylabel="error of the best code (rms)", ylim=(0, None))
axis.grid(alpha=0.3)

# %%
# Side by side
# ------------
#
# The patches with most structure: as they are, from the encoder's code, and from the code that was found.

most = held_out.var(1).topk(10).indices
with torch.no_grad():
    rows = {
        "patch": held_out[most],
        "encoder's code": decoder(first[most].float()),
        "found": decoder(best[most].float()),
    }
figure, axes = plt.subplots(3, 10, figsize=(11, 3.6), layout="constrained")
for row, (name, pictures) in zip(axes, rows.items(), strict=True):
    for one, picture in zip(row, pictures, strict=True):
        one.imshow(picture.view(size, size), cmap="gray", vmin=-0.5, vmax=0.5)
        one.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")

# %%
# How likely is a data point?
# ---------------------------
#
# :func:`evovae.evaluate` runs the search until the bound on the log-likelihood stops growing. Started from the
# encoder's proposals or from random codes, it says how much the start matters. Random codes take three times as long
# and end higher: the encoder's codes lie near optima that are only local.

for name, start in {"encoder": Encoder(network).propose(held_out, 16), "random codes": None}.items():
    found = evaluate(model, held_out, n_states=16, search=search, generator=generator, start=start, tolerance=0.5)
    print(f"{name:13} {found}")

# %%
# **Where next.** :mod:`evovae.operators` has other ways to select and to mutate; :func:`evovae.evolve.evolve` is one
# E-step on log joints that you work out yourself, for models that are no :class:`evovae.TVAE`. Training such a decoder
# by the search, without an encoder, is :func:`evovae.fit`; :class:`evovae.Encoder` learns its network from populations.
