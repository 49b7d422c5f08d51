"""Coloring of files: read a CT, color it, light it, and write all results, or none.

Everything is checked before the work begins. The command line's ``colorize``, ``demo`` and
``batch`` are made of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomochrome.colorization.coloring_request import (
    NO_MODEL,
    SAVED_MODEL,
    ColoringRequest,
    Hints,
    Outputs,
    Source,
)
from tomochrome.errors import OptionError
from tomochrome.formats import (
    COLORED_SCAN,
    PAGE,
    SEGMENTATION,
    SHEET,
    format_of,
)
from tomochrome.notices import Notice
from tomochrome.runtime.clock import Clock
from tomochrome.runtime.whole_files import check_beside, write_group
from tomochrome.tissue import Tissue

if TYPE_CHECKING:
    from tomochrome.color import Chroma
    from tomochrome.colorization.reference_photograph import Reference
    from tomochrome.io import ColoredScan, SourceStudy
    from tomochrome.io.page import CasePage
    from tomochrome.volume import Volume


@dataclass(frozen=True)
class ColoringReport:
    """What one run of `colorize_file` did; its fields are those of ``colorize --json``."""

    input: str
    output: str
    model: str
    device: str
    window: dict[str, float]  #: center and width
    shape: tuple[int, ...]
    seconds: dict[str, float]  #: of each stage, and in total
    mean_chroma: float
    mean_confidence: float
    warnings: tuple[Notice, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``colorize --json`` prints; a warning is its text."""
        return {
            **asdict(self),
            "shape": list(self.shape),
            "mean_chroma": round(self.mean_chroma, 3),
            "mean_confidence": round(self.mean_confidence, 4),
            "warnings": list(dict.fromkeys(map(str, self.warnings))),
        }


def colorize_file(
    source: Source | str | os.PathLike[str],
    outputs: Outputs | str | os.PathLike[str],
    request: ColoringRequest | None = None,
    *,
    hints: Hints | None = None,
    reference: Reference | None = None,
    compare: Sequence[str] | None = None,
) -> ColoringReport:
    """Read a volume, color it and write all outputs, or none if one of them fails.

    Parameters
    ----------
    source
        Path of a CT, or a `Source` with options for reading it.
    outputs
        Path of the colored volume, whose ending gives the format, or `Outputs`.
    request
        Model, lighting and device; by default those of ``tomochrome colorize``.
    hints
        The user's strokes, with the meanings of their labels.
    reference
        The photograph whose colors the model ``"exemplar"`` transfers.
    compare
        Name of a further model, or names, that a page (``.html``) shows beside that of the
        request; an empty sequence for all installed ones that can be run. None for no comparison.

    Returns
    -------
    ColoringReport
        Figures, times and warnings.

    Raises
    ------
    OptionError, ModelError, DeviceError
        If the request is invalid; see `ColoringRequest.check`.
    OutputError
        If an output cannot be written; see `Outputs.check`.
    TomochromeError
        If the volume cannot be read or colored.
    Cancelled
        If the user cancelled.
    """
    from tomochrome.color.lighting import mean_chroma
    from tomochrome.colorization.case_coloring import photograph_page
    from tomochrome.io import ColoredScan, read, source_identity, source_study
    from tomochrome.io.dicom.dicom_write import check_slices

    source = Source.of(source)
    outputs = outputs if isinstance(outputs, Outputs) else Outputs(os.fspath(outputs))
    request = ColoringRequest() if request is None else request
    outputs.check(source.path)
    request.check(
        tissue_map=outputs.tissue is not None or outputs.surfaces is not None,
        hints=hints,
        with_reference=reference is not None,
    )
    pages = [name for name in outputs.colored if format_of(name) == PAGE]
    check_compared(pages, compare, reference)
    options: dict[str, Any] = {
        "device": request.device,
        "threads": request.threads,
        "force": source.as_hu,
    }
    request.check_pictures(outputs.colored)
    if request.look != "standard" and compare is not None:
        raise OptionError("models are compared in the lightness of the scanner; omit --look")
    clock = Clock()
    with clock.stage("read"):
        study = source_study(source.path, source.series) if outputs.join_study else None
        identity = source_identity(source.path, source.series) if outputs.with_identity else None
        volume, saved = open_source(source, request.model)
        inputs = (source.path, None if hints is None else hints.path)
        check_beside(_beside(outputs, volume), inputs, outputs.names, force=outputs.force)
        if any(format_of(name).is_folder for name in outputs.colored):
            check_slices(volume)
        settings = request.lighting(volume, None if saved is None else saved.settings)
        strokes = None if hints is None else read(hints.path)
    with clock.stage("predict"):
        chroma = color_scan(
            volume, saved, request, hints, strokes, reference=reference, force=source.as_hu
        )
        if not chroma.has_tissues and request.tissues.is_all:
            settings = settings.replace(tissues=request.tissues)  # instead of those saved
        scan = ColoredScan(volume, chroma, settings)
        if saved is not None:
            scan = replace(scan, measurements=saved.measurements, regions=saved.regions)
        page: CasePage | None = None
        skipped: list[Notice] = []
        if pages and request.look == "standard":
            page, skipped = _page(scan, compare, reference, options)
        if outputs.surfaces is not None:
            skipped += _without_surface(chroma, request)
    with clock.stage("light"):
        image = _image(scan, request)
        mean = mean_chroma(image, chroma)
        if pages and page is None:
            page = photograph_page(volume, chroma, settings, image)
    if page is not None and identity is not None:
        page.name_patient(identity)
    with clock.stage("write"):
        skipped += _write_all(outputs, scan, image, study, page, request.slice)
    return ColoringReport(
        input=str(source.path),
        output=outputs.color,
        model=chroma.model,
        device=str(chroma.provenance.extra.get("device", "cpu")),
        window={"center": settings.window.center, "width": settings.window.width},
        shape=volume.shape,
        seconds=clock.seconds(),
        mean_chroma=mean,
        mean_confidence=chroma.mean_confidence,
        warnings=(*image.provenance.warnings, *skipped),
    )


def open_source(source: Source, model: str) -> tuple[Volume, ColoredScan | None]:
    """Read a scan, with its colors if it was saved with them.

    Parameters
    ----------
    source
        The scan.
    model
        That of the request; `SAVED_MODEL` needs a scan that was saved with its colors.

    Returns
    -------
    volume : Volume
        The scan.
    saved : ColoredScan or None
        The same with its colors, settings and measurements, if it was saved with them.

    Raises
    ------
    TomochromeError
        If it cannot be read.
    """
    from tomochrome.io import is_colored_scan, open_colored, read
    from tomochrome.io.image_file import choose_part, chosen

    if model == SAVED_MODEL or is_colored_scan(source.path):
        choose_part(source.path, chosen(source.path, source.series), 1)  # it holds one scan
        saved = open_colored(source.path)
        return saved.volume, saved
    scan = read(source.path, series=source.series, as_stored=source.raw, strict=source.strict)
    return scan, None


def color_scan(
    volume: Volume,
    saved: ColoredScan | None,
    request: ColoringRequest,
    hints: Hints | None,
    strokes: Volume | None,
    *,
    reference: Reference | None = None,
    force: bool = False,
) -> Chroma:
    """Return the colors of a scan, by a model or those saved, with the user's strokes.

    Parameters
    ----------
    volume, saved
        As from `open_source`.
    request
        Model, palette, device and number of threads, checked.
    hints, strokes
        The meanings of the labels, and the label map.
    reference, force
        As for `tomochrome.colorize`.

    Returns
    -------
    Chroma
        The coloring, in which the strokes have spread.

    Raises
    ------
    TomochromeError
        As `tomochrome.colorize` and `tomochrome.colorization.hints.apply_hints`.
    """
    from tomochrome.colorization.predict import colorize

    chroma = saved.chroma if saved is not None and request.model == SAVED_MODEL else None
    if request.model not in (NO_MODEL, SAVED_MODEL):
        chroma = colorize(
            volume, request.model, reference=reference, device=request.device,
            threads=request.threads, force=force,
        )  # fmt: skip
    if hints is not None and strokes is not None:
        from tomochrome.color import Lighting
        from tomochrome.colorization.hints import apply_hints

        lit = Lighting() if saved is None else saved.settings
        chroma = apply_hints(
            volume,
            strokes,
            hints.meanings,
            chroma=chroma,
            palette_name=request.palette or lit.palette.name,
            threads=request.threads,
            force=force,
        )
    assert chroma is not None  # `ColoringRequest.check` requires a model or hints
    return chroma


def check_compared(
    pages: Sequence[str], compare: Sequence[str] | None, reference: Reference | None
) -> None:
    """Check the models to compare before the work begins.

    Parameters
    ----------
    pages
        The outputs that are pages.
    compare, reference
        As for `colorize_file`.

    Raises
    ------
    OptionError
        If no output is a page, or a model needs a photograph and there is none.
    ModelError
        If a model is unknown.
    """
    if compare is None:
        return
    if not pages:
        raise OptionError(
            "--compare shows models side by side on a page; give an output that ends in .html"
        )
    from tomochrome.colorization.case_coloring import compared_models

    compared_models(compare, reference)


def _page(
    scan: ColoredScan,
    compare: Sequence[str] | None,
    reference: Reference | None,
    options: dict[str, Any],
) -> tuple[CasePage, list[Notice]]:
    """Return the page of a scan, with the models to compare, and a warning for each that failed."""
    from tomochrome.colorization.case_coloring import add_models, case_page

    page = case_page(scan.volume, scan.chroma, scan.settings)
    if compare is None:
        return page, []
    return page, add_models(page, compare, reference=reference, **options)


def _without_surface(chroma: Chroma, request: ColoringRequest) -> list[Notice]:
    """Return a warning if some of the tissues that alone are chosen are not in the scan."""
    from tomochrome.color.selection import tissues_of

    shares = chroma.tissue_shares()
    absent = {each for each in tissues_of(request.only) if shares[each] == 0} - {Tissue.AIR}
    if not absent:
        return []
    names = ", ".join(each.label for each in sorted(absent))
    text = f"no surface of {names}: not in the tissue map"
    return [Notice("option-unused", "warning", text)]


def _write_all(
    outputs: Outputs,
    scan: ColoredScan,
    image: Volume,
    study: SourceStudy | None,
    page: CasePage | None,
    position: str | None,
) -> list[Notice]:
    """Write all outputs; all move to their paths once all are complete. Returns warnings."""
    from tomochrome.io import save_colored, write, write_segmentation, write_slice, write_surfaces

    chroma, restored = scan.chroma, scan.volume.restored
    palette = scan.settings.palette.name
    skipped: list[Notice] = []

    def write_color(place: str) -> None:
        if format_of(place) == COLORED_SCAN:
            save_colored(scan, place)
        elif page is not None and format_of(place) == PAGE:
            page.write(Path(place))
        elif position is not None and format_of(place) == SHEET:
            write_slice(image, place, position)
        else:
            write(image, place, study=study)

    def write_tissue(place: str) -> None:
        if format_of(place) == SEGMENTATION:
            kind = outputs.segmentation or "binary"
            write_segmentation(chroma, place, kind=kind, palette=palette, study=study)
        else:
            write(replace(chroma.tissue_volume(palette), restored=restored), place)

    def write_confidence(place: str) -> None:
        write(replace(chroma.confidence_volume(), restored=restored), place)

    def write_shown(place: str) -> None:
        shown = set(Tissue) - scan.settings.tissues.hidden
        write_surfaces(chroma.tissue_volume(palette), place, only=shown, skipped=skipped)

    writers: list[tuple[str | None, Callable[[str], object]]] = [
        *((name, write_color) for name in outputs.colored),
        (outputs.tissue, write_tissue),
        (outputs.confidence, write_confidence),
        (outputs.surfaces, write_shown),
    ]
    used = [(name, writer) for name, writer in writers if name is not None]
    beside = _beside(outputs, scan.volume)
    with write_group([*(name for name, _ in used), *beside], force=outputs.force) as places:
        for (name, writer), place in zip(used, places, strict=False):
            writer(f"{place}/" if name.endswith(("/", os.sep)) else str(place))
    return skipped


def _beside(outputs: Outputs, volume: Volume) -> list[Path]:
    """Return the files that lie beside the outputs: masks of restored voxels, names of tissues."""
    from tomochrome.io.restored_mask import mask_path
    from tomochrome.io.tissue_segments import names_path

    others = [mask_path(name) for name in outputs.names if volume.restored is not None]
    others.append(None if outputs.tissue is None else names_path(Path(outputs.tissue)))
    return [other for other in others if other is not None]


def _image(scan: ColoredScan, request: ColoringRequest) -> Volume:
    """Return the colored volume: as it is, of slabs, or with the look of a photograph."""
    from tomochrome.color import Slab, light_slabs
    from tomochrome.color.photograph_look import as_photograph
    from tomochrome.geometry.planes import parse_position, plane_map

    volume, chroma, settings = scan.volume, scan.chroma, scan.settings
    if request.look == "photograph":
        return as_photograph(volume, chroma, settings)
    if request.slab is None:
        return scan.image
    across = 2 if request.slice is None else parse_position(request.slice, "--slice")[0]
    names = ("saturation", "min_confidence", "palette", "alpha", "tissues")
    return light_slabs(
        volume,
        chroma,
        Slab(request.slab_mode or "mean", request.slab),
        settings.window,
        axis=plane_map(volume.affine, across)[0][0],
        **{name: getattr(settings, name) for name in names},
    )
