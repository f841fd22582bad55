"""Numbers that were chosen on pictures: what they were chosen on, and nothing that follows from sizes or precision.

House, cameraman, barbara and peppers are among these pictures, and figures are published on them, too; for others see
docs/performance.md.  Numbers that tell noise from structure stand in the modules of `evovae.restore.noise`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuned:
    """Everything in restoration that is neither a user's option nor a law."""

    # Mixed estimates; cameraman, house and peppers, sigma 15, 25 and 50.
    followed: float = 0.7  # share of the error to expect that shows in what is taken off: models follow the noise
    power: int = 2  # weights are errors to minus this
    missed: float = 0.5  # of what a model takes off beyond others counts as its error
    mean_keeps: float = 0.5  # of the mean variance, that the mean of estimates keeps at least

    # Presets.  The first two: house and cameraman, and holes of house; the third: crops of scikit-image's pictures of
    # 32, 64 and 128 squared, and 256 x 256; the fourth: 512 x 512, sigma 25 and 50.
    high: float = 0.6  # noise over the picture's deviation, from which on patches are larger and subspaces smaller
    few_missing: float = 0.01  # share of missing values up to which mixtures do well
    small: int = 40_000  # pixels below which mixtures learn little
    large: int = (
        130_000  # pixels from which wider patches do better; barbara, a van Hateren scene, clean pictures of CC
    )
    # Patches for each latent and each dimension of its subspace, or they overfit noise; crops of BSD of 24 to 96
    # pixels, sigma 25.
    per_latent: int = 200
    per_direction: int = 100
    # Patches for each component, where components are split, where they are not (films and colours), and where noise is
    # known roughly; values of the means of all components, which bounds memory, and directions of components where
    # noise is known roughly, at most; house, cameraman and peppers, sigma 15, 25 and 50, FISH and WideField_BPAE_R.
    per_component: int = 150
    per_unsplit_component: int = 300
    per_rough_component: int = 2500
    values: int = 51_200
    directions: int = 12

    # The least variance along an axis, over the Marchenko-Pastur edge: after a quarter of the epochs, when little is
    # learnt yet, and after all of them; house and crops of BSD, sigma 25 and 50.
    early: float = 0.5
    late: float = 1.4
    # The least noise deviation to find, over the one that was estimated: models that find less have learnt the noise
    # by heart; up to `sure` where there are fewer than `few_patches`; crops of BSD of 12 to 32 pixels.
    least: float = 1 / 8
    sure: float = 0.9
    few_patches: int = 1000
    remnant: float = 0.02  # share of the noise variance that a restored picture is taken to hold still

    # Patches of training that count in another image: for the shares of components in all, for the mean and covariance
    # of each; barbara, house, four crops of BSD and microscope pictures of BPAE.
    shares: int = 1000
    each: int = 100
    tried: int = 288  # children of such a patch of a network, after which more gain little; crops of house and castle

    # Residuals, in variances of the noise: beyond `much` they are structure (chance reaches 1.4 in 225 pixels), beyond
    # `unknown` unknown to models of other images.
    much: float = 1.5
    unknown: float = 4.0

    # Films, made from pictures by pans, zooms and moving things, sigma 25.
    better: float = 0.6  # of the noise's variance, by which a step of motion must be better: flat regions stay together
    surer: float = 0.7  # variance of the mean of a frame's estimates from all stacks that it is in, over that of one
    common: float = 0.5  # share of the detail of frames that neighbours must have in common for stacks to pay


TUNED = Tuned()
