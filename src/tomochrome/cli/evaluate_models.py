"""``tomochrome evaluate models``: a table of the errors of all models on several test sets."""

from __future__ import annotations

import argparse
from typing import Any

from tomochrome.cli import options
from tomochrome.cli.files import check_inputs, check_report, read_reference
from tomochrome.cli.session import Outcome, Session
from tomochrome.color.palettes import palette
from tomochrome.colorization import find_model
from tomochrome.colorization.side_by_side import models_to_compare
from tomochrome.errors import OptionError
from tomochrome.evaluate.model_evaluation import (
    Coloring,
    ScanSet,
    evaluate_models,
    read_scan_sets,
)
from tomochrome.evaluate.model_table import markdown, rows
from tomochrome.runtime import write_text

PHANTOMS = 5  #: number of phantom patients by default, each of another region or phase


def add_parser(kinds: Any) -> None:
    """Add the subcommand and its arguments."""
    models = kinds.add_parser(
        "models",
        help="table of the errors of all models on test sets",
        description="Color the scans of several test sets using each model, and print a table: "
        "color error with 95 % bootstrap intervals (over slices, or over scans if there are five "
        "or more), error relative to grey and to the lookup table, CIEDE2000 and seconds per "
        "slice. One set is generated: phantom patients that no model was trained on.",
        allow_abbrev=False,
    )
    models.add_argument(
        "sets",
        metavar="SETS.json",
        nargs="?",
        type=options.some_path,
        help='more test sets: [{"name", "about", "scans": [{"ct", "truth", "mask", "slice", '
        '"reference", "reference_labels", "reference_mask"}]}], paths relative to the file; '
        "all but the first as in 'tomochrome evaluate color'",
    )
    models.add_argument(
        "--phantoms",
        metavar="N",
        type=options.integer,
        default=PHANTOMS,
        help=f"number of phantom patients (default: {PHANTOMS})",
    )
    models.add_argument(
        "--model",
        metavar="NAME",
        action="append",
        help="an installed model or a bundle folder; may be repeated (default: all; models that "
        "need a photograph only on scans with a reference: those that name one, phantoms, for "
        "which another patient's section is generated, and all with --reference)",
    )
    options.add_reference(models)
    models.add_argument(
        "--palette", metavar="NAME", default="natural", help="palette of the reference colors"
    )
    options.add_values(
        models, ("--markdown", "FILE.md", options.some_path, "also write the tables as Markdown")
    )
    options.add_force(models)
    options.add_computing(models)
    options.add_json(models, nested=True)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Color all sets with all models and make the table."""
    check_inputs([args.sets])
    if args.markdown is not None:
        check_report(args.markdown, [args.sets], [".md"], force=args.force)
    palette(args.palette)
    reference = read_reference(args)
    if args.model and reference is None:
        cards = [find_model(name) for name in args.model]
    else:
        cards = models_to_compare(args.model or (), with_reference=True)
    sets = [ScanSet.of_phantoms(args.phantoms)] if args.phantoms else []
    if args.sets is not None:
        sets += read_scan_sets(args.sets)
    if not sets:
        raise OptionError("there are no test sets; give SETS.json, or --phantoms above 0")
    coloring = Coloring(args.palette, args.device, args.threads, reference)
    tables = [
        (each.name, each.about, rows(evaluate_models(each, cards, coloring, warn=session.warn)))
        for each in sets
    ]
    text = markdown(tables)
    if args.markdown is not None:
        write_text(args.markdown, text, force=args.force)
    data = {
        "sets": [
            {"name": name, "about": about, "models": [row.to_json() for row in made]}
            for name, about, made in tables
        ],
        "palette": args.palette,
        "markdown": None if args.markdown is None else str(args.markdown),
        "warnings": session.warnings,
    }
    return Outcome(data, text)
