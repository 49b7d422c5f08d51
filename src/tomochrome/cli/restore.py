"""``tomochrome restore``: fill the defects of a scan or of a photograph."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tomochrome.cli import options
from tomochrome.cli.files import check_inputs, read_chosen
from tomochrome.cli.session import Outcome, Session, size
from tomochrome.errors import GeometryError, InputError, OptionError, OutputError
from tomochrome.formats import FORMATS, NIFTI, NRRD, SEGMENTS, format_of
from tomochrome.geometry import same_grid
from tomochrome.io import check_fits, check_output, read, write
from tomochrome.io.picture_files import (
    ENDINGS,
    is_restored,
    read_label_picture,
    read_photograph,
    save_png,
)
from tomochrome.io.restored_mask import mask_path, restored_text
from tomochrome.io.writing import companions, write_mask
from tomochrome.restoration.defects import KINDS, Restoration
from tomochrome.restoration.photograph_restoration import photograph_defects, restore_photograph
from tomochrome.restoration.scan_restoration import (
    DEFAULT,
    MODELS,
    check_kinds,
    check_model,
    restore,
)
from tomochrome.runtime import check_beside, check_writable, write_group
from tomochrome.runtime.clock import Clock
from tomochrome.runtime.device import compute_threads
from tomochrome.volume import RESTORED, Volume

_BIHARMONIC: Final = "biharmonic"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_paths(parser, path="a CT series, file or folder; or a photograph of a section")
    grey = ", ".join(entry.ending for entry in FORMATS if not (entry.only_color or entry.is_folder))
    options.add_output(
        parser,
        f"output; the extension gives the format: {grey}, or OUT/, a folder ending in / (a DICOM "
        "series); .png for a photograph. The mask of restored voxels is written beside it, or in "
        "the DICOM folder",
    )
    options.add_reading(parser)
    parser.add_argument(
        "--defects",
        metavar="KIND,...",
        type=_kinds,
        default="auto",
        help=f"kinds of defects to look for: auto (all), or some of {', '.join(KINDS)}",
    )
    options.add_values(
        parser,
        (
            "--mask",
            "FILE",
            options.some_path,
            "fill what is nonzero in this mask on the scan's grid (for a photograph, an 8-bit "
            "image) instead of looking for defects",
        ),
        (
            "--mask-out",
            "FILE",
            str,
            "also write the mask of restored voxels to this file (.nii.gz or .nrrd; for a "
            "photograph .png)",
        ),
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        default=DEFAULT,
        help=f"what fills the defects: {', '.join(MODELS)} (default: {DEFAULT})",
    )
    options.add_computing(parser)
    options.add_force(parser)


def _kinds(text: str) -> str | tuple[str, ...]:
    try:
        return text if text == "auto" else check_kinds(options.names(text))
    except OptionError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Restore a scan or a photograph after checking the input."""
    check_inputs((args.path, args.mask), args.output)
    check_inputs((args.path, args.mask), args.mask_out)
    check_model(args.model)
    options.check_device(args.device)
    clock = Clock()
    if args.path.suffix.lower() in ENDINGS:
        return _photograph(args, session, clock)
    _check_outputs(args)
    volume = read(args.path, series=args.series, as_stored=args.raw, strict=args.strict)
    check_fits(volume, args.output)
    mask = None if args.mask is None else _mask(args.mask, volume)
    with compute_threads(args.threads):
        result = restore(
            volume, defects=args.defects, mask=mask, model=args.model, device=args.device
        )
    written = mask is not None or result.defects.mask.any()
    if written:
        _write(args, result)
    session.warn(*volume.provenance.warnings, *result.warnings)
    data = {
        "input": str(args.path),
        "output": args.output if written else None,
        "model": result.model,
        "defects": [
            {"kind": d.kind, "voxels": d.voxels, "slices": list(d.slices)}
            for d in result.defects.defects
        ],
        "restored_percent": round(result.restored_percent, 4),
        "seconds": clock.seconds()["total"],
        "warnings": list(session.warnings),
    }
    return Outcome(data, _text(args, result) if written else _nothing(args, volume))


def _check_outputs(args: argparse.Namespace) -> None:
    if format_of(args.output).only_color:
        raise OutputError(
            f"'{args.output}' needs colors; write the restored scan as .nii.gz, .nrrd, .zarr or "
            "DICOM, and color that"
        )
    check_output(args.output, force=args.force)
    if args.mask_out is not None and format_of(args.mask_out) not in (NIFTI, NRRD, SEGMENTS):
        raise OutputError(f"'{args.mask_out}' cannot store a mask; use .nii.gz or .nrrd")
    _check_masks(args, mask_path(args.output))


def _check_masks(args: argparse.Namespace, beside: Path | None) -> None:
    """Check that the masks replace neither an input nor another output."""
    masks = [path for path in (beside, args.mask_out) if path is not None]
    check_beside(masks, (args.path, args.mask), [args.output], force=args.force)


def _mask(path: Path, volume: Volume) -> NDArray[np.bool_]:
    mask = read_chosen(path)
    if mask.is_rgba or not same_grid(mask, volume):
        raise GeometryError(
            f"the mask '{path}' is not on the voxel grid of the scan; draw it on the scan, or "
            "resample it with 'tomochrome transform --labels'"
        )
    marked = mask.voxels != 0
    return np.asarray(marked if mask.outside is None else marked & ~mask.outside)


def _write(args: argparse.Namespace, result: Restoration) -> None:
    """Write the scan, its mask and the further mask: all or none."""
    volume = result.volume
    paths = [args.output, *companions(volume, args.output)]
    further = [] if args.mask_out is None else [args.mask_out]
    with write_group([*paths, *further], force=args.force) as places:
        write(volume, f"{places[0]}{'/' if args.output.endswith('/') else ''}")
        if further:
            write_mask(volume, Path(places[-1]))


def _text(args: argparse.Namespace, result: Restoration) -> str:
    lines = [
        f"  {d.kind}: {d.voxels} voxels in {len(d.slices)} slice{'s' * (len(d.slices) != 1)}"
        for d in result.defects.defects
    ]
    return "\n".join(
        [
            args.output,
            f"  {size(result.volume.shape)}, model '{result.model}', {result.seconds:.1f} s",
            *lines,
            f"  {restored_text(result.changed)}; not for diagnosis",
        ]
    )


def _nothing(args: argparse.Namespace, volume: Volume) -> str:
    return (
        f"{args.path}\n  {size(volume.shape)}: no defects were found; nothing was written\n"
        "  not for diagnosis"
    )


def _photograph(args: argparse.Namespace, session: Session, clock: Clock) -> Outcome:
    """Fill what is found or marked in a photograph; the mask is written beside it, too."""
    for name in filter(None, (args.output, args.mask_out)):
        if not name.lower().endswith(".png"):
            raise OptionError(f"'{name}' must end in .png, as '{args.path}' is a photograph")
    for name, given in (
        ("--defects", args.defects != "auto"),
        ("--model", args.model != DEFAULT),
        ("--series", args.series is not None),
        ("--raw", args.raw),
        ("--strict", args.strict),
    ):
        if given:
            raise OptionError(f"{name} has no effect on a photograph; omit it")
    output = Path(args.output)
    beside = _marks_path(output)
    check_writable(output, force=args.force)
    _check_masks(args, beside)
    paths = [output, beside, *map(Path, filter(None, [args.mask_out]))]
    photograph = read_photograph(args.path)
    masks: dict[str, NDArray[np.bool_]] = (
        photograph_defects(photograph)
        if args.mask is None
        else {"lines": read_label_picture(args.mask) > 0}
    )
    data: dict[str, Any] = {
        "input": str(args.path),
        "output": args.output if masks else None,
        "model": _BIHARMONIC,
        "defects": [
            {"kind": kind, "voxels": int(mask.sum()), "slices": [0]} for kind, mask in masks.items()
        ],
        "restored_percent": 0.0,
        "seconds": clock.seconds()["total"],
        "warnings": list(session.warnings),
    }
    if not masks:
        return Outcome(data, f"{args.path}\n  no defects were found; nothing was written")
    filled = restore_photograph(photograph, np.any(list(masks.values()), axis=0))
    changed = (filled != photograph).any(axis=-1)
    data["restored_percent"] = round(100 * float(changed.mean()), 4)
    text = f"{data['restored_percent']:.2g} % of the pixels were {RESTORED}"
    session.warn(text)
    changed |= _earlier_marks(args.path, changed.shape, session)
    data["warnings"] = list(session.warnings)
    note = {"Comment": f"{RESTORED}; not for diagnosis"}
    with write_group(paths, force=args.force) as places:
        save_png(Image.fromarray(filled), places[0], note)
        for place in places[1:]:
            marks = Image.fromarray(np.where(changed, np.uint8(255), np.uint8(0)))
            save_png(marks, place, note)
    data["seconds"] = clock.seconds()["total"]
    lines = [f"  {d['kind']}: {d['voxels']} pixels" for d in data["defects"]]
    text = f"  {text} ({beside.name}); not for diagnosis"
    return Outcome(data, "\n".join([args.output, *lines, text]))


def _marks_path(path: Path) -> Path:
    """Return the path of the mask that lies beside a restored photograph."""
    return path.with_name(f"{path.stem}_restored.png")


def _earlier_marks(path: Path, shape: tuple[int, ...], session: Session) -> NDArray[np.bool_]:
    """Return what was restored in a photograph before, as the mask beside it says."""
    if not is_restored(path):
        return np.zeros(shape, np.bool_)
    beside = _marks_path(path)
    try:
        marks = read_label_picture(beside) > 0
    except InputError:
        marks = np.zeros((0, 0), np.bool_)
    if marks.shape == shape:
        return marks
    session.warn(
        f"some pixels of '{path}' were {RESTORED}, but their mask ('{beside.name}' beside it) is "
        "missing or does not fit: they are not marked"
    )
    return np.zeros(shape, np.bool_)
