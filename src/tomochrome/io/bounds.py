"""What a file may claim to hold, before anything is allocated for it."""

from __future__ import annotations

from typing import Final

from tomochrome.errors import InputError

MAX_VOLUME_BYTES: Final = 4 << 30
"""One volume as stored: 2,000 slices of 1024 x 1024 in 16 bits."""
MAX_VOLUMES: Final = 10_000  # in one file: a functional MR study has some thousand
DEFLATE_MOST: Final = 1032
"""No deflated stream holds more bytes than this for each of its own (RFC 1951: 258 in 2 bits)."""
MOST_RATIO: Final = 200
"""Large volumes do not shrink more than this, unless they are bombs (or empty)."""
LARGE_BYTES: Final = 1 << 30


def damaged(where: str, kind: str) -> InputError:
    """Return the error for a file that no library makes sense of."""
    return InputError(
        f"'{where}' cannot be read as {kind}, because it is damaged, truncated or incomplete; "
        "copy it again"
    )


def check_claims(
    where: str,
    shape: tuple[int, ...],
    volume_bytes: int,
    volumes: int,
    stored: int,
    *,
    packed: bool,
) -> None:
    """Refuse a header that claims more than the file can hold, or than is reasonable.

    Parameters
    ----------
    where
        The file, for the error.
    shape
        Voxels along (z, y, x), for the error.
    volume_bytes, volumes
        Unpacked bytes of one volume, and how many volumes there are.
    stored
        Bytes that the file has for them.
    packed
        Whether they are deflated.

    Raises
    ------
    InputError
        With the sizes.
    """
    claimed = volume_bytes * volumes
    if volume_bytes > MAX_VOLUME_BYTES or volumes > MAX_VOLUMES:
        raise InputError(
            f"'{where}' claims {volumes} volumes of {' x '.join(map(str, shape[::-1]))} voxels, "
            f"{volume_bytes / 2**30:.3g} GiB each, more than this reader allows; save a part of it"
        )
    if claimed > max(stored, 0) * (DEFLATE_MOST if packed else 1):
        raise InputError(
            f"'{where}' is truncated or damaged: its header claims {claimed} bytes of voxels, and "
            f"the file has {max(stored, 0)}{' (compressed)' if packed else ''}; copy it again"
        )
    if packed and volume_bytes > LARGE_BYTES and claimed > MOST_RATIO * stored:
        raise InputError(
            f"'{where}' would expand more than {MOST_RATIO} times, as a decompression bomb does; "
            "unpack it yourself first, if you trust it"
        )
