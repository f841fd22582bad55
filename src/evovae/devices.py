"""Where work is done: on the CPU, or on a CUDA device."""

import os

import torch

CPU = torch.device("cpu")


class DeviceError(RuntimeError):
    """There is no such device."""


def find_device(name: str | None) -> torch.device:
    """The device of a name: "cpu" (as is None), "cuda", "cuda:1", ..., or "auto", which is "cuda" where there is one.

    Of several processes on a machine, those that ``torchrun`` started, each has a CUDA device of its own for "cuda".

    Raises
    ------
    DeviceError
        If this machine, or this torch, does not have it, or fewer of them than processes.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    own = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
    there = ["cpu", *(f"cuda:{i}" for i in range(count))]
    asked = {None: "cpu", "auto": own if count else "cpu", "cuda": own}.get(name, name)
    if asked not in there:
        raise DeviceError(f"device is {name!r}, but torch {torch.__version__} finds only {', '.join(there)} here")
    return torch.device(asked)


def device_memory(device: torch.device) -> float:
    """What may be used of memory of its own, half of what is free, in bytes; the CPU has none of its own."""
    return torch.cuda.mem_get_info(device)[0] / 2 if device.type == "cuda" else float("inf")
