"""ITK's transform files as lists of records: ``.h5`` (HDF5), ``.tfm .txt`` (text), ``.mat``.

ITK's own readers crash on damaged ``.h5`` and ``.mat`` files, wait for ever on some that hold no
numbers, and allocate whatever a file claims. So the containers are opened here.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.io.hdf5 import SIGNATURE, Hdf5, UnknownLayoutError

HDF5_ENDINGS: Final = (".h5", ".hdf5")
_LARGEST_TEXT: Final = 2**24
_HEAD: Final = 2**12
_NAME: Final = re.compile(r"([A-Za-z0-9]+)_(?:double|float)_(\d_\d(?:_\d)?)")
_DAMAGED: Final = (ValueError, LookupError, ArithmeticError, struct.error, zlib.error)


@dataclass(frozen=True, eq=False)
class Record:
    """One transform as a file has it.

    Parameters
    ----------
    kind
        ITK's name of the class, such as ``AffineTransform``.
    dimensions
        Of its input and output, such as ``"3_3"``.
    parameters, fixed
        What `itk::Transform` calls parameters and fixed parameters.
    """

    kind: str
    dimensions: str
    parameters: NDArray[np.float64]
    fixed: NDArray[np.float64]


def read_records(path: Path) -> list[Record]:
    """Read the transforms of a file, in the order in which they are stored.

    Raises
    ------
    InputError
        If it is damaged, or of another kind than its ending says.
    """
    name, size = path.name.lower(), path.stat().st_size
    if not name.endswith(HDF5_ENDINGS) and not 0 < size <= _LARGEST_TEXT:
        raise InputError(f"'{path}' is no transform: it is of {size} bytes")
    content = path.read_bytes()
    try:
        if name.endswith(HDF5_ENDINGS):
            _check_hdf5(path, content)
            return _from_hdf5(content)
        return _from_matlab(content) if name.endswith(".mat") else _from_text(content)
    except UnknownLayoutError as error:
        raise InputError(
            f"'{path}' is an HDF5 file of a layout that is not known here ({error}); save the "
            "transform again as .tfm, or its parts one by one"
        ) from error
    except _DAMAGED as error:
        raise InputError(f"'{path}' cannot be read as a transform: {_foreign(content)}") from error


def _foreign(content: bytes) -> str:
    """Say what a file is that is none of ITK's, as far as that is to be seen, and what to do."""
    head = content[:_HEAD].decode("ascii", errors="replace")
    if '(Transform "' in head:
        return "these are elastix's parameters; let transformix -def all make a field of them"
    if len(content) < _HEAD and re.fullmatch(r"\s*(?:[-+.\deE]+\s+){15}[-+.\deE]+\s*", head):
        return (
            "a bare matrix (FSL's or c3d's) does not say of which space it is; convert it by "
            "c3d_affine_tool -oitk"
        )
    return "the file is damaged or of another kind; export it again"


def _record(name: str, parameters: NDArray[np.float64], fixed: NDArray[np.float64]) -> Record:
    found = _NAME.fullmatch(name.strip())
    if found is None:
        raise ValueError("no name of a transform")
    return Record(found[1], found[2], parameters, fixed)


def _check_hdf5(path: Path, content: bytes) -> None:
    """Refuse what is not, or not wholly, an HDF5 file."""
    if not content.startswith(SIGNATURE) or len(content) < 64:
        raise InputError(f"'{path}' is not an HDF5 file: it is damaged or of another kind")
    # HDF5 File Format Specification, II.A: the superblock holds the end of the file
    (end,) = struct.unpack_from("<Q", content, 40 if content[8] < 2 else 28)
    if end != 2**64 - 1 and end > len(content):
        raise InputError(
            f"'{path}' is cut off: {len(content)} of {end} bytes are there; copy it again"
        )


def _from_hdf5(content: bytes) -> list[Record]:
    file = Hdf5(content)
    groups = file.links(file.links(file.root)["TransformGroup"])
    found = []
    for number in sorted(groups, key=int):
        links, values = file.links(groups[number]), []
        for plain, misspelt in (  # as ITK before version 5 wrote them
            ("TransformParameters", "TranformParameters"),
            ("TransformFixedParameters", "TranformFixedParameters"),
        ):
            there = links.get(plain, links.get(misspelt))
            values.append(np.zeros(0) if there is None else file.floats(there))
        kind = links.get("TransformType", links.get("TranformType"))
        if kind is None:
            raise ValueError("a transform without a name")
        found.append(_record(file.text(kind), *values))
    return found


def _from_text(content: bytes) -> list[Record]:
    lines = content.decode("utf-8", errors="replace").splitlines()
    if not lines or not lines[0].startswith("#Insight Transform File"):
        raise ValueError("no Insight transform file")
    found: list[dict[str, str]] = []
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        key, sign, value = line.partition(":")
        if not sign or key not in ("Transform", "Parameters", "FixedParameters"):
            raise ValueError("an unknown line")
        if key == "Transform":
            found.append({})
        if key in found[-1]:
            raise ValueError("a line twice")
        found[-1][key] = value
    records = []
    for one in found:
        if "Parameters" not in one and "Composite" not in one["Transform"]:
            raise ValueError("a transform without parameters")
        values = [
            np.array([float(word) for word in one.get(key, "").split()])
            for key in ("Parameters", "FixedParameters")
        ]
        records.append(_record(one["Transform"], *values))
    return records


def _from_matlab(content: bytes) -> list[Record]:
    """Read vectors, each transform's parameters and fixed parameters in turn.

    Source: MATLAB MAT-File Format, "Level 4 MAT-File Format".
    """
    at, vectors = 0, []
    while at < len(content):
        order = "<" if struct.unpack_from("<i", content, at)[0] < 1000 else ">"
        kind, rows, columns, imaginary, length = struct.unpack_from(f"{order}5i", content, at)
        single = kind % 100 == 10
        if kind not in ((0, 10, 100, 110) if order == "<" else (1000, 1010, 1100, 1110)):
            raise ValueError("no numbers")
        if rows < 0 or columns != 1 or imaginary != 0 or not 2 <= length <= 256:
            raise ValueError("no vector")
        start = at + 20 + length
        name = content[at + 20 : start].split(b"\0")[0].decode("ascii")
        at = start + rows * (4 if single else 8)
        if at > len(content):
            raise ValueError("cut off")
        dtype = np.dtype(f"{order}f{4 if single else 8}")
        vectors.append((name, np.frombuffer(content, dtype, rows, start).astype(np.float64)))
    names = [name for name, _ in vectors]
    if not vectors or len(vectors) % 2 or set(names[1::2]) != {"fixed"}:
        raise ValueError("parameters without fixed ones")
    pairs = zip(vectors[::2], vectors[1::2], strict=True)
    return [_record(name, values, fixed) for (name, values), (_, fixed) in pairs]
