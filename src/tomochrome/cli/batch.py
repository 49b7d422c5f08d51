"""``tomochrome batch``: color every CT in some files and folders."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

from tomochrome.cli import options
from tomochrome.cli.batch_jobs import Job, run_here, run_on_cluster
from tomochrome.cli.files import check_inputs
from tomochrome.cli.session import Outcome, Session
from tomochrome.colorization.coloring_request import NO_MODEL, Outputs, Source
from tomochrome.errors import InputError, OptionError, OutputError, TomochromeError
from tomochrome.formats import FORMATS, NIFTI, Format, check_package
from tomochrome.io import Item, Skipped, find
from tomochrome.runtime.whole_files import is_inside

_FORMATS: Final = {
    ("dicom" if output_format.is_folder else ending.strip(".")): (output_format, ending)
    for output_format in FORMATS
    for ending in output_format.endings
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "inputs",
        metavar="INPUTS",
        nargs="+",
        type=options.some_path,
        help="files, folders, DICOMDIRs or zip archives; every CT in them is colored",
    )
    options.add_output(
        parser,
        "folder for the results, created if necessary; they keep the inputs' folder structure, and "
        "a DICOM series is named by its UID. Existing results are kept, so that an interrupted "
        "batch can be continued",
    )
    parser.add_argument(
        "--format", choices=_FORMATS, default="nii.gz", help="format of the results (%(default)s)"
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="Dask scheduler, for example tcp://host:8786, whose workers see the same files under "
        "the same paths; start them with one thread each (default: this computer, one volume "
        "after another)",
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="keep tilted or unevenly spaced slices as stored, without resampling",
    )
    options.add_strict(parser)
    options.add_model(parser)
    options.add_lighting(parser)
    options.add_computing(parser)
    options.add_force(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Find all CT, color them, and report what was colored, kept, skipped and failed."""
    request = options.request_of(args)
    if request.model == NO_MODEL:
        raise OptionError("batch needs a model; --model none colors from strokes of one scan")
    request.check()
    check_inputs(args.inputs)
    output_format, ending = _FORMATS[args.format]
    check_package(output_format)
    out = Path(args.output).resolve()
    if os.path.lexists(out) and not out.is_dir():
        raise OutputError(f"'{args.output}' is not a folder; choose a folder for the results")
    roots = [path.resolve() for path in args.inputs]
    jobs, skipped, unused = plan(roots, out, output_format, ending, args)
    colors = [job.outputs.color for job in jobs]
    kept = dict.fromkeys(path for path in colors if not args.force and os.path.lexists(path))
    missing = [job for job in jobs if job.outputs.color not in kept]
    if args.scheduler and missing:
        results = run_on_cluster(missing, request, args.scheduler)
    else:
        results = run_here(missing, request)
    failed = [result for result in results if "error" in result]
    colored = [result for result in results if "error" not in result]
    data = {
        "output": args.output,
        "results": colored,
        "failed": failed,
        "kept": list(kept),
        "skipped": [file.to_json() for file in skipped],
    }
    return Outcome(data, _summary(data), after=lambda: _check(failed, jobs, unused))


def plan(
    roots: list[Path], out: Path, output_format: Format, ending: str, args: argparse.Namespace
) -> tuple[list[Job], list[Skipped], list[Path]]:
    """Return a job for each CT under the roots, what is skipped, and the files without a CT.

    Raises `InputError` if an input cannot be opened; `OptionError` if two results would have the
    same path; `OutputError` if one would have that of its input.
    """
    try:
        base = Path(os.path.commonpath([r if r.is_dir() else r.parent for r in roots]))
    except ValueError as error:
        raise OptionError(
            "the inputs are on different drives; color them in separate runs"
        ) from error
    jobs: list[Job] = []
    skipped: list[Skipped] = []
    unused: list[Path] = []
    for root in dict.fromkeys(roots):
        listing = find(root)
        skipped += listing.skipped
        before = len(jobs)
        for item in listing.items:
            reason = _reason_to_skip(item)
            if reason:
                skipped.append(Skipped(item.path, reason))
                continue
            # Found again in its own folder, unless that is in an archive or the UID is ambiguous.
            ambiguous = item.kind.startswith("dicom") and "#" in item.key
            narrow = root if ambiguous or not Path(item.path).exists() else Path(item.path)
            color = f"{out / result_name(item, base)}{ending}"
            if is_inside(item.path, color):
                raise OutputError(
                    f"the result of '{item.path}' would replace it; choose another folder for the "
                    "results"
                )
            outputs = Outputs(color, force=args.force)
            jobs.append(Job(Source(narrow, item.name, args.raw, args.strict), outputs))
        if len(jobs) == before and not root.is_dir():
            unused.append(root)
    for path, count in Counter(job.outputs.color for job in jobs).items():
        if count > 1:
            raise OptionError(
                f"{count} inputs would be written to '{path}'; color them in separate runs"
            )
    return jobs, skipped, unused


def result_name(item: Item, base: Path) -> Path:
    """Return the path of a result below the output folder, without extension.

    ``base`` is the common parent of all inputs.
    """
    path = Path(item.path)
    path = path.relative_to(base) if path.is_relative_to(base) else Path(path.name)
    _, _, part = item.name.rpartition("#") if "#" in item.key else ("", "", "")
    if item.kind.startswith("dicom"):
        folder = path.parent if item.kind == "dicom-file" else path
        name = item.series_uid or path.stem
    else:
        folder, name = path.parent, path.name
        double = next((end for end in NIFTI.endings if name.lower().endswith(end)), path.suffix)
        name = name[: len(name) - len(double)]
    return folder / (f"{name}-{part}" if part else name)


def _reason_to_skip(item: Item) -> str:
    """Return why an item is not colored, or an empty string."""
    if item.refusal:
        return item.refusal.text
    if item.verdict == "not-ct" or item.unit != "HU":
        return "not a CT in Hounsfield units"
    return ""


def _summary(data: dict[str, Any]) -> str:
    """Return the report as text."""
    counts = ", ".join(
        f"{len(data[key])} {name}"
        for key, name in (
            ("results", "colored"),
            ("kept", "kept from earlier"),
            ("skipped", "skipped"),
            ("failed", "failed"),
        )
    )
    lines = [f"{data['output']}: {counts}"]
    for result in data["results"]:
        lines.append(f"  {result['output']}")
        lines += [f"    warning: {text}" for text in result["warnings"]]
    lines += [f"  skipped {file['path']}: {file['reason']}" for file in data["skipped"]]
    lines += [f"  failed {result['input']}: {result['error']}" for result in data["failed"]]
    return "\n".join([*lines, "colored by a model: not for diagnosis"])


def _check(failed: list[dict[str, Any]], jobs: list[Job], unused: list[Path]) -> None:
    """Raise an error if a volume failed, there is no CT, or a file given by name is none."""
    if failed:
        raise TomochromeError(f"{len(failed)} of {len(jobs)} volumes could not be colored")
    if not jobs:
        raise InputError("the inputs contain no CT in Hounsfield units; nothing was colored")
    if unused:
        others = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
        raise InputError(
            f"'{unused[0]}'{others} could not be colored, for the reason given under skipped"
        )
