"""ITK's transform files, read by ITK within bounds: memory, silence, and 3D Slicer's own classes.

ITK allocates whatever such a file claims (a few kilobytes of HDF5 can claim gigabytes), and HDF5
writes pages to stderr about a damaged one.

3D Slicer knows a transform in one direction or the other. What ITK has no name for it writes as
``InverseDisplacementFieldTransform`` and ``InverseBSplineTransform``, which store the transform
from the moving image to the fixed one and are to be followed backwards:
https://slicer.readthedocs.io/en/latest/developer_guide/modules/transforms.html
"""

from __future__ import annotations

import atexit
import os
import re
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tomochrome.errors import InputError
from tomochrome.io.bounds import MOST_RATIO

if TYPE_CHECKING:
    import SimpleITK

HDF5: Final = (".h5", ".hdf5")
_SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_SPARE_BYTES: Final = 1 << 30  # what reading any file may take
_COPIES: Final = 4  # of its contents that ITK holds at a time
_INVERSE: Final = re.compile(rb"Inverse((?:DisplacementField|BSpline)Transform_\w+)")
_UNKNOWN: Final = re.compile(r'Could not create an instance of "(\w+)"')
_lock = threading.Lock()


def read_transform(path: Path) -> tuple[SimpleITK.Transform, int]:
    """Read a transform; also say how many of its deformations are to be followed backwards.

    Raises
    ------
    InputError
        If the file is not whole, or holds a transform of a kind that is not known.
    RuntimeError, MemoryError
        If ITK makes nothing of it.
    """
    check_container(path)
    try:
        return _read(path), 0
    except RuntimeError as error:
        unknown = _UNKNOWN.search(str(error))
        if unknown is None:
            raise
        if not _INVERSE.fullmatch(unknown[1].encode()):
            raise InputError(
                f"'{path}' holds a transform of a kind that is not known here: {unknown[1]}; "
                "convert it to a displacement field"
            ) from error
    return _read_inverse(path)


def check_container(path: Path) -> None:
    """Refuse what is not, or not wholly, the file that its ending claims.

    Raises
    ------
    InputError
        With what is wrong.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
    if path.name.lower().endswith(HDF5):
        if not head.startswith(_SIGNATURE) or len(head) < 64:
            raise InputError(f"'{path}' is not an HDF5 file: it is damaged or of another kind")
        # HDF5 File Format Specification, II.A: the superblock holds the end of the file
        at = 40 if head[8] < 2 else 28
        end = int(struct.unpack_from("<Q", head, at)[0])
        if end != 2**64 - 1 and end > size:
            raise InputError(f"'{path}' is cut off: {size} of {end} bytes are there; copy it again")
    elif size > 2**24 or size == 0:
        raise InputError(f"'{path}' is no transform: it is of {size} bytes")
    elif path.name.lower().endswith((".tfm", ".txt")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        named = [line for line in lines if line.startswith("Transform:")]
        single = [line for line in named if "Composite" not in line]
        given = sum(line.startswith("Parameters:") for line in lines)
        if not lines[0].startswith("#Insight Transform File") or given < len(single) or not named:
            raise InputError(f"'{path}' is no whole Insight transform file; export it again")


def _read_inverse(path: Path) -> tuple[SimpleITK.Transform, int]:
    """Read 3D Slicer's own classes under the names of ITK's that they store the same as."""
    whole = path.read_bytes()
    pad = b"\0" if path.name.lower().endswith(HDF5) else b""  # sizes are stored there
    renamed = _INVERSE.sub(lambda m: m[1] + pad * len("Inverse"), whole)
    with tempfile.TemporaryDirectory(prefix="tomochrome-") as folder:
        copy = Path(folder) / f"transform{path.suffix.lower()}"
        copy.write_bytes(renamed)
        transform = _read(copy)
    return transform, len(_INVERSE.findall(whole))


def _read(path: Path) -> SimpleITK.Transform:
    """Let ITK read a file, without the pages that HDF5 writes to stderr about a damaged one.

    Where ITK gives up on one it also leaves parts of it open, and when the process ends HDF5 goes
    on about an "infinite loop closing library". It can be told neither to be still nor to close
    them: its functions are hidden within ITK.
    """
    import SimpleITK

    most = _SPARE_BYTES + _COPIES * MOST_RATIO * path.stat().st_size
    try:
        with _lock, no_stderr(), _no_more_memory(most):
            return SimpleITK.ReadTransform(str(path))
    except (RuntimeError, MemoryError):
        if path.name.lower().endswith(HDF5):
            _no_stderr_at_exit()
        raise


@contextmanager
def _no_more_memory(than: int) -> Iterator[None]:
    """Let allocations fail that go further than so many bytes, where the system can (Linux)."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    bound = pages * resource.getpagesize() + than
    if before[0] != resource.RLIM_INFINITY and before[0] <= bound:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (bound, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def no_stderr() -> Iterator[None]:
    """Lead what libraries write to the process's stderr nowhere, for the moment."""
    try:
        kept = os.dup(2)
    except OSError:  # a window program without any
        yield
        return
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.close(nothing)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@lru_cache(maxsize=1)
def _no_stderr_at_exit() -> None:
    """Do so for good when Python has ended and only libraries are left to speak."""

    def hush() -> None:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 2)
            os.close(nothing)

    atexit.register(hush)
