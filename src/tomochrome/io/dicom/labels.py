"""What headers say about each of several volumes of one series, in a few words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from tomochrome.io.dicom.header import Header

LONGEST: Final = 64
"""Maximum number of characters of a label."""


def _acquired(keyword: str, words: str) -> Callable[[Header], str]:
    def said(header: Header) -> str:
        value = dict(header.acquisition).get(keyword, "")
        return words.format(value) if value else ""

    return said


_SAID: Final[tuple[Callable[[Header], str], ...]] = (
    lambda header: "\\".join(header.image_type),
    lambda header: header.title,
    _acquired("NominalPercentageOfCardiacPhase", "{} %"),
    _acquired("TemporalPositionIdentifier", "time {}"),
    _acquired("TemporalPositionIndex", "time {}"),
    _acquired("KVP", "{} kV"),
    _acquired("ConvolutionKernel", "{}"),
    lambda header: "" if header.thickness is None else f"{header.thickness:g} mm",
)


def labels(volumes: Sequence[Sequence[Header]]) -> list[str]:
    """Return for each volume the values that distinguish it from the others.

    For example ``"MONO_40"`` and ``"MONO_70"`` (values of Image Type), or ``"80 kV"``. A label is
    empty if the headers say nothing that holds for all slices of a volume and not for all volumes.

    Parameters
    ----------
    volumes
        The headers of each volume.
    """
    told: list[list[str]] = [[] for _ in volumes]
    for place, said in enumerate(_SAID):
        values = [{said(header) for header in headers} for headers in volumes]
        if any(len(value) != 1 for value in values):
            continue
        single = [value.pop() for value in values]
        if len(set(single)) == 1:
            continue
        for words, value in zip(told, _own(single) if place == 0 else single, strict=True):
            if value and value not in words:
                words.append(value)
    return [", ".join(words)[:LONGEST] for words in told]


def _own(types: Sequence[str]) -> list[str]:
    """Return the values of each image type that not all image types have."""
    split = [[value for value in text.split("\\") if value] for text in types]
    shared = set(split[0]).intersection(*split[1:])
    return [" ".join(value for value in values if value not in shared) for values in split]
