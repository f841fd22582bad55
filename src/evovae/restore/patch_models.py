"""Kinds of model for the patches of an image, with all settings of their training.

A restoration trains one or several, one after another, and mixes what they predict.  N patches of D values each are the
data points of a model with H latents; S is the number of states that each keeps, and lpj the log joint of a patch and a
state, in nats.
"""

from __future__ import annotations

import copy
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, cast

import torch
from scipy.cluster.vq import kmeans2
from torch import Generator, Tensor

from evovae import migration, operators, schedules
from evovae.decoders import MLP, Silent
from evovae.em import Epoch, Training
from evovae.engines import Engine, choose
from evovae.evolve import Search
from evovae.likelihoods import FullGaussian, Gaussian, LowRankGaussian
from evovae.migration import Neighbours
from evovae.model import TVAE
from evovae.priors import Bernoulli, OneHot
from evovae.restore.patches import Patches
from evovae.restore.tuned import TUNED
from evovae.schedules import Schedule, warm_up_decay
from evovae.states import States

FLOOR = 2e-5  # of the noise variance, in training units: single precision cannot tell less from rounding
# Of a mixture: patches whose centres are found at first, for each and in all; rounds of that; and how far away the
# patches are that propose their components, as those beside share nearly all pixels.
PER_CENTRE, LEAST_SOME, ROUNDS, BESIDE = 20, 8000, 6, 2
APART = 6  # pixels between the patches that are compared with all components; those between start as the nearest does
AT_ONCE = 8192  # patches whose distances are held at once

Start = tuple[TVAE, States]


def keep_all(model: TVAE, states: States) -> None:
    """Leave a model as it is."""


def drop_noise(edge: float, model: TVAE, states: States) -> None:
    """Prune axes below the Marchenko-Pastur edge; see `LowRankGaussian.drop_noise`."""
    cast(LowRankGaussian, model.likelihood).drop_noise(states.usage(), edge)


def split(used: int, then: int, model: TVAE, states: States) -> None:
    """Of the components of a mixture, of which the first `used` are in use, split so many in two that `then` are.

    Where a patch's best component is split, its other half takes the place of the patch's worst one.
    """
    other = torch.arange(used, then)
    cast(FullGaussian, model.likelihood).split(other - used, other)
    cast(OneHot, model.prior).split(other - used, other)
    one, rows = states.one, torch.arange(len(states))
    best = one[rows, states.lpj.argmax(1)]
    halved = best < then - used
    one[rows[halved], states.lpj.argmin(1)[halved]] = best[halved] + used
    states.words.copy_(States.one_hot(one, states.n_latents).words)


@dataclass(frozen=True)
class Course:
    """A part of a training: how many epochs, whether on the image as restored so far or on the noisy one, and what
    follows.
    """

    epochs: int
    restored: bool = False
    after: Callable[[TVAE, States], None] = keep_all


@dataclass(frozen=True)
class PatchModel(ABC):
    """The base of all kinds of model for patches: settings, and how to start, train and use such a model.

    Patches overlap, and reach through all channels.

    Parameters
    ----------
    patch
        Width of the patches in pixels, or one for each spatial axis; cut to the image, where that is smaller.
    latents
        H, the number of binary latents.
    states
        S, how many states each patch keeps.
    search
        Settings of the E-step.
    epochs
        Passes over the patches.
    centred
        Whether each patch has its own mean taken off before, and put back after.

    Attributes
    ----------
    adaptations
        How many times a trained model is adapted to another image; see `adapted`.
    on_cpu
        Whether such models stay on the CPU, which their closed forms are compiled for.
    """

    adaptations: ClassVar[int] = 0
    on_cpu: ClassVar[bool] = True

    patch: int | tuple[int, ...]
    latents: int
    states: int
    search: Search
    epochs: int
    centred: bool

    @abstractmethod
    def optimism(self, N: int, D: int) -> float:
        """By how much squared errors exceed the posterior variance.

        That variance does not know of the noise that was learnt.  The factor was measured on cameraman, house, peppers
        and barbara at sigma 15, 25 and 50 (docs/explain/restoration.md); it grows where there are few patches for each
        parameter.

        Parameters
        ----------
        N
            How many patches the model was trained on.
        D
            Values of a patch.

        Returns
        -------
        float
            1 or more.
        """

    @property
    def cautious(self) -> bool:
        """Whether the model has so few directions that it hardly takes noise for structure, whatever the noise is like.

        Returns
        -------
        bool
            False, by default.
        """
        return False

    @property
    def settling(self) -> int:
        """E-steps for patches that took no part in training.

        Returns
        -------
        int
            4, by default: closed forms propose nearly the best states at once.
        """
        return 4

    @property
    def commonest(self) -> int:
        """How many of the commonest states of training are kept, for other patches to start from the best of them.

        Returns
        -------
        int
            S, by default.
        """
        return self.states

    @property
    def courses(self) -> tuple[Course, ...]:
        """The parts of a training, one after another.

        Returns
        -------
        tuple of Course
            A single one, by default.
        """
        return (Course(self.epochs),)

    @property
    def length(self) -> int:
        """Epochs of all parts of the training together.

        Returns
        -------
        int
            1 or more.
        """
        return sum(course.epochs for course in self.courses)

    @abstractmethod
    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        """A model to start training from, and populations for its patches.

        Parameters
        ----------
        patches
            Of an image, in training units.
        x
            The same patches (N, D), with a guess at what is missing.
        noise
            Variance of the noise to start from, in training units.
        least
            The least variance of the noise that may be learnt.
        generator
            Source of the draws.

        Returns
        -------
        model : TVAE
            Not trained yet.
        states : States
            Of all patches.
        """

    def searching(self, patches: Patches) -> Search:
        """The search for the states of given patches.

        Parameters
        ----------
        patches
            Of an image.

        Returns
        -------
        Search
            `search` itself, by default.
        """
        return self.search

    def engine(self, model: TVAE, patches: Patches) -> Engine:
        """The engine for a model of given patches.

        Parameters
        ----------
        model
            Such a model.
        patches
            Of an image.

        Returns
        -------
        Engine
            The fastest one that supports it.
        """
        return choose(model, self.searching(patches))

    @abstractmethod
    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        """The same model of clean patches for an image with other noise.

        Places in the image play no part in it: they are not those of training.

        Parameters
        ----------
        model
            A trained model.
        sigma2
            Variance of the noise there, in training units.
        to
            A matrix (D, D): patches there are x @ to, and their noise is white.  Default: patches are as they were.

        Returns
        -------
        TVAE
            Another model; the given one stays as it is.
        """

    def adapted(self, model: TVAE, patches: Patches, states: States, rows: Tensor, generator: Generator) -> TVAE:
        """A trained model after an M-step on another image.

        Parameters
        ----------
        model
            A trained model.
        patches
            Of the other image.
        states
            Their populations.
        rows
            Numbers of the patches that count.
        generator
            Source of the draws.

        Returns
        -------
        TVAE
            Another model, or the given one, by default.
        """
        return model

    def config(self) -> dict[str, Any]:
        """The kind and its settings, in what JSON can hold.

        Returns
        -------
        dict
            What `from_config` makes the same settings of.
        """
        settings = {"kind": type(self).__name__, **asdict(self)}
        return json.loads(json.dumps(settings, default=_described))

    def data(self, model: TVAE, patches: Patches) -> tuple[Tensor, Tensor]:
        """The data of the model: patches, possibly with their places in the image.

        Parameters
        ----------
        model
            Such a model.
        patches
            Of an image.

        Returns
        -------
        x : Tensor
            (N, E), where E is D or more.
        observed
            Which of these values are known, (N, E) bool.
        """
        return patches.x, patches.observed

    @abstractmethod
    def training(self, patches: Patches, epochs: int) -> Training:
        """How such a model is trained; the prior is not held, as patches are many and latents of no use are pruned.

        Parameters
        ----------
        patches
            Of an image.
        epochs
            Passes over the patches.

        Returns
        -------
        Training
            All settings of `evovae.fit`.
        """

    def fit(
        self,
        model: TVAE,
        patches: Patches,
        states: States,
        epochs: int,
        generator: Generator,
        resume: Mapping[str, Tensor],
    ) -> Iterator[Epoch]:
        """Train a model.

        Parameters
        ----------
        model
            What `start` returned.
        patches
            Of an image.
        states
            Their populations, improved in place.
        epochs
            Passes over the patches.
        generator
            Source of the draws.
        resume
            The snapshot of an epoch to go on from; may be empty.

        Returns
        -------
        Iterator of Epoch
            One after each pass; see `evovae.fit`.
        """
        x, observed = self.data(model, patches)
        training = self.training(patches, epochs)
        return training.fit(model, x, observed=observed, states=states, generator=generator, resume=resume)


@dataclass(frozen=True)
class NetworkPatches(PatchModel):
    """The model of the paper: a multi-layer perceptron decodes binary latents, and is trained by Adam.

    x | z ~ N(MLP(z), sigma2 I) with z ~ prod_h Bern(pi_h); see `evovae.decoders.MLP` and `evovae.likelihoods.Gaussian`.
    Binary latents have no amplitude: centred patches do better, unless the noise is so high that the mean of a patch
    costs more than it gives.  Without arguments, a model for up to 256 x 256 pixels and moderate noise.

    Parameters
    ----------
    patch, latents, states, search, epochs, centred
        As of `PatchModel`.
    hidden
        Units of the decoder's hidden layers, from the latents to the patch.
    batch_size
        Patches of a step of Adam.
    learning_rate
        Adam's peak rate, in training units, in which the signal has a standard deviation of 0.2.
    schedule
        How the rate changes over the epochs; see `evovae.schedules`.
    sigma2
        Variance of the noise that training starts from, in training units; positive.  A small one makes posteriors
        sharp at first, so that more latents are in use early.  Default: that of the noise found.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> search = evovae.Search(parents=4, children=4)
    >>> adam = {"batch_size": 32, "learning_rate": 0.01}
    >>> settings = evovae.NetworkPatches(
    ...     patch=4, latents=8, states=8, search=search, epochs=5, centred=True, hidden=(16,), **adam
    ... )
    >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
    >>> evovae.denoise(noisy, preset=settings, rng=0).shape
    (16, 16)
    """

    on_cpu = False

    patch: int | tuple[int, ...] = 8
    latents: int = 64
    states: int = 24
    search: Search = Search(6, 6)
    epochs: int = 15
    centred: bool = True
    hidden: tuple[int, ...] = (192,)
    batch_size: int = 64
    learning_rate: float = 0.005
    schedule: Schedule = warm_up_decay
    sigma2: float | None = None

    @property
    def settling(self) -> int:
        tried = self.search.parents * self.search.children * self.search.generations
        return max(super().settling, -(-TUNED.tried // max(tried, 1)))

    def optimism(self, N: int, D: int) -> float:
        return 3.0

    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        decoder = MLP(self.latents, *self.hidden, x.shape[1], generator=generator)
        sigma2 = noise if self.sigma2 is None else self.sigma2
        model = TVAE(decoder, Gaussian(sigma2, max(least, FLOOR)), Bernoulli(self.latents))
        return model, States.random(len(x), self.states, self.latents, generator)

    def training(self, patches: Patches, epochs: int) -> Training:
        course = self.batch_size, self.learning_rate, self.schedule
        return Training(self.searching(patches), epochs, *course, hold=0)

    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        model = copy.deepcopy(model)
        cast(Gaussian, model.likelihood).sigma2.fill_(sigma2)
        if to is not None:
            output = cast(MLP, model.decoder).layers[-1]
            with torch.no_grad():
                output.weight.copy_(to.T @ output.weight)
                output.bias.copy_(output.bias @ to)
        return model


@dataclass(frozen=True)
class LowRankPatches(PatchModel):
    """Binary latents that switch small linear subspaces on, beside one that is always on, as for brightness.

    The likelihood is `evovae.likelihoods.LowRankGaussian`, all of whose parameters are learnt in closed form.  With
    nothing but offsets (rank 0, always 0), it is binary sparse coding.

    Without arguments, it is the model of the presets `fast` and `balanced` for 256 x 256 pixels and noise of standard
    deviation 25 (of 255).  Few patches learn few latents: small pictures do better with fewer, as the presets choose.

    Parameters
    ----------
    patch, latents, states
        As of `PatchModel`.
    search
        Settings of the E-step.  Mutation by gradients, the default of `evovae.Search`, becomes one by exact gains:
        which subspaces are on has no gradient.
    epochs
        Passes over the patches, before the refinement stage.
    centred
        Whether each patch has its own mean taken off before, and put back after.
    rank
        Dimension of the subspace of each latent, at most.
    batches
        M-steps per epoch.
    look
        The refinement stage after `epochs`: epochs on the image as the model itself has restored it, and then epochs on
        the noisy image again.  Subspaces that are learnt from less noise hold less of it.  (0, 0) leaves it out.  With
        it, axes that noise alone could explain are pruned after a quarter of the epochs, and again before it.
    always
        Dimension of the subspace that is on in all states.
    offsets
        Whether subspaces need not go through zero.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> search = evovae.Search(parents=2, children=4, mutate=evovae.operators.exactly_informed_flip)
    >>> settings = evovae.LowRankPatches(patch=4, latents=8, states=4, search=search, epochs=3, centred=False, rank=2)
    >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
    >>> evovae.denoise(noisy, preset=settings, rng=0).shape
    (16, 16)
    """

    patch: int | tuple[int, ...] = 8
    latents: int = 128
    states: int = 6
    search: Search = Search(2, 5, mutate=operators.exactly_informed_flip)
    epochs: int = 3
    centred: bool = False
    rank: int = 6
    batches: int = 8
    look: tuple[int, int] = (2, 1)
    always: int = 1
    offsets: bool = False

    def optimism(self, N: int, D: int) -> float:
        return 1.28

    def searching(self, patches: Patches) -> Search:
        by_gradients = self.search.mutate is operators.informed_flip
        return replace(self.search, mutate=operators.exactly_informed_flip) if by_gradients else self.search

    @property
    def courses(self) -> tuple[Course, ...]:
        if not any(self.look):
            return super().courses
        restored, again = self.look
        first = -(-self.epochs // 4)
        return (
            Course(first, after=partial(drop_noise, TUNED.early)),
            Course(self.epochs - first, after=partial(drop_noise, TUNED.late)),
            Course(restored, restored=True),
            Course(again),
        )

    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        D = x.shape[1]
        likelihood = LowRankGaussian(
            self.latents,
            D,
            min(self.rank, D),
            self.always,
            offsets=self.offsets,
            sigma2=noise,
            floor=max(least, FLOOR),
            generator=generator,
        )
        likelihood.start(x, patches.common(), generator)
        model = TVAE(Silent(D), likelihood, Bernoulli(self.latents))
        return model, States.random(len(x), self.states, self.latents, generator)

    def training(self, patches: Patches, epochs: int) -> Training:
        return _closed_form(self, patches, epochs)

    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        return _moved(model, sigma2, to)


@dataclass(frozen=True)
class MixturePatches(PatchModel):
    """A mixture of Gaussians with full covariances, one of which each patch is drawn from: for textures.

    The likelihood is `evovae.likelihoods.FullGaussian` with the prior `evovae.priors.OneHot`.  Each patch keeps a few
    components; others are proposed by the patches around it and by those with the same best component
    (`evovae.migration.Neighbours`), so that the cost does not grow with their number.  Where all patches have a place
    in one image, components belong to regions of it.

    Without arguments, it is the model of the preset `fast` for 256 x 256 pixels and noise of standard deviation 25 (of
    255); some 150 patches for each component are enough, so that smaller pictures do better with fewer.

    Training starts from k-means centres with round Gaussians.  A patch starts with the components that are nearest to a
    patch some pixels away: if each chose its own, it would choose by its noise, which components would then learn.
    Components are few at first: they are split in two along their longest axes, `splits` times in the first half of
    the epochs.

    Parameters
    ----------
    patch
        Width of the patches in pixels, or one for each spatial axis.
    latents
        K, the number of components.
    states
        S, how many components each patch keeps.
    search
        Its `migrate` is set to propose components; usually ``Search(0, 0, 0)``, which tries no others.
    epochs
        Passes over the patches.
    centred
        Whether each patch has its own mean taken off before, and put back after.
    rank
        How many axes of a component are of signal, at most.  Default: all.  Where noise is known roughly, a low rank
        keeps components from learning it.
    edge
        How far the variance on an axis must exceed what noise alone gives; see `evovae.likelihoods.FullGaussian`.
    batches
        M-steps per epoch.
    splits
        How often components are split until they are K; fewer times if there are too few epochs.

    References
    ----------
    Zoran & Weiss, "From learning models of natural image patches to whole image restoration", ICCV, 479-486, 2011.

    Examples
    --------
    >>> import numpy as np, evovae
    >>> settings = evovae.MixturePatches(patch=4, latents=4, epochs=3)
    >>> noisy = np.random.default_rng(0).normal(100, 10, (16, 16))
    >>> evovae.denoise(noisy, preset=settings, rng=0).shape
    (16, 16)
    """

    adaptations = 2

    patch: int | tuple[int, ...] = 7
    latents: int = 416
    states: int = 3
    search: Search = Search(0, 0, 0)
    epochs: int = 8
    centred: bool = False
    rank: int | None = None
    edge: float = 1.5
    batches: int = 3
    splits: int = 2

    @property
    def used(self) -> tuple[int, ...]:
        """Components that are in use before each split, and after the last one.

        Returns
        -------
        tuple of int
            S or more, as patches need different ones; the last is K.
        """
        splits, least = min(self.splits, self.epochs - 1), min(self.states, self.latents)
        return tuple(max(-(-self.latents // 2 ** (splits - i)), least) for i in range(splits + 1))

    @property
    def courses(self) -> tuple[Course, ...]:
        splits = len(self.used) - 1
        each = max(self.epochs // max(2 * splits, 1), 1)
        before = (Course(each, after=partial(split, *counts)) for counts in pairwise(self.used))
        return (*before, Course(self.epochs - each * splits))

    @property
    def cautious(self) -> bool:
        return self.rank is not None

    def optimism(self, N: int, D: int) -> float:
        return 1.05 + 2.0 * D * self.latents / N  # more, the fewer patches there are for each direction of a covariance

    @property
    def commonest(self) -> int:
        return self.latents  # all components: migration does not bring what is not in any population

    def start(self, patches: Patches, x: Tensor, noise: float, least: float, generator: Generator) -> Start:
        D, K = x.shape[1], self.used[0]
        if self.latents > len(x):
            needs = f"a mixture of {self.latents} components needs as many patches"
            raise ValueError(f"{needs}, but there are {len(x)}: take fewer")
        some = x[torch.randperm(len(x), generator=generator)[: max(PER_CENTRE * K, LEAST_SOME)]]
        seed = int(torch.randint(2**31, (), generator=generator))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # centres without patches are components that nothing chooses
            centres, _ = kmeans2(some.numpy(), K, iter=ROUNDS, minit="points", seed=seed)
        noise, places = max(noise, FLOOR), len(patches.axes)
        likelihood = FullGaussian(self.latents, D, places, sigma2=noise, edge=self.edge, rank=self.rank)
        means = likelihood.means[:K] = torch.from_numpy(centres)
        few, about = patches.coarse(tuple(APART if width > 1 else 1 for width in patches.size))
        near = [torch.cdist(part, means).topk(self.states, largest=False) for part in x[few].split(AT_ONCE)]
        distance, nearest = (torch.cat(parts) for parts in zip(*near, strict=True))
        likelihood.lengths.fill_(distance[:, 0].square().mean() / D).clamp_(min=likelihood.sigma2)
        return TVAE(Silent(D), likelihood, OneHot(self.latents)), States.one_hot(nearest, self.latents)[about]

    def adapted(self, model: TVAE, patches: Patches, states: States, rows: Tensor, generator: Generator) -> TVAE:
        # The sums of training count for some patches, too; components belong to regions of the image.
        likelihood, prior, some = cast(FullGaussian, model.likelihood), copy.deepcopy(model.prior), states[rows]
        q = some.lpj.softmax(1)
        places = patches.places[rows] if patches.axes else patches.x.new_zeros(len(rows), 0)
        adapted = TVAE(model.decoder, likelihood.at(some.one, q, places), prior)
        x, observed = self.data(adapted, patches)
        engine, settled = self.engine(adapted, patches), replace(self.search, migrate=migration.nobody)
        with engine.running():
            found = engine.step(x, observed, rows, states, settled, generator)
        prior.update(found.prior + TUNED.shares * cast(OneHot, prior).pi)
        before = cast(FullGaussian, adapted.likelihood).sums(TUNED.each)
        cast(FullGaussian, adapted.likelihood).update(found.likelihood + before)
        return adapted

    def searching(self, patches: Patches) -> Search:
        reach = (BESIDE if width > 1 else 0 for width in patches.size)
        return replace(self.search, migrate=Neighbours(patches.grid, tuple(reach)))

    def data(self, model: TVAE, patches: Patches) -> tuple[Tensor, Tensor]:
        if not cast(FullGaussian, model.likelihood).centres.shape[1]:
            return patches.x, patches.observed
        places = patches.places.to(patches.x)
        return torch.cat([patches.x, places], 1), torch.cat([patches.observed, places >= 0], 1)

    def training(self, patches: Patches, epochs: int) -> Training:
        return _closed_form(self, patches, epochs)

    def elsewhere(self, model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
        return _moved(model, sigma2, to)


def _moved(model: TVAE, sigma2: float, to: Tensor | None) -> TVAE:
    """A model whose decoder is silent, for other noise and coordinates."""
    likelihood = cast(LowRankGaussian | FullGaussian, model.likelihood).moved(sigma2, to)
    return TVAE(copy.deepcopy(model.decoder), likelihood, copy.deepcopy(model.prior))


def _closed_form(settings: LowRankPatches | MixturePatches, patches: Patches, epochs: int) -> Training:
    """`batches` closed-form M-steps per epoch, from sums that cover about two batches."""
    size, forgetting = -(-len(patches.x) // settings.batches), max(1 - 2 / settings.batches, 0)
    return Training(settings.searching(patches), epochs, size, forgetting=forgetting, hold=0)


def from_config(config: Mapping[str, Any]) -> PatchModel:
    """The inverse of `PatchModel.config`, for functions of `evovae.operators`, `migration` and `schedules`.

    Raises
    ------
    ValueError
        For kinds or functions that are not known by these names.
    """
    kinds = {kind.__name__: kind for kind in PatchModel.__subclasses__()}
    if config["kind"] not in kinds:
        raise ValueError(f"{config['kind']!r} is no kind of patch model that is known here")
    settings = {name: _built(value) for name, value in config.items() if name != "kind"}
    return kinds[config["kind"]](**settings)


def _built(value: Any) -> Any:  # noqa: ANN401 - what JSON holds
    """Of a setting: a Search, a function by its name, a partial one, a tuple, or the value itself."""
    if isinstance(value, dict):
        if {*value} != {field.name for field in fields(Search)}:
            raise ValueError(f"a part with {', '.join(value)} is no operator, migration or schedule of evovae")
        return Search(**{name: _built(part) for name, part in value.items()})
    if isinstance(value, list) and value and isinstance(value[0], str):
        function, arguments, keywords = value
        return partial(_built(function), *arguments, **keywords)
    if isinstance(value, list):
        return tuple(map(_built, value))
    if isinstance(value, str):
        found = [getattr(place, value) for place in (operators, migration, schedules) if hasattr(place, value)]
        if not found:
            raise ValueError(f"{value!r} is no operator, migration or schedule of evovae")
        return found[0]
    return value


def _described(part: object) -> object:
    """A function, or an object that works like one, by name, with what it is given."""
    if isinstance(part, partial):
        return [_described(part.func), part.args, part.keywords]
    return getattr(part, "__name__", type(part).__name__)
