"""Networks of torch on a device: number formats, memory that runs out, weights of bundles."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tomochrome.bundles import ModelCard, load_state
from tomochrome.colorization.grid_predictor import GridPredictor
from tomochrome.colorization.inputs import InputSpec
from tomochrome.errors import ModelError, TomochromeError
from tomochrome.notices import Notice
from tomochrome.runtime import choose_device, free_memory, out_of_memory
from tomochrome.tissue import N_TISSUES

if TYPE_CHECKING:
    import torch

DEFAULT_BATCH = {"cpu": 4, "mps": 8, "cuda": 16}


class TorchPredictor(GridPredictor):
    """A `GridPredictor` that is the network of a bundle: write `head`.

    The metadata describe the network (`network.build_network`) and what it reads
    (`inputs.InputSpec`).

    Attributes
    ----------
    arrays
        Names of arrays in the weights that are not the network's.
    extra
        Those of them that the weights hold.

    Raises
    ------
    ModelError
        If the weights do not fit the network that the metadata describe.
    DeviceError, OptionError
        If the device is not there or unknown.
    """

    arrays: ClassVar[tuple[str, ...]] = ()

    def __init__(self, card: ModelCard, *, device: str = "auto", batch: int | None = None) -> None:
        from tomochrome.colorization.network import size_multiple

        self._device = choose_device(device)
        self.batch = DEFAULT_BATCH.get(self._device.type, 4)
        super().__init__(card, device=device, batch=batch)
        self.reads = InputSpec.from_dict(card.metadata.get("input") or {})
        state = load_state(card)
        self.extra = {name: state.pop(name).numpy() for name in self.arrays if name in state}
        self.module = load_network(card, state, N_TISSUES if self.names_tissues else None)
        self.multiple = size_multiple(_network_config(card))
        if any(size % self.multiple for size in self.reads.block or ()):
            raise ModelError(
                f"the blocks of the model '{card.name}' are no multiples of {self.multiple} voxels"
            )
        self._place()

    @abstractmethod
    def head(self, raw: torch.Tensor) -> torch.Tensor:
        """Turn what the network says, (n, channels, [z,] y, x), into `predict`'s values."""

    @property
    def device(self) -> str:  # type: ignore[override]
        """Device that the last slices ran on, for example ``"cuda"``."""
        return str(self._device.type)

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network, a smaller part of the batch at a time where memory runs out."""
        results: list[NDArray[np.float32]] = []
        done = 0
        while done < len(inputs):
            result = self._run(inputs[done : done + self.batch])
            if result is not None:
                results.append(result)
                done += len(result)
        return np.concatenate(results) if len(results) > 1 else results[0]

    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Values of `predict`; None if memory ran out and smaller is to be tried."""
        try:
            return self._forward(images)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        if self.batch > 1:
            self.batch = max(1, min(self.batch, len(images)) // 2)
        elif self._device.type != "cpu":
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

        bfloat16 has the range of float32: all of the network can be in it, which spares
        autocast's casts. Narrow float16 needs autocast's care.
        """
        import torch

        return torch.bfloat16 if self.half is torch.bfloat16 else torch.float32

    def _place(self) -> None:
        """Put the network on the device in the number format that is fastest there."""
        self.module = self.module.to(self._device)
        self.module = self.module.to(memory_format=self._memory_format())  # type: ignore[call-overload]
        self.half = half_format(self._device)
        self.module.to(self._number())

    def _fall_back(self) -> None:
        """Leave a device without memory for the CPU, and say so."""
        import torch

        text = f"the device '{self._device.type}' ran out of memory, so the CPU colored the rest"
        self.warnings = (*self.warnings, Notice("device", "info", text))
        self._device = torch.device("cpu")
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


def load_network(
    card: ModelCard, state: dict[str, torch.Tensor], outputs: int | None = None
) -> torch.nn.Module:
    """Build the network a bundle describes and load its weights, for inference.

    Parameters
    ----------
    card, state
        The bundle and its weights.
    outputs
        Number of channels that the network must return, if that matters.

    Raises
    ------
    ModelError
        If the weights are not those of the network.
    """
    from tomochrome.colorization.network import build_network

    config = _network_config(card)
    if outputs is not None and config.get("out_channels") != outputs:
        raise ModelError(
            f"the network of the model '{card.name}' tells {config.get('out_channels')!r} tissues "
            f"apart where this version has {outputs}; use a model made for it"
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
        convolutions = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
        norms = nn.BatchNorm2d | nn.BatchNorm3d
        if isinstance(norm, norms) and isinstance(conv, convolutions):
            transposed = isinstance(conv, nn.ConvTranspose2d | nn.ConvTranspose3d)
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
