"""How training grows with processes: measured with one and two here, predicted for more from what was measured.

    python -m benchmarks.bench_scale              (about 4 minutes, two cores)

Each process has one thread.  Strong scaling: the same data, shared out.  Weak scaling: as many data points for each
process.  A step of Adam takes the gradients of a batch of all processes; they, and the sums of the M-step once per
epoch, are all that travels.  Figures are medians over epochs after the first, all of one run, one after another.

The prediction is that of a ring: W workers take

    seconds(W) = compute + steps * (2 (W - 1) / W * bytes / bandwidth + 2 (W - 1) * latency),

with the compute of one worker's batches, the bytes of a step, and bandwidth and latency as measured between two
processes of this machine, or assumed of a network (10 Gbit/s, 30 microseconds).  It leaves out stragglers and
overlap, and gloo's trees, which need fewer than 2 (W - 1) messages in a row.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.common import save, table
from evovae import States, fit
from evovae.datasets import bars_images
from evovae.decoders import MLP
from evovae.evolve import Search
from evovae.likelihoods import Gaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli
from evovae.sharding import Group, Shard, joined, leave

SIZE, H, HIDDEN, S = 8, 64, 128, 40
SEARCH = Search(8, 8)
N, EPOCHS, BATCH = 40_960, 8, 2048
NETWORK = (10e9 / 8, 30e-6)  # bytes per second, seconds per message


def seconds_per_epoch(shard: Shard, n: int, batch: int) -> tuple[list[float], int]:
    """Of training on n data points in this process, and the bytes that it gave away in an epoch."""
    generator = torch.Generator().manual_seed(shard.rank)
    x = bars_images(n, generator, SIZE)
    model = TVAE(MLP(H, HIDDEN, SIZE**2, generator=torch.Generator().manual_seed(0)), Gaussian(0.1), Bernoulli(H))
    epochs = fit(
        model,
        x,
        states=States.random(n, S, H, generator),
        search=SEARCH,
        optimizer=torch.optim.Adam(model.decoder.parameters(), lr=0.002, fused=True),
        epochs=EPOCHS,
        batch_size=batch,
        generator=generator,
        shard=shard,
    )
    ends = [epoch.seconds for epoch in epochs]
    sent = shard.sent // EPOCHS if isinstance(shard, Group) else 0
    return [b - a for a, b in zip(ends[:-1], ends[1:], strict=True)], sent


def all_reduce_seconds(shard: Shard, values: int, repeats: int = 200) -> float:
    """Of one sum over all processes."""
    vector = torch.zeros(values)
    shard.add(vector)
    started = time.perf_counter()
    for _ in range(repeats):
        shard.add(vector)
    return (time.perf_counter() - started) / repeats


def work(n: int, batch: int) -> None:
    """What one of the processes does; the first one says what it found."""
    torch.set_num_threads(1)
    with joined() as shard:
        seconds, sent = seconds_per_epoch(shard, n // shard.world, batch // shard.world)
        found = {"seconds": median(seconds), "sent": sent}
        if shard.world > 1:
            found |= {"latency": all_reduce_seconds(shard, 1), "of a megabyte": all_reduce_seconds(shard, 2**18, 50)}
        if shard.rank == 0:
            print("found:" + json.dumps(found))
    leave(0)


def measured(processes: int, n: int, batch: int) -> dict[str, float]:
    """The same in so many processes of one thread each."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *start, "-m", "benchmarks.bench_scale", "--work", str(n), str(batch)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("found:")]
    return json.loads(line.removeprefix("found:"))


def predicted(workers: int, compute: float, steps: int, sent: float, bandwidth: float, latency: float) -> float:
    """Efficiency of weak scaling: the compute's share of the time."""
    hops = 2 * (workers - 1)
    return compute / (compute + steps * (hops / workers * sent / bandwidth + hops * latency))


def main() -> None:
    """Measure, predict, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scale.json"))
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return
    one, strong, weak = measured(1, N, BATCH), measured(2, N, BATCH), measured(2, 2 * N, 2 * BATCH)
    rows = [
        ("one process", N, f"{one['seconds']:.2f}", f"{N / one['seconds']:.0f}", "1.00", 0),
        *(
            (name, n, f"{run['seconds']:.2f}", f"{n / run['seconds']:.0f}",
             f"{n / run['seconds'] * one['seconds'] / N:.2f}", f"{run['sent'] / 1e6:.2f}")
            for name, n, run in (("two, strong", N, strong), ("two, weak", 2 * N, weak))
        ),
    ]  # fmt: skip
    print(table(["", "data points", "seconds per epoch", "per second", "speed-up", "MB sent"], rows))
    steps = -(-N // BATCH)
    here = 2**20 / max(strong["of a megabyte"] - strong["latency"], 1e-9), strong["latency"] / 2
    sent = weak["sent"] / steps
    forecast = [
        (workers, *(f"{predicted(workers, one['seconds'], steps, sent, *link):.3f}" for link in (here, NETWORK)))
        for workers in (2, 8, 64, 1024)
    ]
    print(table(["workers", "efficiency, links as here", "10 Gbit/s, 30 us"], forecast))
    save(options.out, {"one": one, "strong": strong, "weak": weak, "rows": rows, "predicted": forecast})


if __name__ == "__main__":
    main()
