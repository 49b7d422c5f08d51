"""What the coloring of a file is asked to do: input, hints, outputs and settings, with checks.

The command line's options, `batch` and workers in other processes exchange these values.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tomochrome.errors import OptionError, OutputError
from tomochrome.formats import (
    DICOM,
    LOOK_FORMATS,
    PAGE,
    PICTURES,
    PLY,
    SEGMENTATION,
    SHEET,
    STL,
    TISSUE_FORMATS,
    Format,
    Projection,
    format_of,
)
from tomochrome.runtime.whole_files import is_inside

if TYPE_CHECKING:
    from tomochrome.color import Lighting, TissueSelection
    from tomochrome.io.dicom.tissue_segmentation import SegmentationKind
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

    @classmethod
    def of(cls, source: Source | str | os.PathLike[str]) -> Source:
        """Return a source as it is, or the source at a path, read with the default options.

        Raises `InputError` if the path is empty.
        """
        from tomochrome.io.walk import require_path

        if isinstance(source, Source):
            return source
        require_path(source)
        return cls(Path(source))


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
    segmentation: SegmentationKind | None = None  #: of a tissue map in DICOM; None for binary
    join_study: bool = False  #: DICOM outputs keep the identity and the study of the input
    with_identity: bool = False  #: pages name the patient

    @property
    def colored(self) -> tuple[str, ...]:
        """Paths of the colored volume and its copies."""
        return self.color, *self.copies

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of all outputs."""
        maps = (self.tissue, self.confidence, self.surfaces)
        return (*self.colored, *(name for name in maps if name is not None))

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
        if self.segmentation is not None and SEGMENTATION not in map(format_of, others):
            raise OptionError(
                "--segmentation is the kind of a DICOM Segmentation; give --tissue-map a name that "
                f"ends in {SEGMENTATION.ending}"
            )
        if self.with_identity and not any(format_of(name) == PAGE for name in self.colored):
            raise OptionError("--with-identity is for pages: an output that ends in .html")

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
        colors of a file that `tomochrome.save_colored` wrote.
    window
        As for `tomochrome.windowing.parse_window`. This and the next four are those that a scan was
        saved with, if it was and they are not given.
    palette
        Name of a palette; None for that of `Lighting`, as for the next three.
    saturation
        Factor on chroma, 0 to 1.
    min_confidence
        Confidence from 0 to 1 below which colors fade to grey.
    alpha
        Name of an opacity curve.
    only, hide, dim
        Names of the tissues, also in one string with commas, that alone are shown in color, that
        are hidden, and that are dimmed.
    others
        How ``only`` treats the other tissues.
    device, threads
        As for `tomochrome.colorize`.
    look
        ``"standard"``, or ``"photograph"`` for `tomochrome.color.photograph_look`: for pictures,
        films and pages only.
    slab, slab_mode
        Thickness in mm and projection of the slabs that pictures and films show, as for
        `tomochrome.color.Slab`; None for single slices, and for the mean.
    slice
        Position of the only slice that PNG files show, as for `tomochrome.io.write_slice`; None
        for a contact sheet.
    """

    model: str = "tissue"
    window: str = "default"
    palette: str | None = None
    saturation: float | None = None
    min_confidence: float | None = None
    alpha: str | None = None
    only: str | tuple[str, ...] = ()
    others: Literal["dim", "hide"] = "hide"
    hide: str | tuple[str, ...] = ()
    dim: str | tuple[str, ...] = ()
    device: str = "auto"
    threads: int | None = None
    look: str = "standard"
    slab: float | None = None
    slab_mode: Projection | None = None
    slice: str | None = None

    @property
    def tissues(self) -> TissueSelection:
        """The tissues in color.

        Raises `OptionError` if one is unknown.
        """
        from tomochrome.color import TissueSelection
        from tomochrome.color.selection import tissues_of

        base = TissueSelection.only(self.only, self.others) if self.only else TissueSelection()
        return TissueSelection(
            base.hidden | frozenset(tissues_of(self.hide)),
            base.dimmed | frozenset(tissues_of(self.dim)),
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
        from tomochrome.color.chroma import no_tissues_message
        from tomochrome.color.photograph_look import check_look
        from tomochrome.colorization.cards import find_model
        from tomochrome.colorization.predictor import check_reference, predictor_class
        from tomochrome.runtime.device import choose_device
        from tomochrome.windowing import needs_volume, parse_window

        Lighting(
            window=parse_window("soft-tissue" if needs_volume(self.window) else self.window),
            tissues=self.tissues,
            **self._given,
        )
        if self.others != _DEFAULTS.others and not self.only:
            raise OptionError("--others is how --only treats the other tissues; give --only")
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

    def check_pictures(self, names: Sequence[str]) -> None:
        """Check that no file that programs measure in would get another lightness or one slice.

        Parameters
        ----------
        names
            The colored outputs.

        Raises
        ------
        OptionError
            If one is no picture, and the look or a slab changes the lightness; or there is a slice
            to show and no PNG, or a window that nothing shows.
        """
        from tomochrome.geometry.planes import parse_position

        if self.slice is not None:
            parse_position(self.slice, "--slice")
            if not any(format_of(name) == SHEET for name in names):
                raise OptionError(f"--slice is for pictures: give an output in {SHEET.ending}")
        allowed: tuple[Format, ...]
        if self.look != "standard":
            allowed, why = LOOK_FORMATS, f"the look '{self.look}' is"
            if self.window != _DEFAULTS.window and not any(format_of(n) == PAGE for n in names):
                raise OptionError(
                    f"the look '{self.look}' has no window, except the grey of a page "
                    f"({PAGE.ending}); omit --window or --look"
                )
        elif self.slab is not None:
            allowed, why = PICTURES, "--slab is"
        else:
            return
        endings = ", ".join(each.ending for each in allowed[:-1])
        for name in names:
            if format_of(name) not in allowed:
                raise OptionError(
                    f"{why} for pictures only: lightness is not that of the voxels; '{name}' must "
                    f"end in {endings} or {allowed[-1].ending}"
                )

    def _check_slab(self) -> None:
        from tomochrome.color import Slab

        if self.slab is None:
            if self.slab_mode is not None:
                raise OptionError(
                    "--slab-mode is how a slab is projected; give its thickness with --slab"
                )
        else:
            Slab(self.slab_mode or "mean", self.slab)
            if self.look != "standard":
                raise OptionError("a slab has the lightness of the scanner; omit --look or --slab")

    @property
    def _given(self) -> dict[str, Any]:
        """The settings of the lighting that are given and do not depend on the volume."""
        names = ("saturation", "min_confidence", "palette", "alpha")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def lighting(self, volume: Volume, saved: Lighting | None = None) -> Lighting:
        """Return the lighting of a scan.

        Parameters
        ----------
        volume
            The scan, whose content the window may depend on.
        saved
            Settings that apply where none are given; None if there are none.

        Returns
        -------
        Lighting
            Window, palette and the other settings.
        """
        from tomochrome.color import Lighting
        from tomochrome.windowing import parse_window

        given = self._given
        if saved is None or self.window != _DEFAULTS.window:
            given["window"] = parse_window(self.window, volume)
        if saved is None or not self.tissues.is_all:
            given["tissues"] = self.tissues
        return Lighting(**given) if saved is None else saved.replace(**given)


_DEFAULTS = ColoringRequest()
