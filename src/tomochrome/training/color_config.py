"""Configurations of trainings of networks that predict color."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from tomochrome.colorization.color_heads import make_head
from tomochrome.colorization.inputs import Channel, InputSpec
from tomochrome.colorization.network_builder import size_multiple
from tomochrome.errors import ModelError
from tomochrome.training.config import (
    RULES,
    Millimeters,
    ModelName,
    PhantomPlan,
    Share,
    TrainingConfig,
    check_shape,
)

Kind = Literal["palette", "sections", "pairs", "teacher"]
"""Kinds of samples of the source ``mixture``."""


def _shares() -> dict[Kind, float]:
    return {"palette": 0.5, "sections": 0.25, "pairs": 0.05, "teacher": 0.2}


class PhotographPlan(BaseModel):
    """A second run, in which a copy of the trained weights learns photographs of sections alone.

    Parameters
    ----------
    share
        Its duration as a share of the first run's.
    body_pixels, crop
        As in `ColorConfig`; its samples are that much larger than those of the first run.
    rebalancing
        As in `ColorConfig`; None for that of the first run.
    perceptual
        Whether the loss is the color difference as seen, in which a difference between saturated
        colors counts less, instead of the loss of the first run.
    """

    model_config = RULES

    share: Annotated[float, Field(gt=0, le=4)]
    body_pixels: PositiveInt = 320
    crop: tuple[int, int] | None = None
    rebalancing: Share | None = None
    perceptual: bool = False


class ColorConfig(TrainingConfig):
    """One training run of a network that predicts color.

    Parameters
    ----------
    shape
        Height and width of a sample in pixels.
    pixel_mm
        Pixel size in mm.
    windows
        Center and width in HU of each luminance channel.
    head
        The color head that decodes the outputs, see `color_heads.make_head`.
    variance_weight
        Weight of the likelihood of the learned variance in the loss.
    rebalancing
        Rebalancing of the loss by the frequency of color bins: 0 for equal weights, 1 for inverse
        frequency (Zhang et al. 2016); None for 0.5 with color bins, else 0.
    grey_levels
        Number of grey levels that the input is quantized to by median cut; None for no
        quantization.
    real_share
        Share of samples from real labelled CT if there is a data folder.
    source
        ``"palette"``: tissues of phantoms and labelled CT in the palette ``natural``;
        ``"photographs"``: pairs of CT and color sections in the data folder (see
        `tomochrome.training.section_pairs`), imported first if the folder has Visible Human files
        or photographs; ``"mixture"``: the first, and the real data of
        `tomochrome.training.color_data`.
    shares
        For ``"mixture"``, relative share of each kind of sample: ``palette``; ``sections``: grey
        photographs; ``pairs``: CT in the plane of photographs; ``teacher``: unlabelled CT in the
        colors of the teacher.
    teacher
        Model whose colors unlabelled CT gets.
    start
        Model with the initial weights; layers that it lacks start at random.
    body_pixels
        Size of a photograph: pixels along the longer side of the body.
    reuse
        Number of different samples of ``shape``, which are kept in memory and used again and
        again; 0 for new ones all the time.
    crop
        Height and width of the part of such a sample that is used.
    photographs
        The second run, whose weights color photographs; None if those of this run color them too.
    title, about
        Display name of the model, and a sentence on its origin for the card.
    """

    phantoms: PhantomPlan | None = PhantomPlan()
    shape: tuple[int, int] = (256, 256)
    pixel_mm: Millimeters = 2.0
    windows: tuple[tuple[float, PositiveFloat], ...] = ((40.0, 400.0),)
    head: dict[str, Any] = Field(default_factory=lambda: {"name": "tanh"})
    variance_weight: NonNegativeFloat = 2e-3
    rebalancing: Share | None = None
    grey_levels: PositiveInt | None = None
    real_share: Share = 0.4
    source: Literal["palette", "photographs", "mixture"] = "palette"
    shares: dict[Kind, NonNegativeFloat] = Field(default_factory=_shares)
    teacher: ModelName = "tissue"
    start: ModelName | None = None
    body_pixels: PositiveInt = 320
    reuse: NonNegativeInt = 0
    crop: tuple[int, int] | None = None
    photographs: PhotographPlan | None = None
    title: str = ""
    about: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            check_shape(self.used_shape, size_multiple(self.network))
            channels = make_head(self.head).channels
        except ModelError as error:
            raise ValueError(str(error)) from error
        if self.crop is not None and (not self.reuse or any(np.greater(self.crop, self.shape))):
            raise ValueError("'crop' needs 'reuse' and cannot be larger than 'shape'")
        if self.photographs is not None and self.source != "mixture":
            raise ValueError("'photographs' needs the source 'mixture', which has sections")
        perceptual = self.photographs is not None and self.photographs.perceptual
        if perceptual and self.head.get("name") in ("rgb", "bins"):
            raise ValueError("'perceptual' needs a head that predicts (a*, b*), such as 'tanh'")
        if self.source == "mixture" and not sum(self.shares.values()) > 0:
            raise ValueError("at least one of 'shares' must be above 0")
        ends = len(self.windows), channels
        given = self.network.get("in_channels"), self.network.get("out_channels")
        if given != ends:
            raise ValueError(
                f"the network must have {ends[0]} 'in_channels', one for each window, and "
                f"{ends[1]} 'out_channels', which its head reads, not {given[0]} and {given[1]}"
            )
        return self

    @property
    def used_shape(self) -> tuple[int, int]:
        """Height and width of what the network sees at once."""
        return self.crop or self.shape

    @property
    def spec(self) -> InputSpec:
        """The network's input."""
        channels = tuple(Channel(center, width) for center, width in self.windows)
        return InputSpec(self.pixel_mm, channels=channels)
