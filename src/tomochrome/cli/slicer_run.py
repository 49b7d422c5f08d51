"""Runs a command line module of 3D Slicer: ``python -m tomochrome.cli.slicer_run NAME ...``.

The launchers that ``tomochrome slicer`` writes call it. Arguments are those of the module's XML;
they become those of the command, which is run in this process and reports its progress on stdout.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from tomochrome.cli.app import BAD_INPUT, DONE, main
from tomochrome.cli.session import ProgressLine, Session, tell
from tomochrome.cli.slicer_modules import SlicerModule, module_xml, slicer_modules
from tomochrome.errors import TomochromeError
from tomochrome.io import read, write
from tomochrome.io.tissue_segments import color_table
from tomochrome.runtime import write_text, write_whole

_RESULTS: Final = {
    "movedVolume": "moved.nii.gz",
    "forwardTransform": "forward.h5",
    "inverseTransform": "inverse.h5",
}
"""Files of `tomochrome register` for each output."""
_RESTORED: Final = "restored.nrrd"  # copied, so that an earlier output is never taken for a new one


class SlicerProgress(ProgressLine):
    """Progress as 3D Slicer reads it on stdout."""

    def __init__(self) -> None:
        super().__init__()
        self._stage = ""

    def __call__(self, done: int, total: int, stage: str) -> None:
        """Report that ``done`` of ``total`` steps of ``stage`` are finished."""
        if stage != self._stage:
            self.clear()
            name = f"<filter-name>{escape(stage)}</filter-name>"
            comment = f"<filter-comment>{escape(stage)}</filter-comment>"
            tell(f"<filter-start>{name}{comment}</filter-start>\n", sys.stdout)
            self._stage = stage
        if total > 0:
            tell(f"<filter-progress>{done / total:.3f}</filter-progress>\n", sys.stdout)

    def clear(self) -> None:
        """Report that the current stage has ended."""
        if self._stage:
            name = f"<filter-name>{escape(self._stage)}</filter-name>"
            tell(f"<filter-end>{name}</filter-end>\n", sys.stdout)
            self._stage = ""


def run_module(argv: Sequence[str]) -> int:
    """Run a module, or print its XML, and return the exit status.

    Parameters
    ----------
    argv
        Name of the module, and the arguments of 3D Slicer, or ``--xml``.
    """
    module = next((m for m in slicer_modules() if m.name == next(iter(argv), "")), None)
    if module is None:
        tell("error: the first argument must be the name of a module\n")
        return BAD_INPUT
    if "--xml" in argv[1:]:
        tell(module_xml(module), sys.stdout)
        return DONE
    try:
        args = _parser(module).parse_args(argv[1:])
    except SystemExit as ended:
        return int(ended.code or 0)
    with tempfile.TemporaryDirectory(prefix="tomochrome-") as folder:
        status = main(_command(module, args, folder), Session(SlicerProgress()))
        if status != DONE:
            return status
        try:
            _hand_over(module, args, Path(folder))
            if args.returnparameterfile:
                write_text(args.returnparameterfile, "", force=True)  # all outputs are files
        except TomochromeError as error:
            tell(f"error: {error}\n")
            return BAD_INPUT
    return DONE


def _parser(module: SlicerModule) -> argparse.ArgumentParser:
    """Return the parser of the arguments that 3D Slicer derives from the XML."""
    parser = argparse.ArgumentParser(prog=module.name, allow_abbrev=False)
    parser.add_argument("--returnparameterfile", default="")
    parser.add_argument("--processinformationaddress", default="")
    for parameter in module.parameters:
        if parameter.kind == "boolean":
            parser.add_argument(f"--{parameter.name}", action="store_true")
        elif parameter.index is None:
            default = "" if parameter.default is None else str(parameter.default)
            parser.add_argument(f"--{parameter.name}", default=default)
    for parameter in sorted(module.parameters, key=lambda p: -1 if p.index is None else p.index):
        if parameter.index is not None:
            parser.add_argument(parameter.name)
    return parser


def _command(module: SlicerModule, args: argparse.Namespace, folder: str) -> list[str]:
    """Return the command line of Tomochrome; registration writes into a folder."""
    command = [module.command, "--force"]
    for parameter in module.parameters:
        value = getattr(args, parameter.name)
        if parameter.option and value not in ("", False):
            command += [parameter.option] if value is True else [f"{parameter.option}={value}"]
        elif parameter.index is not None and parameter.channel == "input":
            command.append(value)
    if module.command == "colorize":
        command.append("--as-hu")
    made = {"register": folder, "restore": str(Path(folder, _RESTORED))}
    return [*command, "-o", made.get(module.command) or args.outputVolume]


def _hand_over(module: SlicerModule, args: argparse.Namespace, folder: Path) -> None:
    """Write what 3D Slicer expects of a command that succeeded beside its output."""
    if module.command == "colorize" and args.tissueColors:
        write_text(args.tissueColors, color_table(args.palette), force=True)
    if module.command == "restore":
        if (made := folder / _RESTORED).exists():
            _copy(made, args.outputVolume)
        else:  # nothing to restore
            write(read(args.inputVolume), args.outputVolume, force=True)
    if module.command == "register":
        for name, file in _RESULTS.items():
            if output := getattr(args, name):
                _copy(folder / file, output)


def _copy(made: Path, output: str) -> None:
    with write_whole(output, force=True) as temporary:
        shutil.copyfile(made, temporary)


if __name__ == "__main__":
    sys.exit(run_module(sys.argv[1:]))
