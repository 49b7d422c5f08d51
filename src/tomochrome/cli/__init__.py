"""The command line: one module a command, nothing heavy imported before a command runs."""

from tomochrome.cli.app import main

__all__ = ["main"]
