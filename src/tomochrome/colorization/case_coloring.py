"""Pages of a scan (`tomochrome.io.page`) with the colorings of one or more models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tomochrome.bundles import ModelCard
from tomochrome.color import Lighting
from tomochrome.color.chroma import Chroma
from tomochrome.color.photograph_look import as_photograph, photograph_palette
from tomochrome.colorization.cards import find_model, find_models, model_title
from tomochrome.colorization.predict import colorize
from tomochrome.colorization.predictor import needs_reference
from tomochrome.colorization.reference_photograph import Reference
from tomochrome.colorization.side_by_side import models_to_compare
from tomochrome.errors import Cancelled, ModelError, TomochromeError
from tomochrome.io.page import CasePage
from tomochrome.notices import Notice
from tomochrome.runtime import check
from tomochrome.volume import Volume


def case_page(volume: Volume, chroma: Chroma, settings: Lighting | None = None) -> CasePage:
    """Return the page of a scan with one coloring.

    Parameters
    ----------
    volume
        CT in HU.
    chroma
        Its coloring.
    settings
        Window shown first, palette, saturation, confidence and tissues; by default those of
        `Lighting.of`.

    Returns
    -------
    CasePage
        A page that can be written, or get further colorings.

    Raises
    ------
    GeometryError, OptionError
        As `CasePage.add`.
    """
    page = CasePage(volume, settings)
    add_coloring(page, chroma)
    return page


def photograph_page(
    volume: Volume, chroma: Chroma, settings: Lighting, image: Volume | None = None
) -> CasePage:
    """Return the page of a scan in which colors have the look of a photograph.

    Parameters
    ----------
    volume, chroma, settings
        As for `case_page`.
    image
        From `tomochrome.color.photograph_look.as_photograph`, if it exists already.

    Returns
    -------
    CasePage
        A page that says that the lightness of colors is not from the scanner.

    Raises
    ------
    OptionError, InputError, GeometryError, Cancelled
        As for `tomochrome.color.photograph_look.photograph_look`.
    """
    image = as_photograph(volume, chroma, settings) if image is None else image
    colors = photograph_palette(settings.palette)
    page = case_page(volume, chroma, settings.replace(palette=colors))
    page.take_lightness(image)
    return page


def add_coloring(page: CasePage, chroma: Chroma) -> None:
    """Add a coloring to a page, with the title and the card of its model.

    Parameters
    ----------
    page
        The page.
    chroma
        A coloring of its scan.
    """
    try:
        card: ModelCard | None = find_model(chroma.model.partition(" + ")[0])
    except ModelError:
        card = None
    page.add(chroma, model_title(chroma.model) or "Color", card)


def add_models(
    page: CasePage,
    names: Sequence[str | os.PathLike[str]] = (),
    *,
    reference: Reference | None = None,
    **options: Any,
) -> list[Notice]:
    """Color the scan of a page with further models, and add them.

    Parameters
    ----------
    page
        The page.
    names
        Names or bundle folders; by default all installed models that can be run. A model that the
        page already shows is not added again.
    reference
        Photograph for the models that need one.
    **options
        Further keyword arguments of `tomochrome.colorize`.

    Returns
    -------
    list of Notice
        A warning for each model that failed, with the reason.

    Raises
    ------
    ModelError
        If a model is unknown.
    OptionError
        If a model needs a photograph and there is none.
    Cancelled
        If the user cancelled.
    """
    notices = []
    shown = {coloring.card.path for coloring in page.colorings if coloring.card is not None}
    for card in compared_models(names, reference):
        check()
        if card.path in shown:
            continue
        used = reference if needs_reference(card) else None
        try:
            add_coloring(page, colorize(page.volume, card.path, reference=used, **options))
        except Cancelled:
            raise
        except TomochromeError as error:
            text = f"the model '{card.name}' was skipped: {error}"
            notices.append(Notice("nothing-colored", "warning", text))
    return notices


def compared_models(
    names: Sequence[str | os.PathLike[str]], reference: Reference | None
) -> list[ModelCard]:
    """Return the cards of models to compare.

    Parameters
    ----------
    names, reference
        As for `add_models`.
    """
    if not names or reference is None:
        return models_to_compare(names, with_reference=reference is not None)
    return find_models(names)  # some use the photograph, others do not
