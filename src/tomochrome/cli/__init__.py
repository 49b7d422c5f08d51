"""The command line: one module per command; heavy packages are imported when a command runs."""

from tomochrome.cli.app import main

__all__ = ["main"]
