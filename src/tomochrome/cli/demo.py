"""``tomochrome demo``: write, read, color and show the embedded sample patient."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tomochrome.cli import options
from tomochrome.cli.session import Outcome, Session, took
from tomochrome.colorization import DEFAULT_MODEL, file_coloring, models
from tomochrome.colorization.coloring_request import ColoringRequest, Outputs, Source
from tomochrome.errors import OutputError
from tomochrome.io import check_output
from tomochrome.phantom import make_patient, write_dicom

SEED = 20
REGION = "abdomen"
SPACING = (3.0, 1.0, 1.0)
SERIES, COLOR, NRRD, SHEET = "sample-ct", "color.nii.gz", "color.nrrd", "contact-sheet.png"
TISSUE, NAMES = "tissue.nii.gz", "tissue.json"
CONFIDENCE, LOG = "confidence.nii.gz", "napari.log"
_STARTUP_SECONDS = 5.0  # if napari cannot open a window, it exits within this time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=options.some_path,
        default=Path("demo-output"),
        help="output folder (default: ./demo-output)",
    )
    parser.add_argument("--no-window", action="store_true", help="do not open napari")
    parser.add_argument(
        "--model", metavar="NAME", help="an installed model, see 'tomochrome models'"
    )
    options.add_computing(parser)
    options.add_force(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Write the sample patient as a DICOM series, read it, color it, save and show it."""
    started = time.perf_counter()
    best = next((card.name for card in models()), DEFAULT_MODEL)  # the default is listed first
    request = ColoringRequest(model=args.model or best, device=args.device, threads=args.threads)
    request.check()
    with _tidy(args.out) as out:
        series = check_output(f"{out / SERIES}/", force=args.force)
        outputs = Outputs(
            color=str(out / COLOR),
            tissue=str(out / TISSUE),
            confidence=str(out / CONFIDENCE),
            copies=(str(out / NRRD), str(out / SHEET)),
            force=args.force,
        )
        outputs.check(series)
        patient = make_patient(SEED, REGION, SPACING, phase="portal", threads=args.threads)
        write_dicom(patient, series, force=args.force)
        prepared = time.perf_counter() - started
        report = file_coloring.colorize_file(Source(series), outputs, request)
    session.warn(*report.warnings)
    files = {
        "series": str(series),
        "color": outputs.color,
        "color_nrrd": str(out / NRRD),
        "contact_sheet": str(out / SHEET),
        "tissue_map": str(out / TISSUE),
        "tissue_names": str(out / NAMES),
        "confidence_map": str(out / CONFIDENCE),
    }
    facts = {**report.to_json(), "warnings": list(session.warnings)}
    facts["seconds"] = {"prepare": round(prepared, 3), **facts["seconds"]}
    facts["seconds"]["total"] = round(time.perf_counter() - started, 3)
    show = not args.no_window and has_screen()
    return Outcome(
        {"out": str(out), "files": files, **facts},
        _summary(files, facts),
        after=(lambda: _open_window(out, session)) if show else None,
    )


def has_screen() -> bool:
    """Return whether there is a display to open a window on."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextmanager
def _tidy(out: Path) -> Iterator[Path]:
    """Create the output folder if it is missing; if the demo fails, remove what it wrote."""
    new_folder, new_series = not out.exists(), not (out / SERIES).exists()
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder '{out}' cannot be created ({error.strerror}); choose another with --out"
        ) from error
    try:
        yield out
    except BaseException:
        if new_series:
            shutil.rmtree(out / SERIES, ignore_errors=True)
        if new_folder:
            with suppress(OSError):  # another program may have written files there
                out.rmdir()
        raise


def _summary(files: dict[str, str], facts: dict[str, Any]) -> str:
    names = {
        "series": "CT of the sample patient, a DICOM series",
        "color": "colored CT, NIfTI",
        "color_nrrd": "colored CT, NRRD for 3D Slicer",
        "contact_sheet": "contact sheet",
        "tissue_map": "tissue map",
        "tissue_names": "names and colors of its labels",
        "confidence_map": "confidence map",
    }
    lines = [f"{files[key]:<44}  {what}" for key, what in names.items()]
    lines += [f"{took(facts['seconds'])}; model '{facts['model']}' on {facts['device']}"]
    lines += ["Colored by a model: not for diagnosis."]
    return "\n".join(lines)


def _open_window(out: Path, session: Session) -> None:
    """Start napari in a separate process that outlives this one, and check that it runs."""
    command = [sys.executable, "-m", "napari", "--plugin", "napari-tomochrome"]
    command += ["--with", "napari-tomochrome", "Colorize volume"]
    command += ["--", str(out / SERIES), str(out / COLOR)]
    with (out / LOG).open("wb") as log:
        napari = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        status = napari.wait(_STARTUP_SECONDS)
    except subprocess.TimeoutExpired:
        return
    if status != 0:
        session.warn(f"napari could not open a window; see '{out / LOG}'")
