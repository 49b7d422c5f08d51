"""Color every CT in a folder tree.

Usage: ``python examples/color_a_folder.py FOLDER OUT``. Without arguments, two small
sample patients are generated and colored. ``tomochrome batch`` does the same and more.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tomochrome as tc
from tomochrome.phantom import make_patient


def main(source: str | None = None, target: str = "colored") -> None:
    """List the volumes and color those in Hounsfield units."""
    folder = Path(source) if source else sample_folder()
    Path(target).mkdir(exist_ok=True)
    for number, item in enumerate(tc.find(folder).items, start=1):
        if item.unit != "HU" or item.verdict == "not-ct":
            print(f"skipped {item.path}: not a CT in Hounsfield units")
            continue
        volume = tc.read(item)
        image = tc.light(volume, tc.colorize(volume, model="transfer-function"), window="auto")
        tc.write(image, Path(target) / f"{number:03d}.nii.gz", force=True)
        print(f"{number:03d}.nii.gz: {item.path}")


def sample_folder() -> Path:
    """Return a folder with two sample patients."""
    folder = Path("scans")
    folder.mkdir(exist_ok=True)
    for seed, region in enumerate(("head", "chest"), start=1):
        ct = make_patient(seed, region, (12.0, 4.0, 4.0)).ct
        tc.write(ct, folder / f"{region}.nii.gz", force=True)
    return folder


if __name__ == "__main__":
    main(*sys.argv[1:3])
