"""``tomochrome models``: installed models and their cards, or one slice colored by each."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping
from typing import Any

from tomochrome.bundles import (
    DEFECTS,
    FEATURES,
    REGISTRATION,
    RESTORATION,
    ModelCard,
    in_words,
    list_cards,
)
from tomochrome.cli import options
from tomochrome.cli.files import check_inputs, given, read_reference
from tomochrome.cli.session import Outcome, Session
from tomochrome.colorization import find_model, models
from tomochrome.colorization.side_by_side import compare_models, models_to_compare
from tomochrome.errors import OptionError, OutputError
from tomochrome.io import read
from tomochrome.runtime import check_writable, write_whole
from tomochrome.windowing import DEFAULT, needs_volume, parse_window

_OF_COMPARISON = (
    "output", "slice", "window", "as_hu", "reference", "reference_labels", "reference_mask",
    "series", "raw", "strict",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "model",
        metavar="NAME",
        nargs="*",
        help="an installed model: print its full card; with --compare, a model or bundle folder "
        "to compare (default: all; models that need a photograph only with --reference)",
    )
    compare = parser.add_argument_group("compare models on one slice")
    options.add_values(
        compare,
        ("--compare", "CT", options.some_path, "a CT series, file or folder"),
        ("--slice", "N", options.integer, "axial slice, from 0 at the feet (default: the middle)"),
        ("--window", "WINDOW", str, "as for 'tomochrome colorize'"),
    )
    compare.add_argument(
        "-o", "--output", metavar="SHEET.png", type=options.some_path, help="contact sheet to write"
    )
    options.add_as_hu(compare)
    options.add_reference(compare)
    options.add_reading(compare)
    options.add_computing(compare)
    options.add_force(compare)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """List the installed models, print model cards, or compare models on a slice."""
    if args.compare is not None:
        return _compare(args, session)
    for name, value in given(args, *_OF_COMPARISON).items():
        if value is not False:  # 0 is a slice
            raise OptionError(f"--{name.replace('_', '-')} needs --compare with the CT to color")
    if not args.model:
        cards = [*models(), *_others()]
        text = "\n\n".join(_summary(card.to_json()) for card in cards)
    else:
        others = {card.name: card for card in _others()}
        cards = [others.get(name) or find_model(name) for name in args.model]
        text = "\n\n".join(map(_page, cards))
    return Outcome({"models": [card.to_json() for card in cards]}, text)


def _others() -> list[ModelCard]:
    """Return the cards of the models that do not color."""
    purposes = (REGISTRATION, FEATURES, RESTORATION, DEFECTS)
    return [card for purpose in purposes for card in list_cards(purpose)]


def _page(card: ModelCard) -> str:
    """Return the model card of a bundle as written by its authors."""
    page = card.path / "docs" / "README.md"
    return page.read_text(encoding="utf-8") if page.is_file() else _summary(card.to_json())


def _compare(args: argparse.Namespace, session: Session) -> Outcome:
    """Color one slice with several models and write them on one sheet."""
    if args.output is None:
        raise OptionError("--compare writes a contact sheet: give --output SHEET.png")
    if args.output.suffix.lower() != ".png":
        raise OutputError(f"a contact sheet is a PNG; use the extension .png for '{args.output}'")
    check_inputs([args.compare], args.output)
    check_writable(args.output, force=args.force)
    window = args.window or DEFAULT
    if not needs_volume(window):
        parse_window(window)
    options.check_device(args.device)
    reference = read_reference(args)
    cards = models_to_compare(args.model, with_reference=reference is not None)
    compared = compare_models(
        read(args.compare, series=args.series, as_stored=args.raw, strict=args.strict),
        [card.path for card in cards],
        at=args.slice,
        window=window,
        reference=reference,
        device=args.device,
        threads=args.threads,
        force=args.as_hu,
    )
    session.warn(*compared.warnings)
    with write_whole(args.output, force=args.force) as place:
        compared.sheet().save(place, format="PNG")
    data = {
        "models": [card.to_json() for card in cards],
        "input": str(args.compare),
        "output": str(args.output),
        "pictures": list(compared.names),
        "warnings": list(session.warnings),
    }
    return Outcome(data, f"{args.output}\n  {', '.join(compared.titles)}\n  not for diagnosis")


def _summary(card: Mapping[str, Any]) -> str:
    lines = [f"{card['name']} ({card['kind']}, {card['license']})"]
    lines += textwrap.wrap(
        f"trained on: {card['trained_on']}", 96, initial_indent="  ", subsequent_indent="    "
    )
    for name, value in dict(card["scores"] or {}).items():
        words = f"{in_words(name)}: {in_words(value)}"
        lines += textwrap.wrap(words, 96, initial_indent="  ", subsequent_indent="    ")
    if card["weights_sha256"]:
        lines.append(f"  weights sha256: {card['weights_sha256']}")
    return "\n".join(lines)
