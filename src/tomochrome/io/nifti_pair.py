"""File pairs of NIfTI or Analyze: ``.hdr`` (header) and ``.img`` (voxels)."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Final

from tomochrome.io.stream import is_gzip, opened

_MAX_HEADER: Final = 540
_PAIR: Final = {".img": ".hdr", ".hdr": ".img"}


def pair_of(path: Path) -> tuple[Path, Path] | None:
    """Return the header and data file of a ``.hdr``/``.img`` pair, given either one, else None.

    Both may end in ``.gz``. The caller checks whether they exist.
    """
    packed = path.suffix if path.suffix.lower() == ".gz" else ""
    bare = path.with_suffix("") if packed else path
    other = _PAIR.get(bare.suffix.lower())
    if other is None:
        return None
    other = other.upper() if bare.suffix.isupper() else other
    choices = [Path(f"{bare.with_suffix(other)}{end}") for end in (packed, "", ".gz")]
    partner = next((choice for choice in choices if choice.is_file()), choices[0])
    return (partner, path) if other.lower() == ".hdr" else (path, partner)


def is_pair(path: Path, *, data_only: bool = False) -> bool:
    """Whether a file belongs to a ``.hdr``/``.img`` pair of NIfTI or Analyze.

    Parameters
    ----------
    path
        A file.
    data_only
        Return True only for the data file of the pair.

    Raises
    ------
    OSError
        If a file cannot be opened.
    """
    pair = pair_of(path)
    if pair is None or (data_only and path == pair[0]) or not all(f.is_file() for f in pair):
        return False
    try:
        head = first_bytes(pair[0])[:4]
    except (EOFError, zlib.error):
        return False
    return bool({int.from_bytes(head, order) for order in ("little", "big")} & {348, 540})


def first_bytes(path: Path) -> bytes:
    """Return the first 540 bytes (the longest header), decompressed if necessary."""
    with opened(path, 0, packed=is_gzip(path)) as stream:
        head = b""
        while len(head) < _MAX_HEADER and (piece := stream.read(_MAX_HEADER - len(head))):
            head += piece
    return head
