"""Where and in which precision the models run."""

from __future__ import annotations

import os

import torch

ORDER = ("cuda", "npu", "mps", "cpu")
"""Devices in the order in which ``auto`` tries them."""

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class DeviceError(Exception):
    """A device or precision that this machine does not have; the message says what it has."""


def available() -> tuple[str, ...]:
    """Devices of this machine, best first."""
    return tuple(name for name in ORDER if _has(name))


def choose_device(name: str = "auto") -> torch.device:
    """The device called ``name``, or the best one for ``auto``. Raises ``DeviceError``."""
    devices = available()
    if name == "auto":
        return torch.device(devices[0])
    if name.split(":")[0] not in devices:
        raise DeviceError(f"device {name!r} is not available here; there is: {', '.join(devices)}")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision called ``name``. Raises ``DeviceError`` where the device cannot do it."""
    if name not in DTYPES:
        raise DeviceError(f"dtype {name!r} is unknown; there is: {', '.join(DTYPES)}")
    if device.type == "cpu" and name == "float16":
        raise DeviceError("float16 is slower than float32 on a CPU; use float32 or bfloat16")
    return DTYPES[name]


def _has(name: str) -> bool:
    if name == "cpu":
        return True
    if name == "mps":
        return torch.backends.mps.is_available()
    if name == "npu" and not hasattr(torch, "npu"):
        try:
            __import__("torch_npu")
        except ImportError:
            return False
    backend = getattr(torch, name, None)
    return bool(backend is not None and backend.is_available())


def set_cpu_threads(threads: int | None) -> int:
    """Use ``threads`` CPU threads for the models (all cores when ``None``); gives the number."""
    count = threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads
    if count:
        torch.set_num_threads(count)
    return torch.get_num_threads()
