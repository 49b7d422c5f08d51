"""Coloring of files: read a CT, color it, light it, and write all results, or none.

Everything is checked before the work begins. The command line's ``colorize``, ``demo`` and
``batch`` are made of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tomochrome.errors import OptionError, OutputError
from tomochrome.formats import (
    COLORED_SCAN,
    DICOM,
    LOOK_FORMATS,
    PAGE,
    PICTURES,
    PLY,
    SEGMENTATION,
    STL,
    TISSUE_FORMATS,
    Format,
    Projection,
    format_of,
)
from tomochrome.notices import Notice
from tomochrome.runtime.clock import Clock
from tomochrome.runtime.whole_files import is_inside, write_group
from tomochrome.tissue import Tissue

if TYPE_CHECKING:
    from tomochrome.color import Chroma, Lighting, TissueSelection
    from tomochrome.colorization.reference_photograph import Reference
    from tomochrome.io import ColoredScan, SourceStudy
    from tomochrome.io.dicom.tissue_segmentation import SegmentationKind
    from tomochrome.io.page import CasePage
    from tomochrome.volume import Volume

NO_MODEL = "none"  #: name of the model for coloring from hints only
SAVED_MODEL = "saved"  #: name of the model for the colors that a colored scan was saved with
_MAP_ENDINGS = (".nii.gz", ".nii", ".nrrd")
_TISSUE_ENDINGS = (*_MAP_ENDINGS, *SEGMENTATION.endings)
_SURFACE_ENDINGS = (*STL.endings, *PLY.endings)


@dataclass(frozen=True)
class Source:
    """The input volume and its reading options."""

    path: Path
    series: str | None = None
    raw: bool = False  #: keep tilted or unevenly spaced slices as stored
    strict: bool = False  #: refuse scans with damaged slices
    as_hu: bool = False  #: treat values of unknown unit as Hounsfield units


@dataclass(frozen=True)
class Hints:
    """The user's strokes and the meanings of their labels."""

    path: Path
    meanings: dict[int, str]

    @classmethod
    def of(cls, path: Path | None, pairs: Sequence[tuple[int, str]]) -> Hints | None:
        """Return the hints given in the options, or None.

        Raises `OptionError` if meanings are given without strokes, or one is invalid.
        """
        from tomochrome.colorization.meanings import meaning_of

        if path is None:
            if pairs:
                raise OptionError(
                    "--hint gives the meaning of strokes; give their label map with --hints"
                )
            return None
        for _, text in pairs:
            meaning_of(text)
        return cls(path, dict(pairs))

    @property
    def are_tissues(self) -> bool:
        """Whether no label is a custom color."""
        return not any(text.startswith("#") for text in self.meanings.values())


@dataclass(frozen=True)
class Outputs:
    """Files to write: the colored volume, copies of it in other formats, and optional maps."""

    color: str
    tissue: str | None = None
    confidence: str | None = None
    copies: tuple[str, ...] = ()
    force: bool = False
    surfaces: str | None = None  #: of the tissues that are shown, STL or PLY
    segmentation: SegmentationKind = "binary"  #: of a tissue map in DICOM
    join_study: bool = False  #: DICOM outputs keep the identity and the study of the input

    @property
    def colored(self) -> tuple[str, ...]:
        """Paths of the colored volume and its copies."""
        return self.color, *self.copies

    def check(self, source: Path) -> None:
        """Check the outputs before the work begins.

        Raises `OutputError` if an output cannot be written, already exists (without ``force``), is
        given twice or inside another one, or is or holds the input.
        """
        from tomochrome.io import check_output

        others = self._maps()
        names = [*self.colored, *others]
        for number, name in enumerate(names):
            if format_of(name) in TISSUE_FORMATS and name not in others:
                raise OutputError(
                    f"'{name}' holds tissues, not colors; give it with --tissue-map or --surfaces"
                )
            # not `check_inputs`: the demo writes its input after this check
            if is_inside(source, name):
                is_source = is_inside(name, source)
                what = "is the input" if is_source else f"holds the input '{source}'"
                raise OutputError(f"'{name}' {what}; choose another name for the output")
            for other in names[:number]:
                if is_inside(name, other):
                    is_other = is_inside(other, name)
                    what = "is given twice" if is_other else f"is inside the output '{other}'"
                    raise OutputError(f"'{name}' {what}; choose another name for the output")
        for name in names:
            check_output(name, force=self.force)
        in_dicom = any(format_of(name) in (DICOM, SEGMENTATION) for name in names)
        if self.join_study and not in_dicom:
            raise OptionError("--join-study is for DICOM outputs: a folder ending in / or .dcm")

    def _maps(self) -> list[str]:
        """Return the outputs without colors.

        Raises `OutputError` if one has an extension that does not fit.
        """
        maps = (
            (self.tissue, _TISSUE_ENDINGS, "a map", ".nii.gz, .nrrd, .seg.nrrd or .dcm"),
            (self.confidence, _MAP_ENDINGS, "a map", ".nii.gz or .nrrd"),
            (self.surfaces, _SURFACE_ENDINGS, "surfaces", ".stl or .ply"),
        )
        for name, endings, what, told in maps:
            if name is not None and not name.lower().endswith(endings):
                raise OutputError(f"'{name}' cannot store {what}; use the extension {told}")
        return [name for name, *_ in maps if name is not None]


@dataclass(frozen=True)
class ColoringRequest:
    """Settings for coloring a volume: model, lighting and device.

    Attributes
    ----------
    model
        Name of an installed model, path of a bundle folder, `NO_MODEL`, or `SAVED_MODEL`: the
        colors of a file that `tomochrome.save_colored` wrote, where other fields that are left at
        their defaults are those of the file, too.
    window
        As for `tomochrome.windowing.parse_window`.
    palette
        Name of a palette.
    saturation
        Factor on chroma, 0 to 1.
    min_confidence
        Confidence from 0 to 1 below which colors fade to grey.
    alpha
        Name of an opacity curve.
    only, hide, dim
        Tissues that alone are shown in color, that are hidden, and that are dimmed.
    others
        How ``only`` treats the other tissues.
    device, threads
        As for `tomochrome.colorize`.
    look
        ``"standard"``, or ``"photograph"`` for `tomochrome.color.photograph_look`: for pictures,
        films and pages only.
    slab, slab_mode
        Thickness in mm and projection of the slabs that pictures and films show, as for
        `tomochrome.color.Slab`; None for single slices.
    """

    model: str = "tissue"
    window: str = "default"
    palette: str = "natural"
    saturation: float = 1.0
    min_confidence: float = 0.0
    alpha: str = "body"
    only: tuple[str, ...] = ()
    others: Literal["dim", "hide"] = "hide"
    hide: tuple[str, ...] = ()
    dim: tuple[str, ...] = ()
    device: str = "auto"
    threads: int | None = None
    look: str = "standard"
    slab: float | None = None
    slab_mode: Projection = "mean"

    @property
    def tissues(self) -> TissueSelection:
        """The tissues in color.

        Raises `OptionError` if one is unknown.
        """
        from tomochrome.color import TissueSelection
        from tomochrome.color.selection import tissue_of

        base = TissueSelection.only(self.only, self.others) if self.only else TissueSelection()
        return TissueSelection(
            base.hidden | frozenset(map(tissue_of, self.hide)),
            base.dimmed | frozenset(map(tissue_of, self.dim)),
        )

    def check(
        self,
        *,
        tissue_map: bool = False,
        hints: Hints | None = None,
        with_reference: bool = False,
    ) -> None:
        """Check names and value ranges before the work begins.

        Parameters
        ----------
        tissue_map
            Whether a tissue map is to be written.
        hints
            The user's strokes.
        with_reference
            Whether a reference photograph is given.

        Raises
        ------
        OptionError, ModelError, DeviceError
            If the window, palette, opacity curve, model or device is unknown or not available.
        """
        from tomochrome.color import Lighting
        from tomochrome.color.alpha import alpha_curve
        from tomochrome.color.chroma import no_tissues_message
        from tomochrome.color.palettes import palette
        from tomochrome.color.photograph_look import check_look
        from tomochrome.colorization.cards import find_model
        from tomochrome.colorization.predictor import check_reference, predictor_class
        from tomochrome.runtime.device import choose_device
        from tomochrome.windowing import needs_volume, parse_window

        Lighting(
            window=parse_window("soft-tissue" if needs_volume(self.window) else self.window),
            palette=palette(self.palette),
            saturation=self.saturation,
            min_confidence=self.min_confidence,
            alpha=alpha_curve(self.alpha),
            tissues=self.tissues,
        )
        self._check_slab()
        if self.model == SAVED_MODEL:  # checked when the file was read
            if with_reference:
                raise OptionError("the saved colors use no photograph; omit --reference")
            return
        check_look(self.look)
        names_tissues, name = hints is None or hints.are_tissues, "hints"
        if self.model != NO_MODEL:
            card = find_model(self.model)
            check_reference(card, with_reference)
            names_tissues = names_tissues and predictor_class(card).names_tissues
            name = card.name if hints is None else f"{card.name} + {name}"
        elif hints is None:
            raise OptionError("--model none colors from strokes only; give --hints")
        elif with_reference:
            raise OptionError("--model none does not use a photograph; omit --reference")
        if not names_tissues:
            if tissue_map:
                raise OptionError(no_tissues_message(name, "has no tissue map"))
            if not self.tissues.is_all:
                raise OptionError(no_tissues_message(name, "cannot show or hide some of them"))
            if self.look != "standard":
                raise OptionError(no_tissues_message(name, "has no look of a photograph"))
        if self.device not in ("auto", "cpu"):
            choose_device(self.device)

    def _check_slab(self) -> None:
        from tomochrome.color import Slab

        if self.slab is not None:
            Slab(self.slab_mode, self.slab)
            if self.look != "standard":
                raise OptionError("a slab has the lightness of the scanner; omit --look or --slab")

    def lighting(self, volume: Volume, saved: Lighting | None = None) -> Lighting:
        """Return the lighting of a scan.

        Parameters
        ----------
        volume
            The scan, whose content the window may depend on.
        saved
            Settings that apply where a field has its default value; None if there are none.

        Returns
        -------
        Lighting
            Window, palette and the other settings.
        """
        from tomochrome.color import Lighting
        from tomochrome.windowing import parse_window

        fields: dict[str, Any] = {
            "saturation": self.saturation, "min_confidence": self.min_confidence,
            "palette": self.palette, "alpha": self.alpha,
        }  # fmt: skip
        given = {k: v for k, v in fields.items() if saved is None or v != getattr(_DEFAULTS, k)}
        if saved is None or self.window != _DEFAULTS.window:
            given["window"] = parse_window(self.window, volume)
        if saved is None or not self.tissues.is_all:
            given["tissues"] = self.tissues
        return Lighting(**given) if saved is None else saved.replace(**given)


_DEFAULTS = ColoringRequest()


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
    outputs: Outputs | str,
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
        Further models that a page (``.html``) shows beside that of the request; an empty sequence
        for all installed ones that can be run. None for no comparison.

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
    from tomochrome.colorization.predict import colorize
    from tomochrome.io import ColoredScan, open_colored, read, source_study
    from tomochrome.io.dicom.dicom_write import check_slices

    source = source if isinstance(source, Source) else Source(Path(source))
    outputs = outputs if isinstance(outputs, Outputs) else Outputs(outputs)
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
    _check_pictures(outputs, request)
    if request.look != "standard" and compare is not None:
        raise OptionError("models are compared in the lightness of the scanner; omit --look")
    clock = Clock()
    with clock.stage("read"):
        study = source_study(source.path, source.series) if outputs.join_study else None
        saved = open_colored(source.path) if request.model == SAVED_MODEL else None
        volume = (
            read(source.path, series=source.series, as_stored=source.raw, strict=source.strict)
            if saved is None
            else saved.volume
        )
        if any(format_of(name).is_folder for name in outputs.colored):
            check_slices(volume)
        settings = request.lighting(volume, None if saved is None else saved.settings)
        strokes = None if hints is None else read(hints.path)
    with clock.stage("predict"):
        chroma = None if saved is None else saved.chroma
        if request.model not in (NO_MODEL, SAVED_MODEL):
            chroma = colorize(volume, request.model, reference=reference, **options)
        if hints is not None and strokes is not None:
            chroma = with_hints(volume, chroma, hints, strokes, request, force=source.as_hu)
        assert chroma is not None  # `ColoringRequest.check` requires a model or hints
        scan = ColoredScan(volume, chroma, settings)
        page: CasePage | None = None
        skipped: list[Notice] = []
        if pages and request.look == "standard":
            page, skipped = _page(scan, compare, reference, options)
    with clock.stage("light"):
        image = _image(scan, request)
        mean = mean_chroma(image, chroma)
        if pages and page is None:
            page = photograph_page(volume, chroma, settings, image)
    with clock.stage("write"):
        _write_all(outputs, scan, image, study, page)
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


def with_hints(
    volume: Volume,
    chroma: Chroma | None,
    hints: Hints,
    strokes: Volume,
    request: ColoringRequest,
    *,
    force: bool = False,
) -> Chroma:
    """Return a coloring with the user's strokes.

    Parameters
    ----------
    volume, chroma
        The scan and its coloring; None to color from strokes only.
    hints, strokes
        The meanings of the labels, and the label map.
    request
        Palette and number of threads.
    force
        As for `tomochrome.colorize`.

    Returns
    -------
    Chroma
        The coloring, in which the strokes have spread.

    Raises
    ------
    TomochromeError
        As `tomochrome.colorization.hints.apply_hints`.
    """
    from tomochrome.colorization.hints import apply_hints

    return apply_hints(
        volume,
        strokes,
        hints.meanings,
        chroma=chroma,
        palette_name=request.palette,
        threads=request.threads,
        force=force,
    )


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


def _write_all(
    outputs: Outputs,
    scan: ColoredScan,
    image: Volume,
    study: SourceStudy | None,
    page: CasePage | None,
) -> None:
    """Write all outputs; all move to their paths once all are complete."""
    from tomochrome.io import save_colored, write, write_segmentation, write_surfaces
    from tomochrome.io.tissue_segments import names_path
    from tomochrome.io.writing import companions

    chroma = scan.chroma
    palette = scan.settings.palette.name

    def write_color(place: str) -> None:
        if format_of(place) == COLORED_SCAN:
            save_colored(scan, place)
        elif page is not None and format_of(place) == PAGE:
            page.write(Path(place))
        else:
            write(image, place, study=study)

    def write_tissue(place: str) -> None:
        if format_of(place) == SEGMENTATION:
            kind = outputs.segmentation
            write_segmentation(chroma, place, kind=kind, palette=palette, study=study)
        else:
            write(chroma.tissue_volume(palette), place)

    def write_shown(place: str) -> None:
        shown = set(Tissue) - scan.settings.tissues.hidden
        write_surfaces(chroma.tissue_volume(palette), place, only=shown)

    writers: list[tuple[str | None, Callable[[str], object]]] = [
        *((name, write_color) for name in outputs.colored),
        (outputs.tissue, write_tissue),
        (outputs.confidence, lambda place: write(chroma.confidence_volume(), place)),
        (outputs.surfaces, write_shown),
    ]
    used = [(name, writer) for name, writer in writers if name is not None]
    beside = [
        other
        for name in outputs.colored
        if format_of(name) != COLORED_SCAN
        for other in companions(image, name)
    ]
    if outputs.tissue is not None and (names := names_path(Path(outputs.tissue))) is not None:
        beside.append(names)
    with write_group([*(name for name, _ in used), *beside], force=outputs.force) as places:
        for (name, writer), place in zip(used, places, strict=False):
            writer(f"{place}/" if name.endswith(("/", os.sep)) else str(place))


def _check_pictures(outputs: Outputs, request: ColoringRequest) -> None:
    """Raise `OptionError` if a file that programs measure in would get another lightness."""
    allowed: tuple[Format, ...]
    if request.look != "standard":
        allowed, why = LOOK_FORMATS, f"the look '{request.look}' is"
    elif request.slab is not None:
        allowed, why = PICTURES, "--slab is"
    else:
        return
    endings = ", ".join(each.ending for each in allowed[:-1])
    for name in outputs.colored:
        if format_of(name) not in allowed:
            raise OptionError(
                f"{why} for pictures only: lightness is not that of the voxels; '{name}' must end "
                f"in {endings} or {allowed[-1].ending}"
            )


def _image(scan: ColoredScan, request: ColoringRequest) -> Volume:
    """Return the colored volume: as it is, of slabs, or with the look of a photograph."""
    from tomochrome.color import Slab, light_slabs
    from tomochrome.color.photograph_look import as_photograph
    from tomochrome.geometry.orient import axis_map

    volume, chroma, settings = scan.volume, scan.chroma, scan.settings
    if request.look == "photograph":
        return as_photograph(volume, chroma, settings)
    if request.slab is None:
        return scan.image
    names = ("saturation", "min_confidence", "palette", "alpha", "tissues")
    return light_slabs(
        volume,
        chroma,
        Slab(request.slab_mode, request.slab),
        settings.window,
        axis=axis_map(volume.affine)[0][0],  # pictures show axial slices
        **{name: getattr(settings, name) for name in names},
    )
