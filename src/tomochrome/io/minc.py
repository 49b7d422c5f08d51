"""MINC's text files of linear transforms, ``.xfm``.

MINC's world has x to the patient's right, y to anterior and z to superior, so its matrices are
turned into LPS. Older versions of ITK, and so SimpleITK, read and write the numbers as they are;
later ones turn them too (https://github.com/InsightSoftwareConsortium/ITK/pull/4864). A file that
says that ITK wrote it may therefore mean either, and is refused.

MINC's own programs store the way from the moving image to the fixed one. As in ITK, the direction
is left as it is stored.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import InputError
from tomochrome.geometry.affine import LPS_FROM_RAS
from tomochrome.volume import MOST_MM

_MOST_BYTES: Final = 1 << 16
_FIRST_LINE: Final = "MNI Transform File"


def read_minc(path: Path) -> NDArray[np.float64]:
    """Read a linear transform.

    Parameters
    ----------
    path
        A ``.xfm`` file.

    Returns
    -------
    ndarray
        4x4, of LPS mm; of several transforms in a file the product.

    Raises
    ------
    InputError
        If the file is damaged, holds anything but linear transforms, or may have either axes.
    """
    if not 0 < path.stat().st_size < _MOST_BYTES:
        raise InputError(f"'{path}' is no transform: it is of {path.stat().st_size} bytes")
    first, *lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    if first.strip() != _FIRST_LINE:
        raise _damaged(path)
    if any(line.startswith("%") and "ITK" in line for line in lines):
        raise InputError(
            f"'{path}' was written by ITK, whose versions differ in which axes they mean; save the "
            "transform as .tfm or .h5"
        )
    found = list(_matrices("\n".join(line for line in lines if not line.startswith("%")), path))
    if not found:
        raise _damaged(path)
    whole = np.eye(4)
    for matrix in found:  # the first is applied first
        whole = matrix @ whole
    return np.asarray(LPS_FROM_RAS @ whole @ LPS_FROM_RAS)


def _matrices(text: str, path: Path) -> list[NDArray[np.float64]]:
    """Return the 4x4 matrices of a file, in its own axes, in order."""
    found: list[NDArray[np.float64]] = []
    inverted = False
    *statements, rest = text.split(";")
    if rest.strip():
        raise _damaged(path)
    for statement in statements:
        key, _, value = (part.strip() for part in statement.partition("="))
        if key == "Transform_Type":
            inverted = False
            if not re.fullmatch("[A-Za-z_]{1,40}", value):
                raise _damaged(path)
            if value != "Linear":
                raise InputError(
                    f"'{path}' holds a transform of a kind that is not known here: {value}; "
                    "convert it to a displacement field"
                )
        elif key == "Invert_Flag":
            inverted = value.lower() == "true"
        elif key == "Linear_Transform":
            found.append(_matrix(value, path, inverted=inverted))
        else:
            raise _damaged(path)
    return found


def _matrix(text: str, path: Path, *, inverted: bool) -> NDArray[np.float64]:
    try:
        numbers = np.array([float(word) for word in text.split()])
        matrix = np.vstack([numbers.reshape(3, 4), (0.0, 0.0, 0.0, 1.0)])
        matrix = np.asarray(np.linalg.inv(matrix)) if inverted else matrix
    except (ValueError, np.linalg.LinAlgError) as error:
        raise _damaged(path) from error
    if not (np.abs(matrix) <= MOST_MM).all():  # also where there is no number
        raise InputError(f"'{path}' holds an affine transform that leads beyond all bounds")
    return matrix


def _damaged(path: Path) -> InputError:
    return InputError(
        f"'{path}' cannot be read as a transform: the file is damaged or of another kind"
    )
