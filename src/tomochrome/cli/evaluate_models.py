"""``tomochrome evaluate models``: a table of the errors of all models on several test sets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomochrome.cli import options
from tomochrome.cli.evaluate_color import Truth, TruthFiles, colored
from tomochrome.cli.session import Outcome, Session

if TYPE_CHECKING:
    from tomochrome.colorization import ModelCard, Reference
    from tomochrome.evaluate import ColorTruth
    from tomochrome.volume import Volume

_FIRST_SEED = 2_000_000  # not used for training
_FIRST_REFERENCE = 2_001_000  # seed of the patients that are photographed as references
_SPACING = (5.0, 1.5, 1.5)
_PHANTOMS = (
    ("abdomen", "portal"), ("thorax", "arterial"), ("head", "native"), ("pelvis", "portal"),
    ("abdomen", "arterial"),
)  # fmt: skip


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
        default=len(_PHANTOMS),
        help=f"number of phantom patients (default: {len(_PHANTOMS)})",
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


@dataclass(frozen=True)
class _Scan:
    """The files of a scan; ``reference`` is a photograph, its label image and its mask, or None."""

    ct: Path
    truth: TruthFiles
    reference: tuple[Path, Path | None, Path | None] | None


@dataclass(frozen=True)
class _Set:
    """A test set: name, description, and its scans (none for phantoms)."""

    name: str
    about: str
    scans: list[_Scan] = field(default_factory=list)

    def suitable(self, cards: list[ModelCard], reference: Reference | None) -> list[ModelCard]:
        """Return the models for which all scans have the reference that they may need."""
        from tomochrome.colorization.predictor import needs_reference

        if reference is not None or all(scan.reference is not None for scan in self.scans):
            return cards
        return [card for card in cards if not needs_reference(card)]


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Color all sets with all models and make the table."""
    from tomochrome.cli.files import check_inputs
    from tomochrome.color.palette import palette
    from tomochrome.colorization import find_model
    from tomochrome.colorization.predictor import needs_reference
    from tomochrome.colorization.side_by_side import models_to_compare
    from tomochrome.errors import Cancelled, OptionError, TomochromeError
    from tomochrome.evaluate.coloring_figures import Tally
    from tomochrome.evaluate.model_table import markdown, rows
    from tomochrome.runtime import check_writable, write_whole

    check_inputs([args.sets], args.markdown)
    if args.markdown is not None:
        check_writable(args.markdown, force=args.force)
    palette(args.palette)
    reference = options.reference_of(args)
    if args.model and reference is None:
        cards = [find_model(name) for name in args.model]
    else:
        cards = models_to_compare(args.model or (), with_reference=True)
    sets = _sets(args)
    if not sets:
        raise OptionError("there are no test sets; give SETS.json, or --phantoms above 0")
    tables = []
    for each in sets:
        suitable = each.suitable(cards, reference)
        if not suitable:
            raise OptionError(
                f"all models chosen need a photograph, and '{each.name}' has none; give --reference"
            )
        with_photographs = any(map(needs_reference, suitable))
        tallies = {card.name: Tally(args.palette) for card in suitable}
        seconds = dict.fromkeys(tallies, 0.0)
        slices = 0
        for volume, truth, photograph in _scans(each, args, with_photographs):
            slices += volume.shape[0]
            for card in suitable:
                if card.name not in tallies:
                    continue
                try:
                    chroma, pace = colored(volume, card, args, reference or photograph)
                    tallies[card.name].add(chroma, volume.voxels, truth)
                    seconds[card.name] += pace * volume.shape[0]
                except Cancelled:
                    raise
                except TomochromeError as error:
                    del tallies[card.name]
                    session.warn(f"{each.name}: the model '{card.name}' was skipped: {error}")
        found = {name: (tally.figures(), seconds[name] / slices) for name, tally in tallies.items()}
        if not found:
            raise OptionError(f"no model could color the test set '{each.name}'")
        tables.append((each.name, each.about, rows(found)))
    text = markdown(tables)
    if args.markdown is not None:
        with write_whole(args.markdown, force=args.force) as place:
            place.write_text(text, encoding="utf-8")
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


def _sets(args: argparse.Namespace) -> list[_Set]:
    """Return the phantoms and the sets of the file.

    Raises `InputError` if the file is not a list of test sets.
    """
    from tomochrome.errors import InputError

    sets = []
    if args.phantoms:
        about = f"{args.phantoms} patients that no model was trained on"
        sets.append(_Set("Phantoms", about))
    if args.sets is None:
        return sets
    try:
        entries = json.loads(args.sets.read_text(encoding="utf-8"))
        for entry in entries:
            scans = [_files(scan, args.sets.parent) for scan in entry["scans"]]
            if not scans:
                raise ValueError("the set has no scans")
            sets.append(_Set(str(entry["name"]), str(entry.get("about", "")), scans))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"'{args.sets}' is not a list of test sets; write "
            '[{"name": "...", "scans": [{"ct": "...", "truth": "..."}]}]'
        ) from error
    return sets


def _files(scan: Mapping[str, Any], folder: Path) -> _Scan:
    at = scan.get("slice")
    if at is not None and (not isinstance(at, int) or at < 0):
        raise ValueError("the slice is not an index")
    names = (scan.get(key) for key in ("mask", "reference", "reference_labels", "reference_mask"))
    mask, photograph, *others = (None if name is None else folder / name for name in names)
    if photograph is None and any(others):
        raise ValueError("labels or a mask without a photograph")
    return _Scan(
        folder / scan["ct"],
        TruthFiles(folder / scan["truth"], mask, at),
        None if photograph is None else (photograph, *others),
    )


def _scans(
    test_set: _Set, args: argparse.Namespace, with_photographs: bool
) -> Iterator[tuple[Volume, ColorTruth, Reference | None]]:
    """Yield each scan of a set with its truth, and its reference if one is needed."""
    import numpy as np

    from tomochrome.colorization import Reference
    from tomochrome.evaluate import ColorTruth
    from tomochrome.io import read
    from tomochrome.phantom import make_patient
    from tomochrome.runtime import check

    for scan in test_set.scans:
        volume, photograph = read(scan.ct), None
        if with_photographs and scan.reference is not None:
            photograph = Reference.read(*scan.reference)
        yield volume, Truth.read(scan.truth, volume, args).truth, photograph
    for k in range(0 if test_set.scans else args.phantoms):
        check()
        region, phase = _PHANTOMS[k % len(_PHANTOMS)]
        patient = make_patient(_FIRST_SEED + k, region, _SPACING, phase=phase)
        tissues = np.asarray(patient.tissue.voxels).astype(np.uint8)
        photograph = None
        if with_photographs:
            other = make_patient(_FIRST_REFERENCE + k, region, _SPACING, phase=phase)
            middle = other.ct.shape[0] // 2
            mask = np.asarray(other.tissue.voxels)[middle] > 0
            photograph = Reference(other.cryosection()[middle], mask=mask)
        yield patient.ct, ColorTruth.of_tissues(tissues, args.palette), photograph
