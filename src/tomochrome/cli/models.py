"""``tomochrome models``: installed models, their training data and scores."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping
from typing import Any

from tomochrome.cli.session import Outcome, Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no arguments of its own."""


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """List the installed models."""
    from tomochrome.bundles import REGISTRATION, list_cards
    from tomochrome.colorization import models

    cards = [card.to_json() for card in (*models(), *list_cards(REGISTRATION))]
    return Outcome({"models": cards}, "\n\n".join(_in_words(card) for card in cards))


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
