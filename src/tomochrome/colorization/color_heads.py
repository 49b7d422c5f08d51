"""Heads that convert the channels of a color network to (a*, b*) and a confidence.

The confidence is the probability that the color is within `CLOSE` CIELAB units of the ground truth.
It is calibrated on held-out patients, by a temperature or as a table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tomochrome.color.convert import srgb_to_lab
from tomochrome.color.space import DELTA, TO_XYZ
from tomochrome.errors import ModelError

CLOSE: Final = 10.0
"""Distance in (a*, b*) below which a color is considered correct."""
AB_SCALE: Final = 128.0
"""Scale from the network's outputs (-1 to 1) to (a*, b*)."""
BIN_WIDTH: Final = 10
_LOG_SIGMA: Final = (-1.0, 4.5)  # of CIELAB units: 0.4 to 90
_CELL_WIDTH: Final = 4  # of (a*, b*) in a table of confidences
_CELLS: Final = 64  # along each axis


class ColorHead(ABC):
    """Converts network outputs to colors.

    Attributes
    ----------
    channels
        Required number of output channels of the network.
    temperature
        Values above 1 reduce the probabilities, values below 1 increase them.
    max_confidence
        The confidence where the network's own probability is 1: errors that its uncertainty does
        not contain are found on held-out patients.
    """

    channels: int
    temperature: float = 1.0
    max_confidence: float = 1.0

    @abstractmethod
    def colors(self, raw: torch.Tensor) -> torch.Tensor:
        """Return (a*, b*), float (n, 2, y, x), for the network's outputs (n, channels, y, x)."""

    def confidence(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the calibrated probability of a correct color, float (n, 1, y, x)."""
        return self.max_confidence * self.probability(raw)

    @abstractmethod
    def probability(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the probability of a correct color by the network alone, float (n, 1, y, x)."""


class RegressionHead(ColorHead):
    """Two channels are the color after an activation; the third is a learned variance.

    The third channel is the logarithm of the standard deviation, in CIELAB units, of an isotropic
    normal distribution around the color (A. Kendall, Y. Gal, "What uncertainties do we need",
    NeurIPS 2017).

    Parameters
    ----------
    squash
        ``"tanh"``, or ``"doubled-sigmoid"``: 2 / (1 + exp(-x)) - 1.
    """

    channels = 3

    def __init__(self, squash: str = "tanh") -> None:
        self.slope = {"tanh": 1.0, "doubled-sigmoid": 0.5}[squash]

    def colors(self, raw: torch.Tensor) -> torch.Tensor:
        """Return (a*, b*); see `ColorHead.colors`."""
        return AB_SCALE * torch.tanh(self.slope * raw[:, :2])  # doubled sigmoid: tanh(x / 2)

    def log_sigma(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the standard deviation in CIELAB units, (n, 1, y, x)."""
        return raw[:, 2:].clamp(*_LOG_SIGMA)

    def probability(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the probability of a correct color, from the Rayleigh distribution."""
        sigma = self.log_sigma(raw).exp() * self.temperature
        return 1.0 - torch.exp(-0.5 * (CLOSE / sigma).square())


class TableHead(ColorHead):
    """Head of a network without outputs for a confidence, which depends on the color alone.

    Attributes
    ----------
    rates
        The confidence in each cell of (a*, b*), float32 (cells, cells).
    """

    def __init__(self) -> None:
        self.rates = torch.full((_CELLS, _CELLS), 0.5)

    def probability(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the rate of the cell of each color."""
        return self.rates.to(raw.device)[self.cells(raw)].unsqueeze(1)

    def cells(self, raw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the indices of the cell of each color along a* and b*, int64 (n, y, x) each."""
        cells = (self.colors(raw) / _CELL_WIDTH).round().long() + _CELLS // 2
        return cells.clamp(0, _CELLS - 1).unbind(1)

    def fit(self, raw: torch.Tensor, right: torch.Tensor) -> None:
        """Set the rates to the share of correct colors in each cell.

        Cells with few pixels tend to the share in all of them.

        Parameters
        ----------
        raw
            Network outputs (1, channels, pixels, 1).
        right
            Whether each pixel's color is close to the truth, bool (pixels,).
        """
        a, b = (part.flatten() for part in self.cells(raw))
        count = torch.zeros(_CELLS**2).index_add_(0, a * _CELLS + b, torch.ones(len(right)))
        hits = torch.zeros(_CELLS**2).index_add_(0, a * _CELLS + b, right.float())
        prior = 20.0
        rates = (hits + prior * right.float().mean()) / (count + prior)
        self.rates = rates.reshape(_CELLS, _CELLS)

    def load(self, rates: NDArray[np.generic], model: str) -> None:
        """Set the rates to those stored in a bundle.

        Raises
        ------
        ModelError
            If they are not shares of each cell.
        """
        stored = torch.from_numpy(np.asarray(rates, np.float32))
        if stored.shape != self.rates.shape or not bool(((stored >= 0) & (stored <= 1)).all()):
            raise ModelError(
                f"the table of confidences of the model '{model}' is invalid; reinstall the model"
            )
        self.rates = stored


class PlainHead(TableHead):
    """Two channels are the color, scaled by tanh."""

    channels = 2

    def colors(self, raw: torch.Tensor) -> torch.Tensor:
        """Return (a*, b*); see `ColorHead.colors`."""
        return AB_SCALE * torch.tanh(raw)


class RGBHead(TableHead):
    """Three channels are sRGB after the logistic function; its lightness is not used."""

    channels = 3

    def rgb(self, raw: torch.Tensor) -> torch.Tensor:
        """Return sRGB from 0 to 1, float (n, 3, y, x)."""
        return torch.sigmoid(raw)

    def colors(self, raw: torch.Tensor) -> torch.Tensor:
        """Return (a*, b*); see `ColorHead.colors`."""
        rgb = self.rgb(raw)
        linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        xyz = torch.einsum("kc,ncyx->nkyx", torch.from_numpy(TO_XYZ).to(raw), linear)
        curved = torch.where(
            xyz > DELTA**3, xyz.clamp(min=DELTA**3) ** (1 / 3), xyz / (3 * DELTA**2) + 4 / 29
        )
        x, y, z = curved.unbind(1)
        return torch.stack([500 * (x - y), 200 * (y - z)], dim=1)


class BinsHead(ColorHead):
    """A logit for each bin of (a*, b*); the color is the annealed mean of their centers.

    Zhang et al., ECCV 2016, equation 5.

    Parameters
    ----------
    annealing
        Temperature of the annealed mean: 1 is the mean, near 0 the mode.
    """

    def __init__(self, annealing: float = 0.38) -> None:
        self.annealing = annealing
        self.centers = torch.from_numpy(color_bins())
        self.channels = len(self.centers)

    def colors(self, raw: torch.Tensor) -> torch.Tensor:
        """Return (a*, b*); see `ColorHead.colors`."""
        share = torch.softmax(raw / self.annealing, dim=1)
        return torch.einsum("nqyx,qc->ncyx", share, self.centers.to(share))

    def probability(self, raw: torch.Tensor) -> torch.Tensor:
        """Return the total probability of the bins that are close to the color."""
        centers = self.centers.to(raw)
        distance = torch.cdist(self.colors(raw).permute(0, 2, 3, 1), centers)
        share = torch.softmax(raw / self.temperature, dim=1).permute(0, 2, 3, 1)
        return (share * (distance < CLOSE)).sum(-1).unsqueeze(1).clamp(0, 1)


@cache
def color_bins() -> NDArray[np.float32]:
    """Return the centers of the (a*, b*) bins, `BIN_WIDTH` wide, within the sRGB gamut.

    Returns
    -------
    ndarray
        float32 (bins, 2), sorted by a*, then b*.
    """
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    ab = srgb_to_lab(rgb.reshape(1, -1, 3))[0, :, 1:]
    bins = np.unique(np.rint(np.asarray(ab) / BIN_WIDTH).astype(int), axis=0)
    return (bins * BIN_WIDTH).astype(np.float32)


def soft_bins(ab: torch.Tensor, neighbors: int = 5, sigma: float = 5.0) -> torch.Tensor:
    """Return a soft encoding of colors: Gaussian weights of the nearest bins.

    Parameters
    ----------
    ab
        Colors (..., 2).
    neighbors
        Number of bins with nonzero weight.
    sigma
        Standard deviation of the weights in CIELAB units.

    Returns
    -------
    torch.Tensor
        float32 (..., bins), sums to 1.
    """
    distance = torch.cdist(ab.float(), torch.from_numpy(color_bins()).to(ab.device))
    near, which = distance.topk(neighbors, dim=-1, largest=False)
    weight = functional.softmax(-0.5 * (near / sigma).square(), dim=-1)
    return torch.zeros_like(distance).scatter_(-1, which, weight)


def nearest_bin(ab: torch.Tensor) -> torch.Tensor:
    """Return the index of the bin nearest to each color (..., 2), int64 (...)."""
    return torch.cdist(ab.float(), torch.from_numpy(color_bins()).to(ab.device)).argmin(-1)


def make_head(config: Mapping[str, Any]) -> ColorHead:
    """Return the head described by a bundle's metadata or a training configuration.

    Parameters
    ----------
    config
        ``{"name": "tanh"}`` or ``{"name": "doubled-sigmoid"}``, both with a learned variance;
        ``{"name": "plain-tanh"}``, ``{"name": "rgb"}``, or ``{"name": "bins"}``, the last
        optionally with ``"annealing"`` (default 0.38).

    Raises
    ------
    ModelError
        If the name is unknown, or the annealing is not a number from 0.01 to 10.
    """
    name, annealing = config.get("name"), config.get("annealing", 0.38)
    if name in ("tanh", "doubled-sigmoid"):
        return RegressionHead(str(name))
    if name in ("plain-tanh", "rgb"):
        return PlainHead() if name == "plain-tanh" else RGBHead()
    if name != "bins":
        raise ModelError(
            f"the color head {name!r} is unknown; it must be tanh, doubled-sigmoid, plain-tanh, "
            "rgb or bins"
        )
    if not isinstance(annealing, int | float) or not 0.01 <= annealing <= 10:
        raise ModelError(f"the color head's 'annealing' must be from 0.01 to 10, not {annealing!r}")
    return BinsHead(float(annealing))
