"""Enhanced multi-frame files from the path to the volume, voxel by voxel."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK
from enhanced_cases import each, frames_of, item, shuffled, write_enhanced
from io_cases import ORIENTATIONS, ct, same_in_space, series
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedCTImageStorage

from tomochrome.errors import InputError
from tomochrome.geometry.affine import apply
from tomochrome.io import find, read
from tomochrome.phantom import make_patient


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("compress", [None, "j2k", "rle"])
def test_shuffled_frames_come_back_in_place(tmp_path, orientation, compress):
    volume = ct((7, 40, 36), orientation)
    path = write_enhanced(tmp_path / "e.dcm", shuffled(frames_of(volume)), compress=compress)
    (found,) = find(path).items
    assert found.shape == (7, 40, 36)
    assert (found.verdict, found.unit, found.warnings) == ("regular", "HU", ())
    back = read(path)
    assert back.voxels.dtype == np.int16
    assert same_in_space(volume, back)
    assert [w[1:3] for w in back.provenance.windows] == [(40, 400)]


@pytest.mark.parametrize("offsets", ["", " without offsets"])
def test_frames_in_several_fragments(tmp_path, offsets):
    volume = ct((5, 40, 36))
    path = write_enhanced(
        tmp_path / "e.dcm", shuffled(frames_of(volume)), compress=f"j2k in fragments{offsets}"
    )
    assert same_in_space(volume, read(path))


def test_a_regular_file_equals_simpleitk(tmp_path):
    path = write_enhanced(tmp_path / "e.dcm", frames_of(ct()))
    image, back = SimpleITK.ReadImage(str(path)), read(path)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), back.voxels)
    for z, y, x in ((0, 0, 0), (6, 23, 19), (3, 5, 7)):
        there = image.TransformIndexToPhysicalPoint((x, y, z))
        np.testing.assert_allclose(there, apply(back.affine, (z, y, x)), atol=1e-4)


def test_slope_and_intercept_of_each_frame(tmp_path):
    volume = ct()
    cut = each(
        frames_of(volume),
        lambda frame, i: {"slope": (1.0, 0.5)[i % 2], "intercept": -1000.0 - i},
    )
    path = write_enhanced(tmp_path / "e.dcm", shuffled(cut))
    assert same_in_space(volume, read(path))


def read_all(path):
    return {f.key or f.name: read(path, series=f.key or f.name) for f in find(path).items}


def test_every_stack_at_every_time_is_a_volume_of_its_own(tmp_path):
    volumes = {
        (stack, phase): ct(orientation=orientation, seed=10 * int(stack) + phase)
        for stack, orientation in (("1", "axial"), ("2", "sagittal"))
        for phase in (1, 2)
    }
    cut = [f for (s, p), v in volumes.items() for f in frames_of(v, stack=s, phase=p)]
    path = write_enhanced(tmp_path / "e.dcm", shuffled(cut))
    items = find(path).items
    assert len(items) == 4
    assert [i.phase for i in items] == [f"{n} of 4" for n in (1, 2, 3, 4)]
    assert all(i.verdict == "regular" for i in items)
    assert all(any("temporal position" in w.text for w in i.warnings) for i in items)
    back = read_all(path)
    assert len(back) == 4
    for volume in volumes.values():
        assert sum(same_in_space(volume, found) for found in back.values()) == 1


def test_times_told_by_an_index_alone_are_phases(tmp_path):
    volumes = [ct(seed=seed) for seed in (1, 2, 3)]
    cut = [f for p, v in enumerate(volumes, 1) for f in frames_of(v, phase=p)]

    def only_indices(dataset):
        for group in dataset.PerFrameFunctionalGroupsSequence:
            content = group.FrameContentSequence[0]
            del content.TemporalPositionIndex, content.StackID

    path = write_enhanced(tmp_path / "e.dcm", shuffled(cut), edit=only_indices)
    back = read_all(path)
    assert len(back) == 3
    assert all(same_in_space(a, b) for a, b in zip(volumes, back.values(), strict=True))


def test_frames_at_one_place_that_nothing_tells_apart_are_refused(tmp_path):
    path = write_enhanced(tmp_path / "e.dcm", [*frames_of(ct()), *frames_of(ct(seed=2))])
    (found,) = find(path).items
    assert found.verdict == "unreadable"
    assert "14 different images have only 7 positions" in str(found.refusal)
    assert all("\n" not in warning.text for warning in found.warnings)


def test_a_volume_parted_into_several_files_is_one(tmp_path):
    """A concatenation (PS3.3 C.7.6.16.2.2.4): one image, too long for one file."""
    volume = ct((9, 24, 20))
    cut = shuffled(frames_of(volume))

    def same_series(dataset):
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3", "1.2.4"
        dataset.FrameOfReferenceUID = "1.2.5"

    write_enhanced(tmp_path / "1.dcm", cut[:5], edit=same_series)
    write_enhanced(tmp_path / "2.dcm", cut[5:], edit=same_series)
    back = read(tmp_path)
    assert back.provenance.verdict == "regular"
    assert same_in_space(volume, back)


def test_frames_at_an_angle_to_each_other_are_parted_without_stacks(tmp_path):
    volumes = [ct(), ct(orientation="coronal", seed=2)]
    cut = [f for v in volumes for f in frames_of(v, stack=None)]
    back = read_all(write_enhanced(tmp_path / "e.dcm", shuffled(cut)))
    assert len(back) == 2
    for volume in volumes:
        assert any(same_in_space(volume, found) for found in back.values())


def test_a_missing_frame_is_said(tmp_path):
    cut = frames_of(ct((9, 24, 20)))
    del cut[4]
    (found,) = find(write_enhanced(tmp_path / "e.dcm", shuffled(cut))).items
    assert found.verdict == "incomplete"
    assert any("missing" in warning.text for warning in found.warnings)


def test_enhanced_and_classic_images_of_one_series_stand_apart(tmp_path):
    folder = series(tmp_path / "s", series_uid="1.2.3")

    def same_series(dataset):
        dataset.SeriesInstanceUID = "1.2.3"

    write_enhanced(folder / "e.dcm", frames_of(ct(seed=2)), edit=same_series)
    items = find(folder).items
    assert sorted(i.shape for i in items) == [(7, 24, 20)] * 2


def test_the_phantom_converted_from_classic_images(tmp_path):
    patient = make_patient(3, "head", (12.0, 4.0, 3.0), threads=1)
    cut = shuffled(frames_of(patient.ct))

    def convert(dataset):
        for i, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            rest = item(AcquisitionNumber=1, AcquisitionTime=f"10{i:02d}00", KVP=120)
            group.UnassignedPerFrameConvertedAttributesSequence = Items([rest])

    path = write_enhanced(
        tmp_path / "e.dcm", cut, edit=convert, compress="j2k",
        sop_class=LegacyConvertedEnhancedCTImageStorage,
    )  # fmt: skip
    back = read(path)
    assert back.provenance.verdict == "regular"
    assert same_in_space(patient.ct, back)


def test_mr_is_read_and_called_so(tmp_path):
    path = write_enhanced(
        tmp_path / "e.dcm", frames_of(ct()), modality="MR", sop_class=EnhancedMRImageStorage
    )
    (found,) = find(path).items
    assert (found.modality, found.unit, found.verdict) == ("MR", "unknown", "not-ct")
    assert any("not CT but modality MR" in w.text for w in found.warnings)
    assert same_in_space(ct(), read(path))


def test_the_perfusion_map_of_the_shared_data(shared_data):
    path = shared_data / "dicom" / "enhanced" / "eCT_Supplemental.dcm"
    (found,) = find(path).items
    assert found.shape == (2, 512, 512)
    np.testing.assert_allclose(found.spacing, (10, 0.388672, 0.388672))
    assert (found.modality, found.unit, found.verdict) == ("CT", "unknown", "not-ct")
    assert any("ml/100ml/s" in warning.text for warning in found.warnings)
    back = read(path)
    image = SimpleITK.ReadImage(str(path))  # in the order of storage
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), back.voxels[::-1])
    np.testing.assert_allclose(back.affine[:3, 3], (99.5, -301.5, -149))
    np.testing.assert_allclose(apply(back.affine, (1, 0, 0)), (99.5, -301.5, -159))
    assert (back.voxels.min(), back.voxels.max()) == (-1024, 172)


def test_a_damaged_file_is_skipped_and_the_others_are_listed(tmp_path):
    def boast(dataset):
        dataset.NumberOfFrames = 70

    write_enhanced(tmp_path / "good.dcm", frames_of(ct()))
    write_enhanced(tmp_path / "bad.dcm", frames_of(ct()), edit=boast)
    found = find(tmp_path)
    assert len(found.items) == 1
    (skipped,) = found.skipped
    assert "claims 70 frames but describes 7" in skipped.reason
    with pytest.raises(InputError, match="claims 70 frames"):
        read(tmp_path / "bad.dcm")


def test_pixels_cut_short_end_in_a_sentence(tmp_path):
    for compress in (None, "j2k", "rle"):
        path = write_enhanced(
            tmp_path / f"{compress}.dcm", frames_of(ct((6, 40, 36))), compress=compress
        )
        path.write_bytes(path.read_bytes()[:-3000])
        with pytest.raises(InputError, match=r"truncated|no pixels"):
            read(path, strict=True)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 3])
        with pytest.raises(InputError, match=r"truncated|no pixels|ends"):
            read(path)


def test_nobody_is_named(tmp_path):
    path = write_enhanced(tmp_path / "e.dcm", frames_of(ct()))
    assert "SECRET" not in json.dumps(find(path).to_json())
    assert "SECRET" not in repr(read(path).provenance)
