"""Write a cine of all slices of a colored volume, for slides or a web page.

Usage: ``python examples/make_a_cine.py SERIES OUT.gif`` (or ``OUT.mp4``). Without
arguments, a sample patient is generated and colored.
"""

from __future__ import annotations

import sys

import tomochrome as tc
from tomochrome.phantom import make_patient


def main(source: str | None = None, target: str = "cine.gif") -> None:
    """Read, color and write the cine."""
    volume = tc.read(source) if source else make_patient(1, "head", (8.0, 2.0, 2.0)).ct
    image = tc.light(volume, tc.colorize(volume), window="auto")
    tc.write(image, target, force=True)
    print(f"{target}: {len(image.voxels)} slices from head to feet")


if __name__ == "__main__":
    main(*sys.argv[1:3])
