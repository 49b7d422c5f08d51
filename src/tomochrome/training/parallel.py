"""Distributed training: several processes, started by ``torchrun``, train one network.

Each process draws its share of every batch; PyTorch's `DistributedDataParallel` averages the
gradients. Rank 0 generates phantoms, checks the time budget, validates and writes files; the
others follow its decisions.
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
    """Return the rank of this process; 0 without distributed training."""
    return int(os.environ.get("RANK", "0")) if processes() > 1 else 0


def processes() -> int:
    """Return the number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True)
class Group:
    """The process group of a training.

    Attributes
    ----------
    rank
        Rank of this process.
    size
        Number of processes.
    device
        Device of this process.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process makes the decisions and writes the files."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            distributed.barrier()

    def broadcast(self, value: float) -> float:
        """Return the value of rank 0."""
        if self.size == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(tensor, 0)
        return float(tensor)

    def mean(self, value: float) -> float:
        """Return the mean of the values of all processes."""
        if self.size == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return float(total) / self.size

    def wrap(self, net: torch.nn.Module) -> torch.nn.Module:
        """Return the network, wrapped so that the processes average its gradients."""
        return DistributedDataParallel(net) if self.size > 1 else net


@contextmanager
def group(device: torch.device) -> Iterator[Group]:
    """Join the process group while the body runs.

    Parameters
    ----------
    device
        Kind of device; on several GPUs each process uses the one of its ``LOCAL_RANK``.

    Raises
    ------
    DeviceError
        If the processes cannot connect.
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
            "the processes of this training cannot connect: start them with torchrun, "
            f"or unset WORLD_SIZE ({str(error).splitlines()[0]})"
        ) from error
    try:
        yield Group(rank(), processes(), device)
    finally:
        distributed.destroy_process_group()
