"""How training grows with processes: measured with one and two here, predicted for more from what was measured.

    python -m benchmarks.bench_scale                    (about a minute, two cores)
    python -m benchmarks.bench_scale --device cuda      (another minute, one GPU)

Each process has one thread.  Strong scaling: the same data, shared out.  Weak scaling: as many data points for each
process.  A step of Adam takes the gradients of a batch of all processes; they, and the sums of the M-step once per
epoch, are all that travels.  Figures are medians over epochs after the first, all of one run, one after another.

The prediction is that of a ring: W workers take

    seconds(W) = compute + steps * (2 (W - 1) / W * bytes / bandwidth + 2 (W - 1) * latency),

with the compute of one worker's batches, the bytes of a step, and bandwidth and latency as measured between two
processes of this machine, or assumed of a network (10 Gbit/s, 30 microseconds).  It leaves out stragglers and
overlap, and gloo's trees, which need fewer than 2 (W - 1) messages in a row.

With `--device`: epochs of the paper's setting for sigma 50 (N = 60,025, decoder 512-512-144, S = 64, 5 x 4 children) on
that device, beside its ceilings, measured in the same run: products of large matrices, and copies.  Operations are
those of dense layers: S states scored exactly, the children proposed, the short list scored again, and S states
forwards and backwards; bytes are those of all layers' values in single precision, written once and read once.  The
CPU's engine does less, as states are sparse.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from benchmarks.common import save, table
from evovae import States, fit
from evovae.datasets import bars_images
from evovae.decoders import MLP
from evovae.devices import find_device
from evovae.evolve import Search
from evovae.likelihoods import Gaussian
from evovae.model import TVAE
from evovae.priors import Bernoulli
from evovae.restore.presets import paper
from evovae.sharding import Group, Shard, joined

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


def epochs_of_the_paper(device: torch.device, n: int, batch: int, epochs: int = 7) -> dict[str, float]:
    """Seconds of an epoch, operations and bytes per second, on patches of bars."""
    (chosen,) = paper(1.0, (256, 256))
    sizes, S, search = (chosen.latents, *chosen.hidden, chosen.patch**2), chosen.states, chosen.search
    generator = torch.Generator().manual_seed(0)
    x = bars_images(n, generator, chosen.patch).to(device)
    model = TVAE(MLP(*sizes, generator=generator), Gaussian(0.1), Bernoulli(sizes[0])).to(device)
    optimizer = torch.optim.Adam(model.decoder.parameters(), lr=0.002, fused=True)
    states = States.random(n, S, sizes[0], generator).to(device)
    settings = {"search": search, "epochs": epochs, "batch_size": batch, "generator": generator}
    course = fit(model, x, states=states, optimizer=optimizer, **settings)
    ends = [epoch.seconds for epoch in course][1:]  # the first two compile and record
    seconds = median(b - a for a, b in zip(ends[:-1], ends[1:], strict=True))
    children = search.parents * search.children
    passes = n * (S + children + min(children, 16) + 3 * S)
    operations = 2 * passes * sum(a * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))
    moved = 2 * 4 * passes * sum(sizes)
    return {"seconds": seconds, "TFLOP/s": operations / seconds / 1e12, "GB/s": moved / seconds / 1e9}


def ceilings(device: torch.device, size: int) -> dict[str, float]:
    """What products of matrices of a size, and copies of one, reach."""

    def seconds(work: Callable[[], torch.Tensor], repeats: int = 5) -> float:
        work().flatten()[0].item()  # waits for it
        started = time.perf_counter()
        for _ in range(repeats):
            done = work()
        done.flatten()[0].item()
        return (time.perf_counter() - started) / repeats

    a = torch.rand(size, size, device=device)
    half = a.bfloat16()
    return {
        "TFLOP/s in float32": 2 * size**3 / seconds(lambda: a @ a) / 1e12,
        "TFLOP/s in bfloat16": 2 * size**3 / seconds(lambda: half @ half) / 1e12,
        "GB/s": 2 * a.numel() * 4 / seconds(a.clone) / 1e9,
    }


def on_device(name: str, n: int, batch: int, out: Path) -> None:
    """Measure a device, and write."""
    device = find_device(name)
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    epoch, most = epochs_of_the_paper(device, n, batch), ceilings(device, 8192 if device.type == "cuda" else 1024)
    rows = [(key, f"{value:.4g}") for found in (epoch, most) for key, value in found.items()]
    print(table([named, f"{n} data points, batches of {batch}"], rows))
    save(out, {"device": named, "data points": n, "batch": batch, "epoch": epoch, "ceilings": most})


def main() -> None:
    """Measure, predict, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--device", help="measure this one: cuda, cuda:1, cpu, ...")
    parser.add_argument("--points", type=int, default=60_025, help="data points for --device")
    parser.add_argument("--batch", type=int, default=2048, help="those of a step for --device")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.device:
        out = options.out or Path("benchmarks/results/device.json")
        on_device(options.device, options.points, options.batch, out)
        return
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
    out = options.out or Path("benchmarks/results/scale.json")
    save(out, {"one": one, "strong": strong, "weak": weak, "rows": rows, "predicted": forecast})


if __name__ == "__main__":
    main()
