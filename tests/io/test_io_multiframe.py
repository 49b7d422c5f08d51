"""Frames that no group places: by offsets, by the top of the file, alone, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from enhanced_cases import frames_of, headers_of, write_enhanced
from io_cases import ORIENTATIONS, ct
from pydicom.uid import (
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)

from tomochrome.errors import InputError
from tomochrome.io.dicom.header_reader import read_header


def classic(path, offsets=None, count=7, **values):
    """A multi-frame file without functional groups."""

    def flatten(dataset):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        dataset.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        dataset.ImagePositionPatient = [-30, 12.5, 100.25]
        dataset.PixelSpacing = [0.9, 0.8]
        del dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence
        del dataset.DimensionIndexSequence
        dataset.NumberOfFrames = count
        if offsets is not None:
            dataset.GridFrameOffsetVector = [float(v) for v in offsets]
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    volume = values.pop("volume", None) or ct()
    return write_enhanced(
        path, frames_of(volume), edit=flatten,
        sop_class=MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    )  # fmt: skip


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_offsets_along_the_normal_place_frames(tmp_path, orientation):
    path = classic(tmp_path / "c.dcm", np.arange(7) * 2.5, volume=ct(orientation=orientation))
    normal = np.cross(*np.array(headers_of(path)[0].orientation).reshape(2, 3))
    for i, header in enumerate(headers_of(path)):
        np.testing.assert_allclose(
            header.position, np.array([-30, 12.5, 100.25]) + 2.5 * i * normal, atol=1e-6
        )


def test_offsets_that_are_z_positions_place_axial_frames(tmp_path):
    path = classic(tmp_path / "c.dcm", 100.25 - np.arange(7))
    assert [h.position[2] for h in headers_of(path)] == [100.25 - i for i in range(7)]


@pytest.mark.parametrize(
    ("offsets", "values"),
    [
        (None, {}),
        (range(6), {}),
        (range(50, 57), {}),
        (100.25 + np.arange(7), {"volume": ct(orientation="coronal")}),
        (range(7), {"ImagePositionPatient": None}),
        (range(7), {"ImageOrientationPatient": None}),
    ],
)
def test_a_film_is_no_volume(tmp_path, offsets, values):
    path = classic(tmp_path / "c.dcm", offsets, **values)
    with pytest.raises(InputError, match="without a position in space") as caught:
        headers_of(path)
    assert str(caught.value).count("\n") == 0


def test_color_segmentations_and_single_images_are_left_alone(tmp_path, shared_data):
    for name in ("seg_image_ct_binary.dcm", "ct_image.dcm"):
        path = shared_data / "dicom" / "ct_with_seg" / name
        assert headers_of(path) == [read_header(path)]


@pytest.mark.parametrize(
    ("modality", "sop_class"), [("MR", EnhancedMRImageStorage), ("PT", EnhancedPETImageStorage)]
)
def test_a_single_enhanced_frame_has_a_place(tmp_path, modality, sop_class):
    path = write_enhanced(
        tmp_path / "e.dcm", frames_of(ct((1, 24, 20))), modality=modality, sop_class=sop_class
    )
    (header,) = headers_of(path)
    np.testing.assert_allclose(header.position, ct().origin)


def test_one_frame_lies_where_the_top_of_the_file_says(tmp_path):
    def lift(dataset):
        del dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence
        dataset.ImagePositionPatient = [1, 2, 3]

    path = write_enhanced(tmp_path / "e.dcm", frames_of(ct((1, 24, 20))), edit=lift)
    assert [h.position for h in headers_of(path)] == [(1, 2, 3)]
    (tmp_path / "e.dcm").unlink()

    def lift_all(dataset):
        for group in dataset.PerFrameFunctionalGroupsSequence:
            del group.PlanePositionSequence
        dataset.ImagePositionPatient = [1, 2, 3]

    path = write_enhanced(tmp_path / "e.dcm", frames_of(ct()), edit=lift_all)
    with pytest.raises(InputError, match="without a position in space"):
        headers_of(path)
