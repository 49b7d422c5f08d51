"""The pipeline of ``colorize`` and ``demo``: check, read, predict, light, write and report."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomochrome.cli.files import is_inside
from tomochrome.cli.options import Request, check_device
from tomochrome.cli.session import Clock, Session, size, took
from tomochrome.errors import OptionError, OutputError
from tomochrome.formats import format_of
from tomochrome.runtime.whole_files import write_group

if TYPE_CHECKING:
    from tomochrome.color import Chroma
    from tomochrome.colorization import Reference
    from tomochrome.volume import Volume

NO_MODEL = "none"  #: value of ``--model`` for coloring from hints only
_MAP_ENDINGS = (".nii.gz", ".nii", ".nrrd")


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

    def check(self, source: Path) -> None:
        """Check the outputs before the work begins.

        Raises `OutputError` if an output cannot be written, already exists (without ``force``), is
        given twice or inside another one, or is or holds the input.
        """
        from tomochrome.io import check_output

        maps = [name for name in (self.tissue, self.confidence) if name is not None]
        for name in maps:
            if not name.lower().endswith(_MAP_ENDINGS):
                raise OutputError(
                    f"'{name}' cannot store a map; use the extension .nii.gz or .nrrd"
                )
        names = [self.color, *self.copies, *maps]
        for number, name in enumerate(names):
            format_of(name)
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


@dataclass
class Result:
    """The report of one run, as printed by ``--json``."""

    input: str
    output: str
    model: str
    device: str = ""
    window: dict[str, float] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    mean_chroma: float = 0.0
    mean_confidence: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``colorize --json`` prints."""
        rounded = {
            "mean_chroma": round(self.mean_chroma, 3),
            "mean_confidence": round(self.mean_confidence, 4),
        }
        return {**asdict(self), "shape": list(self.shape), **rounded}

    def summary(self) -> str:
        """Return the report as text."""
        return (
            f"{self.output}\n"
            f"  {size(self.shape)}, window "
            f"{self.window['center']:g}/{self.window['width']:g}, "
            f"model '{self.model}' on {self.device}\n"
            f"  {took(self.seconds)}\n"
            f"  mean chroma {self.mean_chroma:.1f}, mean confidence {self.mean_confidence:.2f}\n"
            f"  colored by a model: not for diagnosis"
        )


def check_request(
    request: Request,
    *,
    tissue_map: bool = False,
    hints: Hints | None = None,
    with_reference: bool = False,
) -> None:
    """Check names and value ranges before the work begins.

    ``with_reference`` says whether a reference photograph is given. Raises `OptionError`,
    `ModelError` or `DeviceError` if the window, palette, alpha curve, model or device is unknown or
    not available.
    """
    from tomochrome.color import Lighting
    from tomochrome.color.alpha import alpha_curve
    from tomochrome.color.chroma import no_tissues_message
    from tomochrome.color.palette import palette
    from tomochrome.colorization import find_model
    from tomochrome.colorization.predictor import check_reference, predictor_class
    from tomochrome.windowing import needs_volume, parse_window

    Lighting(
        window=parse_window("soft-tissue" if needs_volume(request.window) else request.window),
        palette=palette(request.palette),
        saturation=request.saturation,
        min_confidence=request.min_confidence,
        alpha=alpha_curve(request.alpha),
        tissues=request.tissues,
    )
    names_tissues, name = hints is None or hints.are_tissues, "hints"
    if request.model != NO_MODEL:
        card = find_model(request.model)
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
        if not request.tissues.is_all:
            raise OptionError(no_tissues_message(name, "cannot show or hide some of them"))
    check_device(request.device)


def color(
    source: Source,
    outputs: Outputs,
    request: Request,
    session: Session,
    hints: Hints | None = None,
    reference: Reference | None = None,
) -> Result:
    """Read a volume, color it and write all outputs, or none if one of them fails."""
    from tomochrome.color import light
    from tomochrome.color.lighting import mean_chroma
    from tomochrome.colorization import colorize
    from tomochrome.io import read
    from tomochrome.io.dicom.dicom_write import check_slices
    from tomochrome.windowing import parse_window

    clock = Clock()
    result = Result(input=str(source.path), output=outputs.color, model=request.model)
    with clock.stage("read"):
        volume = read(source.path, series=source.series, as_stored=source.raw, strict=source.strict)
        if any(format_of(name).is_folder for name in (outputs.color, *outputs.copies)):
            check_slices(volume)
        window = parse_window(request.window, volume)
        strokes = None if hints is None else read(hints.path)
    with clock.stage("predict"):
        chroma = None
        if request.model != NO_MODEL:
            chroma = colorize(
                volume,
                request.model,
                force=source.as_hu,
                device=request.device,
                threads=request.threads,
                reference=reference,
            )
        if hints is not None and strokes is not None:
            from tomochrome.colorization.hints import apply_hints

            chroma = apply_hints(
                volume,
                strokes,
                hints.meanings,
                chroma=chroma,
                palette_name=request.palette,
                threads=request.threads,
                force=source.as_hu,
            )
        assert chroma is not None  # `check_request` requires a model or hints
    with clock.stage("light"):
        image = light(
            volume,
            chroma,
            window,
            saturation=request.saturation,
            min_confidence=request.min_confidence,
            palette=request.palette,
            alpha=request.alpha,
            tissues=request.tissues,
        )
        result.mean_chroma = mean_chroma(image, chroma)
    with clock.stage("write"):
        _write_all(image, chroma, outputs, session)
    result.seconds = clock.seconds()
    result.model = chroma.model
    result.device = str(chroma.provenance.extra.get("device", "cpu"))
    result.window = {"center": window.center, "width": window.width}
    result.shape = volume.shape
    result.mean_confidence = chroma.mean_confidence
    for warning in image.provenance.warnings:
        session.warn(warning)
    result.warnings = list(session.warnings)
    return result


def _write_all(image: Volume, chroma: Chroma, outputs: Outputs, session: Session) -> None:
    """Write the outputs to temporary files; all move to their paths once all are complete."""
    from tomochrome.io import write

    wanted: list[tuple[str | None, Callable[[], Volume]]] = [
        *((name, lambda: image) for name in (outputs.color, *outputs.copies)),
        (outputs.tissue, chroma.tissue_volume),
        (outputs.confidence, chroma.confidence_volume),
    ]
    made = [(name, make) for name, make in wanted if name is not None]
    with write_group([name for name, _ in made], force=outputs.force) as places:
        for (name, make), place in zip(made, places, strict=True):
            folder = "/" if name.endswith(("/", os.sep)) else ""
            write(make(), f"{place}{folder}")
