"""Selection of the computing device, and limits on the CPU threads of kernels and torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral
from typing import TYPE_CHECKING, Literal

from tomochrome.errors import DeviceError, OptionError

if TYPE_CHECKING:
    import torch

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
DEVICE_NAMES: tuple[str, ...] = ("auto", "cpu", "cuda", "mps")
_limit: ContextVar[int] = ContextVar("limit", default=sys.maxsize)  # threads of compiled kernels


def choose_device(name: str = "auto") -> torch.device:
    """Return the torch device called ``name``; ``"auto"`` prefers CUDA, then MPS, then the CPU.

    Raises
    ------
    OptionError
        If the name is not one of `DEVICE_NAMES`.
    DeviceError
        If the device was requested by name and is not available.
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
            f"the device '{name}' was requested, but torch finds none on this computer; "
            "choose --device auto or cpu"
        )
    return torch.device(name)


def thread_count(threads: int | None = None) -> int:
    """Return the number of CPU threads to use: ``threads``, or all available to this process.

    Raises
    ------
    OptionError
        If ``threads`` is less than 1.
    """
    if threads is not None:
        require_count(threads, "the number of threads")
        return int(threads)
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def require_count(value: object, what: str) -> None:
    """Raise `OptionError` unless a value is a whole number of at least 1."""
    if not isinstance(value, Integral) or value < 1:
        raise OptionError(f"{what} must be a whole number of at least 1, not {value!r}")


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that torch or NumPy ran out of memory."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # On the CPU and on MPS, torch raises a plain RuntimeError; only its text identifies it.
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def free_memory() -> None:
    """Release the GPU memory that torch caches."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def compute_threads(threads: int | None = None) -> Iterator[int]:
    """Limit kernels, and torch if it is already imported, to ``threads``, until the block ends.

    Without ``threads``, torch's default is kept.

    Yields
    ------
    int
        The number of threads.

    Raises
    ------
    OptionError
        If ``threads`` is less than 1.
    """
    count = thread_count(threads)
    before = _limit.get()
    _limit.set(count)
    try:
        with torch_threads(None if threads is None else count):
            yield count
    finally:
        _limit.set(before)


def kernel_threads() -> int:
    """Return the number of threads of compiled kernels, as `compute_threads` limits it.

    `numba.get_num_threads` would start Numba's own threads, which nothing here uses, and make
    OpenMP, and torch with it, use as many, whatever ``OMP_NUM_THREADS`` says.
    """
    from numba import config

    return min(_limit.get(), int(config.NUMBA_NUM_THREADS))


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Limit torch, if it is already imported, to ``count`` CPU threads, and restore it on exit.

    Between two operations torch's threads busy-wait on their cores (OpenMP), which slows down
    kernels that run in threads of their own (`in_chunks`).
    """
    torch = sys.modules.get("torch") if count is not None else None
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
