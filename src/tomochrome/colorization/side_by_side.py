"""Comparison of several models on one slice."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from tomochrome.bundles import ModelCard
from tomochrome.color import light
from tomochrome.colorization.cards import find_models, models
from tomochrome.colorization.predict import colorize
from tomochrome.colorization.predictor import check_reference, needs_reference
from tomochrome.colorization.reference_photograph import Reference
from tomochrome.errors import Cancelled, OptionError, TomochromeError
from tomochrome.geometry.orient import axis_map, closest_axial
from tomochrome.io.slice_pictures import contact_sheet
from tomochrome.notices import Notice
from tomochrome.runtime import check, quietly, report
from tomochrome.volume import Volume
from tomochrome.windowing import DEFAULT, Window, parse_window

GREY: Final = "grey"
MARGIN_MM: Final = 20.0  #: context above and below the slice for the models


@dataclass(frozen=True, eq=False)
class Comparison:
    """Images of one axial slice: grey, and colored by each model.

    Attributes
    ----------
    names, titles
        `GREY` and the names of the models, and their display names.
    pictures
        RGBA, (images, y, x, 4), in axial orientation. The affine is that of the slice; the first
        axis has no spatial meaning.
    reference
        The reference photograph used by a model, uint8 (y, x, 3), or None.
    warnings
        A warning for each model that failed, with the reason.
    """

    names: tuple[str, ...]
    titles: tuple[str, ...]
    pictures: Volume
    reference: NDArray[np.uint8] | None = None
    warnings: tuple[Notice, ...] = ()

    def sheet(self) -> Image:
        """Return a contact sheet of all images, with letters, a scale bar and a caption."""
        photograph = () if self.reference is None else (("Reference photograph", self.reference),)
        return contact_sheet(self.pictures, self.titles, photograph)


def compare_models(
    volume: Volume,
    names: Sequence[str | os.PathLike[str]] = (),
    *,
    at: int | None = None,
    window: str | Window = DEFAULT,
    reference: Reference | None = None,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    **lighting: Any,
) -> Comparison:
    """Color one axial slice of a CT with several models.

    Parameters
    ----------
    volume
        CT in Hounsfield units, in any orientation.
    names
        Names or bundle folders; by default all installed models, those that need a photograph
        only if ``reference`` is given.
    at
        Index of the slice, from 0 at the inferior end; by default the middle one. Models get
        20 mm of context above and below it, so that colors may differ slightly from those of
        the full volume.
    window
        As for `tomochrome.light`.
    reference
        Photograph for the models that need one.
    device, threads, force
        As for `tomochrome.colorize`.
    **lighting
        Further keyword arguments of `tomochrome.light`.

    Returns
    -------
    Comparison
        Without the models that failed; a warning gives the reason for each.

    Raises
    ------
    OptionError
        If the slice does not exist, or a photograph is missing or not needed.
    ModelError
        If a model is unknown.
    TomochromeError
        If all models failed: the error of the first one.
    Cancelled
        If the user cancelled.
    """
    cards = models_to_compare(names, with_reference=reference is not None)
    upright = closest_axial(volume)
    count = upright.shape[0]
    at = count // 2 if at is None else at
    if not 0 <= at < count:
        raise OptionError(f"there is no slice {at}: slices are numbered from 0 to {count - 1}")
    window = parse_window(window, volume)
    margin = math.ceil(MARGIN_MM / upright.spacing[0])
    first = max(0, at - margin)
    slab, slice_ = _part(upright, first, at + margin + 1), _part(upright, at, at + 1)
    in_slab = slice(at - first, at - first + 1)
    shown: list[tuple[str, str, Volume]] = []
    failures: list[tuple[ModelCard, TomochromeError]] = []
    for done, card in enumerate(cards):
        check()
        report(done, len(cards), f"coloring with {card.title}")
        used = reference if needs_reference(card) else None
        try:
            with quietly():
                chroma = colorize(slab, card.path, device=device, threads=threads, force=force,
                                  reference=used)  # fmt: skip
                chroma = replace(chroma, code=chroma.code[in_slab], affine=slice_.affine,
                                 confidence=chroma.confidence[in_slab])  # fmt: skip
                if not shown:
                    shown.append((GREY, "Grey", light(slice_, chroma, window, saturation=0.0)))
                shown.append((card.name, card.title, light(slice_, chroma, window, **lighting)))
        except Cancelled:
            raise
        except TomochromeError as error:
            failures.append((card, error))
    if not shown:
        raise failures[0][1]
    names_, titles, images = zip(*shown, strict=True)
    extra = {**images[-1].provenance.extra, "place": f"slice at {slice_.origin[2]:.0f} mm"}
    extra.pop("model", None)
    pictures = replace(
        slice_,
        voxels=np.concatenate([image.voxels for image in images]),
        unit="RGBA",
        provenance=replace(images[-1].provenance, extra=extra),
        outside=None,
        restored=None
        if slice_.restored is None
        else np.concatenate([slice_.restored] * len(images)),
    )
    return Comparison(
        names_,
        titles,
        pictures,
        None if reference is None else reference.photograph,
        tuple(
            Notice("nothing-colored", "warning", f"the model '{card.name}' was skipped: {error}")
            for card, error in failures
        ),
    )


def models_to_compare(
    names: Sequence[str | os.PathLike[str]] = (), *, with_reference: bool = False
) -> list[ModelCard]:
    """Return the cards of models; a photograph must be given if and only if a model needs it.

    Parameters
    ----------
    names
        Names or bundle folders; by default all installed models that can be run.
    with_reference
        Whether a photograph is given.

    Raises
    ------
    OptionError
        If a photograph is missing or not needed.
    ModelError
        If a model is unknown.
    """
    if not names:
        return [card for card in models() if with_reference or not needs_reference(card)]
    cards = find_models(names)
    needy = [card for card in cards if needs_reference(card)]
    check_reference((needy or cards)[0], with_reference)
    return cards


def upright_slice(volume: Volume, voxel: Sequence[int]) -> int:
    """Return the index, from 0 at the inferior end, of the axial slice of a voxel (z, y, x)."""
    (axis, *_), (flipped, *_) = axis_map(volume.affine)
    return volume.shape[axis] - 1 - voxel[axis] if flipped else voxel[axis]


def _part(volume: Volume, first: int, stop: int) -> Volume:
    """Return the slices from ``first`` to before ``stop``, with their affine."""
    affine = volume.affine.copy()
    affine[:, 3] = affine @ (first, 0, 0, 1)
    outside, restored = (
        None if mask is None else mask[first:stop] for mask in (volume.outside, volume.restored)
    )
    voxels = volume.voxels[first:stop]
    return replace(volume, voxels=voxels, affine=affine, outside=outside, restored=restored)
