"""Where work is done: on the CPU, or on a CUDA device."""

import os

import torch

CPU = torch.device("cpu")


class DeviceError(RuntimeError):
    """There is no such device."""


def find_device(name: str | None) -> torch.device:
    """The device of a name.

    Where several processes were started on a machine by ``torchrun``, "cuda" is another CUDA device for each of them.

    Parameters
    ----------
    name
        "cpu" (as is None), "cuda", "cuda:1", ..., or "auto", which is "cuda" where there is one, else "cpu".

    Returns
    -------
    torch.device
        A device that is there.

    Raises
    ------
    DeviceError
        If this machine, or this torch, does not have it, or has fewer of them than there are processes.

    Examples
    --------
    >>> from evovae.devices import find_device
    >>> find_device("cpu")
    device(type='cpu')
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    own = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
    there = ["cpu", *(f"cuda:{i}" for i in range(count))]
    asked = {None: "cpu", "auto": own if count else "cpu", "cuda": own}.get(name, name)
    if asked not in there:
        raise DeviceError(f"device is {name!r}, but torch {torch.__version__} finds only {', '.join(there)} here")
    return torch.device(asked)


def device_memory(device: torch.device) -> float:
    """How much of a device's own memory may be used: half of what is free.

    Parameters
    ----------
    device
        The device.

    Returns
    -------
    float
        In bytes; infinite for the CPU, which has no memory of its own.
    """
    return torch.cuda.mem_get_info(device)[0] / 2 if device.type == "cuda" else float("inf")
