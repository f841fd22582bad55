"""
Your own likelihood
===================

Your data have noise of a kind that is not in the library. A likelihood is a class with three verbs, some fifteen
lines, and needs no registration anywhere. This page writes one: Student's t, whose heavy tails forgive outliers. It
is checked against sums over all states, and then trained.
"""

# %%
# The class
# ---------
#
# x_d ~ t(mean_d, scale) with a fixed number of degrees of freedom. Shapes: x (N, D), the decoder's mean (N, S, D) for
# S states of each of N data points, observed (N, D), weights q (N, S).
#
# The scale has an EM step of its own: t is a Gaussian whose precision is drawn from a Gamma distribution, so that
# each error counts with a weight u, small for outliers. ``stats`` returns sums that add over batches, ``update`` sets
# the scale.

import math

import matplotlib.pyplot as plt
import torch
from torch.distributions import StudentT as t

from evovae import TVAE, Search, States, datasets, exact, fit, infer, likelihoods, priors
from evovae.decoders import Linear


class StudentT(likelihoods.Likelihood):
    """x_d ~ t(mean_d, scale2 ** 0.5) with `dof` degrees of freedom."""

    def __init__(self, dof=3.0, scale2=0.1):
        super().__init__()
        self.dof = dof
        self.register_buffer("scale2", torch.tensor(scale2))

    def log_prob(self, x, mean, observed, z):
        terms = t(self.dof, mean, self.scale2.sqrt()).log_prob(x[:, None])
        return torch.where(observed[:, None], terms, 0).sum(-1)

    def stats(self, x, mean, observed, q, z):
        error = (x[:, None] - mean).square()
        u = (self.dof + 1) / (self.dof + error / self.scale2)
        weighted = torch.where(observed[:, None], u * error, 0).sum(-1)
        return torch.stack([(q * weighted).sum(), observed.sum()]).double()

    def update(self, stats):
        self.scale2.copy_(stats[0] / stats[1])

    def sample(self, mean, generator, z):
        normal = torch.randn(mean.shape, generator=generator)
        chi2 = torch.randn(*mean.shape, int(self.dof), generator=generator).square().sum(-1)
        return mean + (self.scale2 * self.dof / chi2).sqrt() * normal


# %%
# Data with outliers
# ------------------
#
# Bars on a grid of 4 x 4 pixels, of which 5 % hold something absurd.

size, N = 4, 500
H, D = 2 * size, size**2
generator = torch.Generator().manual_seed(0)
x = datasets.bars_images(N, generator, size)
broken = torch.rand(x.shape, generator=generator) < 0.05
x = torch.where(broken, 5 * torch.randn(x.shape, generator=generator), x)
observed = torch.ones_like(x, dtype=torch.bool)


def train(likelihood, seed):
    """A model with this likelihood, and its last bound."""
    generator = torch.Generator().manual_seed(seed)
    model = TVAE(Linear(H, D, generator=generator), likelihood, priors.Bernoulli(H))
    run = fit(
        model,
        x,
        states=States.random(N, 24, H, generator),
        search=Search(parents=5, children=4),
        optimizer=torch.optim.Adam(model.decoder.parameters(), lr=0.05),
        epochs=40,
        batch_size=32,
        generator=generator,
    )
    return model, [epoch.elbo for epoch in run][-1]


kinds = {"Gaussian": lambda: likelihoods.Gaussian(0.5), "Student's t": StudentT}
models = {name: max((train(kind(), seed) for seed in range(3)), key=lambda run: run[1]) for name, kind in kinds.items()}

# %%
# What was learnt
# ---------------
#
# What each latent adds to a picture. To a Gaussian, outliers are so improbable that latents are spent on them;
# Student's t leaves them alone.

figure, axes = plt.subplots(3, 8, figsize=(10, 4.2), layout="constrained")
found = {name: model.decoder.layers[0].weight.T.detach() for name, (model, _) in models.items()}
for row, (name, pictures) in zip(axes, {"pictures": x[:8], **found}.items(), strict=True):
    for one, picture in zip(row, pictures, strict=True):
        one.imshow(picture.view(size, size).numpy(), cmap="gray", vmin=-0.5, vmax=1.5)
        one.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")

for name, (_, bound) in models.items():
    print(f"{name:12} bound {bound:.2f} nats per picture")

# %%
# Is it right?
# ------------
#
# Three checks that any likelihood should pass. Its density sums to one:

model = models["Student's t"][0]
line = torch.linspace(-2000, 2000, 400_001).double()
one = model.likelihood.log_prob(line[:, None], torch.zeros(len(line), 1, 1), torch.ones(len(line), 1).bool(), None)
print(f"the density sums to {torch.trapezoid(one[:, 0].exp(), line):.4f}")

# %%
# With all 2^H states, the bound is the exact log-likelihood; with fewer of them, it is below it, and rises to it:

truth = exact.log_likelihood(model, x, observed).mean().item()
sizes = [2, 4, 8, 16, 32, 64, 128, 256]
bounds = []
for S in sizes:
    search = Search(parents=min(S, 4), children=4)
    states = infer(model, x, n_states=S, search=search, steps=20, generator=torch.Generator().manual_seed(0))
    bounds.append(states.lpj.logsumexp(1).mean().item())
assert max(bounds) < truth + 1e-4 and math.isclose(bounds[-1], truth, rel_tol=1e-5)

figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
axes.plot(sizes, bounds, "o-", label="bound with the states that a search finds")
axes.axhline(truth, linestyle="--", color="black", label="exact, all 256 states")
axes.set(xlabel="states that each picture keeps", ylabel="log p(x) (nats per picture)", xscale="log", xticks=sizes)
axes.set_xticklabels(sizes)
axes.minorticks_off()
axes.legend()

# %%
# And its scale is where it makes the data most probable, as the derivative there says:

scale2 = model.likelihood.scale2
for _ in range(50):  # M-steps on these data alone, with exact posteriors
    z = exact.all_states(H).expand(N, -1, -1)
    with torch.no_grad():
        q = model.lpj(x, z, observed).softmax(1)
        model.likelihood.update(model.likelihood.stats(x, model.decode(z), observed, q, z))
scale2.requires_grad_()
(slope,) = torch.autograd.grad(exact.log_likelihood(model, x, observed).mean() / D, scale2)
print(f"scale {scale2.item() ** 0.5:.3f}, derivative of log p(x) there {slope:.1e} nats per value")

# %%
# **Where next.** :class:`evovae.likelihoods.Likelihood` says what the other verbs are for (``expectation``,
# ``restore``), which have defaults. :class:`evovae.estimators.BinaryLatentVAE` takes the class as
# ``likelihood=StudentT``.
