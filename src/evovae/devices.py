"""Where work is done: on the CPU, or on a CUDA device."""

import os

import torch

CPU = torch.device("cpu")


class DeviceError(RuntimeError):
    """There is no such device."""


def device(name: str | None) -> torch.device:
    """The device of a name: "cpu" (as is None), "cuda", "cuda:1", ..., or "auto", which is "cuda" where there is one.

    Of several processes on a machine, those that ``torchrun`` started, each gets a CUDA device of its own for "cuda".

    Raises
    ------
    DeviceError
        If this machine, or this torch, does not have it.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    own = f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % max(count, 1)}"
    there = ["cpu", *(f"cuda:{i}" for i in range(count))]
    asked = {None: "cpu", "auto": own if count else "cpu", "cuda": own}.get(name, name)
    if asked not in there:
        raise DeviceError(f"device is {name!r}, but torch {torch.__version__} finds only {', '.join(there)} here")
    return torch.device(asked)
