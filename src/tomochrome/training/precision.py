"""Number format and memory layout in training: bfloat16 where the device computes in it.

CPUs without instructions for bfloat16 emulate it, several times as slowly as float32.
"""

from __future__ import annotations

import torch

from tomochrome.colorization.torch_predictor import half_format


def computes_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 rather than emulating it."""
    return device.type != "cpu" or half_format(device) is not None


def mixed_precision(device: torch.device) -> torch.autocast:
    """Return a context that computes in bfloat16 if the device does."""
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_bfloat16(device))


def place(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Move a network to a device, in the memory layout for its number format.

    In float32 the layout is contiguous: oneDNN's weight gradients of channels-last convolutions
    with a stride and a kernel of one pixel write beyond their buffer (torch 2.13).
    """
    network = network.to(device)
    if computes_bfloat16(device):
        return network
    return network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def arranged(images: torch.Tensor) -> torch.Tensor:
    """Return images (n, channels, [z,] y, x) in the memory layout of a network; see `place`."""
    if not computes_bfloat16(images.device):
        return images.contiguous()
    deep = images.ndim == 5
    return images.contiguous(memory_format=torch.channels_last_3d if deep else torch.channels_last)
