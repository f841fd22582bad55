"""
A table with missing values
===========================

You have a table of numbers: rows are samples, columns are measurements, and some cells are empty. You want them
filled, or you want a few yes-or-no features that say what kind of row each is, for a classifier.
:class:`evovae.estimators.BinaryLatentVAE` does both, as scikit-learn has it.
"""

# %%
# A table
# -------
#
# Small pictures of digits come with scikit-learn: each is a row of 64 numbers from 0 to 16. A third of all cells is
# taken away.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from evovae.estimators import BinaryLatentVAE

X, y = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
gappy = np.where(rng.random(X.shape) < 1 / 3, np.nan, X)
train, test, gappy_train, gappy_test, y_train, y_test = train_test_split(
    X, gappy, y, train_size=1000, test_size=300, random_state=0
)

# %%
# Filling cells
# -------------
#
# NaN is a missing value, in training and later; no other preparation is needed. Rows of the test set took no part in
# training. Beside it: the mean of each column, and the nearest rows. (These are hard to beat in single cells, where a
# table has many rows that are nearly alike; but they say nothing about what rows are made of.)

vae = BinaryLatentVAE(n_latents=32, n_states=16, max_iter=60, learning_rate=0.01, random_state=0).fit(gappy_train)
filled = {
    "column means": SimpleImputer().fit(gappy_train).transform(gappy_test),
    "5 nearest rows": KNNImputer().fit(gappy_train).transform(gappy_test),
    "binary latents": vae.impute(gappy_test),
}
missing = np.isnan(gappy_test)
for name, table in filled.items():
    print(f"{name:15} rms error of filled cells {np.sqrt(np.mean((table - test)[missing] ** 2)):.2f}")

figure, axes = plt.subplots(5, 9, figsize=(10, 6), layout="constrained")
colours = plt.get_cmap("gray").with_extremes(bad="tab:red")
for row, (name, table) in zip(axes, {"with gaps": gappy_test, **filled, "true": test}.items(), strict=True):
    for one, digit in zip(row, table, strict=False):
        one.imshow(digit.reshape(8, 8), cmap=colours, vmin=0, vmax=16)
        one.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")

# %%
# What the bits mean
# ------------------
#
# Each row has 32 bits. What one of them stands for is seen by switching it on and off in the decoder, for the states
# that the data have: the mean difference is its effect.

bits = vae.transform(gappy_test)
effects = []
for h in range(bits.shape[1]):
    on, off = bits.copy(), bits.copy()
    on[:, h], off[:, h] = 1, 0
    effects.append((vae.inverse_transform(on) - vae.inverse_transform(off)).mean(0))

figure, axes = plt.subplots(4, 8, figsize=(10, 5.6), layout="constrained")
for h, (one, effect) in enumerate(zip(axes.flat, effects, strict=True)):
    drawn = one.imshow(effect.reshape(8, 8), cmap="RdBu_r", vmin=-8, vmax=8)
    one.set_title(f"on in {bits[:, h].mean():.0%}", fontsize=9)
    one.set_axis_off()
figure.colorbar(drawn, ax=axes, label="effect on a pixel", shrink=0.8)

# %%
# Bits as features
# ----------------
#
# As a step of a pipeline, it turns 64 cells, of which a third is empty, into 32 numbers between 0 and 1: how probable
# it is that each bit is on. A plain linear classifier reads them.

pipelines = {
    "column means": make_pipeline(SimpleImputer(), LogisticRegression(max_iter=5000)),
    "binary latents": make_pipeline(vae, LogisticRegression(max_iter=5000)),
}
for name, pipeline in pipelines.items():
    print(f"{name:15} {pipeline.fit(gappy_train, y_train).score(gappy_test, y_test):.1%} of the digits right")

# %%
# How many bits?
# --------------
#
# :meth:`~evovae.estimators.BinaryLatentVAE.score` is the mean bound on log p(x) of rows in nats, so that rows that
# took no part in training say which model is better.

sizes = [1, 2, 4, 8]
models = [BinaryLatentVAE(n, n_states=min(16, 2**n), max_iter=20, random_state=0) for n in sizes]
for model in models:
    model.fit(gappy_train)
figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
axes.plot(sizes, [model.score(gappy_test) for model in models], "o-")
axes.set(xlabel="number of bits", ylabel="bound on log p(x) of test rows (nats)", xscale="log", xticks=sizes)
axes.set_xticklabels(sizes)
axes.minorticks_off()

# %%
# **Where next.** :class:`evovae.estimators.BinaryLatentVAE` can be told other likelihoods (counts, zeros and ones,
# outliers). For a likelihood or a decoder of your own, :class:`evovae.TVAE` and :func:`evovae.fit` are what it is
# made of.
