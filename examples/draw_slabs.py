"""Draw slabs: the vessels of the lungs by the maximum of 15 mm, one slice, and a coronal mean.

Usage: ``python examples/draw_slabs.py SERIES OUT.png``. Without arguments, a sample patient is
generated and colored.
"""

from __future__ import annotations

import sys

import tomochrome as tc
from tomochrome.color import Slab, light_slab, light_slabs
from tomochrome.io import write_slice
from tomochrome.phantom import make_patient


def main(source: str | None = None, target: str = "vessels.png") -> None:
    """Read, color, project and write."""
    volume = tc.read(source) if source else make_patient(3, "thorax", (5.0, 2.0, 2.0)).ct
    chroma = tc.colorize(volume, model="transfer-function")
    vessels = light_slabs(volume, chroma, Slab("maximum", 15))
    tc.write(vessels, target, force=True)
    z = volume.affine[2] @ [volume.shape[0] // 2, 0, 0, 1]
    write_slice(vessels, target.replace(".png", "-slice.png"), f"z={z:.0f}", force=True)
    middle = volume.shape[1] // 2
    coronal = light_slab(volume, chroma, middle, Slab("mean", 10), axis=1)
    print(f"{target}; a coronal slab of {coronal.shape} voxels: not for diagnosis")


if __name__ == "__main__":
    main(*sys.argv[1:3])
