"""A network on a device: batches of slices in, probabilities out, and what to do without memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard, load_state
from tomochrome.colorization.cards import temperature
from tomochrome.errors import ModelError, TomochromeError
from tomochrome.runtime import CancelToken, check, choose_device, free_memory, out_of_memory
from tomochrome.tissue import N_TISSUES

if TYPE_CHECKING:
    import torch

    from tomochrome.colorization.inputs import InputGrid, InputSpec

EXTRA = ("hu_likelihood",)  #: tensors in the weights that are not the network's
DEFAULT_BATCH = {"cpu": 4, "mps": 8, "cuda": 16}


class Runner:
    """The network of a bundle, ready on a device.

    Parameters
    ----------
    card
        The bundle.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    batch
        Slices read at once; by default what suits the device.

    Raises
    ------
    ModelError
        If the weights do not fit the network that the metadata describes.
    DeviceError, OptionError
        If the device is not there or unknown.
    """

    def __init__(self, card: ModelCard, *, device: str = "auto", batch: int | None = None) -> None:
        from tomochrome.colorization.network import size_multiple

        self.card = card
        self.device = choose_device(device)
        self.batch = batch or DEFAULT_BATCH.get(self.device.type, 4)
        state = load_state(card)
        self.extra = {name: state.pop(name).numpy() for name in EXTRA if name in state}
        self.module = load_network(card, state)
        self.multiple = size_multiple(_network_config(card))
        self.temperature = temperature(card)
        self.warnings: tuple[str, ...] = ()
        self._place()

    @property
    def device_name(self) -> str:
        """Device that the last slices ran on, for example ``"cuda"``."""
        return self.device.type

    def planes(
        self,
        grid: InputGrid,
        spec: InputSpec,
        crop: tuple[slice, slice],
        *,
        cancel: CancelToken | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Yield the tissue probabilities of each slice of the grid, in order.

        Yields
        ------
        ndarray
            float32 (h, w, N_TISSUES) of the crop; each pixel sums to 1.

        Raises
        ------
        Cancelled
            If the user stopped it.
        """
        done, total = 0, len(grid.hu)
        while done < total:
            check(cancel)
            indices = range(done, min(done + self.batch, total))
            images = self._inputs(grid, spec, crop, indices)
            result = self._run(images)
            if result is None:
                continue
            h, w = crop[0].stop - crop[0].start, crop[1].stop - crop[1].start
            for plane in result:
                yield np.ascontiguousarray(plane[:h, :w])
            done = indices.stop

    def _inputs(
        self, grid: InputGrid, spec: InputSpec, crop: tuple[slice, slice], indices: range
    ) -> NDArray[np.float32]:
        """Input batch of the crop, at least two strides wide (norms need more than one pixel)."""
        from dataclasses import replace

        from tomochrome.colorization.inputs import input_batch

        reach = max(abs(c.offset_mm) for c in spec.channels) / grid.slice_mm
        low = max(0, indices.start - int(np.ceil(reach)) - 1)
        high = min(len(grid.hu), indices.stop + int(np.ceil(reach)) + 1)
        part = replace(
            grid,
            hu=np.ascontiguousarray(grid.hu[low:high, crop[0], crop[1]]),
            positions=grid.positions[low:high],
        )
        images = input_batch(part, np.asarray(indices) - low, spec, self.multiple)
        short = [max(0, 2 * self.multiple - n) for n in images.shape[2:]]
        if any(short):
            images = np.pad(images, ((0, 0), (0, 0), (0, short[0]), (0, short[1])))
        return images

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Probabilities (n, h, w, N_TISSUES); None if memory ran out and smaller is to be tried."""
        try:
            return self._forward(images)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        if self.batch > 1:
            self.batch = max(1, min(self.batch, len(images)) // 2)
        elif self.device.type != "cpu":
            self._fall_back()
        else:
            raise TomochromeError(
                "there is not enough memory to color even one slice; close other programs "
                "or resample the volume to larger pixels"
            )
        free_memory()
        return None

    def _forward(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.device.type == "cuda":
                flags = torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True
                )
                stack.enter_context(flags)
            if self.half is torch.float16:
                stack.enter_context(torch.autocast(self.device.type, dtype=self.half))
            logits = self.module(self._upload(images)).permute(0, 2, 3, 1)
            logits = logits.float().div_(self.temperature)
            result: NDArray[np.float32] = torch.softmax(logits, dim=-1).cpu().numpy()
            return result

    def _upload(self, images: NDArray[np.float32]) -> torch.Tensor:
        import torch

        batch = torch.from_numpy(images).to(self.device, self._number())
        return batch.contiguous(memory_format=torch.channels_last)

    def _number(self) -> torch.dtype:
        """Return the number format of weights and input.

        bfloat16 has the range of float32: all of the network can be in it, which spares
        autocast's casts. Narrow float16 needs autocast's care.
        """
        import torch

        return torch.bfloat16 if self.half is torch.bfloat16 else torch.float32

    def _place(self) -> None:
        """Put the network on the device in the number format that is fastest there."""
        import torch

        self.module = self.module.to(self.device)
        self.module = self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.half = half_format(self.device)
        self.module.to(self._number())

    def _fall_back(self) -> None:
        """Leave a device without memory for the CPU, and say so."""
        import torch

        self.warnings = (
            *self.warnings,
            f"the device '{self.device.type}' ran out of memory, so the CPU colored the rest",
        )
        self.device = torch.device("cpu")
        self.batch = 1
        self._place()


def half_format(device: torch.device) -> torch.dtype | None:
    """Return the 16-bit number format the device computes faster in, or None for float32."""
    import torch

    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and _cpu_has_bfloat16():
        return torch.bfloat16
    return None


def load_network(card: ModelCard, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Build the network a bundle describes and load its weights, for inference.

    Raises
    ------
    ModelError
        If the weights are not those of the network.
    """
    from tomochrome.colorization.network import build_network

    config = _network_config(card)
    if config.get("out_channels") != N_TISSUES:
        raise ModelError(
            f"the network of the model '{card.name}' tells {config.get('out_channels')!r} tissues "
            f"apart where this version has {N_TISSUES}; use a model made for it"
        )
    network = build_network(config)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"the weights of the model '{card.name}' are not those of the network that its "
            "metadata describes; install the model again"
        ) from error
    return fold_norms(network.eval().requires_grad_(False))


def fold_norms(network: torch.nn.Module) -> torch.nn.Module:
    """Multiply the batch norms that follow a convolution into it: the same result with less work.

    Looks for MONAI's blocks of a convolution ``conv`` and a sequence ``adn`` that begins with
    the norm ``N``. The network must be in evaluation mode; it is changed and returned.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for block in network.modules():
        conv, rest = getattr(block, "conv", None), getattr(block, "adn", None)
        if not isinstance(rest, nn.Sequential) or next(iter(rest._modules), "") != "N":
            continue
        norm = rest._modules["N"]
        if isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
            transposed = isinstance(conv, nn.ConvTranspose2d)
            block.conv = fuse_conv_bn_eval(conv, norm, transpose=transposed)
            rest._modules["N"] = nn.Identity()
            for part in rest:
                if isinstance(part, nn.ReLU | nn.LeakyReLU):
                    part.inplace = True  # what a convolution just made is nobody else's
    return network


def _network_config(card: ModelCard) -> dict[str, Any]:
    config = card.metadata.get("network")
    if not isinstance(config, dict):
        raise ModelError(f"the metadata of the model '{card.name}' describes no network")
    return config


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; emulated it would only be slower."""
    import torch

    probes: tuple[str, ...] = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    found: list[Callable[[], bool]] = [
        probe for name in probes if (probe := getattr(torch.cpu, name, None)) is not None
    ]
    return any(probe() for probe in found)
