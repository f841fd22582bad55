"""Settings of a restoration, chosen from the picture's size and the noise found in it.

They depend neither on a clean image nor on the true noise level.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

from evovae.evolve import Search
from evovae.operators import by_fitness, exactly_informed_flip, uniform_flip
from evovae.restore.patch_models import LowRankPatches, MixturePatches, NetworkPatches, PatchModel
from evovae.restore.tuned import TUNED
from evovae.schedules import cyclical


@dataclass(frozen=True)
class Picture:
    """What presets depend on.

    noise is its level over the picture's own standard deviation, shape the lengths of spatial axes, missing the share
    of values that are not known.  Noise is even if it is as strong everywhere, and does not depend on the signal; it is
    correlated if it has to be made white by a covariance that is known roughly.  aspect is how wide patches should be
    along each axis, over their mean width: less where values change faster, as across the planes of a coarse stack.
    """

    noise: float
    shape: tuple[int, ...]
    channels: int = 1
    missing: float = 0.0
    even: bool = True
    correlated: bool = False
    aspect: tuple[float, ...] = ()

    @property
    def high(self) -> bool:
        """Whether noise is so high that larger patches and smaller subspaces do better."""
        return self.noise > TUNED.high

    @property
    def small(self) -> bool:
        """Whether there are so few patches that mixtures learn little; then, more models can be afforded, too."""
        return prod(self.shape) < TUNED.small

    @property
    def grey(self) -> bool:
        """Whether it is a single plane of one channel: films and colours are so much alike in themselves that many
        components learn their noise.
        """
        return len(self.shape) == 2 and self.channels == 1

    @property
    def large(self) -> bool:
        """Whether many patches teach wider ones, and subspaces add nothing; tried on grey pictures alone."""
        return prod(self.shape) >= TUNED.large and self.grey

    @property
    def mixture_width(self) -> int:
        """The width of patches for a single mixture."""
        return 7 + self.large + (self.large and self.high)

    @property
    def rough(self) -> bool:
        """Whether the noise is known so roughly that models could take some of it for structure."""
        return self.correlated or (self.high and not self.even)

    @property
    def subspaces_alone(self) -> bool:
        """Whether mixtures do worse: where much is missing, which takes them more time, too, or in one dimension, as
        sound.
        """
        return self.missing > TUNED.few_missing or len(self.shape) == 1

    def patches(self, width: int | tuple[int, ...]) -> int:
        """How many patches of a width there are."""
        return prod(max(n - w + 1, 1) for n, w in zip(self.shape, self._widths(width), strict=True))

    def values(self, width: int | tuple[int, ...]) -> int:
        """How many values a patch of a width holds."""
        return prod(self._widths(width)) * self.channels

    def _widths(self, width: int | tuple[int, ...]) -> tuple[int, ...]:
        return (width,) * len(self.shape) if isinstance(width, int) else width

    def epochs(self, epochs: int) -> int:
        """More passes over small pictures, so that the models get enough steps (`epochs` are for 256 x 256)."""
        return round(epochs * passes(self.shape))

    def width(self, width: float) -> int | tuple[int, ...]:
        """The width of patches that hold about as many pixels as square ones of `width`, in as many axes as there are.

        It is a third of the picture at most, so that there are some patches to learn from; one for each axis where they
        differ.
        """
        side, most = width ** (2 / len(self.shape)), max(max(self.shape) // 3, 1)
        aspect = self.aspect or (1.0,) * len(self.shape)
        widths = tuple(min(max(round(side * share), 1), most) for share in aspect)
        return widths if len({*widths}) > 1 else widths[0]

    def width_through_channels(self, width: int) -> int | tuple[int, ...]:
        """The same for a mixture: channels are much alike, so that patches through many of them can be smaller."""
        return self.width(width * self.channels ** (-1 / 3))


UNSPLIT = partial(MixturePatches, batches=4, splits=0)  # with all components from the start


def passes(shape: tuple[int, ...]) -> float:
    """How many times the passes over 256 x 256 pixels a picture of this shape gets."""
    return min(max(1.0, (65536 / prod(shape)) ** 0.5), 8.0)


Preset = Callable[[Picture], tuple[PatchModel, ...]]


def _subspaces(
    picture: Picture,
    patch: int,
    rank: int,
    *,
    epochs: int,
    look: tuple[int, int],
    states: int,
    parents: int = 2,
) -> LowRankPatches:
    """Subspaces by the size and the noise of a picture: noise hides more of large ones, small pictures teach few."""
    latents = 96 if picture.high else 128
    search = Search(parents, 5, mutate=exactly_informed_flip)
    width = picture.width(patch)
    patches = picture.patches(width)
    latents, rank = min(latents, max(patches // TUNED.per_latent, 8)), min(rank, max(patches // TUNED.per_direction, 2))
    epochs, restored, again = (picture.epochs(n) for n in (epochs, *look))
    return LowRankPatches(width, latents, states, search, epochs, centred=False, rank=rank, look=(restored, again))


def _mixture(picture: Picture, patch: int, epochs: int = 8, splits: int = 2) -> MixturePatches:
    """One that learns textures; of grey pictures, its components are split."""
    width = picture.width_through_channels(patch)
    growing = partial(MixturePatches, splits=splits), TUNED.per_component
    kind, each = growing if picture.grey else (UNSPLIT, TUNED.per_unsplit_component)
    components = max(min(picture.patches(width) // each, TUNED.values // picture.values(width)), 8)
    return kind(width, components, epochs=picture.epochs(epochs))


def _cautious_mixture(picture: Picture, patch: int, epochs: int) -> MixturePatches:
    """One of few components, with few directions for each, so that it does not learn rough noise."""
    width = picture.width_through_channels(patch)
    components = max(picture.patches(width) // TUNED.per_rough_component, 3)
    return UNSPLIT(width, components, epochs=picture.epochs(epochs), rank=TUNED.directions)


def _quick_subspaces(picture: Picture) -> LowRankPatches:
    return _subspaces(picture, 12 if picture.high else 8, 6, epochs=3, look=(2, 1), states=6)


def fast(picture: Picture) -> tuple[PatchModel, ...]:
    """Seconds: a mixture; where that does worse, or much is missing, subspaces instead or beside it.

    In colour they would gain 0.1 dB on small pictures, for four times the seconds (crops of three of scikit-image's).
    """
    subspaces = (_quick_subspaces(picture),)
    few = picture.small and picture.channels == 1
    if picture.subspaces_alone or (few and picture.correlated):
        return subspaces
    if picture.rough:
        return (*_rough_mixtures(picture), *(subspaces if few else ()))
    return (_mixture(picture, picture.mixture_width), *(subspaces if few else ()))


def _rough_mixtures(picture: Picture, epochs: int = 8) -> tuple[PatchModel, ...]:
    """A cautious mixture and, of grey pictures, one that learns textures, corrected by the former (`ensemble.trusted`).

    In colour, it would take four times the seconds for 0.1 dB.
    """
    fine = (_mixture(picture, 8, epochs),) if picture.correlated and picture.channels == 1 else ()
    return (_cautious_mixture(picture, 12, epochs), *fine)


def balanced(picture: Picture) -> tuple[PatchModel, ...]:
    """Some 15 seconds for 256 x 256 on two cores: several models, whose errors differ."""
    if picture.subspaces_alone:
        sizes = (8, 10), (12, 8)  # patch, rank
        return tuple(_subspaces(picture, *size, epochs=4, look=(2, 1), states=8) for size in sizes)
    if picture.rough:
        return (*_rough_mixtures(picture), _quick_subspaces(picture))
    width = picture.mixture_width
    if picture.large:
        return tuple(_mixture(picture, patch) for patch in (width - 1, width + 1, width + 3))
    patches = (width, width + 3) if picture.high else (width - 1, width + 1)
    return (*(_mixture(picture, patch) for patch in patches), _quick_subspaces(picture))


def best(picture: Picture) -> tuple[PatchModel, ...]:
    """About a minute: more sizes of patches, and longer training."""
    if picture.subspaces_alone:
        sizes = (8, 12), (12, 12), (16, 8)  # patch, rank
        look = (2, 3)
        return tuple(_subspaces(picture, *size, epochs=8, look=look, states=12, parents=4) for size in sizes)
    if picture.rough:
        rough = _cautious_mixture(picture, 10, 20), *_rough_mixtures(picture, 20)
        return (*rough, _quick_subspaces(picture))
    if picture.large:
        return tuple(_mixture(picture, patch, 20, splits=1) for patch in (7, 8, 10, 12))
    return (*(_mixture(picture, patch, 20, splits=1) for patch in (6, 7, 8, 10)), _quick_subspaces(picture))


SIGMA2 = 0.01  # where the variance of the noise starts in all experiments of the paper (Sec. 3)
CYCLE = partial(cyclical, low=0.0001 / 0.05)


def paper(picture: Picture) -> tuple[PatchModel, ...]:
    """Table 3 of the paper, exactly; where noise is high, what stands there in parentheses for sigma = 50."""
    if picture.high:
        search = Search(5, 4, 1, select=by_fitness, mutate=uniform_flip)
        return (NetworkPatches(picture.width(12), 512, 64, search, 500, False, (512,), 32, 0.05, CYCLE, SIGMA2),)
    search = Search(10, 9, 4, select=by_fitness, mutate=uniform_flip)
    return (NetworkPatches(picture.width(8), 64, 200, search, 500, False, (64,), 32, 0.01, cyclical, SIGMA2),)


PRESETS: dict[str, Preset] = {"fast": fast, "balanced": balanced, "best": best, "paper": paper}
