"""Figure 4: house with noise of sigma 50, restored, and where the restoration is unsure.

    EVOVAE_DATA=... python -m experiments.figure4                    (two minutes on one core)
    EVOVAE_DATA=... python -m experiments.figure4 --preset best      (some minutes)
    EVOVAE_DATA=... python -m experiments.figure4 --smoke            (seconds; a crop, one epoch)

Claim: 30.03 dB, the best of the runs of Table 2; ours is one run of the TVAE of our Table 2, which trains for 20 epochs
(the paper's for 500), or of a preset. The map, which the paper does not have, is the posterior standard deviation of
each pixel; the record holds its root mean square beside that of the true error.
"""

import numpy as np
from matplotlib.figure import Figure

import evovae
from evovae.restore.presets import PRESETS
from experiments import common
from experiments.table2 import tvae

SIGMA = 50


def main() -> None:
    """Restore, record and draw."""
    parser = common.parser(__doc__, "figure4")
    parser.add_argument("--preset", choices=("TVAE", *PRESETS), default="TVAE")
    parser.add_argument("--seed", type=int, default=0, help="of the noise, and of the restoration")
    options = parser.parse_args()
    clean = common.picture("house")
    if options.smoke:
        clean = clean[100:140, 60:100]
    noisy = common.noisy(clean, SIGMA, options.seed)
    limit = 0 if options.smoke else None
    preset = tvae(SIGMA) if options.preset == "TVAE" else options.preset
    result = evovae.denoise(noisy, preset=preset, rng=options.seed, max_seconds=limit, full_output=True)
    psnr = {"noisy": common.psnr(clean, noisy), "restored": common.psnr(clean, result.image)}
    record = common.Record(options.out, sigma=SIGMA, noise_seed=options.seed)
    rms = {
        "rms_error": float(np.sqrt(np.mean((result.image - clean) ** 2))),
        "rms_std": float(np.sqrt(np.mean(result.std**2))),
    }
    record.add(preset=options.preset, **psnr, **rms, sigma=result.sigma, seconds=result.seconds)
    draw(noisy, result, psnr).savefig(options.out.with_suffix(".png"), dpi=150)


def draw(noisy: np.ndarray, result: evovae.Restoration, psnr: dict[str, float]) -> Figure:
    """The noisy picture, the restored one, and the map of standard deviations."""
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    panels = figure.subplots(1, 3)
    panels[0].imshow(noisy, cmap="gray", vmin=0, vmax=255)
    panels[0].set_title(f"noisy, {psnr['noisy']:.2f} dB")
    panels[1].imshow(result.image, cmap="gray", vmin=0, vmax=255)
    panels[1].set_title(f"restored, {psnr['restored']:.2f} dB")
    shown = panels[2].imshow(result.std, cmap="magma", vmin=0)
    panels[2].set_title("posterior standard deviation")
    figure.colorbar(shown, ax=panels[2])
    for panel in panels:
        panel.set_axis_off()
    return figure


if __name__ == "__main__":
    main()
