"""Limits on the data sizes that a header may declare, checked before any allocation."""

from __future__ import annotations

from typing import Final

from tomochrome.errors import InputError

MAX_VOLUME_BYTES: Final = 4 << 30
"""Stored size of one volume: 2,000 slices of 1024 x 1024 voxels of 16 bits."""
MAX_VOLUMES: Final = 10_000  # per file: a functional MR study has about a thousand
DEFLATE_MOST: Final = 1032
"""Highest compression ratio of deflate (RFC 1951: 258 bytes in 2 bits)."""
MOST_RATIO: Final = 200
"""Highest plausible compression ratio of a large volume that is neither empty nor a bomb."""
LARGE_BYTES: Final = 1 << 30


def damaged(where: str, kind: str) -> InputError:
    """Return the error for a file that cannot be parsed."""
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
    """Refuse a header that claims more data than the file can hold or the limits allow.

    Parameters
    ----------
    where
        The file, for the error message.
    shape
        Voxels along (z, y, x), for the error message.
    volume_bytes, volumes
        Uncompressed bytes of one volume, and the number of volumes.
    stored
        Bytes available in the file for the voxels.
    packed
        Whether the voxels are compressed (deflate).

    Raises
    ------
    InputError
        If the sizes do not fit the file or exceed the limits; the message gives the sizes.
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
