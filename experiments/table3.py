"""Table 3 of the paper: the hyper-parameters of its denoising, beside those of `preset="paper"`.

    python -m experiments.table3            (seconds)

Claim: `paper` is exactly these, in the first column for sigma = 15 and 25, in the second for sigma = 50
(numbers in parentheses there).  The batch size is 32 in both; the learning rate runs through cycles of
20 epochs.  Fails where a value differs.  It runs no training, so that `--smoke` changes nothing.
"""

from evovae.restore.presets import PRESETS, Picture
from evovae.restore.tuned import TUNED
from experiments import common

HOUSE = (256, 256)
PAPER = {
    "latents H": (64, 512),
    "middle units": ((64,), (512,)),
    "output D": (64, 144),
    "min learning rate": (0.0001, 0.0001),
    "max learning rate": (0.01, 0.05),
    "epochs per cycle": (20, 20),
    "batch size": (32, 32),
    "parents": (10, 5),
    "children": (9, 4),
    "generations": (4, 1),
    "size of Phi": (200, 64),
    "epochs": (500, 500),
    "sigma2 at the start (Sec. 3)": (0.01, 0.01),
}


def ours(noise: float) -> list[object]:
    """The same values, read from the preset for a picture with this ratio of noise to its standard deviation."""
    (model,) = PRESETS["paper"](Picture(noise, HOUSE))
    rate = [model.learning_rate * model.schedule(step / 100, model.epochs) for step in range(100 * 60)]
    peaks = [step for step in range(1, len(rate) - 1) if rate[step - 1] < rate[step] > rate[step + 1]]
    search = model.search
    return [
        model.latents,
        model.hidden,
        model.patch**2,
        round(min(rate), 9),
        round(max(rate), 9),
        (peaks[1] - peaks[0]) / 100,
        model.batch_size,
        search.parents,
        search.children,
        search.generations,
        model.states,
        model.epochs,
        model.sigma2,
    ]


def main() -> None:
    """Compare all values."""
    options = common.parser(__doc__, "table3").parse_args()
    record = common.Record(options.out)
    for (name, paper), *found in zip(PAPER.items(), ours(TUNED.high / 2), ours(2 * TUNED.high), strict=True):
        record.add(parameter=name, paper=paper, ours=found)
        if list(paper) != found:
            raise SystemExit(f"{name}: the paper has {paper}, the preset {found}")


if __name__ == "__main__":
    main()
