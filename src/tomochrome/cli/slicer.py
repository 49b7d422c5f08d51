"""``tomochrome slicer``: write command line modules for 3D Slicer."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from tomochrome.cli import options
from tomochrome.cli.files import check_folder, write_together
from tomochrome.cli.session import Outcome, Session
from tomochrome.cli.slicer_modules import module_xml, slicer_modules

_LAUNCHER: Final = '''\
#!/usr/bin/env python3
"""{title}, a command line module for 3D Slicer. `tomochrome slicer` writes it."""

import os
import subprocess
import sys

PYTHON = {python!r}
COMMAND = [PYTHON, "-m", "tomochrome.cli.slicer_run", {name!r}, *sys.argv[1:]]
# Those of 3D Slicer would break another Python.
OWN = ("PYTHON", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_", "QT_", "SSL_CERT")

if __name__ == "__main__":
    if not os.path.exists(PYTHON):
        sys.exit("error: " + PYTHON + " is gone; run 'tomochrome slicer' again")
    environment = {{k: v for k, v in os.environ.items() if not k.startswith(OWN)}}
    if os.name == "nt":
        sys.exit(subprocess.call(COMMAND, env=environment))
    os.execve(PYTHON, COMMAND, environment)
'''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    options.add_paths(
        parser, dir="new or existing folder, to be added to the module paths of 3D Slicer"
    )
    options.add_force(parser)


def run(args: argparse.Namespace, session: Session) -> Outcome:
    """Write the XML and a launcher of each module."""
    modules = slicer_modules()
    files = [f"{module.name}{ending}" for module in modules for ending in (".xml", ".py")]
    check_folder(args.dir, files, force=args.force)
    with write_together(args.dir, files, force=args.force) as place:
        for module in modules:
            (place / f"{module.name}.xml").write_text(module_xml(module), "utf-8")
            launcher = place / f"{module.name}.py"
            text = _LAUNCHER.format(title=module.title, name=module.name, python=sys.executable)
            launcher.write_text(text, "utf-8")
            launcher.chmod(0o755)
    lines = [f"  {module.name}: {module.title}" for module in modules]
    told = (
        "add this folder in 3D Slicer: Edit > Application Settings > Modules > Additional module "
        "paths"
    )
    data = {"folder": str(args.dir), "modules": [module.name for module in modules]}
    return Outcome(data, "\n".join([f"{args.dir}", *lines, told]))
