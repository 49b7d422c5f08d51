"""List the series in a folder with their warnings, and read one of them."""

from __future__ import annotations

from pathlib import Path

import tomochrome as tc
from tomochrome.phantom import make_patient, write_dicom


def main() -> None:
    """Write two series to one folder, one with a missing slice; list both and read one."""
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
    volume = tc.read(incomplete)  # on a regular grid, with a warning about the interpolated slice
    stored = tc.read(incomplete, as_stored=True)  # only the stored slices
    print(f"read {volume.shape} voxels; as stored {stored.shape}")


if __name__ == "__main__":
    main()
