"""The mask of restored voxels in a file beside a volume's NIfTI or NRRD file.

It is ``scan_restored.nii.gz`` beside ``scan.nii.gz``, and ``scan_restored.seg.nrrd``, which 3D
Slicer opens as a segmentation, beside ``scan.nrrd``: 1 where a value was restored, else 0.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tomochrome.errors import TomochromeError
from tomochrome.geometry.affine import same_grid
from tomochrome.io.image_file import ImageFile, read_volume
from tomochrome.io.image_formats import open_image
from tomochrome.io.tissue_segments import Segment, slicer_keys
from tomochrome.notices import Notice
from tomochrome.volume import RESTORED, Provenance, Volume

_ENDINGS: Final = ((".nii.gz", ".nii.gz"), (".nii", ".nii.gz"), (".nrrd", ".seg.nrrd"))
_OURS: Final = "not for diagnosis"  # in the description of every file that we write
_MASK: Final = f"mask of voxels {RESTORED}"  # begins the description of a mask


def mask_path(path: str | os.PathLike[str]) -> Path | None:
    """Return the path of the mask that belongs to a file; None for folders and other formats."""
    if os.fspath(path).endswith(("/", os.sep)):  # of DICOM, whatever its name
        return None
    name = Path(path).name
    for ending, other in _ENDINGS:
        if name.lower().endswith(ending):
            return Path(path).with_name(f"{name[: -len(ending)]}_restored{other}")
    return None


def mask_volume(volume: Volume) -> Volume:
    """Return the mask of restored voxels as labels, with the keys of 3D Slicer's segmentations."""
    marks = np.zeros(volume.shape, np.bool_) if volume.restored is None else volume.restored
    segment = Segment(1, RESTORED, (255, 255, 255))
    extra = {"description": f"{_MASK}; {_OURS}", **slicer_keys([segment], volume.shape)}
    return Volume(marks.astype(np.uint8), volume.affine, "tissue", Provenance(extra=extra))


def claims_restored(image: ImageFile) -> bool:
    """Return whether a file says that some of its voxels were restored; its mask is not read."""
    note = image.pairs.get("description", "")
    return RESTORED in note and not note.startswith(_MASK)


def with_mask(volume: Volume, image: ImageFile) -> Volume:
    """Return a volume with the mask of restored voxels that lies beside its file.

    The mask counts if it is on the grid of the volume, has no values but 0 and 1 (a restored scan
    can have the mask's name) and its description says what it is. It is ignored if the volume was
    written later by this program without restored voxels, or is such a mask itself.

    Parameters
    ----------
    volume
        The volume as read.
    image
        Its file.

    Returns
    -------
    Volume
        With a warning about its restored voxels, or about a missing mask; otherwise unchanged.
    """
    note, path = image.pairs.get("description", ""), mask_path(image.path)
    claims = claims_restored(image)
    if path is None or image.volumes > 1 or not (claims or path.is_file()):
        return volume
    if note.startswith(_MASK) or (_OURS in note and not claims):
        return volume
    return marked(volume, _mask(path, volume), f"'{path.name}' beside the file", claims=claims)


def _mask(path: Path, volume: Volume) -> NDArray[np.bool_] | None:
    try:
        image = open_image(path, "nrrd" if path.suffix == ".nrrd" else "nifti")
        if RESTORED not in image.pairs.get("description", ""):
            return None
        mask = read_volume(image)
    except (TomochromeError, OSError):
        return None
    marks = np.asarray(mask.voxels)
    if mask.is_rgba or not same_grid(mask, volume) or not np.isin(marks, (0, 1)).all():
        return None
    return marks != 0


def marked(
    volume: Volume, mask: NDArray[np.bool_] | None, where: str, *, claims: bool = True
) -> Volume:
    """Return a volume with its restored voxels, and a warning about them.

    Parameters
    ----------
    volume
        The volume as read.
    mask
        Booleans (z, y, x), or None if the mask could not be read.
    where
        Where it should be.
    claims
        Whether the file of the volume says that it has restored voxels.
    """
    if mask is None and not claims:
        return volume
    if mask is None:
        text = (
            "the file says that some of its voxels were restored, not measured, but their mask "
            f"({where}) is missing or does not fit: they are not marked"
        )
    else:
        text = restored_text(mask)
    provenance = replace(
        volume.provenance,
        warnings=(*volume.provenance.warnings, Notice("restored", "warning", text)),
    )
    return replace(volume, restored=mask, provenance=provenance)


def restored_text(mask: NDArray[np.bool_]) -> str:
    """Return how much of a volume was restored, as a sentence without a full stop."""
    count = int(np.count_nonzero(mask))
    return f"{count} voxels ({100 * count / mask.size:.2g} %) were {RESTORED}"
