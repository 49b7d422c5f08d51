"""Enhanced multi-frame objects: every frame's header, against the values put in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK
from enhanced_cases import each, frames_of, headers_of, item, shuffled, told, write_enhanced
from io_cases import ORIENTATIONS, ct
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_sequence
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_each_frame_says_where_it_lies(tmp_path, orientation):
    volume = ct(orientation=orientation)
    cut = shuffled(frames_of(volume))
    headers = headers_of(write_enhanced(tmp_path / "e.dcm", cut))
    assert [h.frame for h in headers] == list(range(7))
    assert {h.frames for h in headers} == {7}
    for header, frame in zip(headers, cut, strict=True):
        np.testing.assert_allclose(header.position, frame.position, atol=1e-6)
        np.testing.assert_allclose(header.orientation, frame.orientation, atol=1e-9)
        np.testing.assert_allclose(header.pixel_spacing, frame.pixels)
        assert header.thickness == pytest.approx(2.5)
        assert (header.slope, header.intercept, header.rescale_type) == (1, -1024, "HU")
        assert header.image_type == ("ORIGINAL", "PRIMARY", "VOLUME", "NONE")
        assert [w[1:3] for w in header.windows] == [(40, 400)]
        assert told(header) == {"StackID": "1"}


def test_what_each_frame_says_itself_comes_before_what_is_shared(tmp_path):
    cut = each(
        frames_of(ct()),
        lambda frame, i: {
            "slope": 0.5 if i == 2 else 1.0,
            "intercept": -1000.0 - i,
            "window": (40.0 + i, 400.0),
            "told": (
                ("CTXRayDetailsSequence", "KVP", 80 if i % 2 else 140),
                ("CTReconstructionSequence", "ConvolutionKernel", ["B30f"]),
                ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase", 70.0),
                ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", 600.0 + i),
                ("FrameContentSequence", "FrameAcquisitionNumber", 3),
                ("FrameContentSequence", "FrameAcquisitionDateTime", f"2020010110203{i}.5+0100"),
            ),
        },
    )
    for i, header in enumerate(headers_of(write_enhanced(tmp_path / "e.dcm", cut))):
        assert (header.slope, header.intercept) == (0.5 if i == 2 else 1.0, -1000 - i)
        assert header.windows[0].center == 40 + i
        assert told(header) == {
            "StackID": "1",
            "AcquisitionNumber": "3",
            "KVP": "80" if i % 2 else "140",
            "ConvolutionKernel": "B30f",
            "NominalPercentageOfCardiacPhase": "70",
        }
        times = dict(header.times)
        assert times["AcquisitionTime"] == 10 * 3600 + 20 * 60 + 30.5 + i
        assert times["TriggerTime"] == 600 + i


def test_what_no_group_says_holds_from_the_top_of_the_file(tmp_path):
    def move_up(dataset):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        del shared.PixelMeasuresSequence, shared.PixelValueTransformationSequence
        del shared.FrameVOILUTSequence
        dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.25], 3
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.KVP = 2, -3, 120
        dataset.WindowCenter, dataset.WindowWidth = -600, 1500

    for header in headers_of(write_enhanced(tmp_path / "e.dcm", frames_of(ct()), edit=move_up)):
        assert header.pixel_spacing == (0.5, 0.25)
        assert (header.thickness, header.slope, header.intercept) == (3, 2, -3)
        assert [w[1:3] for w in header.windows] == [(-600, 1500)]
        assert told(header)["KVP"] == "120"


def test_stacks_and_times_tell_frames_apart(tmp_path):
    cut = [
        f
        for stack, orientation in (("1", "axial"), ("2", "sagittal"))
        for phase in (1, 2, 3)
        for f in frames_of(ct(orientation=orientation), stack=stack, phase=phase)
    ]
    cut = shuffled(cut)
    headers = headers_of(write_enhanced(tmp_path / "e.dcm", cut))
    assert len(headers) == 42
    for header, frame in zip(headers, cut, strict=True):
        expected = {"StackID": frame.stack, "TemporalPositionIndex": str(frame.phase)}
        assert told(header) == expected


def test_dimension_indices_stand_in_for_what_frames_do_not_say(tmp_path):
    cut = [f for phase in (1, 2) for f in frames_of(ct(), phase=phase)]

    def only_indices(dataset):
        pointers = dataset.DimensionIndexSequence
        pointers[2].DimensionIndexPointer = pydicom.tag.Tag("TemporalPositionTimeOffset")
        pointers[0].DimensionIndexPointer = pydicom.tag.Tag(0x0029, 0x1001)
        for i, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            content = group.FrameContentSequence[0]
            del content.StackID, content.TemporalPositionIndex
            content.DimensionIndexValues[0] = 1 + i % 2

    headers = headers_of(write_enhanced(tmp_path / "e.dcm", cut, edit=only_indices))
    for i, header in enumerate(headers):
        assert told(header) == {
            "Dimension1": str(1 + i % 2),
            "TemporalPositionIndex": str(1 + i // 7),
        }


def test_legacy_converted_images_keep_the_rest_in_groups_of_their_own(tmp_path):
    def convert(dataset):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.UnassignedSharedConvertedAttributesSequence = Items(
            [item(KVP=100, ConvolutionKernel="Br40")]
        )
        for i, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            group.UnassignedPerFrameConvertedAttributesSequence = Items(
                [item(AcquisitionNumber=i, AcquisitionTime=f"1000{i:02d}")]
            )

    path = write_enhanced(
        tmp_path / "e.dcm", frames_of(ct()), edit=convert,
        sop_class=LegacyConvertedEnhancedCTImageStorage,
    )  # fmt: skip
    for i, header in enumerate(headers_of(path)):
        assert told(header) == {
            "KVP": "100", "ConvolutionKernel": "Br40", "AcquisitionNumber": str(i), "StackID": "1",
        }  # fmt: skip
        assert dict(header.times)["AcquisitionTime"] == 36000 + i


@pytest.mark.parametrize(
    ("modality", "sop_class"), [("MR", EnhancedMRImageStorage), ("PT", EnhancedPETImageStorage)]
)
def test_mr_and_pet_are_called_what_they_are(tmp_path, modality, sop_class):
    path = write_enhanced(
        tmp_path / "e.dcm", frames_of(ct()), modality=modality, sop_class=sop_class
    )
    headers = headers_of(path)
    assert {h.modality for h in headers} == {modality}
    assert {h.image_type[2] for h in headers} == {"VOLUME"}


def test_a_map_of_another_quantity_says_its_unit(tmp_path):
    def mapped(unit, scheme="UCUM"):
        def edit(dataset):
            shared = dataset.SharedFunctionalGroupsSequence[0]
            shared.PixelValueTransformationSequence[0].RescaleType = "US"
            code = item(CodeValue=unit, CodingSchemeDesignator=scheme)
            shared.RealWorldValueMappingSequence = Items([item(MeasurementUnitsCodeSequence=code)])

        (tmp_path / "e.dcm").unlink(missing_ok=True)
        path = write_enhanced(tmp_path / "e.dcm", frames_of(ct()), edit=edit)
        (unit,) = {h.rescale_type for h in headers_of(path)}
        return unit

    assert mapped("ml/100ml/s") == "ml/100ml/s"
    assert mapped("[hnsf'U]") == "HU"
    assert mapped("Doe^Jane") == "US"
    assert mapped("x", scheme="99HERE") == "US"


def test_a_perfusion_map_without_a_unit_is_no_ct_value(tmp_path):
    def perfusion(dataset):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.PixelValueTransformationSequence[0].RescaleType = "US"
        shared.CTImageFrameTypeSequence[0].FrameType = ["DERIVED", "PRIMARY", "PERFUSION", "MTT"]

    headers = headers_of(write_enhanced(tmp_path / "e.dcm", frames_of(ct()), edit=perfusion))
    assert {h.rescale_type for h in headers} == {"MTT"}


@pytest.mark.parametrize("keyword", ["PerFrame", "Shared", "both"])
def test_an_archive_that_does_not_know_functional_groups_keeps_them(tmp_path, keyword):
    volume = ct((300, 4, 4))

    def unknown(dataset):
        for name in ("Shared", "PerFrame"):
            if keyword in (name, "both"):
                found = dataset[f"{name}FunctionalGroupsSequence"]
                buffer = DicomBytesIO()
                buffer.is_implicit_VR, buffer.is_little_endian = True, True
                write_sequence(buffer, found, ["iso8859"])
                raw = buffer.getvalue()
                dataset[found.tag] = RawDataElement(found.tag, "UN", len(raw), raw, 0, False, True)

    path = write_enhanced(tmp_path / "e.dcm", frames_of(volume), edit=unknown)
    headers = headers_of(path)
    np.testing.assert_allclose(headers[299].position, volume.affine[:3] @ (299, 0, 0, 1))
    assert {h.slope for h in headers} == {1.0}


@pytest.mark.parametrize(
    ("implicit", "little"), [(True, True), (False, True), (False, False)], ids=str
)
@pytest.mark.parametrize("undefined", [True, False])
def test_every_encoding_of_sequences(tmp_path, implicit, undefined, little):
    path = write_enhanced(tmp_path / "e.dcm", frames_of(ct()))
    dataset = pydicom.dcmread(path)
    for found in dataset.iterall():
        if found.VR == "SQ":
            found.is_undefined_length = undefined
            for inside in found.value:
                inside.is_undefined_length_sequence_item = undefined
    name = "Implicit" if implicit else "Explicit"
    syntax = getattr(pydicom.uid, f"{name}VR{'Little' if little else 'Big'}Endian")
    dataset.file_meta.TransferSyntaxUID = syntax
    if not little:
        pixels = np.frombuffer(dataset.PixelData, "<i2").astype(">i2")
        dataset.PixelData = pixels.tobytes()
    out = tmp_path / "other.dcm"
    pydicom.dcmwrite(out, dataset, implicit_vr=implicit, little_endian=little, force_encoding=True)
    assert [replace(h, path=path) for h in headers_of(out)] == [
        replace(h, transfer_syntax=str(syntax), pixels_at=h2.pixels_at)
        for h, h2 in zip(headers_of(path), headers_of(out), strict=True)
    ]


def test_the_enhanced_ct_of_the_shared_data(shared_data):
    headers = headers_of(shared_data / "dicom" / "enhanced" / "eCT_Supplemental.dcm")
    assert [h.position[2] for h in headers] == [-159, -149]
    assert {h.orientation for h in headers} == {(-1, 0, 0, 0, 1, 0)}
    assert {h.pixel_spacing for h in headers} == {(0.388672, 0.388672)}
    assert {h.image_type[3] for h in headers} == {"RCBF"}
    assert {h.rescale_type for h in headers} == {"ml/100ml/s"}


@pytest.mark.parametrize("compress", [None, "j2k", "rle"])
def test_the_cases_are_sound_by_the_judgement_of_simpleitk(tmp_path, compress):
    """The frames' own oracle: what the test writer makes is what another reader sees."""
    volume = ct((5, 40, 36))
    path = write_enhanced(tmp_path / "e.dcm", frames_of(volume), compress=compress)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), volume.voxels)
    np.testing.assert_allclose(image.GetSpacing()[::-1], volume.spacing)
    np.testing.assert_allclose(image.GetOrigin(), volume.origin)
