"""The one place that picks a computing device and the number of threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from tomochrome.errors import DeviceError, OptionError

if TYPE_CHECKING:
    import torch

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DEVICE_NAMES: tuple[str, ...] = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """Return the torch device called ``name``; ``"auto"`` prefers CUDA, then MPS, then the CPU.

    Raises
    ------
    OptionError
        If the name is not one of `DEVICE_NAMES`.
    DeviceError
        If the device was asked for by name and is not there.
    """
    if name not in DEVICE_NAMES:
        raise OptionError(f"unknown device '{name}': choose one of {', '.join(DEVICE_NAMES)}")
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    if not available[name]:
        raise DeviceError(
            f"the device '{name}' was asked for but this computer has none that torch can use; "
            "choose --device auto or cpu"
        )
    return torch.device(name)


def thread_count(threads: int | None = None) -> int:
    """Return the number of CPU threads to use: ``threads``, or all that this process may use.

    Raises
    ------
    OptionError
        If ``threads`` is less than 1.
    """
    if threads is not None:
        if threads < 1:
            raise OptionError(f"the number of threads must be at least 1, not {threads}")
        return threads
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def out_of_memory(error: BaseException) -> bool:
    """Whether torch or NumPy failed for want of memory."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # On the CPU and on MPS, torch raises a plain RuntimeError of which only the text tells.
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def free_memory() -> None:
    """Give back what torch keeps of a GPU's memory for later use."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
