"""``tomochrome models``: installed models, their training data and scores, or the card of one."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping
from typing import Any

from tomochrome.cli.session import Outcome, Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument(
        "model", metavar="NAME", nargs="?", help="an installed model: print its whole card"
    )


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """List the installed models, or show one with its card."""
    from tomochrome.bundles import REGISTRATION, find_card, list_cards
    from tomochrome.colorization import find_model, models

    if args.model is None:
        cards = [*models(), *list_cards(REGISTRATION)]
        text = "\n\n".join(_in_words(card.to_json()) for card in cards)
    else:
        registers = any(args.model == card.name for card in list_cards(REGISTRATION))
        card = find_card(args.model, REGISTRATION) if registers else find_model(args.model)
        cards, page = [card], card.path / "docs" / "README.md"
        text = page.read_text(encoding="utf-8") if page.is_file() else _in_words(card.to_json())
    return Outcome({"models": [card.to_json() for card in cards]}, text)


def _in_words(card: Mapping[str, Any]) -> str:
    lines = [f"{card['name']} ({card['kind']}, {card['license']})"]
    lines += textwrap.wrap(
        f"trained on: {card['trained_on']}", 96, initial_indent="  ", subsequent_indent="    "
    )
    for name, value in dict(card["scores"] or {}).items():
        words = f"{name.replace('_', ' ')}: {_value(value)}"
        lines += textwrap.wrap(words, 96, initial_indent="  ", subsequent_indent="    ")
    if card["weights_sha256"]:
        lines.append(f"  weights sha256: {card['weights_sha256']}")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_value(v)}" for name, v in value.items())
    return str(value)
