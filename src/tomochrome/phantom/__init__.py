"""Procedural phantom patients: CT, tissues and cryosection colors of a realistic adult by seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomochrome.phantom.anatomy import Anatomy, draw_anatomy
    from tomochrome.phantom.dicom import write_dicom
    from tomochrome.phantom.patient import Patient, make_patient, make_structures
    from tomochrome.phantom.variations import Variations, draw_variations

_HOMES = {
    "Anatomy": "anatomy",
    "Patient": "patient",
    "Variations": "variations",
    "draw_anatomy": "anatomy",
    "draw_variations": "variations",
    "make_patient": "patient",
    "make_structures": "patient",
    "write_dicom": "dicom",
}

__all__ = [
    "Anatomy",
    "Patient",
    "Variations",
    "draw_anatomy",
    "draw_variations",
    "make_patient",
    "make_structures",
    "write_dicom",
]


def __getattr__(name: str) -> Any:
    # lazy imports, as painting needs numba and scipy
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"tomochrome.phantom.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
