"""List what lies in a folder, see what is irregular in words, and read the series of choice."""

from __future__ import annotations

from pathlib import Path

import tomochrome as tc
from tomochrome.phantom import make_patient, write_dicom


def main() -> None:
    """Write two series side by side, one with a slice missing; list both and read one."""
    folder = Path("examination")
    folder.mkdir()
    for name, region in (("head", "head"), ("chest", "chest")):
        write_dicom(make_patient(1, region, (12.0, 4.0, 4.0)), folder / name)
    sorted((folder / "chest").iterdir())[5].unlink()

    found = tc.find(folder)
    for item in found.items:
        print(f"{item.title or item.name}: {item.shape}, {item.verdict}")
        for warning in item.warnings:
            print(f"  {warning}")

    incomplete = next(item for item in found.items if item.verdict == "incomplete")
    volume = tc.read(incomplete)  # on a regular grid: the missing slice is bridged, and said
    stored = tc.read(incomplete, as_stored=True)  # the slices as they are
    print(f"read {volume.shape} voxels; as stored {stored.shape}")


if __name__ == "__main__":
    main()
