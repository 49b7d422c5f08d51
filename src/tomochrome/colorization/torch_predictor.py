"""Inference with torch networks: weights, devices, number formats, out-of-memory handling."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard, fitted, load_state
from tomochrome.colorization.grid_predictor import GridPredictor
from tomochrome.colorization.inputs import InputSpec
from tomochrome.errors import ModelError, TomochromeError
from tomochrome.notices import Notice
from tomochrome.runtime import choose_device, free_memory, out_of_memory
from tomochrome.runtime.device import torch_threads
from tomochrome.tissue import N_TISSUES

if TYPE_CHECKING:
    import torch

DEFAULT_BATCH = {"cpu": 4, "mps": 8, "cuda": 16}


class TorchPredictor(GridPredictor):
    """A `GridPredictor` that runs the network of a bundle. Subclasses define `head`.

    The metadata describe the network (`network_builder.build_network`) and its input
    (`inputs.InputSpec`).

    Attributes
    ----------
    arrays
        Names of optional arrays in the weights that are not part of the network.
    extra
        Those arrays that the weights contain.

    Raises
    ------
    ModelError
        If the weights do not match the network described by the metadata.
    DeviceError, OptionError
        If the device is unavailable or unknown.
    """

    arrays: ClassVar[tuple[str, ...]] = ()

    def __init__(self, card: ModelCard, *, device: str = "auto", batch: int | None = None) -> None:
        from tomochrome.colorization.network_builder import size_multiple

        self._device = choose_device(device)
        self.batch = DEFAULT_BATCH.get(self._device.type, 4)
        super().__init__(card, device=device, batch=batch)
        self.reads = InputSpec.from_dict(card.metadata.get("input") or {})
        with torch_threads(1):  # waking others takes longer than hundreds of small operations
            state = load_state(card)
            self.extra = {name: state.pop(name).numpy() for name in self.arrays if name in state}
            self.module = load_network(card, state, N_TISSUES if self.names_tissues else None)
            self._place()
        self.multiple = size_multiple(_network_config(card))
        if any(size % self.multiple for size in self.reads.block or ()):
            raise ModelError(
                f"the block size of the model '{card.name}' is not a multiple of "
                f"{self.multiple} voxels"
            )

    @abstractmethod
    def head(self, raw: torch.Tensor) -> torch.Tensor:
        """Convert network outputs (n, channels, [z,] y, x) to the values of `predict`."""

    @property
    def device(self) -> str:  # type: ignore[override]
        """Device of the last batch, for example ``"cuda"``."""
        return str(self._device.type)

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network, in smaller batches if memory is insufficient."""
        results: list[NDArray[np.float32]] = []
        done = 0
        while done < len(inputs):
            result = self._run(inputs[done : done + self.batch])
            if result is not None:
                results.append(result)
                done += len(result)
        return np.concatenate(results) if len(results) > 1 else results[0]

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the values of `predict`; None after running out of memory, to retry smaller."""
        try:
            return self._forward(images)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        if self.batch > 1:
            self.batch = max(1, min(self.batch, len(images)) // 2)
        elif self._device.type != "cpu":
            import torch

            text = (
                f"the device '{self._device.type}' ran out of memory, so the CPU colored the rest"
            )
            self.warnings = (*self.warnings, Notice("device", "info", text))
            self._device, self.batch = torch.device("cpu"), 1
            self._place()
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
            if self._device.type == "cuda":
                flags = torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True
                )
                stack.enter_context(flags)
            if self.half is torch.float16:
                stack.enter_context(torch.autocast(self._device.type, dtype=self.half))
            result: NDArray[np.float32] = self.head(self.module(self._upload(images))).cpu().numpy()
            return result

    def _upload(self, images: NDArray[np.float32]) -> torch.Tensor:
        import torch

        batch = torch.from_numpy(images).to(self._device, self._number())
        return batch.contiguous(memory_format=self._memory_format())

    def _memory_format(self) -> torch.memory_format:
        import torch

        return torch.channels_last if self.reads.block is None else torch.channels_last_3d

    def _number(self) -> torch.dtype:
        """Return the number format of weights and input.

        With bfloat16, which has the range of float32, the entire network is converted, which
        avoids autocast's casts. float16 requires autocast.
        """
        import torch

        return torch.bfloat16 if self.half is torch.bfloat16 else torch.float32

    def _place(self) -> None:
        """Move the network to the device in the fastest number format there."""
        self.module = self.module.to(self._device)
        self.module = self.module.to(memory_format=self._memory_format())  # type: ignore[call-overload]
        self.half = half_format(self._device)
        self.module.to(self._number())


def half_format(device: torch.device) -> torch.dtype | None:
    """Return the 16-bit number format that is faster on the device, or None for float32."""
    import torch

    if device.type == "cuda":
        return torch.float16
    if device.type == "cpu" and _cpu_has_bfloat16():
        return torch.bfloat16
    return None


def load_network(
    card: ModelCard, state: dict[str, torch.Tensor], outputs: int | None = None
) -> torch.nn.Module:
    """Build the network of a bundle and load its weights, for inference.

    Parameters
    ----------
    card, state
        The bundle and its weights.
    outputs
        Required number of output channels, if any.

    Raises
    ------
    ModelError
        If the weights do not match the network.
    """
    from tomochrome.colorization.network_builder import build_network

    config = _network_config(card)
    if outputs is not None and config.get("out_channels") != outputs:
        raise ModelError(
            f"the network of the model '{card.name}' has {config.get('out_channels')!r} tissues, "
            f"but this version uses {outputs}; use a model trained for this version"
        )
    return fold_norms(fitted(build_network(config), state, card))


def fold_norms(network: torch.nn.Module) -> torch.nn.Module:
    """Fuse batch normalization layers into the preceding convolutions, to save computation.

    Finds MONAI's blocks of a convolution ``conv`` and a sequence ``adn`` that begins with the
    normalization ``N``. The network must be in evaluation mode; it is modified in place.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for block in network.modules():
        conv, rest = getattr(block, "conv", None), getattr(block, "adn", None)
        if not isinstance(rest, nn.Sequential) or next(iter(rest._modules), "") != "N":
            continue
        norm = rest._modules["N"]
        convolutions = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
        norms = nn.BatchNorm2d | nn.BatchNorm3d
        if isinstance(norm, norms) and isinstance(conv, convolutions):
            transposed = isinstance(conv, nn.ConvTranspose2d | nn.ConvTranspose3d)
            block.conv = fuse_conv_bn_eval(conv, norm, transpose=transposed)
            rest._modules["N"] = nn.Identity()
            for part in rest:
                if isinstance(part, nn.ReLU | nn.LeakyReLU):
                    part.inplace = True  # nothing else uses the output of the convolution
    return network


def _network_config(card: ModelCard) -> dict[str, Any]:
    config = card.metadata.get("network")
    if not isinstance(config, dict):
        raise ModelError(f"the metadata of the model '{card.name}' has no network")
    return config


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU supports bfloat16 in hardware; emulation would be slower than float32."""
    import torch

    names: tuple[str, ...] = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    probes: list[Callable[[], bool]] = [
        probe for name in names if (probe := getattr(torch.cpu, name, None)) is not None
    ]
    return any(probe() for probe in probes)
