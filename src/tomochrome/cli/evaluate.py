"""``tomochrome evaluate``: evaluate colors, contrast, features or a registration."""

from __future__ import annotations

import argparse

from tomochrome.cli import (
    evaluate_color,
    evaluate_contrast,
    evaluate_features,
    evaluate_models,
    evaluate_registration,
)
from tomochrome.cli.session import Outcome, Session

_KINDS = {
    "color": evaluate_color,
    "models": evaluate_models,
    "registration": evaluate_registration,
    "contrast": evaluate_contrast,
    "features": evaluate_features,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for module in _KINDS.values():
        module.add_parser(kinds)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Run the chosen evaluation."""
    return _KINDS[args.kind].run(args, session)
