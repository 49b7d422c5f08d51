"""Writing a colored volume as a series of Secondary Capture images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from tomochrome.errors import OutputError
from tomochrome.io.dicom.write import base_dataset, check_folder, save_slices
from tomochrome.volume import Volume


def write_capture(
    volume: Volume, folder: str | os.PathLike[str], *, description: str = "", force: bool = False
) -> Path:
    """Write RGBA as RGB Secondary Capture images over black, one file for each slice.

    Each image has position, orientation, pixel spacing and frame of reference, the image types
    DERIVED and SECONDARY, and "not for diagnosis" in ImageComments.

    Parameters
    ----------
    volume
        uint8 RGBA with orthogonal axes.
    folder
        Folder to create; its parent must exist.
    description
        SeriesDescription.
    force
        Replace an existing folder that contains nothing but ``.dcm`` files.

    Returns
    -------
    Path
        ``folder`` as a `Path`.

    Raises
    ------
    OutputError
        If the volume is not colored or the folder cannot be written.
    Cancelled
        If the task was cancelled; no files are left.
    """
    target = check_folder(Path(folder), force=force)
    if not volume.is_rgba:
        raise OutputError("only a color volume can be written as Secondary Capture; light it first")
    template = base_dataset(volume, SecondaryCaptureImageStorage, None, "OT")
    extra = volume.provenance.extra
    template.SeriesDescription = (description or "Tomochrome color, not for diagnosis")[:64]
    template.ImageType = ["DERIVED", "SECONDARY"]
    template.ConversionType = "WSD"
    template.ImageComments = str(extra.get("description", "not for diagnosis"))
    if "not for diagnosis" not in template.ImageComments:
        template.ImageComments += ", not for diagnosis"
    template.BurnedInAnnotation = "NO"
    template.SamplesPerPixel, template.PhotometricInterpretation = 3, "RGB"
    template.PlanarConfiguration = 0
    template.BitsAllocated, template.BitsStored, template.HighBit = 8, 8, 7
    template.PixelRepresentation = 0

    def set_pixels(dataset: Dataset, z: int) -> None:
        pixels = over_black(np.asarray(volume.voxels[z])).tobytes()
        dataset.PixelData = pixels + b"\x00" * (len(pixels) % 2)
        dataset["PixelData"].VR = "OB"

    return save_slices(target, template, volume, set_pixels)


def over_black(
    rgba: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Composite uint8 RGBA (..., 4) over black: RGB (..., 3), rounded to nearest."""
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 127) // 255).astype(np.uint8)
