"""Several processes that train one network together, as ``torchrun`` starts them.

Each process draws its own share of every batch; PyTorch's `DistributedDataParallel` averages the
gradients. Rank 0 paints phantoms, reads the clock, looks at the validation and writes; the others
follow its decisions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from tomochrome.errors import DeviceError


def rank() -> int:
    """Return the number of this process among those that train together: 0 if it is alone."""
    return int(os.environ.get("RANK", "0")) if processes() > 1 else 0


def processes() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True)
class Group:
    """The processes that train together.

    Attributes
    ----------
    rank
        Number of this one.
    size
        How many there are.
    device
        Where this one computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process decides and writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def agree(self, value: float) -> float:
        """Return the value that rank 0 gives."""
        if self.size == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(told, 0)
        return float(told)

    def mean(self, value: float) -> float:
        """Return the mean of the values of all processes."""
        if self.size == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return float(total) / self.size

    def spread(self, net: torch.nn.Module) -> torch.nn.Module:
        """Return what to train instead of a network, so that all processes share gradients."""
        return DistributedDataParallel(net) if self.size > 1 else net


@contextmanager
def group(device: torch.device) -> Iterator[Group]:
    """Join the processes that train together, for as long as the body lasts.

    Parameters
    ----------
    device
        Kind of device; of several GPUs each process takes the one of its ``LOCAL_RANK``.

    Raises
    ------
    DeviceError
        If the processes do not find each other.
    """
    if processes() == 1:
        yield Group(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise DeviceError(
            "the processes of this training did not find each other: start them with torchrun, "
            f"or unset WORLD_SIZE ({str(error).splitlines()[0]})"
        ) from error
    try:
        yield Group(rank(), processes(), device)
    finally:
        distributed.destroy_process_group()
