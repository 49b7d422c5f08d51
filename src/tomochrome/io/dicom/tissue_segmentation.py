"""Tissue maps and probabilities as DICOM Segmentation, written by highdicom.

Sources: PS3.3 A.51 and A.86 (Segmentation and Label Map Segmentation IOD), C.8.20.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tomochrome.color.chroma import Chroma
from tomochrome.color.codes import Mixtures
from tomochrome.errors import OutputError
from tomochrome.formats import SEGMENTATION, format_of
from tomochrome.io.dicom.dicom_write import base_dataset, plain_text, slice_dataset
from tomochrome.io.dicom.source_study import SourceStudy
from tomochrome.io.dicom.warning_capture import captured_warnings
from tomochrome.io.tissue_segments import Segment, segments_of
from tomochrome.runtime import check, check_writable, report, write_whole
from tomochrome.tissue import Tissue
from tomochrome.volume import OF_RESTORED, Volume

SegmentationKind = Literal["binary", "labelmap", "fractional"]
SEGMENTATION_KINDS: Final = ("binary", "labelmap", "fractional")
MAX_FRACTIONAL_BYTES: Final = 4 << 30
_VERSION: Final = version("napari-tomochrome")
_SERIES_STEP: Final = 2000  #: added to the number of the source series


def check_highdicom() -> None:
    """Raise `OutputError` if highdicom is not installed."""
    if find_spec(SEGMENTATION.package) is None:
        raise OutputError(
            "DICOM Segmentation needs the package highdicom; install it with "
            'pip install "napari-tomochrome[segmentation]", or write .seg.nrrd'
        )


def write_segmentation(
    tissues: Volume | Chroma,
    path: str | os.PathLike[str],
    *,
    kind: SegmentationKind = "binary",
    palette: str = "natural",
    only: str | Iterable[str | Tissue] | None = None,
    study: SourceStudy | None = None,
    force: bool = False,
) -> Path:
    """Write tissues as a DICOM Segmentation, one segment for each tissue that occurs.

    Segments have names, SNOMED CT codes and recommended display colors. The patient is anonymous
    and nothing is referenced, unless a study is given: then the segmentation belongs to that study
    and its patient, lies in its frame of reference, and references the images of its series.

    Parameters
    ----------
    tissues
        A tissue map (unit ``"tissue"``), or the colors of a scan.
    path
        The ``.dcm`` file.
    kind
        ``"binary"``; ``"labelmap"``, smaller, but read by newer viewers only, where the number of
        a segment is the index of its tissue; or ``"fractional"``, the probability of each tissue
        from 0 to 255, which needs the colors.
    palette
        Palette of the display colors.
    only
        The tissues to write, or their names; None for all.
    study
        What `tomochrome.io.source_study` returned for the scan.
    force
        Replace an existing file.

    Returns
    -------
    Path
        ``path`` as a `Path`.

    Raises
    ------
    OutputError
        If highdicom is not installed, there is no tissue, the axes are not orthogonal, the
        probabilities would need too much memory, or the file cannot be written or has another
        ending.
    OptionError
        If the colors have no tissues, or a tissue is unknown.
    Cancelled
        If the task was cancelled.
    """
    if format_of(path) != SEGMENTATION:
        raise OutputError(f"a segmentation ends in {SEGMENTATION.ending}, unlike '{path}'")
    check_highdicom()
    target = check_writable(path, force=force)
    chroma = tissues if isinstance(tissues, Chroma) else None
    volume = tissues if isinstance(tissues, Volume) else tissues.tissue_volume(palette)
    if kind == "fractional" and chroma is None:
        raise OutputError("probabilities need the colors of a scan (Chroma), not its tissue map")
    check()
    segments = segments_of(volume, only)
    report(0, 3, "writing the segmentation")
    pixels: NDArray[Any]
    if kind == "fractional" and chroma is not None:
        pixels = _probabilities(chroma, segments)
    else:
        pixels = _labels(volume, segments, consecutive=kind == "binary")
    report(1, 3, "writing the segmentation")
    dataset = _dataset(volume, pixels, segments, kind, study)
    check()
    report(2, 3, "writing the segmentation")
    with (
        captured_warnings(),
        write_whole(target, force=force) as temporary,
        _CheckedFile(io.FileIO(temporary, "wb")) as file,
    ):
        dataset.save_as(file, enforce_file_format=True)
    report(3, 3, "writing the segmentation")
    return target


def _labels(volume: Volume, segments: list[Segment], *, consecutive: bool) -> NDArray[np.uint8]:
    """Return the number of the segment of each voxel, 0 for none."""
    table = np.zeros(256, np.uint8)
    for number, segment in enumerate(segments, start=1):
        table[segment.value] = number if consecutive else segment.value
    return table[np.asarray(volume.voxels, np.uint8)]


def _probabilities(chroma: Chroma, segments: list[Segment]) -> NDArray[np.float32]:
    """Return the probability of each tissue, float32 (z, y, x, segments)."""
    assert isinstance(chroma.table, Mixtures)  # `tissue_volume` requires it
    size = 4 * chroma.code.size * len(segments)
    if size > MAX_FRACTIONAL_BYTES:
        raise OutputError(
            f"the probabilities of {len(segments)} tissues need {size / 2**30:.0f} GB of memory; "
            "choose fewer tissues, or write a binary segmentation"
        )
    weights = np.clip(chroma.table.weights[:, [s.value for s in segments]], 0, 1)
    values = np.empty((*chroma.shape, len(segments)), np.float32)
    for z, code in enumerate(chroma.code):
        check()
        values[z] = weights[code]
    return values


class _CheckedPixels(np.ndarray[Any, Any]):
    """Pixels that call `check` when a frame is taken: highdicom has no callback for that."""

    def __getitem__(self, index: Any) -> Any:
        check()
        return np.asarray(self)[index]


class _CheckedFile(io.BufferedWriter):
    """A file that calls `check` before each write."""

    def write(self, data: Any) -> int:
        check()
        return super().write(data)


@contextmanager
def _as_output_error() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OutputError(
            f"this cannot be stored as a DICOM Segmentation ({reason}); write .seg.nrrd instead"
        ) from error


def _dataset(
    volume: Volume,
    pixels: NDArray[Any],
    segments: list[Segment],
    kind: SegmentationKind,
    study: SourceStudy | None,
) -> Dataset:
    """Return the segmentation, made by highdicom."""
    import highdicom as hd

    template = base_dataset(volume, CTImageStorage, None, "CT", study)
    template.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    slices = [slice_dataset(template, volume, z) for z in range(volume.shape[0])]
    placed = None if study is None else study.instance_of_slice(volume)
    for one, (sop_class, uid) in zip(slices, placed or (), strict=False):
        one.SOPClassUID, one.SOPInstanceUID = sop_class, uid
    if study is not None:
        for one in slices:
            one.SeriesInstanceUID = study.series_uid
    number = 2 if study is None else study.series_number + _SERIES_STEP
    restored = volume.restored is not None or volume.provenance.of_restored
    scan = f", {OF_RESTORED}" if restored else ""
    with captured_warnings(), _as_output_error():
        made = hd.seg.Segmentation(
            source_images=slices,
            pixel_array=pixels.view(_CheckedPixels),
            segmentation_type=kind.upper(),
            segment_descriptions=[
                _description(segment, n, volume) for n, segment in enumerate(segments, start=1)
            ]
            if kind != "labelmap"
            else [_description(segment, segment.value, volume) for segment in segments],
            series_instance_uid=generate_uid(prefix=None),
            series_number=number,
            sop_instance_uid=generate_uid(prefix=None),
            instance_number=1,
            manufacturer="Tomochrome",
            manufacturer_model_name="Tomochrome",
            software_versions=_VERSION,
            device_serial_number="0",
            content_label="TISSUES",
            content_description=f"Tissues by a model{scan}, not for diagnosis",
            # not RLE: GDCM's encoder ends the process on frames with an odd number of bytes
            transfer_syntax_uid=ExplicitVRLittleEndian,
            series_description=f"Tomochrome tissues{scan}, not for diagnosis",
        )
    _set_references(made, study, per_frame=placed is not None)
    return made


def _description(segment: Segment, number: int, volume: Volume) -> Any:
    import highdicom as hd
    from pydicom.sr.coding import Code

    assert segment.codes is not None
    category, kind = (Code(c.value, c.scheme, c.meaning) for c in segment.codes)
    model = plain_text(str(volume.provenance.extra.get("model") or "unknown"))
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=f"tomochrome colorize, model {model}"[:64],
            family=Code("123109", "DCM", "Artificial Intelligence"),
            version=_VERSION,
        ),
        display_color=hd.color.CIELabColor.from_rgb(*segment.rgb),
    )


def _set_references(made: Dataset, study: SourceStudy | None, *, per_frame: bool) -> None:
    """Reference the images of the source series, or nothing if there is none."""
    if per_frame:
        return
    for frame in made.PerFrameFunctionalGroupsSequence:
        if "DerivationImageSequence" in frame:
            del frame.DerivationImageSequence
    del made.ReferencedSeriesSequence
    if study is None:
        return
    series, images = Dataset(), []
    for sop_class, uid in dict.fromkeys((c, u) for c, u, _ in study.instances):
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = sop_class, uid
        images.append(image)
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = study.series_uid, images
    made.ReferencedSeriesSequence = [series]
