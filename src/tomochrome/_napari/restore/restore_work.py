"""What the panel "Restore" runs in its worker, and the layers that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from napari.layers import Layer
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from tomochrome import color, colorization
from tomochrome._napari.colorize.coloring import color_in_worker, finished_layer, lighting
from tomochrome._napari.kit.choice_boxes import Named, Offer, usable_devices
from tomochrome._napari.layers.grey_window import window_of
from tomochrome._napari.layers.layer_volumes import ct_source
from tomochrome._napari.layers.volume_layers import (
    METADATA_KEY,
    LayerSource,
    layer_transform,
    volume_layer,
)
from tomochrome.bundles import RESTORATION, find_card
from tomochrome.colorization.cards import DEFAULT_MODEL
from tomochrome.errors import ModelError
from tomochrome.geometry import reorient_like
from tomochrome.notices import Notice
from tomochrome.restoration.defects import KINDS, DefectKind, DefectMap, Restoration
from tomochrome.runtime import check, report
from tomochrome.volume import Provenance

AUTO: Final = "auto"
RESTORED_VALUES: Final = "restored"
MEASURED_LIGHTNESS: Final = "measured"
LIGHTNESS: Final = (
    Named(RESTORED_VALUES, "Restored values", "lightness and tissues of the restored scan"),
    Named(
        MEASURED_LIGHTNESS,
        "Scanner's lightness, restored tissues",
        "lightness of the original, artifacts included; only the colors are of the restored scan",
    ),
)
_NOTE: Final = " (tissues restored, lightness measured)"
_TITLES: Final[Mapping[str, str]] = {
    "metal": "Metal streaks",
    "ring": "Rings",
    "missing": "Missing slices",
    "lines": "Lost rows",
    "noise": "Noise of a low dose",
    "field": "Outside the field of view",
}
_COLORS: Final = ("#ff9d2e", "#4dc3ff", "#ff5ea8", "#f4e04d", "#8ee06f", "#b48cff")
_CLASSICAL: Final = "classical"
_MODEL_TITLES: Final[Mapping[str, str]] = {
    "restoration": "Network (default)",
    "restoration-vae": "Autoencoders",
    "restoration-vae-resnet": "Autoencoders with ResNet blocks",
    _CLASSICAL: "Interpolation, no network",
}


def kind_choices(*, every: bool = False) -> list[Named]:
    """Return the kinds of defects as choices; with ``every``, "all kinds" comes first."""
    kinds = [Named(kind, _TITLES[kind]) for kind in KINDS]
    return [Named(AUTO, "All kinds"), *kinds] if every else kinds


def model_choices(names: tuple[str, ...]) -> list[Named]:
    """Return the models as choices, with what their cards say."""
    return [Named(name, _MODEL_TITLES.get(name, name), _about(name)) for name in names]


def _about(model: str) -> str:
    if model == _CLASSICAL:
        return "interpolates sinograms, slices and rows; non-local means against noise"
    try:
        card = find_card(model, RESTORATION)
    except ModelError as error:  # shown in full when it is used
        return str(error)
    return f"{card.description}; trained on {card.trained_on}"


def restore_offer() -> Offer:
    """Import what the first run needs, and return the models and devices. Runs in a worker."""
    from tomochrome.restoration.scan_restoration import restoration_models

    return Offer(models=restoration_models(), devices=usable_devices())


@dataclass(frozen=True, eq=False)
class Repaired:
    """A restoration, and the layer that shows it; None if nothing was restored."""

    result: Restoration
    layer: Any


def find_in_worker(layer: Any, kind: str, device: str) -> DefectMap:
    """Return the defects on the grid of a CT layer. Runs in a worker."""
    from tomochrome.restoration.scan_restoration import find_defects

    report(0, 0, "Reading the layer")
    return find_defects(ct_source(layer).shown, defects=_kinds(kind), device=device)


def restore_in_worker(
    layer: Any, code: NDArray[Any] | None, kind: str, model: str, device: str
) -> Repaired:
    """Restore a CT layer and make the layer of the result. Runs in a worker, uses no widget.

    ``code`` are the painted labels on the grid of the layer (`defect_labels`), or None to find the
    defects of the ``kind``. Raises as `tomochrome.restore`.
    """
    from tomochrome.restoration.scan_restoration import restore

    report(0, 0, "Reading the layer")
    ct = ct_source(layer)
    mask = None if code is None else DefectMap(code)
    result = restore(ct.shown, defects=_kinds(kind), mask=mask, model=model, device=device)
    if not result.changed.any():
        return Repaired(result, None)
    check()
    shown, name = result.volume, f"{layer.name} · restored"
    data, keywords, kind_of = volume_layer(shown, name, window=window_of(layer))
    if data is shown.voxels:  # the grid of the layer, which the user may have moved
        source = LayerSource("ct", reorient_like(shown, ct.stored), shown)
        keywords["metadata"][METADATA_KEY] = source
        keywords |= layer_transform(layer)
    return Repaired(result, Layer.create(data, keywords, kind_of))


def color_restored(original: Any, restored: Any, lightness: str, device: str) -> Any:
    """Return a colored layer of a restored scan. Runs in a worker, uses no widget.

    Its lightness is that of the restored values, or with `MEASURED_LIGHTNESS` that of the original
    layer, whose values are shown in the colors of the restored tissues.
    """
    window = window_of(restored if lightness == RESTORED_VALUES else original)
    fields: dict[str, Any] = {} if window is None else {"window": window}
    if lightness == RESTORED_VALUES:
        return color_in_worker(restored, DEFAULT_MODEL, device, fields)
    report(0, 0, "Reading the layers")
    measured, filled = ct_source(original), ct_source(restored)
    chroma: color.Chroma = colorization.colorize(filled.shown, DEFAULT_MODEL, device=device)
    check()
    chroma = replace(chroma, provenance=_of_restored_tissues(chroma.provenance))
    settings = lighting(fields, chroma)
    return finished_layer(original, measured, chroma.on_grid(measured.shown), settings, _NOTE)


def _of_restored_tissues(origin: Provenance) -> Provenance:
    """Return a provenance of colors that says what is restored: the tissues, not the lightness."""
    others = [notice for notice in origin.warnings if notice.code != "restored"]
    text = "the tissues were recognized in a partly restored scan; the lightness is measured"
    return replace(origin, warnings=(*others, Notice("restored", "warning", text)))


def defect_labels(code: NDArray[np.uint8], layer: Any) -> dict[str, Any]:
    """Return the keywords of a Labels layer of defects over a CT layer; label k is KINDS[k - 1]."""
    colors: dict[int | None, Any] = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0)}
    colors |= dict(enumerate(_COLORS, start=1))
    titles = ["no defect", *(_TITLES[kind] for kind in KINDS)]
    return {
        "data": code,
        "name": f"Defects of {layer.name}",
        "colormap": DirectLabelColormap(color_dict=colors),
        "features": {"index": range(len(titles)), "defect": titles},
        "opacity": 0.5,
        **layer_transform(layer),
    }


def summary(defects: DefectMap) -> str:
    """Return the defects of a map as a sentence, or an empty text."""
    parts = [f"{_TITLES[d.kind].lower()} in {_slices(len(d.slices))}" for d in defects.defects]
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _slices(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"


def _kinds(kind: str) -> Any:
    kinds: tuple[DefectKind, ...] = tuple(k for k in KINDS if k == kind)
    return kinds or AUTO
