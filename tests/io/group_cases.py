"""Headers of slices that stand in no file, and the groups made of them by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tomochrome.io.dicom.group import Group
from tomochrome.io.dicom.header import Header

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def header(z: float = 0.0, name: str = "", **changes) -> Header:
    """The header of an axial CT slice at a height."""
    plain = Header(
        path=Path("/cd/s") / (name or f"{z:g}"),
        sop_class="1.2.840.10008.5.1.4.1.1.2",
        sop_uid=name or f"1.9.{z:g}",
        modality="CT",
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        study_uid="1.1",
        series_uid="1.2",
        series_number=2,
        frame_of_reference="1.3",
        rows=64,
        columns=64,
        frames=1,
        samples=1,
        pixel_spacing=(0.7, 0.7),
        thickness=2.0,
        position=(-20.0, -20.0, z),
        orientation=AXIAL,
        slope=1.0,
        intercept=-1024.0,
        rescale_type="HU",
        has_lut=False,
        padding=None,
        transfer_syntax="1.2.840.10008.1.2.1",
    )
    return replace(plain, **changes)


def stack(n: int = 10, start: float = 0.0, step: float = 2.0, tag: str = "a", **changes):
    """Slices one above the other; each value may be a function of the slice's number."""
    return [
        header(start + step * i, f"{tag}{i}", **{
            key: value(i) if callable(value) else value for key, value in changes.items()
        })
        for i in range(n)
    ]  # fmt: skip


def coronal(n: int, **changes):
    """Slices one behind the other."""
    return [
        replace(h, orientation=CORONAL, position=(-20.0, 2.0 * i, 50.0))
        for i, h in enumerate(stack(n, **changes))
    ]


def told(**values):
    """Acquisition values as a header holds them."""
    return tuple((keyword, f"{value}") for keyword, value in values.items())


def names(found: list[Group]) -> list[set[str]]:
    return [{h.path.name for h in g.headers} for g in found]


def of(slices) -> set[str]:
    return {h.path.name for h in slices}
