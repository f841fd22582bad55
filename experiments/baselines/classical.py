"""Non-local means, total variation and wavelet shrinkage, as scikit-image has them.

Non-local means (Buades, Coll & Morel, 2005) and BayesShrink (Chang, Yu & Vetterli, 2000) are given the true sigma;
the weight of total variation (Chambolle, 2004) is chosen by the picture's own J-invariant loss (Batson & Royer, 2019).
House, sigma 15 / 25 / 50, seed 0: 33.48 / 31.25 / 26.99, 31.21 / 29.00 / 26.21 and 31.47 / 29.60 / 26.38 dB.
"""

import numpy as np
from skimage.restoration import calibrate_denoiser, denoise_nl_means, denoise_tv_chambolle, denoise_wavelet

NEEDS = {"non-local means": "true sigma", "total variation": "noisy picture only", "wavelets": "true sigma"}


def non_local_means(noisy: np.ndarray, sigma: float, seed: int = 0, *, distance: int = 10) -> np.ndarray:
    """7 x 7 patches within `distance`; nothing is random."""
    return denoise_nl_means(noisy, patch_size=7, patch_distance=distance, h=0.6 * sigma, sigma=sigma, fast_mode=True)


def total_variation(noisy: np.ndarray, sigma: float, seed: int = 0, *, candidates: int = 12) -> np.ndarray:
    """The best of `candidates` weights in the eyes of the noisy picture itself; sigma is not used."""
    weights = {"weight": np.geomspace(0.02, 1, candidates) * noisy.std()}
    return calibrate_denoiser(noisy, denoise_tv_chambolle, weights)(noisy)


def wavelets(noisy: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """Soft thresholds in as many levels of 16 pixels wide symmetric wavelets as fit; nothing is random."""
    levels = int(np.log2(min(noisy.shape) / 15))
    return denoise_wavelet(noisy, sigma=sigma, wavelet="sym8", wavelet_levels=levels, mode="soft")


METHODS = {"non-local means": non_local_means, "total variation": total_variation, "wavelets": wavelets}
